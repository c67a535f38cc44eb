"""RPrDepth from nothing: teacher, prior, student, both stages and the selection between them, in one resumable call."""

import logging
from dataclasses import replace
from pathlib import Path

from lightning.pytorch.utilities import rank_zero_only

from egodepth.data.opening import open_training_sets
from egodepth.errors import UserError
from egodepth.measured import run_options
from egodepth.models import load_rich_teacher, restored_recipe
from egodepth.networks.manydepth import ManyDepthConfig
from egodepth.networks.prior import ReferenceSet
from egodepth.prior_building import IMAGES, KEEP, PIXELS_PER_IMAGE, build_reference_set, select_references
from egodepth.recipes import RECIPES, MultiFrameRecipe, PriorGuidedRecipe, ViewSynthesisRecipe, sources
from egodepth.runs import load_trained_networks, train

log = logging.getLogger("egodepth")

LAST_RATE = 0.1
"""Of the first stage's learning rate, for the last one (specification section 6)."""


def climb(recipe: PriorGuidedRecipe, data: Path, out: Path) -> Path:
    """Train RPrDepth and all that it stands on, in `out`; what is finished there is not done again.

    `out` gets `teacher` (ManyDepth that looks both ways), `prior.safetensors`, `student` (without a prior), `stage1`
    (on the whole prior), `prior_small.safetensors` and `stage2` (on the selected prior, the result).

    Returns:
        the folder of the released model.

    Raises:
        UserError: the data or an option cannot be used.
    """
    if recipe.mode == "stereo":
        raise UserError("--mode stereo: the teacher matches frames of a video. Take mono or mono+stereo.")
    ladder = recipe.ladder
    _say("1 of 6: the teacher")
    teacher = out / "teacher"
    train("manydepth", _teacher_recipe(recipe), data, teacher, resume=True)
    _say("2 of 6: the prior")
    prior = out / "prior.safetensors"
    build_prior(teacher, data, prior, ladder.images, ladder.pixels_per_image, recipe)
    _say("3 of 6: the student")
    student = out / "student"
    train("diffnet", _student_recipe(recipe), data, student, resume=True)
    _say("4 of 6: the student on the whole prior")
    stage = replace(recipe, teacher=str(teacher), prior=str(prior), start_from=str(student), all=False)
    train("rprdepth", stage, data, out / "stage1", resume=True)
    _say("5 of 6: the references that count")
    small = out / "prior_small.safetensors"
    keep = min(ladder.keep, len(ReferenceSet.load(prior)))
    select_prior(out / "stage1", prior, data, small, keep, ladder.selection_images, recipe)
    _say("6 of 6: the student on these alone")
    return train("rprdepth", _last_stage(stage, small, out / "stage1"), data, out / "stage2", resume=True)


def build_prior(
    teacher: str | Path,
    data: Path,
    out: Path,
    images: int = IMAGES,
    pixels_per_image: int = PIXELS_PER_IMAGE,
    settings: PriorGuidedRecipe = RECIPES["rprdepth"],
) -> ReferenceSet:
    """The reference set of a teacher on training data.

    Args:
        settings: say which frames, which intrinsics and which seed.
    """
    rich, size = load_rich_teacher(teacher)
    views = rich.sources or (-1, 1)
    frames = out.with_name(f".{out.stem}.frames")
    sets = open_training_sets(data, settings.data, settings.intrinsics, views, *size, cache_folder=frames)
    return build_reference_set(rich, sets.training, out, images, pixels_per_image, settings.training.seed)


def select_prior(
    run: Path,
    prior: Path,
    data: Path,
    out: Path,
    keep: int = KEEP,
    images: int | None = None,
    settings: PriorGuidedRecipe = RECIPES["rprdepth"],
) -> ReferenceSet:
    """The references that a trained run attends to most, seen from the frames that validate.

    Raises:
        UserError: nothing validates, or the prior is not that of the run.
    """
    network = load_trained_networks(str(run))["depth"]
    size, views = (settings.height, settings.width), sources(settings)
    frames = out.with_name(f".{out.stem}.frames")
    sets = open_training_sets(data, settings.data, settings.intrinsics, views, *size, cache_folder=frames)
    if sets.validation is None:
        raise UserError(f"{data}: holds nothing out to validate on, which selection looks at. Give a longer drive.")
    return select_references(network, ReferenceSet.load(prior), sets.validation, out, keep, images)


def prior_settings(split: str | None, seed: int) -> PriorGuidedRecipe:
    """The recipe's settings with another split and seed."""
    recipe = RECIPES["rprdepth"]
    return replace(recipe, data=replace(recipe.data, split=split), training=replace(recipe.training, seed=seed))


def select_prior_of_run(run: Path, data: Path, out: Path, keep: int = KEEP, images: int | None = None) -> ReferenceSet:
    """`select_prior` with the prior and the settings that a run was trained with.

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
        intrinsics=options["intrinsics"],
    )
    return select_prior(run, Path(options["prior"]), data, out, keep, images, settings)


def _teacher_recipe(recipe: PriorGuidedRecipe) -> MultiFrameRecipe:
    base, ladder = RECIPES["manydepth"], recipe.ladder
    return replace(
        base,
        network=ManyDepthConfig(encoder=ladder.teacher_encoder),
        future=True,
        height=ladder.teacher_height,
        width=ladder.teacher_width,
        **_shared(recipe),
    )


def _student_recipe(recipe: PriorGuidedRecipe) -> ViewSynthesisRecipe:
    return replace(
        RECIPES["diffnet"],
        network=recipe.network.student,
        pose=recipe.pose,
        mode=recipe.mode,
        metres_per_unit=recipe.metres_per_unit,
        height=recipe.height,
        width=recipe.width,
        **_shared(recipe),
    )


def _last_stage(stage: PriorGuidedRecipe, prior: Path, start: Path) -> PriorGuidedRecipe:
    share, optimiser, training = stage.ladder.last_stage, stage.optimiser, stage.training
    epochs = max(1, round(share * optimiser.epochs))
    steps = None if training.steps is None else max(1, round(share * training.steps))
    return replace(
        stage,
        prior=str(prior),
        start_from=str(start),
        optimiser=replace(optimiser, learning_rate=LAST_RATE * optimiser.learning_rate, epochs=epochs, decay_epochs=()),
        training=replace(training, steps=steps),
    )


def _shared(recipe: PriorGuidedRecipe) -> dict[str, object]:
    names = ("augmentation", "data", "training", "intrinsics", "pretrained")
    return {name: getattr(recipe, name) for name in names}


@rank_zero_only
def _say(stage: str) -> None:
    log.info("rprdepth --all, %s.", stage)
