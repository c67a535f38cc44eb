"""Released models: what training and import write, and what `egodepth.load` reads."""

import dataclasses
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

from egodepth import __version__
from egodepth.errors import UserError
from egodepth.inference.predictor import Predictor
from egodepth.networks.pretrained import (
    PUBLISHED_POSE_FILES,
    Imported,
    has_files,
    import_weights,
    monodepth2_pose_place,
)
from egodepth.networks.weights import CONFIG_FILE, check_fit, read_released, save_released
from egodepth.recipes import PUBLISHED, Recipe, recipe_named

MODEL_FOLDER = "model"
RUN_FILE = "run.json"
CONFIG_FORMAT = 1

Configuration = TypeVar("Configuration")


def save_model(
    folder: Path,
    name: str,
    recipe: Recipe,
    networks: Mapping[str, nn.Module],
    metres_per_unit: float | None,
    provenance: Mapping[str, Any],
) -> None:
    """Write a released model: what `load` reads.

    Args:
        networks: `depth`, and `pose` where there is one.
        metres_per_unit: None where depth is up to scale.
        provenance: what it was made from, for people to read.
    """
    config = {
        "format": CONFIG_FORMAT,
        "egodepth": __version__,
        "recipe": name,
        "network": asdict(recipe.network),
        "pose": asdict(recipe.pose) if "pose" in networks else None,
        "height": recipe.height,
        "width": recipe.width,
        "metres_per_unit": metres_per_unit,
        "depth": "up to scale" if metres_per_unit is None else "metres",
        "provenance": dict(provenance),
    }
    tensors = {
        f"{part}.{key}": tensor for part, network in networks.items() for key, tensor in network.state_dict().items()
    }
    save_released(folder, config, tensors)


def load(model: str | Path, device: str | torch.device = "cpu") -> Predictor:
    """A released model, ready to predict.

    Args:
        model: a released model folder, a run folder, or the id of a model on the Hugging Face hub.

    Raises:
        UserError: there is no such model, or its files are broken or from a newer egodepth.
    """
    config, tensors = read_released(model_folder(model))
    network = _restored(config, tensors, "depth", str(model))
    return Predictor(network, config["height"], config["width"], config["metres_per_unit"], device)


def load_pose_network(model: str | Path) -> nn.Module:
    """The pose network that was trained beside the depth network.

    Raises:
        UserError: the model was trained from stereo pairs alone and has none.
    """
    config, tensors = read_released(model_folder(model))
    if config.get("pose") is None:
        raise UserError(f"{model}: has no pose network (it was trained from stereo pairs). Give another model.")
    return _restored(config, tensors, "pose", str(model)).eval()


def model_size(model: str | Path) -> tuple[int, int]:
    """Height and width at which a model's networks see a picture."""
    config, _ = read_released(model_folder(model))
    return config["height"], config["width"]


def model_folder(model: str | Path) -> Path:
    """Where the files of a model are; a hub id is fetched.

    Raises:
        UserError: there is no such folder and no such id, or a run has not released a model yet.
    """
    path = Path(model)
    if (path / CONFIG_FILE).is_file():
        return path
    if (path / MODEL_FOLDER / CONFIG_FILE).is_file():
        return path / MODEL_FOLDER
    if (path / RUN_FILE).is_file():
        raise UserError(f"{path}: this run has not written a model yet. Let it train on with --resume.")
    if path.exists():
        raise UserError(f"{path}: no {CONFIG_FILE} in it. Give a released model folder or a run folder.")
    return _hub_folder(str(model))


def _hub_folder(name: str) -> Path:
    if name.count("/") != 1 or name.startswith((".", "/", "~")):
        raise UserError(f"{name}: no such folder. Give a released model folder, a run folder or a hub id (owner/name).")
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, allow_patterns=["config.json", "model.safetensors"]))
    except Exception as error:  # the hub's client raises many unrelated types; to the user they mean the same
        raise UserError(
            f"{name}: neither a folder here nor a model that the hub gave ({type(error).__name__}). Check the name."
        ) from error


def _restored(config: Mapping[str, Any], tensors: Mapping[str, torch.Tensor], part: str, source: str) -> nn.Module:
    if config.get("format") != CONFIG_FORMAT:
        raise UserError(f"{source}: its config has format {config.get('format')}. Update egodepth to read it.")
    recipe = recipe_named(config["recipe"])
    default = recipe.network if part == "depth" else recipe.pose
    network = _updated(default, config["network" if part == "depth" else "pose"]).build()
    state = {key.removeprefix(f"{part}."): value for key, value in tensors.items() if key.startswith(f"{part}.")}
    network.load_state_dict(check_fit(network.state_dict(), state, source, "Fetch or release the model again."))
    return network


def _updated(default: Configuration, values: Mapping[str, Any]) -> Configuration:
    known = {entry.name for entry in dataclasses.fields(default)}
    return dataclasses.replace(default, **{key: value for key, value in values.items() if key in known})


def import_published(name: str, folder: Path, out: Path) -> Imported:
    """Turn the authors' checkpoint files into a released model.

    Args:
        name: the recipe whose network the weights are for.
        folder: holds `encoder.pth` and `depth.pth`, and the pose network's files if there are any.

    Raises:
        UserError: a file is missing, foreign or of another architecture; the first tensor at fault is named.
    """
    recipe = recipe_named(name)
    mend = f"These files are not {name}'s; choose the recipe that they were trained with (egodepth list)."
    networks: dict[str, nn.Module] = {"depth": recipe.network.build()}
    with_pose = has_files(folder, PUBLISHED_POSE_FILES)
    imported = import_weights(networks["depth"], PUBLISHED[type(recipe.network)](networks["depth"]), folder, mend)
    unused = imported.unused
    if with_pose:
        networks["pose"] = recipe.pose.build()
        unused += import_weights(networks["pose"], monodepth2_pose_place, folder, mend).unused
    height, width = (int(imported.entries.get(key, getattr(recipe, key))) for key in ("height", "width"))
    recipe = dataclasses.replace(recipe, height=height, width=width)
    scale = recipe.method.metres_per_unit if imported.entries.get("use_stereo") else None
    save_model(out, name, recipe, networks, scale, {"imported": folder.name})
    return Imported(imported.entries, unused)
