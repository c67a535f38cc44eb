"""A training run from DATA to a released model, and its being resumed."""

import json
import logging
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import lightning.pytorch as lightning
import torch
from lightning.pytorch.utilities import rank_zero_only
from torch import nn

from egodepth.data.opening import TrainingSets, open_training_sets
from egodepth.data.samples import TrainingDataset
from egodepth.errors import UserError
from egodepth.files import write_text
from egodepth.inference.predictor import SIZE_MULTIPLE
from egodepth.methods.distillation import Teacher
from egodepth.methods.training import LAST_CHECKPOINT, Method, check_run_folder, fit
from egodepth.models import MODEL_FOLDER, RUN_FILE, deployed, load, load_networks, restored_recipe, save_model
from egodepth.networks.disparity import DisparityNetwork
from egodepth.networks.equivalent import equivalent, merge
from egodepth.networks.weights import check_fit
from egodepth.recipes import (
    MultiFrameRecipe,
    Recipe,
    ViewSynthesisRecipe,
    build_method,
    build_networks,
    frame_size,
    metres_per_unit,
    pretrained,
    sources,
)

log = logging.getLogger("egodepth")

LOADING_OPTIONS = ("workers", "log_every", "validate_every", "checkpoint_every", "panels_every")
"""What may change from one part of a run to the next without another result."""

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
    _check_size(recipe.height, recipe.width)
    check_run_folder(run, resume)
    _check_same_options(name, recipe, data, run, resume)
    teacher = load_teacher(recipe)
    views, size = sources(recipe), frame_size(recipe)
    sets = open_training_sets(data, recipe.data, recipe.intrinsics, views, *size, cache_folder=run / "frames")
    _report(sets)
    lightning.seed_everything(recipe.training.seed, verbose=False)
    networks = build_networks(recipe)
    if not (resume and (run / RUN_FILE).is_file()):
        _load_first_weights(recipe, networks)
    images = None if recipe.start_from is None else _first_images(sets.training)
    method = build_method(recipe, networks, teacher, images)
    write_text(run / RUN_FILE, json.dumps(_run_options(name, recipe, data), indent=2) + "\n")
    model = run / MODEL_FOLDER
    scale = metres_per_unit(recipe, sets.training)
    intrinsics = sets.training[0].intrinsics if isinstance(recipe, MultiFrameRecipe) else None

    def release(trained: Method) -> None:
        provenance = {
            "data": data.name,
            "sources": views,
            "steps": trained.global_step,
            "seed": recipe.training.seed,
        }
        networks = trained.networks()
        networks["depth"] = deployed(networks["depth"])
        save_model(model, name, recipe, networks, scale, provenance, folded=True, intrinsics=intrinsics)

    fit(method, sets.training, sets.validation, recipe.training, run, resume, release)
    return model


def load_teacher(recipe: Recipe) -> Teacher | None:
    """The recipe's teacher, if it has one.

    Raises:
        UserError: it cannot be read, or shows no features to learn from.
    """
    if not isinstance(recipe, ViewSynthesisRecipe) or recipe.teacher is None:
        return None
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
    trained = load_trained_networks(recipe.start_from)
    for part, network in networks.items():
        if part not in trained:
            raise UserError(
                f"--from {recipe.start_from}: has no {part} network. Give a run that was trained from video."
            )
        mend = "Start from a run of the same networks."
        state = trained[part].state_dict()
        network.load_state_dict(check_fit(network.state_dict(), state, f"--from {recipe.start_from}", mend))


def _first_images(dataset: TrainingDataset) -> torch.Tensor:
    """A few targets (B, 3, H, W) in [0, 1], spread over the training set."""
    places = range(0, len(dataset), max(1, len(dataset) // FIRST_IMAGES))
    return torch.stack([dataset[place].target for place in places][:FIRST_IMAGES]).float() / 255


@rank_zero_only
def _report(sets: TrainingSets) -> None:
    """Say what there is to train on, and which frames are left out, by name."""
    validation = len(sets.validation) if sets.validation is not None else 0
    log.info("%d samples to train on, %d to validate on.", len(sets.training), validation)
    for message in sets.left_out[:MESSAGES_SHOWN]:
        log.warning("left out: %s", message)
    if len(sets.left_out) > MESSAGES_SHOWN:
        log.warning("left out: %d more.", len(sets.left_out) - MESSAGES_SHOWN)


def _run_options(name: str, recipe: Recipe, data: Path) -> dict[str, Any]:
    return json.loads(json.dumps({"recipe": name, "data": str(data.resolve())} | asdict(recipe)))


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


def _check_size(height: int, width: int) -> None:
    for option, value in (("--height", height), ("--width", width)):
        if value <= 0 or value % SIZE_MULTIPLE:
            nearest = max(SIZE_MULTIPLE, round(value / SIZE_MULTIPLE) * SIZE_MULTIPLE)
            raise UserError(f"{option} {value}: must be a multiple of {SIZE_MULTIPLE}. Take {nearest}.")
