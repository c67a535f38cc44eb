"""Every network that a recipe can name: its settings, and the facts about it that other rooms need.

A network is built by the factory at the end of its own file, which is imported only then, so that a command line is
read without PyTorch.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from importlib import import_module
from itertools import pairwise
from math import log
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, NamedTuple

from tyro.conf import Suppress

from egodepth.errors import UserError

if TYPE_CHECKING:
    from torch import nn

SIZE_MULTIPLE = 32
"""Encoders halve the picture five times, so a network's height and width are multiples of this."""

MULTIPLES = range(SIZE_MULTIPLE, 1537, SIZE_MULTIPLE)
SAME_FORM, PIXELS_COUNT = 0.06, 0.25

MOST_CHANNELS, MOST_REFERENCES = 4096, 20_000_000
"""Well above what there is: the widest layer has 1,984 channels, and the largest prior 2.6 million references."""

SIDES = (SIZE_MULTIPLE, 8192)
"""The least and the largest height or width at which a network sees a picture."""

Form = Literal["fused", "chunked", "naive", "top-k"]
"""How attention is computed. `top-k` alone gives another result: it leaves out all but a query's best references."""


TOP = 64
"""How many references a query keeps in the form `top-k`."""

RELEASED_REFERENCES = 25_000
"""What a model keeps that is released while it trains on millions of them: folded, 2.6 million take 2.7 GB."""


Spacing = Literal["linear", "inverse"]
"""Whether hypotheses lie evenly in depth or in inverse depth."""


DNA_DEPTH_ENCODERS = (*(f"tf_efficientnet_b{size}.aa_in1k" for size in range(8)), "tf_efficientnet_b8.ra_in1k")
"""The encoders of DNA-Depth-B0 to B8: timm's, with TensorFlow's padding. There is no `aa_in1k` of B8."""


class Tap(NamedTuple):
    """Where a network makes its feature at stride 4.

    Attributes:
        module: path of the module that gives it.
        channels: of the feature.
        rectified: it is never negative.
    """

    module: str
    channels: int
    rectified: bool


class NetworkConfig:
    """What a recipe, a released model and the command line know of a depth network.

    The network's own file has the factory `build(config)`, and where they apply `published_place(network, path)` and
    `prior_tap(config)`; it is imported when one of them is asked for.

    Attributes:
        module: the network's own file.
        smallest_size: that its image can have, in pixels.
        published_metres_per_unit: scale of the authors' weights where they are always metric.
        published_metres_of_width: the same for pictures of some native widths, where their code goes by these.
        multi_frame: it matches frames, and needs the pose network and the camera of its training in use.
        before: what files mean that were written before a setting was there, where that is not its default.
        limits: the least and the largest value of each number that decides how large the network is, or that its
            layers refuse. A config with more is damaged or forged, and is refused before memory is asked for.
    """

    module: ClassVar[str]
    smallest_size: ClassVar[int] = SIZE_MULTIPLE
    published_metres_per_unit: ClassVar[float | None] = None
    published_metres_of_width: ClassVar[Mapping[int, float]] = {}
    multi_frame: ClassVar[bool] = False
    before: ClassVar[Mapping[str, object]] = {}
    limits: ClassVar[Mapping[str, tuple[float, float]]] = {}

    def build(self) -> "nn.Module":
        """The network with random weights."""
        return import_module(self.module).build(self)

    def at_size(self, height: int, width: int) -> "NetworkConfig":
        """The config for images of this size, where the layers depend on one and it is not settled yet."""
        return self

    def released(self) -> "NetworkConfig":
        """The config of what a released model holds."""
        return self

    def deployed(self, network: "nn.Module") -> "nn.Module":
        """A trained network in the form in which it is used, batch norms aside; a released one has its layout."""
        return network

    def published_place(self, network: "nn.Module", path: Path) -> "Callable[[str], tuple[str, ...]] | None":
        """Where its authors keep each tensor of `network` in their files at `path`; None where none are published."""
        place = getattr(import_module(self.module), "published_place", None)
        return place and place(network, path)

    def prior_tap(self) -> Tap:
        """Where RPrDepth's prior joins: the decoder's feature at stride 4, which all finer ones and its head read.

        Raises:
            UserError: this network has no such place.
        """
        tap = getattr(import_module(self.module), "prior_tap", None)
        if tap is None:
            raise UserError(
                f"student {type(self).__name__}: its decoder has no place for the prior. "
                "Choose DIFFNet, DNA-Depth, SmallDepth or Monodepth2."
            )
        return tap(self)


