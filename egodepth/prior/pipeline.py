"""RPrDepth from nothing: teacher, prior, student, both stages and the selection between them, in one resumable call."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from lightning.pytorch.utilities import rank_zero_only

from egodepth.data.opening import open_training_sets
from egodepth.errors import UserError
from egodepth.files import kept_until_done
from egodepth.locks import only_writer
from egodepth.models.folder import LAST_STAGE
from egodepth.models.foreign_teacher import open_as_teacher
from egodepth.models.released import ReleasedModel, deployed
from egodepth.networks.configurations import RELEASED_REFERENCES, ManyDepthConfig
from egodepth.networks.prior import ReferenceSet
from egodepth.networks.rprdepth import RPrDepth
from egodepth.networks.weights import save_released
from egodepth.prior.building import build_reference_set, select_references, with_clusters
from egodepth.recipes import RECIPES, Recipe
from egodepth.recipes.multi_frame import MultiFrameRecipe
from egodepth.recipes.prior_guided import IMAGES, KEEP, PIXELS_PER_IMAGE, PriorGuidedRecipe
from egodepth.recipes.recipe import check_size
from egodepth.recipes.restoring import restored_recipe
from egodepth.recipes.view_synthesis import ViewSynthesisRecipe
from egodepth.scaling.asked import ScaleSource
from egodepth.training.runs import FRAMES_FOLDER, train
from egodepth.training.starting import load_trained_networks, run_options

log = logging.getLogger("egodepth")

CLUSTERS = 1000
"""In place of 25,000 references; docs/results.md tells what that gains and loses."""

LAST_RATE = 0.1
"""Share of the first stage's learning rate that the last one has (specification section 6)."""


@dataclass(frozen=True)
class PipelinePaths:
    """Where everything is that the result of `run_pipeline` stands on: in `out`, but for what is given.

    Attributes:
        out: the folder of all that is made.
        given_teacher: a model or a run, or a model of transformers.
        given_prior: a reference set of that teacher.
        given_student: a run.
    """

    out: Path
    given_teacher: str | None = None
    given_prior: str | None = None
    given_student: str | None = None

    @classmethod
    def of(cls, recipe: PriorGuidedRecipe, out: Path) -> "PipelinePaths":
        """What the recipe gives is not made."""
        return cls(out, recipe.teacher, recipe.prior, recipe.start_from)

    @property
    def teacher(self) -> str:
        """ManyDepth that looks both ways, or what is given instead."""
        return self.given_teacher or str(self.out / "teacher")

    @property
    def prior(self) -> Path:
        """The whole reference set."""
        return Path(self.given_prior or self.out / "prior.safetensors")

    @property
    def student(self) -> str:
        """The student without a prior."""
        return self.given_student or str(self.out / "student")

    @property
    def first_stage(self) -> Path:
        """The student on the whole prior."""
        return self.out / "stage1"

    @property
    def small_prior(self) -> Path:
        """The references that count."""
        return self.out / "prior_small.safetensors"

    @property
    def last_stage(self) -> Path:
        """The student on these alone: the result, where references are selected."""
        return self.out / LAST_STAGE


def train_whole(
    name: str, recipe: Recipe, data: Path, run: Path, resume: bool = False, metres: ScaleSource | None = None
) -> Path:
    """Train a recipe, and what it stands on where the recipe makes that too; the folder of the released model.

    Args:
        metres: see `train`.

    Raises:
        UserError: see `train`; or metres are asked for where several models are made.
    """
    if not recipe.makes_its_needs:
        return train(name, recipe, data, run, resume, metres)
    if metres is not None:
        raise UserError(f"{metres.options[0]}: is not for --all. Take egodepth scale {run} {data} when it is trained.")
    return run_pipeline(recipe, data, run)


def run_pipeline(recipe: PriorGuidedRecipe, data: Path, out: Path) -> Path:
    """Train RPrDepth and all that it stands on in `out` (see `PipelinePaths`); what is finished is not done again.

    A teacher, its prior and a student to start from are made where the recipe does not give them. Without a fusion
    there is no prior, and without a selection the first stage's student is the result.

    Returns:
        the folder of the released model.

    Raises:
        UserError: the data, an option, or what is given cannot be used.
    """
    _check_given(recipe)
    settings, paths = recipe.ladder, PipelinePaths.of(recipe, out)
    frames = None
    if recipe.teacher is None:
        _say("1 of 6: the teacher")
        train("manydepth", _teacher_recipe(recipe), data, Path(paths.teacher), resume=True)
        frames = Path(paths.teacher) / FRAMES_FOLDER
    if recipe.prior is None and recipe.fusion:
        _say("2 of 6: the prior")
        build_prior(paths.teacher, data, paths.prior, settings.images, settings.pixels_per_image, recipe, frames)
    if recipe.start_from is None:
        _say("3 of 6: the student")
        train(*student_recipe(recipe), data, Path(paths.student), resume=True)
    _say(f"4 of 6: the student {'on the whole prior' if recipe.fusion else 'guided by the teacher, without a prior'}")
    stage = first_stage(recipe, paths)
    model = train("rprdepth", stage, data, paths.first_stage, resume=True)
    if not (recipe.fusion and settings.selection):
        return model
    _say("5 of 6: the references that count")
    keep = min(settings.keep, len(ReferenceSet.load(paths.prior)))
    frames, looking = paths.first_stage / FRAMES_FOLDER, settings.selection_images
    select_prior(paths.first_stage, paths.prior, data, paths.small_prior, keep, looking, recipe, frames)
    _say("6 of 6: the student on these alone")
    last = _last_stage(stage, paths.small_prior, paths.first_stage)
    return train("rprdepth", last, data, paths.last_stage, resume=True)


