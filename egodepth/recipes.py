"""Named configurations, one for each published result, and the models that come of them."""

import dataclasses
import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import lightning.pytorch as lightning
import torch
from lightning.pytorch.utilities import rank_zero_only
from torch import nn
from tyro.conf import Suppress, arg

from egodepth import __version__
from egodepth.data.opening import DataConfig, TrainingSets, open_training_sets
from egodepth.data.samples import Source
from egodepth.data.transforms import AugmentationConfig
from egodepth.errors import UserError
from egodepth.files import write_text
from egodepth.inference.predictor import SIZE_MULTIPLE, Predictor
from egodepth.methods.photometric import PhotometricConfig, PhotometricMethod
from egodepth.methods.training import OptimiserConfig, TrainingConfig, check_run_folder, fit
from egodepth.networks.diffnet import DIFFNetConfig
from egodepth.networks.dna_depth import ENCODERS as DNA_DEPTH_ENCODERS
from egodepth.networks.dna_depth import DNADepthConfig
from egodepth.networks.monodepth2 import Monodepth2Config
from egodepth.networks.pose import PoseConfig
from egodepth.networks.pretrained import (
    PUBLISHED_POSE_FILES,
    Imported,
    NamePlace,
    diffnet_place,
    dna_depth_place,
    has_files,
    import_weights,
    monodepth2_place,
    monodepth2_pose_place,
)
from egodepth.networks.weights import CONFIG_FILE, check_fit, read_released, save_released

log = logging.getLogger("egodepth")

NetworkConfig = Monodepth2Config | DNADepthConfig | DIFFNetConfig
Mode = Literal["mono", "stereo", "mono+stereo"]

SOURCES: dict[Mode, tuple[Source, ...]] = {
    "mono": (-1, 1),
    "stereo": ("stereo",),
    "mono+stereo": (-1, 1, "stereo"),
}

MODEL_FOLDER = "model"
RUN_FILE = "run.json"
CONFIG_FORMAT = 1

Configuration = TypeVar("Configuration")


@dataclass(frozen=True)
class Recipe:
    """All that decides a training, as plain data.

    Attributes:
        source: the paper and the table that the defaults are from.
        network, pose: the networks.
        method: the loss.
        optimiser: rate and schedule.
        augmentation: flips and colours.
        data: which frames.
        training: how long, and on what.
        mode: whether the views to explain come from other moments, the other camera, or both.
        height: at which the networks see a picture, a multiple of 32.
        width: likewise.
        intrinsics: `calibrated` takes what the data says (KITTI's calibration files, camera.json), `fixed` is
            Monodepth2's one camera for all of KITTI, `fx,fy,cx,cy` gives pixels of the native frames.
        pretrained: where the encoder starts: imagenet (timm's hub), none, or the path of a file of weights.
        pose_pretrained: likewise for the pose network's encoder; none given means as `pretrained`.
    """

    source: Annotated[str, Suppress] = ""
    network: NetworkConfig = field(default_factory=Monodepth2Config)
    pose: PoseConfig = field(default_factory=PoseConfig)
    method: PhotometricConfig = field(default_factory=PhotometricConfig)
    optimiser: OptimiserConfig = field(default_factory=OptimiserConfig)
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)
    data: DataConfig = field(default_factory=DataConfig)
    training: Annotated[TrainingConfig, arg(name="")] = field(default_factory=TrainingConfig)
    mode: Mode = "mono"
    height: int = 192
    width: int = 640
    intrinsics: str = "calibrated"
    pretrained: str = "imagenet"
    pose_pretrained: str | None = None


MONODEPTH2 = "Godard et al., Digging Into Self-Supervised Monocular Depth Estimation, ICCV 2019"
DNA_DEPTH = "Boya et al., Deep Neighbor Layer Aggregation for Lightweight Self-Supervised Monocular Depth, ICASSP 2024"
DIFFNET = "Zhou et al., Self-Supervised Monocular Depth Estimation with Internal Feature Fusion, BMVC 2021"


