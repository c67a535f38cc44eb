"""Recipes of SDFA-Net's training from stereo pairs."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from egodepth.data.configurations import AugmentationConfig, DataConfig, Source
from egodepth.geometry.scale import Scale
from egodepth.methods.configurations import OptimiserConfig, SelfDistilledConfig
from egodepth.networks.configurations import SDFANetConfig
from egodepth.recipes.recipe import Mode, Recipe

if TYPE_CHECKING:
    from torch import Tensor, nn

    from egodepth.data.samples import TrainingDataset
    from egodepth.methods.self_distilled import SelfDistilledMethod

SDFA_NET = "Zhou and Dong, Self-Distilled Feature Aggregation for Self-Supervised Monocular Depth, ECCV 2022"


@dataclass(frozen=True)
class SelfDistilledRecipe(Recipe):
    """Training of SDFA-Net from stereo pairs.

    Attributes:
        losses: weights, masks and stages.
        perceptual: where the perceptual loss's VGG-19 comes from: imagenet (torchvision's), none, or a path.
    """

    losses: SelfDistilledConfig = field(default_factory=SelfDistilledConfig)
    perceptual: str = "imagenet"

    modes: ClassVar[tuple[Mode, ...]] = ("stereo",)

    @property
    def views(self) -> tuple[Source, ...]:
        return ("stereo",)

    def build_method(
        self, networks: "Mapping[str, nn.Module]", teacher: Any = None, images: "Tensor | None" = None
    ) -> "SelfDistilledMethod":
        from egodepth.methods.self_distilled import SelfDistilledMethod, perceptual_features

        perceptual = None
        if self.losses.perceptual_weight > 0:
            perceptual = perceptual_features(self.perceptual, self.training.seed)
        return SelfDistilledMethod(
            networks["depth"], perceptual, self.losses, self.augmentation, self.optimiser, self.training.seed
        )

    def scale_of_baseline(self, training_set: "TrainingDataset") -> Scale | None:
        """SDFA-Net's unit is the baseline times the focal length in image widths."""
        unit = self.losses.reference_baseline_m * float(training_set[0].intrinsics[0, 0])
        return Scale(unit, "stereo baseline")

    def unused_options(self) -> Mapping[str, str]:
        unused = {} if self.losses.perceptual_weight > 0 else {"perceptual": "--losses.perceptual-weight is 0."}
        return {**super().unused_options(), **unused}


def _sdfa_net(network: SDFANetConfig) -> SelfDistilledRecipe:
    """SDFA-Net's settings (section 4.1 and the released configuration)."""
    return SelfDistilledRecipe(
        source=SDFA_NET,
        network=network,
        optimiser=OptimiserConfig(beta1=0.5, epochs=50, decay_epochs=(30, 40), decay_factor=0.5),
        augmentation=AugmentationConfig(
            colours="tone", swap_pairs=True, min_scale=0.75, max_scale=1.5, crop=(192, 640), native=True
        ),
        data=DataConfig(crop="sdfa", sides="left"),
        height=384,
        width=1280,
    )


RECIPES: dict[str, Recipe] = {
    "sdfa-net": _sdfa_net(SDFANetConfig()),
    "sdfa-net-oa": _sdfa_net(SDFANetConfig(decoder="oa")),
    "sdfa-net-raw": _sdfa_net(SDFANetConfig(decoder="raw")),
    "sdfa-net-r18": _sdfa_net(SDFANetConfig(encoder="resnet18")),
}
