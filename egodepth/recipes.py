"""Named configurations, one for each published result."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Literal

from torch import nn
from tyro.conf import Suppress, arg

from egodepth.data.opening import DataConfig
from egodepth.data.samples import Source
from egodepth.data.transforms import AugmentationConfig
from egodepth.errors import UserError
from egodepth.methods.photometric import PhotometricConfig, PhotometricMethod
from egodepth.methods.training import OptimiserConfig, TrainingConfig
from egodepth.networks.diffnet import DIFFNetConfig
from egodepth.networks.dna_depth import ENCODERS as DNA_DEPTH_ENCODERS
from egodepth.networks.dna_depth import DNADepthConfig
from egodepth.networks.monodepth2 import Monodepth2Config
from egodepth.networks.pose import PoseConfig
from egodepth.networks.pretrained import NamePlace, diffnet_place, dna_depth_place, monodepth2_place

NetworkConfig = Monodepth2Config | DNADepthConfig | DIFFNetConfig
Mode = Literal["mono", "stereo", "mono+stereo"]

SOURCES: dict[Mode, tuple[Source, ...]] = {
    "mono": (-1, 1),
    "stereo": ("stereo",),
    "mono+stereo": (-1, 1, "stereo"),
}


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
