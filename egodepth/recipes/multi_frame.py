"""Recipes of ManyDepth's training from video, and from pairs beside it."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

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

if TYPE_CHECKING:
    from torch import Tensor, nn

    from egodepth.methods.multi_frame import MultiFrameMethod

MANYDEPTH = "Watson et al., The Temporal Opportunist: Self-Supervised Multi-Frame Monocular Depth, CVPR 2021"


@dataclass(frozen=True)
class MultiFrameRecipe(Recipe):
    """Training of ManyDepth from video.

    Attributes:
        teacher_network: the single-frame network beside it.
        pose: the pose network.
        mode: `mono` as published; with `mono+stereo` the other camera's image of each pair is explained too, which
            gives metres. Matching looks at frames of other times alone.
        metres_per_unit: what one unit of depth means where a stereo baseline fixes the scale.
        losses: weights, lookups, freezing.
        future: match with the frame after, too. A model that needs it is a frame late.
    """

    network: NetworkConfig = field(default_factory=ManyDepthConfig)
    teacher_network: NetworkConfig = field(default_factory=Monodepth2Config)
    pose: PoseNetworkConfig = field(default_factory=PoseConfig)
    mode: Literal["mono", "mono+stereo"] = "mono"
    metres_per_unit: float = 5.4
    losses: MultiFrameConfig = field(default_factory=MultiFrameConfig)
    future: bool = False

    modes: ClassVar[tuple[Mode, ...]] = ("mono", "mono+stereo")

    learns_camera: ClassVar[bool] = True

    @property
    def lookups(self) -> tuple[int, ...]:
        """Time offsets of the frames that are matched with."""
        return tuple(dict.fromkeys((*self.losses.lookups, *((1,) if self.future else ()))))

    @property
    def views(self) -> tuple[Source, ...]:
        pairs = ("stereo",) if self.mode == "mono+stereo" else ()
        return (*offsets_to((-1, 1, *self.lookups)), *pairs)

    def build_networks(self) -> "dict[str, nn.Module]":
        """`teacher` is the single-frame network."""
        return super().build_networks() | {"teacher": self.started(self.teacher_network.build())}

    def build_method(
        self, networks: "Mapping[str, nn.Module]", teacher: Any = None, images: "Tensor | None" = None
    ) -> "MultiFrameMethod":
        from egodepth.methods.multi_frame import MultiFrameMethod

        losses = replace(self.losses, lookups=self.lookups)
        parts = networks["depth"], networks["teacher"], networks["pose"]
        settings = losses, self.augmentation, self.optimiser, self.training.seed
        return MultiFrameMethod(*parts, *settings, self.metres_per_unit, self.used_scale_anchor)

    def first_networks(self, trained: "dict[str, nn.Module]") -> "dict[str, nn.Module]":
        """A single-frame run gives the teacher its weights, too."""
        return {"teacher": trained["depth"]} | trained

    def unused_options(self) -> Mapping[str, str]:
        unused = {"metres_per_unit": "it belongs to --mode mono+stereo."} if self.mode == "mono" else {}
        return {**super().unused_options(), **unused}


RECIPES: dict[str, Recipe] = {
    "manydepth": MultiFrameRecipe(source=MANYDEPTH),
    "manydepth-1024x320": MultiFrameRecipe(source=MANYDEPTH, height=320, width=1024),
    "manydepth-r50-1024x320": MultiFrameRecipe(
        source=MANYDEPTH, network=ManyDepthConfig(encoder="resnet50.tv_in1k"), height=320, width=1024
    ),
}