@dataclass(frozen=True)
class Monodepth2Config(NetworkConfig):
    """Monodepth2's depth network.

    Attributes:
        encoder: a timm model with features at strides 2 to 32.
    """

    module: ClassVar[str] = "egodepth.networks.monodepth2"
    smallest_size: ClassVar[int] = 64  # the border of the map at stride 32 is reflected, which takes two pixels

    encoder: str = "resnet18.tv_in1k"


@dataclass(frozen=True)
class DNADepthConfig(NetworkConfig):
    """DNA-Depth.

    Attributes:
        encoder: one of `DNA_DEPTH_ENCODERS`, or another of timm's EfficientNets.
    """

    module: ClassVar[str] = "egodepth.networks.dna_depth"
    encoder: str = DNA_DEPTH_ENCODERS[0]


@dataclass(frozen=True)
class DIFFNetConfig(NetworkConfig):
    """DIFFNet.

    Attributes:
        encoder: one of timm's HRNets.
    """

    module: ClassVar[str] = "egodepth.networks.diffnet"
    encoder: str = "hrnet_w18.ms_in1k"


@dataclass(frozen=True)
class SmallDepthConfig(NetworkConfig):
    """SmallDepth.

    Attributes:
        widths: channels of the stem and of the four stages, strides 2 to 32; each divides the next.
        middles: channels inside the residual blocks of each stage.
        repeats: residual blocks of each stage.
        pb_dsr: the highest rate at which training drops branches of a residual block.
        pb_sd: the same for the channel branch of a downsampling.
        ramp_share: share of the run in which both rates rise, r of equation 5, before they fall; none keeps them at
            their highest.
    """

    module: ClassVar[str] = "egodepth.networks.small_depth"
    before: ClassVar[Mapping[str, object]] = {"ramp_share": 0.5}
    limits: ClassVar[Mapping[str, tuple[float, float]]] = {
        **dict.fromkeys(("widths", "middles"), (1, MOST_CHANNELS)),
        **dict.fromkeys(("pb_dsr", "pb_sd", "ramp_share"), (0, 1)),
        "repeats": (1, 64),
    }

    widths: tuple[int, ...] = (64, 64, 128, 256, 512)
    middles: tuple[int, ...] = (64, 128, 256, 736)
    repeats: tuple[int, ...] = (1, 1, 2, 2)
    pb_dsr: float = 0.9
    pb_sd: float = 0.5
    ramp_share: float | None = 2 / 3

    def __post_init__(self) -> None:
        for finer, coarser in pairwise(self.widths):
            if finer < 1 or coarser < 1 or coarser % finer:
                raise UserError(
                    f"widths: {coarser} is no multiple of {finer}, the one before it. Give whole multiples."
                )


@dataclass(frozen=True)
class HQDecv2Config(NetworkConfig):
    """HQDecv2.

    Attributes:
        encoder: one of timm's EfficientNets; their features at strides 2 to 32 may have any width.
        depthwise_local: the local filter of `AdaRMv2` looks at each channel by itself, as equations 3b and 25b say;
            otherwise at all of them.
        attended_heads: the global path of a head sees the map after the channel attention, as in HQDec's code; models
            of earlier versions see the map before it.
        height, width: the nominal image size, multiples of 32: it fixes the strides on the way to the transformers and
            the size of their position embeddings. It is the size of the recipe that the network was built for; the
            network takes images of any other size too.
    """

    module: ClassVar[str] = "egodepth.networks.hqdecv2"
    before: ClassVar[Mapping[str, object]] = {"depthwise_local": False, "attended_heads": False}
    limits: ClassVar[Mapping[str, tuple[float, float]]] = {"height": SIDES, "width": SIDES}

    encoder: str = "tf_efficientnetv2_s.in1k"
    depthwise_local: bool = True
    attended_heads: Annotated[bool, Suppress] = True
    height: Annotated[int | None, Suppress] = None
    width: Annotated[int | None, Suppress] = None

    def at_size(self, height: int, width: int) -> "HQDecv2Config":
        return self if self.height is not None else replace(self, height=height, width=width)


