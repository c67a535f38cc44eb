"""A training run from DATA to a released model, and its being resumed."""

import json
import logging
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import lightning.pytorch as lightning
import torch
from lightning.pytorch.utilities import rank_zero_only
from torch import nn

from egodepth.configurations import as_data
from egodepth.data.opening import TrainingSets, open_training_sets
from egodepth.data.packed import PackOptions
from egodepth.data.packing import PackReport, pack
from egodepth.data.samples import PosedDataset, Source, TrainingDataset
from egodepth.errors import UserError
from egodepth.files import write_text
from egodepth.inference.predictor import SIZE_MULTIPLE
from egodepth.methods.distillation import Teacher
from egodepth.methods.prior_guided import RichTeacher
from egodepth.methods.training import LAST_CHECKPOINT, Method, check_run_folder, fit
from egodepth.models import (
    MODEL_FOLDER,
    RUN_FILE,
    deployed,
    load,
    load_networks,
    load_rich_teacher,
    released_recipe,
    restored_recipe,
    save_model,
)
from egodepth.networks.disparity import DisparityNetwork
from egodepth.networks.equivalent import equivalent, merge
from egodepth.networks.manydepth import ManyDepth, ManyDepthConfig
from egodepth.networks.monodepth2 import Monodepth2Config
from egodepth.networks.prior import ReferenceSet
from egodepth.networks.rprdepth import RPrDepth
from egodepth.networks.sdfa_net import SDFANetConfig
from egodepth.networks.weights import check_fit
from egodepth.recipes import (
    MultiFrameRecipe,
    PriorGuidedRecipe,
    Recipe,
    ViewSynthesisRecipe,
    build_method,
    build_networks,
    frame_size,
    pretrained,
    scale_of_baseline,
    sources,
)
from egodepth.scale import Scale, scale_from_poses

log = logging.getLogger("egodepth")

LOADING_OPTIONS = ("workers", "log_every", "validate_every", "checkpoint_every", "panels_every")
"""What may change from one part of a run to the next without another result."""

FRAMES_FOLDER = "frames"
"""Of a run: its frames unpacked from footage."""

MESSAGES_SHOWN = 10
FIRST_IMAGES = 8


def train(name: str, recipe: Recipe, data: Path, run: Path, resume: bool = False) -> Path:
    """Train a recipe on DATA.

    Args:
        name: of the recipe, for the released model's config.
        run: folder for checkpoints, logs, panels and the released model.
        resume: go on with a run that was stopped; its options must be the same as then.

    Returns:
        the folder of the released model.

    Raises:
        UserError: the data or an option cannot be used; nothing was trained then, or the last good checkpoint stays.
    """
    check_size(recipe)
    check_run_folder(run, resume)
    recipe, needs = _with_needs(_with_whole_paths(recipe))
    _check_same_options(name, recipe, data, run, resume)
    views, size = needs.views, needs.size
    sets = open_training_sets(data, recipe.data, recipe.intrinsics, views, *size, cache_folder=run / FRAMES_FOLDER)
    _report(sets)
    lightning.seed_everything(recipe.training.seed, verbose=False)
    networks = build_networks(recipe)
    if needs.references is not None:
        networks["depth"].load_references(needs.references)
    if not (resume and (run / RUN_FILE).is_file()):
        _load_first_weights(recipe, networks)
    from_trained = isinstance(recipe, ViewSynthesisRecipe) and recipe.etm and recipe.start_from is not None
    images = _first_images(sets.training) if from_trained else None
    method = build_method(recipe, networks, needs.teacher, images)
    write_text(run / RUN_FILE, json.dumps(_run_options(name, recipe, data), indent=2) + "\n")
    model = run / MODEL_FOLDER
    intrinsics = sets.first[0].intrinsics if isinstance(recipe, MultiFrameRecipe) else None

    def release(trained: Method) -> None:
        provenance = {
            "data": " + ".join(path.name for path in (data, *recipe.data.also)),
            "sources": views,
            "steps": trained.global_step,
            "seed": recipe.training.seed,
        }
        networks = trained.networks()
        scale = _scale(recipe, networks, sets.first)
        networks["depth"] = deployed(networks["depth"])
        released = released_recipe(recipe)
        save_model(model, name, released, networks, scale, provenance, folded=True, intrinsics=intrinsics)

    fit(method, sets.training, sets.validation, recipe.training, run, resume, release)
    return model