def _check_given(recipe: PriorGuidedRecipe) -> None:
    """Before hours of training: can what is given be used?

    Raises:
        UserError: it cannot be read or does not belong together, a network cannot see pictures of the size that it is
            to see, or a teacher cannot be made from stereo pairs alone.
    """
    if recipe.teacher is None:
        if recipe.mode == "stereo":
            raise UserError(
                "--mode stereo: the teacher that --all makes matches frames of a video. Take mono or mono+stereo, or "
                "give a --teacher."
            )
        if recipe.prior is not None:
            raise UserError("--prior: belongs to one teacher. Give the --teacher that it was built with, too.")
        check_size(_teacher_recipe(recipe))
    else:
        teacher = open_as_teacher(recipe.teacher).rich_teacher()
        if recipe.prior is not None:
            ReferenceSet.load(Path(recipe.prior)).check_teacher(teacher.hash())
    check_size(recipe)
    if recipe.start_from is not None:
        load_trained_networks(recipe.start_from)


def build_prior(
    teacher: str,
    data: Path,
    out: Path,
    images: int = IMAGES,
    pixels_per_image: int = PIXELS_PER_IMAGE,
    settings: PriorGuidedRecipe = RECIPES["rprdepth"],
    frames: Path | None = None,
    device: str | torch.device | None = None,
) -> ReferenceSet:
    """The reference set of a teacher on training data.

    Args:
        teacher: a released model or a run, or a model of transformers.
        settings: say which frames, which intrinsics and which seed; of a teacher that sees one frame, the views too,
            and the student's size for one that has none of its own.
        frames: where frames unpacked from footage are and stay; none keeps them beside `out` until it is whole.
        device: where the teacher runs; none takes a GPU where there is one, as training does.
    """
    model = open_as_teacher(teacher)
    rich, size = model.rich_teacher(), model.rich_size((settings.height, settings.width))
    views, seed, device = rich.sources or settings.views, settings.training.seed, device or _device()
    with _unpacked(frames, out) as folder:
        sets = open_training_sets(data, settings.data, settings.intrinsics, views, *size, cache_folder=folder)
        return build_reference_set(rich, sets.training, out, images, pixels_per_image, seed, device)


def select_prior(
    run: Path,
    prior: Path,
    data: Path,
    out: Path,
    keep: int = KEEP,
    images: int | None = None,
    settings: PriorGuidedRecipe = RECIPES["rprdepth"],
    frames: Path | None = None,
    device: str | torch.device | None = None,
) -> ReferenceSet:
    """The references that a trained run attends to most, seen from the frames that validate.

    Args:
        frames: as for `build_prior`.
        device: where the network runs; none takes a GPU where there is one, as training does.

    Raises:
        UserError: nothing validates, or the prior is not that of the run.
    """
    network = load_trained_networks(str(run))["depth"]
    size, views = (settings.height, settings.width), settings.views
    with _unpacked(frames, out) as folder:
        sets = open_training_sets(data, settings.data, settings.intrinsics, views, *size, cache_folder=folder)
        if sets.validation is None:
            raise UserError(f"{data}: holds nothing out to validate on, which selection looks at. Give a longer drive.")
        references, device = ReferenceSet.load(prior), device or _device()
        return select_references(network, references, sets.validation, out, keep, images, device=device)


@contextmanager
def _unpacked(frames: Path | None, out: Path) -> Iterator[Path]:
    """The folder of unpacked frames: that of a run, which keeps it, or one of this call alone."""
    if frames is not None:
        yield frames
        return
    own = out.with_name(f".{out.stem}.frames")
    alone = only_writer(own) if rank_zero_only.rank == 0 else nullcontext()
    with alone, kept_until_done(own):
        yield own


def prior_settings(split: str | None, seed: int, intrinsics: str) -> PriorGuidedRecipe:
    """The recipe's settings with another split, seed and camera."""
    recipe = RECIPES["rprdepth"]
    return replace(
        recipe,
        data=replace(recipe.data, split=split),
        training=replace(recipe.training, seed=seed),
        intrinsics=intrinsics,
    )


