"""Released models: what training and import write, and the networks that are made of it."""

import dataclasses
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from egodepth.errors import UserError
from egodepth.geometry.scale import Scale
from egodepth.inference.network_predictor import NetworkPredictor
from egodepth.models.folder import ModelFolder, scale_entries
from egodepth.networks.configurations import NetworkConfig
from egodepth.networks.equivalent import merge
from egodepth.networks.folding import fold_batch_norms
from egodepth.networks.model_config import CONFIG_FILE, CONFIG_FORMAT, RELEASE_AGAIN
from egodepth.networks.weights import WEIGHTS_FILE, check_fit, read_weights, save_released
from egodepth.recipes import Recipe
from egodepth.recipes.restoring import as_data, restored_network, restored_recipe
from egodepth.version import __version__

if TYPE_CHECKING:
    from egodepth.methods.rich_teachers import RichTeacher


class ReleasedModel(ModelFolder):
    """A model folder with its networks: weights are read once, whatever is asked of it."""

    @cached_property
    def tensors(self) -> dict[str, torch.Tensor]:
        """All tensors, by the part of the model and their name in it."""
        return read_weights(self.folder / WEIGHTS_FILE).tensors

    @cached_property
    def network(self) -> NetworkConfig:
        """The config of the depth network."""
        return restored_network(self.config["network"], self.folder / CONFIG_FILE)

    @property
    def licence(self) -> str | None:
        """Licence of the weights: the teacher's that they learnt from. None where the config states none."""
        return self.config.get("provenance", {}).get("teacher_licence")

    def predictor(self, device: str | torch.device = "cpu") -> NetworkPredictor:
        """The model ready to predict."""
        config, network = self.config, self.depth_network()
        if self.network.multi_frame:
            from egodepth.networks.manydepth import MultiFrameDepth

            network = MultiFrameDepth(
                network, self.pose_network(), torch.tensor(config["intrinsics"]), config["lookups"]
            )
        return NetworkPredictor(network, self.facts, device)

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
        network = restored_network(self.config["pose"], self.folder / CONFIG_FILE).build()
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

    def rich_size(self, student: tuple[int, int]) -> tuple[int, int]:
        """Height and width at which frames are read where it is RPrDepth's teacher: its own, whatever the student's."""
        return self.size

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


@dataclasses.dataclass(frozen=True)
class LearnedCamera:
    """A camera that training learnt.

    Attributes:
        name: the size of its frames, or the footage that alone it took.
        footage: the videos and folders that it took, by name.
        intrinsics: (3, 3), normalised.
        assumed: whether the focal length is a usual one, as the footage did not tell the right one.
    """

    name: str
    footage: tuple[str, ...]
    intrinsics: torch.Tensor
    assumed: bool = False


@dataclasses.dataclass(frozen=True)
class ReleasedCamera:
    """What a released model says of the cameras that it was trained with.

    Attributes:
        intrinsics: (3, 3), normalised, of DATA's first camera, where the network matches frames by it or a camera was
            learnt.
        origin: how they were obtained, `given` or `learned`.
        focal: focal length of that camera in widths of its picture, to which the scale belongs; None where it is not
            known.
        learned: all that were learnt.
    """

    intrinsics: torch.Tensor | None = None
    origin: str | None = None
    focal: float | None = None
    learned: tuple[LearnedCamera, ...] = ()

    def entries(self) -> dict[str, Any]:
        """What the config says."""
        return {
            "intrinsics": None if self.intrinsics is None else self.intrinsics.tolist(),
            "intrinsics_from": self.origin,
            "focal": self.focal,
            "learned_cameras": [
                {
                    "name": each.name,
                    "footage": list(each.footage),
                    "intrinsics": each.intrinsics.tolist(),
                    "assumed": each.assumed,
                }
                for each in self.learned
            ],
        }


def save_model(
    folder: Path,
    name: str,
    recipe: Recipe,
    networks: Mapping[str, nn.Module],
    scale: Scale | None,
    provenance: Mapping[str, Any],
    folded: bool,
    camera: ReleasedCamera = ReleasedCamera(),
) -> None:
    """Write a released model: what `load` reads.

    Args:
        networks: `depth`, and `pose` where there is one.
        folded: the depth network is `deployed`, not in the form in which it is trained.
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
        **camera.entries(),
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


def deployed(network: nn.Module, config: NetworkConfig) -> nn.Module:
    """A copy of a trained depth network as it is used: plain convolutions, with the batch norms folded into them."""
    return fold_batch_norms(config.deployed(merge(network)))


def released_recipe(recipe: Recipe) -> Recipe:
    """The recipe of what `deployed` makes of its depth network."""
    return dataclasses.replace(recipe, network=recipe.network.released())