def _dna_depth(variant: int, height: int = 192, width: int = 640) -> Recipe:
    return Recipe(
        source=DNA_DEPTH,
        network=DNADepthConfig(encoder=DNA_DEPTH_ENCODERS[variant]),
        optimiser=OptimiserConfig(epochs=40, decay_epoch=35),
        training=TrainingConfig(batch_size=16),
        height=height,
        width=width,
    )


def _diffnet(height: int, width: int, batch_size: int) -> Recipe:
    return Recipe(
        source=DIFFNET,
        network=DIFFNetConfig(),
        optimiser=OptimiserConfig(epochs=20, decay_epoch=14),
        training=TrainingConfig(batch_size=batch_size),
        height=height,
        width=width,
    )


RECIPES: dict[str, Recipe] = {
    "monodepth2": Recipe(source=MONODEPTH2),
    "monodepth2-r50": Recipe(
        source=MONODEPTH2,
        network=Monodepth2Config(encoder="resnet50.tv_in1k"),
        pose=PoseConfig(encoder="resnet50.tv_in1k"),
    ),
    **{f"dna-depth-b{variant}": _dna_depth(variant) for variant in range(len(DNA_DEPTH_ENCODERS))},
    **{f"dna-depth-b{variant}-1024x320": _dna_depth(variant, 320, 1024) for variant in (0, 1)},
    "diffnet": _diffnet(192, 640, batch_size=16),
    "diffnet-1024x320": _diffnet(320, 1024, batch_size=8),
}

PUBLISHED: dict[type, Callable[[nn.Module], NamePlace]] = {
    Monodepth2Config: lambda _: monodepth2_place,
    DNADepthConfig: dna_depth_place,
    DIFFNetConfig: lambda _: diffnet_place,
}
"""Where the authors of each network keep its tensors."""


def recipe_named(name: str) -> Recipe:
    """The recipe of that name.

    Raises:
        UserError: there is none; the message lists those there are.
    """
    if name not in RECIPES:
        raise UserError(f"there is no recipe {name!r}. Choose one of {', '.join(RECIPES)}.")
    return RECIPES[name]


def build(name: str) -> nn.Module:
    """The depth network of a recipe, with random weights.

    Raises:
        UserError: there is no recipe of that name.
    """
    return recipe_named(name).network.build()


# --- training --------------------------------------------------------------------------------------------------


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


MESSAGES_SHOWN = 10


@rank_zero_only
def _report(sets: TrainingSets) -> None:
    """Say what there is to train on, and which frames are left out, by name."""
    validation = len(sets.validation) if sets.validation is not None else 0
    log.info("%d samples to train on, %d to validate on.", len(sets.training), validation)
    for message in sets.left_out[:MESSAGES_SHOWN]:
        log.warning("left out: %s", message)
    if len(sets.left_out) > MESSAGES_SHOWN:
        log.warning("left out: %d more.", len(sets.left_out) - MESSAGES_SHOWN)


def build_method(recipe: Recipe) -> PhotometricMethod:
    """Networks with random weights, and the training step around them."""
    moments = any(source != "stereo" for source in SOURCES[recipe.mode])
    return PhotometricMethod(
        recipe.network.build(),
        recipe.pose.build() if moments else None,
        recipe.method,
        recipe.optimiser,
        recipe.augmentation,
        recipe.training.seed,
    )


def _run_options(name: str, recipe: Recipe, data: Path) -> dict[str, Any]:
    return json.loads(json.dumps({"recipe": name, "data": str(data.resolve())} | asdict(recipe)))


LOADING_OPTIONS = ("devices", "nodes", "workers", "log_every", "validate_every", "checkpoint_every", "panels_every")
"""What may change from one part of a run to the next without another result."""


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


# --- released models -------------------------------------------------------------------------------------------


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


# --- import ----------------------------------------------------------------------------------------------------


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