def select_prior_of_run(
    run: Path,
    data: Path,
    out: Path,
    keep: int = KEEP,
    images: int | None = None,
    intrinsics: str | None = None,
) -> ReferenceSet:
    """`select_prior` with the prior and the settings that a run was trained with.

    Args:
        intrinsics: none takes the run's.

    Raises:
        UserError: this is no run of RPrDepth.
    """
    options = run_options(run)
    if options.get("prior") is None:
        raise UserError(f"{run}: was not trained with a prior. Give a run of egodepth train rprdepth.")
    recipe = restored_recipe(options["recipe"], options)
    settings = replace(
        recipe,
        data=replace(recipe.data, **options["data"]),
        height=options["height"],
        width=options["width"],
        intrinsics=intrinsics or options["intrinsics"],
    )
    return select_prior(run, Path(options["prior"]), data, out, keep, images, settings)


def release_clustered(run: Path, out: Path, keep: int = CLUSTERS) -> int:
    """Release a trained RPrDepth once more, with clusters in place of its references: a faster model.

    Args:
        out: folder of the model.
        keep: clusters.

    Returns:
        how many there are; clusters that nothing falls into are left out.

    Raises:
        UserError: this is no run of RPrDepth, or it has fewer references.
    """
    network = load_trained_networks(str(run))["depth"]
    if not isinstance(network, RPrDepth):
        raise UserError(f"{run}: was not trained with a prior. Give a run of egodepth train rprdepth.")
    released = ReleasedModel.open(run)
    config, tensors = dict(released.config), released.tensors
    fewer = with_clusters(network.thinned(RELEASED_REFERENCES), released.network, keep)
    count = len(fewer.fusion.references.depths)
    config["provenance"]["clusters_of"] = config["network"]["references"]
    config["network"] |= {"references": count, "clustered": True}
    others = {key: tensor for key, tensor in tensors.items() if not key.startswith("depth.")}
    depth = {f"depth.{key}": tensor for key, tensor in deployed(fewer, released.network).state_dict().items()}
    save_released(out, config, others | depth)
    return count


def _teacher_recipe(recipe: PriorGuidedRecipe) -> MultiFrameRecipe:
    base, settings = RECIPES["manydepth"], recipe.ladder
    return replace(
        base,
        network=ManyDepthConfig(encoder=settings.teacher_encoder),
        future=True,
        height=settings.teacher_height,
        width=settings.teacher_width,
        pretrained=recipe.pretrained,
        **_shared(recipe),
    )


def student_recipe(recipe: PriorGuidedRecipe) -> tuple[str, ViewSynthesisRecipe]:
    """The training of the student without a prior, as its own system trains it, and that system's name."""
    student = recipe.network.student
    name, own = next((name, known) for name, known in RECIPES.items() if type(known.network) is type(student))
    start = {"pretrained": recipe.pretrained}
    if own.pose_pretrained is not None:  # there are no ImageNet weights of its depth encoder
        start = {"pretrained": own.pretrained, "pose_pretrained": recipe.pretrained}
    shared = _shared(recipe)
    if recipe.ladder.student_batch_size is not None:
        shared["training"] = replace(recipe.training, batch_size=recipe.ladder.student_batch_size)
    return name, replace(
        own,
        network=student,
        pose=recipe.pose,
        mode=recipe.mode,
        metres_per_unit=recipe.metres_per_unit,
        height=recipe.height,
        width=recipe.width,
        **shared,
        **start,
    )


def first_stage(recipe: PriorGuidedRecipe, paths: PipelinePaths) -> PriorGuidedRecipe:
    """The training of the trained student on the whole prior."""
    prior = str(paths.prior) if recipe.fusion else None
    return replace(recipe, teacher=paths.teacher, prior=prior, start_from=paths.student, all=False)


def _last_stage(stage: PriorGuidedRecipe, prior: Path, start: Path) -> PriorGuidedRecipe:
    share, optimiser, training = stage.ladder.last_stage, stage.optimiser, stage.training
    epochs = max(1, round(share * optimiser.epochs))
    steps = None if training.steps is None else max(1, round(share * training.steps))
    return replace(
        stage,
        prior=str(prior),
        start_from=str(start),
        # Whoever has learned to look up, and looks on, needs no gentle start.
        losses=replace(stage.losses, affinity_alone=0.0, encoder_epochs=0.0),
        optimiser=replace(optimiser, learning_rate=LAST_RATE * optimiser.learning_rate, epochs=epochs, decay_epochs=()),
        training=replace(training, steps=steps),
    )


def _shared(recipe: PriorGuidedRecipe) -> dict[str, object]:
    names = ("augmentation", "data", "training", "intrinsics")
    return {name: getattr(recipe, name) for name in names}


def _device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


@rank_zero_only
def _say(stage: str) -> None:
    log.info("rprdepth --all, %s.", stage)