def _scale(recipe: Recipe, networks: Mapping[str, nn.Module], dataset: TrainingDataset) -> Scale | None:
    """What one unit of the depth network means, as far as DATA can tell."""
    if not (isinstance(dataset, PosedDataset) and "pose" in networks and "stereo" not in sources(recipe)):
        return scale_of_baseline(recipe, dataset)
    return scale_from_poses(networks["pose"], dataset, recipe.height, recipe.width)


@dataclass(frozen=True)
class Needs:
    """What a training needs besides its data.

    Attributes:
        views: beside the target.
        size: height and width at which frames are read.
        teacher: where the recipe has one.
        references: RPrDepth's reference set.
    """

    views: tuple[Source, ...]
    size: tuple[int, int]
    teacher: Teacher | RichTeacher | None = None
    references: ReferenceSet | None = None


def _with_needs(recipe: Recipe) -> tuple[Recipe, Needs]:
    """The recipe's teacher and prior, and the recipe as they make it.

    Raises:
        UserError: they are missing, cannot be read, or do not belong together.
    """
    views = sources(recipe)
    match recipe:
        case PriorGuidedRecipe(teacher=None) | PriorGuidedRecipe(prior=None):
            raise UserError("rprdepth: needs --teacher MODEL and --prior FILE, or --all to make them on the way.")
        case PriorGuidedRecipe():
            teacher, size = load_rich_teacher(recipe.teacher)
            references = ReferenceSet.load(Path(recipe.prior))
            references.check_teacher(teacher.hash())
            network = replace(
                recipe.network, references=len(references), reference_channels=references.features.shape[1]
            )
            views = tuple(dict.fromkeys((*views, *teacher.sources)))
            return replace(recipe, network=network), Needs(views, size, teacher, references)
        case ViewSynthesisRecipe(teacher=str()):
            return recipe, Needs(views, frame_size(recipe), _disparity_teacher(recipe))
    return recipe, Needs(views, frame_size(recipe))


def _with_whole_paths(recipe: Recipe) -> Recipe:
    """The recipe with the data of `--also` named as they are from any folder."""
    also = tuple(Path(path).resolve() for path in recipe.data.also)
    return replace(recipe, data=replace(recipe.data, also=also))


def pack_data(recipe: Recipe, data: Path, out: Path, workers: int = 0) -> PackReport:
    """Resize the frames of DATA once for a recipe, so that training reads them ready-made.

    Raises:
        UserError: the data cannot be used, or `out` holds something else.
    """
    if recipe.data.also:
        raise UserError("--also: a pack holds one data set. Pack each, then train on one with --also the other.")
    check_size(recipe)
    recipe, needs = _with_needs(recipe)
    config = recipe.data
    options = PackOptions(needs.views, *needs.size, recipe.intrinsics, config.split, config.stride, config.crop)
    with kept_until_done(out.with_name(f".{out.name}.frames")) as frames:
        sets = open_training_sets(data, config, recipe.intrinsics, needs.views, *needs.size, cache_folder=frames)
        return pack(out, data, sets.training, sets.validation, options, sets.left_out, workers)


@contextmanager
def kept_until_done(folder: Path) -> Iterator[Path]:
    """A folder for what a call makes on its way: gone when it is done or refused, there for one that was stopped."""
    try:
        yield folder
    except UserError:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    shutil.rmtree(folder, ignore_errors=True)


def _disparity_teacher(recipe: ViewSynthesisRecipe) -> Teacher:
    """Raises UserError: the teacher cannot be read, or shows no features to learn from."""
    predictor = load(recipe.teacher)
    if not isinstance(predictor.network, DisparityNetwork):
        raise UserError(
            f"{recipe.teacher}: is no disparity network, so its features cannot teach. Give another teacher."
        )
    return Teacher(predictor.network, predictor.height, predictor.width, recipe.distillation)


def load_trained_networks(source: str) -> dict[str, nn.Module]:
    """The networks of a run in the form in which they were trained, or those of an imported model.

    A model that training has released is merged and folded, so that no training can start from it; the run that
    released it keeps the form to go on from.

    Raises:
        UserError: there are none.
    """
    run = Path(source)
    if not (run / LAST_CHECKPOINT).is_file():
        return load_networks(source)
    options = json.loads((run / RUN_FILE).read_text(encoding="utf-8"))
    recipe = restored_recipe(options["recipe"], options)
    networks = build_networks(recipe)
    if options.get("etm"):
        equivalent(networks["depth"], recipe.equivalent)
    state = torch.load(run / LAST_CHECKPOINT, map_location="cpu", weights_only=True)["state_dict"]
    for part, network in networks.items():
        prefix = f"{part}_network."
        weights = {key.removeprefix(prefix): tensor for key, tensor in state.items() if key.startswith(prefix)}
        mend = "The run was made by another egodepth; train it again."
        network.load_state_dict(check_fit(network.state_dict(), weights, str(run), mend))
    return networks | {"depth": merge(networks["depth"])}