@dataclass(frozen=True)
class SDFANetConfig(NetworkConfig):
    """SDFA-Net.

    Attributes:
        encoder: `swin` is Swin-T with a patch embedding of stride 2; `swin-stride-4` is Swin-T as it was published.
        decoder: `sdfa`; or the ablations: `oa` (learned offsets) and `raw` (concatenation) with one path, and
            `oa-distilled`, whose two paths share their offsets.
        sdfa_modules: which joins learn offsets, where 1 is the coarsest; the others concatenate. None given means all.
        levels: how many disparities the volume has.
        min_disparity_px, max_disparity_px: its range in pixels of the image that the network sees, of any width.
        drop_path: stochastic depth of the Swin encoder's last block.
    """

    module: ClassVar[str] = "egodepth.networks.sdfa_net"
    # KITTI's 0.54 m at 721.54 / 1242 of the width.
    published_metres_per_unit: ClassVar[float | None] = 401.55 / 1280
    # The published code knows the date of a KITTI image, and by it the focal length and the baseline, by its width.
    published_metres_of_width: ClassVar[Mapping[int, float]] = {
        width: 0.54 * share * 721.54 / width
        for width, share in ((1242, 0.9982), (1241, 0.9848), (1224, 1.0144), (1238, 0.9847), (1226, 0.9765))
    }
    smallest_size: ClassVar[int] = 64  # the border of the map at stride 32 is reflected, which takes two pixels

    limits: ClassVar[Mapping[str, tuple[float, float]]] = {
        "sdfa_modules": (1, 16),
        "levels": (2, 1024),
        **dict.fromkeys(("min_disparity_px", "max_disparity_px"), (1e-3, 1e4)),
        "drop_path": (0, 0.99),
    }

    encoder: Literal["swin", "swin-stride-4", "resnet18"] = "swin"
    decoder: Literal["sdfa", "oa", "oa-distilled", "raw"] = "sdfa"
    sdfa_modules: tuple[int, ...] | None = None
    levels: int = 49
    min_disparity_px: float = 2.0
    max_disparity_px: float = 300.0
    drop_path: float = 0.3


@dataclass(frozen=True)
class ManyDepthConfig(NetworkConfig):
    """ManyDepth's multi-frame network.

    Attributes:
        encoder: a timm ResNet.
        bins: depth hypotheses of the cost volume, at least two.
        bin_spacing: even in depth (`linear`) or in inverse depth (`inverse`).
    """

    module: ClassVar[str] = "egodepth.networks.manydepth"
    smallest_size: ClassVar[int] = 64  # the border of the map at stride 32 is reflected, which takes two pixels
    multi_frame: ClassVar[bool] = True

    limits: ClassVar[Mapping[str, tuple[float, float]]] = {"bins": (2, 1024)}

    encoder: str = "resnet18.tv_in1k"
    bins: int = 96
    bin_spacing: Spacing = "linear"


@dataclass(frozen=True)
class RPrDepthConfig(NetworkConfig):
    """A student with the prior depth fusion.

    Attributes:
        student: the network that sees the image.
        references: how many pixels the prior holds; 2.6 million when it is built, 25,000 after selection.
        reference_channels: of the teacher's feature at each of them.
        heads: of the depth hint's attention.
        temperature: what the cosine of two features is multiplied by at first; it is learned.
        plain: compare features by their product as printed in the paper, without norm and temperature.
        averaged: whether the depth that is found is the weighted mean of depths, or the inverse of that of inverse
            depths, in which a few far references do not outweigh all near ones.
        attention: how attention is computed; see `attention.Form`.
        top: how many references each query keeps under `top-k`.
        clustered: the references are centres that stand for different numbers of pixels (`prior.clustered`).
    """

    module: ClassVar[str] = "egodepth.networks.rprdepth"
    before: ClassVar[Mapping[str, object]] = {"averaged": "depth"}
    limits: ClassVar[Mapping[str, tuple[float, float]]] = {
        **dict.fromkeys(("references", "top"), (1, MOST_REFERENCES)),
        "reference_channels": (1, MOST_CHANNELS),
        "heads": (1, 64),
        "temperature": (-1e6, 1e6),
    }

    student: NetworkConfig = field(default_factory=DIFFNetConfig)
    references: int = 25_000
    reference_channels: int = 64
    heads: int = 4
    temperature: float = 20.0
    plain: bool = False
    averaged: Literal["depth", "inverse_depth"] = "inverse_depth"
    attention: Form = "fused"
    top: int = TOP
    clustered: bool = False

    @property
    def smallest_size(self) -> int:
        return self.student.smallest_size

    def released(self) -> "RPrDepthConfig":
        return replace(self, references=min(self.references, RELEASED_REFERENCES))

    def deployed(self, network: "nn.Module") -> "nn.Module":
        return network.thinned(RELEASED_REFERENCES).folded()


