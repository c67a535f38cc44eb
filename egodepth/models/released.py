"""Released models: what training and import write, and what `egodepth.load` reads."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from egodepth.errors import UserError
from egodepth.inference.predictor import Predictor
from egodepth.networks.configurations import NetworkConfig
from egodepth.networks.equivalent import merge
from egodepth.networks.folding import fold_batch_norms
from egodepth.networks.weights import CONFIG_FILE, WEIGHTS_FILE, check_fit, read_config, read_weights, save_released
from egodepth.recipes import Recipe
from egodepth.recipes.recipe import STARTER
from egodepth.recipes.restoring import as_data, restored_network, restored_recipe
from egodepth.recipes.scale import Origin, Scale
from egodepth.version import __version__

if TYPE_CHECKING:
    from egodepth.methods.rich_teachers import RichTeacher

MODEL_FOLDER = "model"
RUN_FILE = "run.json"
LAST_STAGE = "stage2"
"""The run that is the result, in the folder of `egodepth train rprdepth --all`."""

STARTER_FOLDER = Path(__file__).parents[1] / STARTER

CONFIG_FORMAT = 3

RELEASE_AGAIN = "Fetch or release the model again."


@dataclass(frozen=True)
class ReleasedModel:
    """A model folder, opened: its files are read once, whatever is asked of it.

    Attributes:
        name: what the user called it, for messages.
        config: of `config.json`.
        folder: that holds the files.
    """

    name: str
    folder: Path
    config: Mapping[str, Any]

    @classmethod
    def open(cls, model: str | Path) -> "ReleasedModel":
        """Open a released model folder, a run folder, `starter`, or a model of the Hugging Face hub by its id.

        Raises:
            UserError: there is no such model, or its config is broken or from another egodepth.
        """
        folder = model_folder(model)
        config = read_config(folder)
        if config.get("format") != CONFIG_FORMAT:
            raise UserError(
                f"{model}: its config has format {config.get('format')}, not {CONFIG_FORMAT}. "
                "Read it with the egodepth that wrote it."
            )
        return cls(str(model), folder, config)

    @cached_property
    def tensors(self) -> dict[str, torch.Tensor]:
        """All tensors, by the part of the model and their name in it."""
        return read_weights(self.folder / WEIGHTS_FILE).tensors

    @cached_property
    def network(self) -> NetworkConfig:
        """The config of the depth network."""
        return restored_network(self.config["network"])

    @property
    def size(self) -> tuple[int, int]:
        """Height and width at which its networks see a picture."""
        return self.config["height"], self.config["width"]

    @property
    def metres_from(self) -> Origin | None:
        """How the depth got its metres; None where it is up to scale."""
        return self.config["metres_from"]

    @property
    def scale(self) -> Scale | None:
        """What its unit of depth means; None where depth is up to scale, or nobody said how it is known."""
        if self.metres_from is None:
            return None
        of_width = {int(width): metres for width, metres in self.config.get("metres_of_width", {}).items()}
        error, note = self.config.get("metres_error"), self.config.get("metres_note")
        return Scale(self.config["metres_per_unit"], self.metres_from, of_width, error, note)

    def predictor(self, device: str | torch.device = "cpu") -> Predictor:
        """The model ready to predict."""
        config, network = self.config, self.depth_network()
        if self.network.multi_frame:
            from egodepth.networks.manydepth import MultiFrameDepth

            network = MultiFrameDepth(
                network, self.pose_network(), torch.tensor(config["intrinsics"]), config["lookups"]
            )
        of_width = {int(width): metres for width, metres in config.get("metres_of_width", {}).items()}
        scale = config["metres_per_unit"], device, config["recipe"], of_width, config.get("focal")
        return Predictor(network, *self.size, *scale, keeps_aspect=config.get("keep_aspect", False))

    def depth_network(self) -> nn.Module:
        """The depth network in the form in which it is used, in evaluation mode."""
        network = self.network.build().eval()
        if not self.config["folded"]:
            self._load(network, "depth")
            return fold_batch_norms(network)
        network = fold_batch_norms(self.network.deployed(network))
        self._load(network, "depth")
        return network

    def pose_network(self) -> nn.Module:
        """The pose network that was trained beside the depth network.

        Raises:
            UserError: the model was trained from stereo pairs alone and has none.
        """
        if self.config.get("pose") is None:
            raise UserError(f"{self.name}: has no pose network (it was trained from stereo pairs). Give another model.")
        network = restored_network(self.config["pose"]).build()
        self._load(network, "pose")
        return network.eval()

    def single_frame_network(self) -> nn.Module | None:
        """ManyDepth's single-frame network, where the model holds one."""
        if not any(key.startswith("teacher.") for key in self.tensors):
            return None
        network = self._recipe().teacher_network.build()
        self._load(network, "teacher")
        return network

    def rich_teacher(self) -> "RichTeacher":
        """The model as RPrDepth's teacher.

        Raises:
            UserError: it cannot teach.
        """
        from egodepth.methods.rich_teachers import MatchingTeacher, SingleImageTeacher

        if not self.network.multi_frame:
            return SingleImageTeacher(self.depth_network())
        parts = self.depth_network(), self.pose_network(), tuple(self.config["lookups"]), self.single_frame_network()
        return MatchingTeacher(*parts)

    def trainable_networks(self) -> dict[str, nn.Module]:
        """The networks in the form in which they can be trained on.

        Raises:
            UserError: the model was released by training and is folded.
        """
        if self.config["folded"]:
            raise UserError(
                f"{self.name}: is folded for use and cannot be trained on. Give the run that it was made by."
            )
        held = {key.partition(".")[0] for key in self.tensors}
        networks = {part: network for part, network in self._recipe().build_networks().items() if part in held}
        for part, network in networks.items():
            self._load(network, part)
        return networks

    def _recipe(self) -> Recipe:
        return restored_recipe(self.config["recipe"], self.config)

    def _load(self, network: nn.Module, part: str) -> None:
        prefix = f"{part}."
        state = {key.removeprefix(prefix): value for key, value in self.tensors.items() if key.startswith(prefix)}
        network.load_state_dict(check_fit(network.state_dict(), state, self.name, RELEASE_AGAIN))


