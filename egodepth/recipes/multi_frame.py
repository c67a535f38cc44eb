"""Recipes of ManyDepth's training from video."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar

from egodepth.data.configurations import Source
from egodepth.methods.configurations import MultiFrameConfig
from egodepth.networks.configurations import (
    ManyDepthConfig,
    Monodepth2Config,
    NetworkConfig,
    PoseConfig,
    PoseNetworkConfig,
    offsets_to,
)
from egodepth.recipes.recipe import Mode, Recipe
from egodepth.recipes.scale import Scale

if TYPE_CHECKING:
    from torch import Tensor, nn

    from egodepth.data.samples import TrainingDataset
    from egodepth.methods.multi_frame import MultiFrameMethod

MANYDEPTH = "Watson et al., The Temporal Opportunist: Self-Supervised Multi-Frame Monocular Depth, CVPR 2021"


@dataclass(frozen=True)
class MultiFrameRecipe(Recipe):
    """Training of ManyDepth from video.

    Attributes:
        teacher_network: the single-frame network beside it.
        pose: the pose network.
        losses: weights, lookups, freezing.
        future: match with the frame after, too. A model that needs it is a frame late.
    """

    network: NetworkConfig = field(default_factory=ManyDepthConfig)
    teacher_network: NetworkConfig = field(default_factory=Monodepth2Config)
    pose: PoseNetworkConfig = field(default_factory=PoseConfig)
    losses: MultiFrameConfig = field(default_factory=MultiFrameConfig)
    future: bool = False

    modes: ClassVar[tuple[Mode, ...]] = ("mono",)

    @property
    def lookups(self) -> tuple[int, ...]:
        """Time offsets of the frames that are matched with."""
        return tuple(dict.fromkeys((*self.losses.lookups, *((1,) if self.future else ()))))

    @property
    def views(self) -> tuple[Source, ...]:
        return offsets_to((-1, 1, *self.lookups))

    def build_networks(self) -> "dict[str, nn.Module]":
        """`teacher` is the single-frame network."""
        return super().build_networks() | {"teacher": self.teacher_network.build()}

    def build_method(
        self, networks: "Mapping[str, nn.Module]", teacher: Any = None, images: "Tensor | None" = None
    ) -> "MultiFrameMethod":
        from egodepth.methods.multi_frame import MultiFrameMethod

        losses = replace(self.losses, lookups=self.lookups)
        parts = networks["depth"], networks["teacher"], networks["pose"]
        return MultiFrameMethod(*parts, losses, self.augmentation, self.optimiser, self.training.seed)

    def first_networks(self, trained: "dict[str, nn.Module]") -> "dict[str, nn.Module]":
        """A single-frame run gives the teacher its weights, too."""
        return {"teacher": trained["depth"]} | trained

    def scale_of_baseline(self, training_set: "TrainingDataset") -> Scale | None:
        return None


RECIPES: dict[str, Recipe] = {
    "manydepth": MultiFrameRecipe(source=MANYDEPTH),
    "manydepth-1024x320": MultiFrameRecipe(source=MANYDEPTH, height=320, width=1024),
    "manydepth-r50-1024x320": MultiFrameRecipe(
        source=MANYDEPTH, network=ManyDepthConfig(encoder="resnet50.tv_in1k"), height=320, width=1024
    ),
}