class PoseNetworkConfig:
    """What a recipe and a released model know of a pose network.

    Attributes:
        module: the file that builds it.
    """

    module: ClassVar[str] = "egodepth.networks.pose"

    def build(self) -> "nn.Module":
        """The network with random weights."""
        return import_module(self.module).build(self)


@dataclass(frozen=True)
class PoseConfig(PoseNetworkConfig):
    """Monodepth2's pose network.

    Attributes:
        encoder: a timm model; its stem is widened to two stacked images. An FBNetV3 makes it FA-Depth's pose network.
    """

    encoder: str = "resnet18.tv_in1k"


@dataclass(frozen=True)
class FBNetPoseConfig(PoseNetworkConfig):
    """FA-Depth's pose network, with less than a quarter of the multiply-accumulates of Monodepth2's.

    Attributes:
        encoder: an FBNetV3 of timm (b, d or g); its stem is widened to two stacked images. Another model makes it
            Monodepth2's pose network.
    """

    encoder: str = "fbnetv3_b.ra2_in1k"


@dataclass(frozen=True)
class EquivalentConfig:
    """Which convolutions get branches, and how these are dropped in training.

    Attributes:
        branch_drop: rate at which a whole branch is left out of a step (pb_t).
        dropconv_share: of that rate, for the first of the two kernels of full size as a whole (r1).
        element_share: of that rate, for each element of the first kernel of full size (r2); it may be above 1.
        momentum: of the running variance of a layer's input.
        pointwise: also give branches to 1x1 convolutions.
    """

    branch_drop: float = 0.1
    dropconv_share: float = 0.1
    element_share: float = 0.5
    momentum: float = 0.1
    pointwise: bool = False

    def __post_init__(self) -> None:
        shares = {"branch_drop": 1, "dropconv_share": self.dropconv_share, "element_share": self.element_share}
        for name, share in shares.items():
            rate = share * self.branch_drop
            if not (share >= 0 and 0 <= rate <= 1) or (rate == 1 and name != "element_share"):
                of_rate = "" if name == "branch_drop" else f"{share} of branch_drop {self.branch_drop}, "
                raise UserError(f"{name}: {of_rate}{rate:g}, is no rate of dropping. Give a rate from 0 to below 1.")


NETWORKS: tuple[type[NetworkConfig], ...] = (
    Monodepth2Config,
    DNADepthConfig,
    DIFFNetConfig,
    SmallDepthConfig,
    HQDecv2Config,
    SDFANetConfig,
    ManyDepthConfig,
    RPrDepthConfig,
)
"""The table of depth networks; a new one is a file of its own, its config above, and a line here."""

POSE_NETWORKS: tuple[type[PoseNetworkConfig], ...] = (PoseConfig, FBNetPoseConfig)


@cache
def size_for(height: int, width: int, picture: tuple[int, int]) -> tuple[int, int]:
    """The height and width at which a network sees pictures of another form in theirs, with about as many pixels.

    Args:
        height, width: that the network was made for, multiples of 32. They stay where the form is the same to 6 %.
        picture: height and width.
    """
    wanted = picture[1] / picture[0]
    if abs(log(width / height / wanted)) < SAME_FORM:
        return height, width
    # Squeezing a picture costs more than a few pixels.
    return min(
        ((rows, columns) for rows in MULTIPLES for columns in MULTIPLES),
        key=lambda size: (
            abs(log(size[1] / size[0] / wanted)) + PIXELS_COUNT * abs(log(size[0] * size[1] / (height * width)))
        ),
    )


def offsets_to(offsets: Iterable[int]) -> tuple[int, ...]:
    """The time offsets of all frames on the way from the target, 0, to each of `offsets`, in ascending order."""
    between = {step for offset in offsets for step in range(min(offset, 0), max(offset, 0) + 1)}
    return tuple(sorted(between - {0}))
