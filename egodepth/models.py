"""Released models: what training and import write, and what `egodepth.load` reads."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from egodepth import __version__
from egodepth.configurations import as_data, restored
from egodepth.data.kitti import fixed_intrinsics
from egodepth.errors import UserError
from egodepth.inference.predictor import Predictor
from egodepth.methods.prior_guided import MatchingTeacher, RichTeacher, SingleImageTeacher
from egodepth.networks.equivalent import merge
from egodepth.networks.folding import fold_batch_norms
from egodepth.networks.manydepth import ManyDepth, MultiFrameDepth
from egodepth.networks.pretrained import (
    PUBLISHED_POSE_FILES,
    PUBLISHED_TEACHER_FILES,
    Imported,
    has_files,
    import_weights,
    manydepth_teacher_place,
    monodepth2_pose_place,
)
from egodepth.networks.rprdepth import RPrDepth, RPrDepthConfig
from egodepth.networks.weights import CONFIG_FILE, check_fit, read_config, read_released, save_released
from egodepth.recipes import (
    PUBLISHED,
    PUBLISHED_METRES_PER_UNIT,
    MultiFrameRecipe,
    Recipe,
    build_networks,
    recipe_named,
)
from egodepth.scale import Origin, Scale

MODEL_FOLDER = "model"
RUN_FILE = "run.json"
LAST_STAGE = "stage2"
"""The run that is the result, in the folder of `egodepth train rprdepth --all`."""

CONFIG_FORMAT = 3

RELEASED_REFERENCES = 25_000
"""What a model keeps that is released while it trains on millions of them: folded, 2.6 million take 2.7 GB."""


def save_model(
    folder: Path,
    name: str,
    recipe: Recipe,
    networks: Mapping[str, nn.Module],
    scale: Scale | None,
    provenance: Mapping[str, Any],
    folded: bool,
    intrinsics: torch.Tensor | None = None,
) -> None:
    """Write a released model: what `load` reads.

    Args:
        networks: `depth`, and `pose` where there is one.
        folded: the depth network is `deployed`, not in the form in which it is trained.
        intrinsics: (3, 3), normalised, of the camera that a multi-frame model was trained with.
        scale: None where depth is up to scale.
        provenance: what it was made from, for people to read.
    """
    config = {
        "format": CONFIG_FORMAT,
        "egodepth": __version__,
        "recipe": name,
        "network": as_data(recipe.network),
        "pose": as_data(recipe.pose) if "pose" in networks else None,
        "folded": folded,
        "intrinsics": None if intrinsics is None else intrinsics.tolist(),
        "lookups": recipe.lookups if isinstance(recipe, MultiFrameRecipe) else None,
        "height": recipe.height,
        "width": recipe.width,
        "metres_per_unit": None if scale is None else scale.metres_per_unit,
        "metres_from": None if scale is None else scale.origin,
        "depth": "up to scale" if scale is None else "metres",
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
    network = _depth_network(config, tensors, str(model))
    if isinstance(network, ManyDepth):
        pose_network = _pose_network(config, tensors, str(model))
        network = MultiFrameDepth(network, pose_network, torch.tensor(config["intrinsics"]), config["lookups"])
    return Predictor(
        network, config["height"], config["width"], config["metres_per_unit"], device, recipe=config["recipe"]
    )


def deployed(network: nn.Module) -> nn.Module:
    """A copy of a depth network as it is used: plain convolutions, with the batch norms folded into them."""
    merged = merge(network)
    if isinstance(merged, RPrDepth):
        merged = merged.thinned(RELEASED_REFERENCES).folded()
    return fold_batch_norms(merged)


def released_recipe(recipe: Recipe) -> Recipe:
    """The recipe of what `deployed` makes of its depth network."""
    if not isinstance(recipe.network, RPrDepthConfig):
        return recipe
    count = min(recipe.network.references, RELEASED_REFERENCES)
    return dataclasses.replace(recipe, network=dataclasses.replace(recipe.network, references=count))


def load_rich_teacher(model: str | Path) -> tuple[RichTeacher, tuple[int, int]]:
    """A teacher for RPrDepth, and the height and width at which it sees.

    A model is known by what is in its released folder, so it is always read from there.

    Raises:
        UserError: there is no such model, or it cannot teach.
    """
    predictor = load(model)
    size = predictor.height, predictor.width
    if not isinstance(predictor.network, MultiFrameDepth):
        return SingleImageTeacher(predictor.network), size
    config, tensors = read_released(model_folder(model))
    helper = None
    if any(key.startswith("teacher.") for key in tensors):
        helper = _recipe_of(config, str(model)).teacher_network.build()
        _load_part(helper, tensors, "teacher", str(model))
    matching = predictor.network
    return MatchingTeacher(matching.network, matching.pose_network, matching.lookups, helper), size


def load_networks(model: str | Path) -> dict[str, nn.Module]:
    """The networks of a model in the form in which they can be trained on.

    Raises:
        UserError: there is no such model, or it was released by training and is folded.
    """
    config, tensors = read_released(model_folder(model))
    if config["folded"]:
        raise UserError(f"{model}: is folded for use and cannot be trained on. Give the run that it was made by.")
    recipe = _recipe_of(config, str(model))
    held = {key.partition(".")[0] for key in tensors}
    networks = {part: network for part, network in build_networks(recipe).items() if part in held}
    for part, network in networks.items():
        _load_part(network, tensors, part, str(model))
    return networks


def load_pose_network(model: str | Path) -> nn.Module:
    """The pose network that was trained beside the depth network.

    Raises:
        UserError: the model was trained from stereo pairs alone and has none.
    """
    config, tensors = read_released(model_folder(model))
    if config.get("pose") is None:
        raise UserError(f"{model}: has no pose network (it was trained from stereo pairs). Give another model.")
    return _pose_network(config, tensors, str(model))


def model_size(model: str | Path) -> tuple[int, int]:
    """Height and width at which a model's networks see a picture."""
    config = read_config(model_folder(model))
    return config["height"], config["width"]


