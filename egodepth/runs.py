"""A training run from DATA to a released model, and its being resumed."""

import json
import logging
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import lightning.pytorch as lightning
from lightning.pytorch.utilities import rank_zero_only

from egodepth.data.opening import TrainingSets, open_training_sets
from egodepth.errors import UserError
from egodepth.files import write_text
from egodepth.inference.predictor import SIZE_MULTIPLE
from egodepth.methods.photometric import PhotometricMethod
from egodepth.methods.training import check_run_folder, fit
from egodepth.models import MODEL_FOLDER, RUN_FILE, save_model
from egodepth.recipes import SOURCES, Recipe, build_method

log = logging.getLogger("egodepth")

LOADING_OPTIONS = ("workers", "log_every", "validate_every", "checkpoint_every", "panels_every")
"""What may change from one part of a run to the next without another result."""

MESSAGES_SHOWN = 10


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
    views = SOURCES[recipe.mode]
    size = recipe.height, recipe.width
    sets = open_training_sets(data, recipe.data, recipe.intrinsics, views, *size, cache_folder=run / "frames")
    _report(sets)
    lightning.seed_everything(recipe.training.seed, verbose=False)
    method = build_method(recipe)
    if not (resume and (run / RUN_FILE).is_file()):
        sources = {"depth": recipe.pretrained, "pose": recipe.pose_pretrained or recipe.pretrained}
        for part, network in method.networks().items():
            network.encoder.load_pretrained(sources[part])
    write_text(run / RUN_FILE, json.dumps(_run_options(name, recipe, data), indent=2) + "\n")
    model = run / MODEL_FOLDER
    scale = recipe.method.metres_per_unit if "stereo" in SOURCES[recipe.mode] else None

    def release(trained: PhotometricMethod) -> None:
        provenance = {
            "data": data.name,
            "mode": recipe.mode,
            "steps": trained.global_step,
            "seed": recipe.training.seed,
        }
        save_model(model, name, recipe, trained.networks(), scale, provenance)

    fit(method, sets.training, sets.validation, recipe.training, run, resume, release)
    return model


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