def load(model: str | Path, device: str | torch.device = "cpu") -> Predictor:
    """A released model, ready to predict.

    Args:
        model: a released model folder, a run folder, or the id of a model on the Hugging Face hub.

    Raises:
        UserError: there is no such model, or its files are broken or from a newer egodepth.
    """
    return ReleasedModel.open(model).predictor(device)


def save_model(
    folder: Path,
    name: str,
    recipe: Recipe,
    networks: Mapping[str, nn.Module],
    scale: Scale | None,
    provenance: Mapping[str, Any],
    folded: bool,
    intrinsics: torch.Tensor | None = None,
    intrinsics_from: str | None = None,
    focal: float | None = None,
) -> None:
    """Write a released model: what `load` reads.

    Args:
        networks: `depth`, and `pose` where there is one.
        folded: the depth network is `deployed`, not in the form in which it is trained.
        intrinsics: (3, 3), normalised, of the camera that a multi-frame model was trained with, or that was learnt.
        intrinsics_from: how they were obtained, `given` or `learned`.
        focal: focal length of the training's camera in widths of its picture, to which `scale` belongs; None where it
            is not known.
        scale: None where depth is up to scale.
        provenance: what it was made from, for people to read.
    """
    config = {
        "format": CONFIG_FORMAT,
        "egodepth": __version__,
        "recipe": name,
        "network": as_data(recipe.sized_network),
        "pose": as_data(recipe.pose) if "pose" in networks else None,
        "teacher_network": as_data(recipe.teacher_network) if "teacher" in networks else None,
        "folded": folded,
        "intrinsics": None if intrinsics is None else intrinsics.tolist(),
        "intrinsics_from": intrinsics_from,
        "focal": focal,
        "lookups": recipe.lookups,
        "height": recipe.height,
        "width": recipe.width,
        "keep_aspect": recipe.keep_aspect,
        **scale_entries(scale),
        "provenance": dict(provenance),
    }
    tensors = {
        f"{part}.{key}": tensor for part, network in networks.items() for key, tensor in network.state_dict().items()
    }
    save_released(folder, config, tensors)


def scale_entries(scale: Scale | None) -> dict[str, Any]:
    """What a config says of the scale; None where depth is up to scale."""
    known = scale is not None
    return {
        "metres_per_unit": scale.metres_per_unit if known else None,
        "metres_of_width": {str(width): value for width, value in scale.of_width.items()} if known else {},
        "metres_from": scale.origin if known else None,
        "metres_error": scale.error if known else None,
        "metres_note": scale.note if known else None,
        "depth": "metres" if known else "up to scale",
    }


def deployed(network: nn.Module, config: NetworkConfig) -> nn.Module:
    """A copy of a trained depth network as it is used: plain convolutions, with the batch norms folded into them."""
    return fold_batch_norms(config.deployed(merge(network)))


def released_recipe(recipe: Recipe) -> Recipe:
    """The recipe of what `deployed` makes of its depth network."""
    return dataclasses.replace(recipe, network=recipe.network.released())


def model_folder(model: str | Path) -> Path:
    """Where the files of a model are; a hub id is fetched. Of a folder with RPrDepth's runs the last stage counts.

    Raises:
        UserError: there is no such folder and no such id, or a run has not released a model yet.
    """
    path = Path(model)
    if str(model) == STARTER and not path.exists():
        return STARTER_FOLDER
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
    return fetched_from_hub(name, name, ("config.json", "model.safetensors"))


def fetched_from_hub(name: str, called: str, patterns: Sequence[str]) -> Path:
    """Where files of a model of the Hugging Face hub lie, fetched if they were not there.

    Args:
        called: how the user named it, for messages.

    Raises:
        UserError: there is no such model, or the hub is out of reach.
    """
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, allow_patterns=list(patterns)))
    except Exception as error:  # the hub's client raises many unrelated types; to the user they mean the same
        raise UserError(
            f"{called}: neither a folder here nor a model that the hub gave ({type(error).__name__}). Check the name."
        ) from error