def metres_from(model: str | Path) -> Origin | None:
    """How a model's depth got its metres; none where it is up to scale."""
    return read_config(model_folder(model))["metres_from"]


def model_folder(model: str | Path) -> Path:
    """Where the files of a model are; a hub id is fetched. Of a folder with RPrDepth's runs the last stage counts.

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
    if (path / LAST_STAGE).is_dir():
        return model_folder(path / LAST_STAGE)
    if path.exists():
        runs = sorted(file.parent.name for file in path.glob(f"*/{RUN_FILE}"))
        held = f"; it holds the runs {', '.join(runs)}, give one of these" if runs else ""
        raise UserError(f"{path}: no {CONFIG_FILE} in it. Give a released model folder or a run folder{held}.")
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


def restored_recipe(name: str, options: Mapping[str, Any]) -> Recipe:
    """The recipe of that name with networks as the options of a model or a run have them."""
    recipe = recipe_named(name)
    parts = {
        part: restored(getattr(recipe, part), options[part])
        for part in ("network", "pose", "equivalent")
        if hasattr(recipe, part) and options.get(part) is not None
    }
    plain = {key: options[key] for key in ("mode", "etm") if hasattr(recipe, key) and key in options}
    return dataclasses.replace(recipe, **parts, **plain)


def _recipe_of(config: Mapping[str, Any], source: str) -> Recipe:
    if config.get("format") != CONFIG_FORMAT:
        raise UserError(
            f"{source}: its config has format {config.get('format')}, not {CONFIG_FORMAT}. "
            "Read it with the egodepth that wrote it."
        )
    return restored_recipe(config["recipe"], config)


def _depth_network(config: Mapping[str, Any], tensors: Mapping[str, torch.Tensor], source: str) -> nn.Module:
    network = _recipe_of(config, source).network.build().eval()
    if not config["folded"]:
        _load_part(network, tensors, "depth", source)
        return fold_batch_norms(network)
    network = fold_batch_norms(network.folded() if isinstance(network, RPrDepth) else network)
    _load_part(network, tensors, "depth", source)
    return network


def _pose_network(config: Mapping[str, Any], tensors: Mapping[str, torch.Tensor], source: str) -> nn.Module:
    network = _recipe_of(config, source).pose.build()
    _load_part(network, tensors, "pose", source)
    return network.eval()


def _load_part(network: nn.Module, tensors: Mapping[str, torch.Tensor], part: str, source: str) -> None:
    state = {key.removeprefix(f"{part}."): value for key, value in tensors.items() if key.startswith(f"{part}.")}
    network.load_state_dict(check_fit(network.state_dict(), state, source, "Fetch or release the model again."))


def import_published(name: str, published: Path, out: Path) -> Imported:
    """Turn the authors' checkpoint files into a released model.

    Args:
        name: the recipe whose network the weights are for.
        published: a folder with `encoder.pth` and `depth.pth`, and the pose network's files if there are any; of
            SDFA-Net the one file, or its folder.

    Raises:
        UserError: a file is missing, foreign or of another architecture; the first tensor at fault is named.
    """
    recipe = recipe_named(name)
    if type(recipe.network) not in PUBLISHED:
        raise UserError(f"{name}: its authors have published no weights. Train it (egodepth train {name}).")
    mend = f"These files are not {name}'s; choose the recipe that they were trained with (egodepth list)."
    folder = published.parent if published.is_file() else published
    built = build_networks(recipe)
    networks = {"depth": built.pop("depth")}
    place_of = PUBLISHED[type(recipe.network)](networks["depth"], published)
    imported = import_weights(networks["depth"], place_of, folder, mend)
    unused = imported.unused
    for part, network in built.items():
        files, place_of = COMPANIONS[part]
        if has_files(folder, files):
            networks[part] = network
            unused += import_weights(network, place_of, folder, mend).unused
    if isinstance(recipe, MultiFrameRecipe) and "pose" not in networks:
        raise UserError(f"{folder}: no {PUBLISHED_POSE_FILES[0]}. Matching needs the pose network; add its files.")
    height, width = (int(imported.entries.get(key, getattr(recipe, key))) for key in ("height", "width"))
    recipe = dataclasses.replace(recipe, height=height, width=width)
    save_model(
        out,
        name,
        recipe,
        networks,
        _published_scale(recipe, imported),
        {"imported": published.name},
        folded=False,
        intrinsics=fixed_intrinsics(height, width) if isinstance(recipe, MultiFrameRecipe) else None,
    )
    return Imported(imported.entries, unused)


COMPANIONS = {
    "pose": (PUBLISHED_POSE_FILES, monodepth2_pose_place),
    "teacher": (PUBLISHED_TEACHER_FILES, manydepth_teacher_place),
}
"""The files of the networks beside the depth network, and where their authors keep the tensors."""


def _published_scale(recipe: Recipe, imported: Imported) -> Scale | None:
    if type(recipe.network) in PUBLISHED_METRES_PER_UNIT:
        return Scale(PUBLISHED_METRES_PER_UNIT[type(recipe.network)], "stereo baseline")
    return Scale(recipe.metres_per_unit, "stereo baseline") if imported.entries.get("use_stereo") else None