def _load_first_weights(recipe: Recipe, networks: Mapping[str, nn.Module]) -> None:
    if recipe.start_from is None:
        for part, network in networks.items():
            network.encoder.load_pretrained(pretrained(recipe, part))
        return
    source = f"--from {recipe.start_from}"
    trained = load_trained_networks(recipe.start_from)
    if isinstance(recipe, MultiFrameRecipe) and not isinstance(trained["depth"], ManyDepth):
        trained["teacher"] = trained["depth"]
    for part, network in networks.items():
        if part not in trained:
            raise UserError(f"{source}: has no {part} network. Give a run that was trained from video.")
        state = trained[part].state_dict()
        if isinstance(network, RPrDepth | ManyDepth):
            network.load_first_weights(state, source)
        else:
            mend = "Start from a run of the same networks."
            network.load_state_dict(check_fit(network.state_dict(), state, source, mend))


def _first_images(dataset: TrainingDataset) -> torch.Tensor:
    """A few targets (B, 3, H, W) in [0, 1], spread over the training set."""
    places = range(0, len(dataset), max(1, len(dataset) // FIRST_IMAGES))
    return torch.stack([dataset[place].target for place in places][:FIRST_IMAGES]).float() / 255


@rank_zero_only
def _report(sets: TrainingSets) -> None:
    """Say what there is to train on, and which frames are left out, by name."""
    validation = len(sets.validation) if sets.validation is not None else 0
    log.info("%d samples to train on, %d to validate on.", len(sets.training), validation)
    if len(sets.first) < len(sets.training):
        log.info("%d of them are of the data of --also.", len(sets.training) - len(sets.first))
    for message in sets.left_out[:MESSAGES_SHOWN]:
        log.warning("left out: %s", message)
    if len(sets.left_out) > MESSAGES_SHOWN:
        log.warning("left out: %d more.", len(sets.left_out) - MESSAGES_SHOWN)


def _run_options(name: str, recipe: Recipe, data: Path) -> dict[str, Any]:
    return {"recipe": name, "root": str(data.resolve())} | as_data(recipe)


def _check_same_options(name: str, recipe: Recipe, data: Path, run: Path, resume: bool) -> None:
    file = run / RUN_FILE
    if not (resume and file.is_file()):
        return
    try:
        before = json.loads(file.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise UserError(f"{file}: not JSON ({error}). Remove the folder and train again.") from error
    for option, (then, now) in _differences(before, _run_options(name, recipe, data)).items():
        if option.split(".")[-1] not in (*LOADING_OPTIONS, "source"):
            raise UserError(
                f"{run}: the run has {option} {then}, this call {now}. Resume with the options of the first call, "
                "or choose another --out."
            )


def _differences(before: Mapping[str, Any], now: Mapping[str, Any], prefix: str = "") -> dict[str, tuple[Any, Any]]:
    found: dict[str, tuple[Any, Any]] = {}
    for key in now:
        then, value = before.get(key), now[key]
        if isinstance(value, Mapping) and isinstance(then, Mapping):
            found |= _differences(then, value, f"{prefix}{key}.")
        elif then != value:
            found[prefix + key] = then, value
    return found


SMALLEST_SIZE: dict[type, int] = {Monodepth2Config: 64, ManyDepthConfig: 64, SDFANetConfig: 64}
"""Of networks that reflect the border of their coarsest map, at a 32nd of the image: it needs two pixels each way."""


def check_size(recipe: Recipe) -> None:
    """Raises UserError: the network cannot see pictures of the recipe's size; the nearest that it can is named."""
    network = recipe.network.student if isinstance(recipe, PriorGuidedRecipe) else recipe.network
    smallest = SMALLEST_SIZE.get(type(network), SIZE_MULTIPLE)
    least = f", {smallest} at least" if smallest > SIZE_MULTIPLE else ""
    crop = (("--augmentation.crop", side) for side in recipe.augmentation.crop or ())
    for option, value in (("--height", recipe.height), ("--width", recipe.width), *crop):
        if value < smallest or value % SIZE_MULTIPLE:
            nearest = max(smallest, round(value / SIZE_MULTIPLE) * SIZE_MULTIPLE)
            raise UserError(f"{option} {value}: must be a multiple of {SIZE_MULTIPLE}{least}. Take {nearest}.")
