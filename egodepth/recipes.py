"""Named configurations, one for each published result."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Literal

import torch
from torch import Tensor, nn
from tyro import MISSING
from tyro.conf import Suppress, arg

from egodepth.data.opening import DataConfig
from egodepth.data.samples import Source, TrainingDataset
from egodepth.data.transforms import AugmentationConfig
from egodepth.errors import UserError
from egodepth.losses.bidirectional import BidirectionalConfig
from egodepth.methods.bidirectional import BidirectionalMethod
from egodepth.methods.distillation import DistillationConfig, Teacher
from egodepth.methods.multi_frame import MultiFrameConfig, MultiFrameMethod
from egodepth.methods.photometric import PhotometricConfig, PhotometricMethod
from egodepth.methods.prior_guided import PriorGuidedConfig, PriorGuidedMethod, RichTeacher
from egodepth.methods.pyramid import HIGH, PyramidConfig, scaled_size
from egodepth.methods.self_distilled import SelfDistilledConfig, SelfDistilledMethod
from egodepth.methods.training import Method, OptimiserConfig, TrainingConfig
from egodepth.methods.view_synthesis import Surroundings, ViewSynthesisMethod
from egodepth.networks.diffnet import DIFFNetConfig
from egodepth.networks.dna_depth import ENCODERS as DNA_DEPTH_ENCODERS
from egodepth.networks.dna_depth import DNADepthConfig
from egodepth.networks.equivalent import EquivalentConfig, equivalent
from egodepth.networks.hqdecv2 import HQDecv2Config
from egodepth.networks.manydepth import ManyDepthConfig
from egodepth.networks.monodepth2 import Monodepth2Config
from egodepth.networks.perceptual import PerceptualFeatures
from egodepth.networks.pose import FBNetPoseConfig, PoseConfig, moments_to
from egodepth.networks.pretrained import (
    NamePlace,
    diffnet_place,
    dna_depth_place,
    manydepth_place,
    monodepth2_place,
    only_checkpoint,
    sdfa_net_place,
)
from egodepth.networks.rprdepth import RPrDepthConfig
from egodepth.networks.sdfa_net import SDFANet, SDFANetConfig
from egodepth.networks.small_depth import SmallDepthConfig
from egodepth.scale import Scale

NetworkConfig = (
    Monodepth2Config
    | DNADepthConfig
    | DIFFNetConfig
    | SmallDepthConfig
    | HQDecv2Config
    | SDFANetConfig
    | ManyDepthConfig
    | RPrDepthConfig
)
PoseNetworkConfig = PoseConfig | FBNetPoseConfig
Mode = Literal["mono", "stereo", "mono+stereo"]

SOURCES: dict[Mode, tuple[Source, ...]] = {
    "mono": (-1, 1),
    "stereo": ("stereo",),
    "mono+stereo": (-1, 1, "stereo"),
}


@dataclass(frozen=True)
class LadderConfig:
    """What `train rprdepth --all` makes on its way, besides the recipe's own settings.

    Attributes:
        teacher_height, teacher_width: of ManyDepth's pictures.
        teacher_encoder: a timm ResNet.
        images, pixels_per_image: of the reference set.
        keep: references that are selected.
        selection_images: that the selection looks at; none means all that validate.
        last_stage: length of the last stage, on the selected prior, as a share of the first one's.
    """

    teacher_height: int = 320
    teacher_width: int = 1024
    teacher_encoder: str = "resnet18.tv_in1k"
    images: int = 2000
    pixels_per_image: int = 1300
    keep: int = 25_000
    selection_images: int | None = None
    last_stage: float = 0.25


@dataclass(frozen=True)
class Recipe:
    """All that decides a training, as plain data; each training scheme adds its own.

    Attributes:
        source: the paper and the table that the defaults are from.
        network: the depth network.
        optimiser: rate and schedule.
        augmentation: flips, crops and colours.
        data: which frames.
        training: how long, and on what.
        height: at which the networks see a picture, a multiple of 32.
        width: likewise.
        intrinsics: `calibrated` takes what the data says (KITTI's calibration files, camera.json), `fixed` is
            Monodepth2's one camera for all of KITTI, `fx,fy,cx,cy` gives pixels of the native frames.
        pretrained: where the encoder starts: imagenet (timm's hub), none, or the path of a file of weights.
        start_from: a run, or an imported model, whose networks this training starts from.
    """

    source: Annotated[str, Suppress] = ""
    network: NetworkConfig = field(default_factory=Monodepth2Config)
    optimiser: OptimiserConfig = field(default_factory=OptimiserConfig)
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)
    data: DataConfig = field(default_factory=DataConfig)
    training: Annotated[TrainingConfig, arg(name="")] = field(default_factory=TrainingConfig)
    height: int = 192
    width: int = 640
    intrinsics: str = "calibrated"
    pretrained: str = "imagenet"
    start_from: Annotated[str | None, arg(name="from")] = None


@dataclass(frozen=True)
class ViewSynthesisRecipe(Recipe):
    """Training by view synthesis with sigmoid disparities: Monodepth2, DNA-Depth, DIFFNet, FA-Depth.

    Attributes:
        pose: the pose network.
        pose_pretrained: where its encoder starts; none given means as `pretrained`.
        mode: whether the views to explain come from other moments, the other camera, or both.
        metres_per_unit: what one unit of the network's depth means where a stereo baseline fixes the scale. KITTI's
            0.54 m is then 0.1 units, and depths of 0.1 to 100 units are 0.54 to 540 m.
        loss: `photometric` is Monodepth2's, `bidirectional` FA-Depth's.
        photometric, bidirectional: their settings.
        etm: train the depth network through equivalent transformation; it is merged when it is released.
        equivalent: how that is done.
        pyramid: look at each sample in five forms (FA-Depth's pyramid loss).
        pyramid_loss: what each form weighs.
        teacher: a trained model that the depth network is to approximate: a model or run folder, or a hub id.
        distillation: what of the teacher weighs how much.
    """

    pose: PoseNetworkConfig = field(default_factory=PoseConfig)
    pose_pretrained: str | None = None
    mode: Mode = "mono"
    metres_per_unit: float = 5.4
    loss: Literal["photometric", "bidirectional"] = "photometric"
    photometric: PhotometricConfig = field(default_factory=PhotometricConfig)
    bidirectional: BidirectionalConfig = field(default_factory=BidirectionalConfig)
    etm: bool = False
    equivalent: EquivalentConfig = field(default_factory=EquivalentConfig)
    pyramid: bool = False
    pyramid_loss: PyramidConfig = field(default_factory=PyramidConfig)
    teacher: str | None = None
    distillation: DistillationConfig = field(default_factory=DistillationConfig)


@dataclass(frozen=True)
class SelfDistilledRecipe(Recipe):
    """Training of SDFA-Net from stereo pairs.

    Attributes:
        losses: weights, masks and stages.
        perceptual: where the perceptual loss's VGG-19 comes from: imagenet (torchvision's), none, or a path.
    """

    losses: SelfDistilledConfig = field(default_factory=SelfDistilledConfig)
    perceptual: str = "imagenet"


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

    @property
    def lookups(self) -> tuple[int, ...]:
        """Time offsets of the frames that are matched with."""
        return tuple(dict.fromkeys((*self.losses.lookups, *((1,) if self.future else ()))))


@dataclass(frozen=True)
class PriorGuidedRecipe(Recipe):
    """Training of RPrDepth: a student that looks up what a richer teacher saw.

    Attributes:
        pose: the pose network.
        mode: whether the views to explain come from other moments, the other camera, or both.
        metres_per_unit: what one unit of depth means where a stereo baseline fixes the scale.
        losses: weights, and how many references a step sees.
        teacher: a trained model with more to see: a model or run folder, or a hub id.
        prior: its reference set, a .safetensors file of `egodepth prior build` or `egodepth prior select`.
        all: make on the way what is not given of teacher, prior and student (`start_from`), and select the references
            that count.
        ladder: what is made then.
    """

    network: NetworkConfig = field(default_factory=RPrDepthConfig)
    pose: PoseNetworkConfig = field(default_factory=PoseConfig)
    mode: Mode = "mono"
    metres_per_unit: float = 5.4
    losses: PriorGuidedConfig = field(default_factory=PriorGuidedConfig)
    teacher: str | None = None
    prior: str | None = None
    all: bool = False
    ladder: LadderConfig = field(default_factory=LadderConfig)


MONODEPTH2 = "Godard et al., Digging Into Self-Supervised Monocular Depth Estimation, ICCV 2019"
DNA_DEPTH = "Boya et al., Deep Neighbor Layer Aggregation for Lightweight Self-Supervised Monocular Depth, ICASSP 2024"
MANYDEPTH = "Watson et al., The Temporal Opportunist: Self-Supervised Multi-Frame Monocular Depth, CVPR 2021"
RPRDEPTH = "Han and Shen, High-Precision Self-Supervised Monocular Depth Estimation with Rich-Resource Prior, ECCV 2024"
SDFA_NET = "Zhou and Dong, Self-Distilled Feature Aggregation for Self-Supervised Monocular Depth, ECCV 2022"
FA_DEPTH = "Wang et al., FA-Depth: Toward Fast and Accurate Self-Supervised Monocular Depth Estimation, 2024"
DIFFNET = "Zhou et al., Self-Supervised Monocular Depth Estimation with Internal Feature Fusion, BMVC 2021"


def _dna_depth(variant: int, height: int = 192, width: int = 640) -> Recipe:
    return ViewSynthesisRecipe(
        source=DNA_DEPTH,
        network=DNADepthConfig(encoder=DNA_DEPTH_ENCODERS[variant]),
        optimiser=OptimiserConfig(epochs=40, decay_epochs=(35,)),
        training=TrainingConfig(batch_size=16),
        height=height,
        width=width,
    )


def _diffnet(height: int, width: int, batch_size: int) -> Recipe:
    return ViewSynthesisRecipe(
        source=DIFFNET,
        network=DIFFNetConfig(),
        optimiser=OptimiserConfig(epochs=20, decay_epochs=(14,)),
        training=TrainingConfig(batch_size=batch_size),
        height=height,
        width=width,
    )


FA_DEPTH_OPTIMISER = OptimiserConfig(
    algorithm="adamw",
    learning_rate=4e-4,
    weight_decay=1e-2,
    epochs=40,
    schedule="cosine",
    decay_epochs=(),
    warm_up=0.005,
)


def _fa_depth(network: NetworkConfig, **changes: object) -> Recipe:
    """FA-Depth's settings (section IV); what the paper leaves open is in docs/systems/fa-depth.md."""
    settings = {
        "pose": FBNetPoseConfig(),
        "loss": "bidirectional",
        "optimiser": FA_DEPTH_OPTIMISER,
        "augmentation": AugmentationConfig(max_scale=1.15),
        "training": TrainingConfig(batch_size=8),
        "height": 128,
        "width": 416,
    }
    return ViewSynthesisRecipe(source=FA_DEPTH, network=network, **(settings | changes))


def _sdfa_net(network: SDFANetConfig) -> SelfDistilledRecipe:
    """SDFA-Net's settings (section 4.1 and the released configuration)."""
    return SelfDistilledRecipe(
        source=SDFA_NET,
        network=network,
        optimiser=OptimiserConfig(beta1=0.5, epochs=50, decay_epochs=(30, 40), decay_factor=0.5),
        augmentation=AugmentationConfig(
            colours="tone", swap_pairs=True, min_scale=0.75, max_scale=1.5, crop=(192, 640)
        ),
        data=DataConfig(crop="sdfa"),
        height=384,
        width=1280,
    )


RECIPES: dict[str, Recipe] = {
    "monodepth2": ViewSynthesisRecipe(source=MONODEPTH2),
    "monodepth2-r50": ViewSynthesisRecipe(
        source=MONODEPTH2,
        network=Monodepth2Config(encoder="resnet50.tv_in1k"),
        pose=PoseConfig(encoder="resnet50.tv_in1k"),
    ),
    **{f"dna-depth-b{variant}": _dna_depth(variant) for variant in range(len(DNA_DEPTH_ENCODERS))},
    **{f"dna-depth-b{variant}-1024x320": _dna_depth(variant, 320, 1024) for variant in (0, 1)},
    "diffnet": _diffnet(192, 640, batch_size=16),
    "diffnet-1024x320": _diffnet(320, 1024, batch_size=8),
    "small-depth": _fa_depth(SmallDepthConfig(), pretrained="none", pose_pretrained="imagenet"),
    "fa-depth": _fa_depth(
        SmallDepthConfig(), pretrained="none", pose_pretrained="imagenet", etm=True, pyramid=True, teacher=MISSING
    ),
    "manydepth": MultiFrameRecipe(source=MANYDEPTH),
    "manydepth-1024x320": MultiFrameRecipe(source=MANYDEPTH, height=320, width=1024),
    "manydepth-r50-1024x320": MultiFrameRecipe(
        source=MANYDEPTH, network=ManyDepthConfig(encoder="resnet50.tv_in1k"), height=320, width=1024
    ),
    "rprdepth": PriorGuidedRecipe(source=RPRDEPTH, optimiser=OptimiserConfig(epochs=20, decay_epochs=(15,))),
    "sdfa-net": _sdfa_net(SDFANetConfig()),
    "sdfa-net-oa": _sdfa_net(SDFANetConfig(decoder="oa")),
    "sdfa-net-raw": _sdfa_net(SDFANetConfig(decoder="raw")),
    "sdfa-net-r18": _sdfa_net(SDFANetConfig(encoder="resnet18")),
    "hqdecv2": _fa_depth(HQDecv2Config(), optimiser=replace(FA_DEPTH_OPTIMISER, learning_rate=1e-4)),
}

PUBLISHED: dict[type, Callable[[nn.Module, Path], NamePlace]] = {
    Monodepth2Config: lambda network, path: monodepth2_place,
    DNADepthConfig: lambda network, path: dna_depth_place(network),
    DIFFNetConfig: lambda network, path: diffnet_place,
    ManyDepthConfig: lambda network, path: manydepth_place,
    SDFANetConfig: lambda network, path: sdfa_net_place(only_checkpoint(path)),
}
"""Where the authors of each network keep its tensors, by the network and the path of their files."""

PUBLISHED_METRES_PER_UNIT = {SDFANetConfig: 401.55 / 1280}
"""The scale of published models that are always metric: of SDFA-Net, KITTI's 0.54 m at 721.54 / 1242 of the width."""


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


def sources(recipe: Recipe) -> tuple[Source, ...]:
    """The views beside the target that a recipe trains with."""
    match recipe:
        case ViewSynthesisRecipe() | PriorGuidedRecipe():
            return SOURCES[recipe.mode]
        case MultiFrameRecipe():
            return moments_to((-1, 1, *recipe.lookups))
    return ("stereo",)


def modes(recipe: Recipe) -> tuple[str, ...]:
    """What views a recipe's scheme can learn from."""
    match recipe:
        case ViewSynthesisRecipe() | PriorGuidedRecipe():
            return tuple(SOURCES)
        case MultiFrameRecipe():
            return ("mono",)
    return ("stereo",)


def pretrained(recipe: Recipe, part: str) -> str:
    """Where the encoder of a part, `depth` or `pose`, starts."""
    if part == "pose" and isinstance(recipe, ViewSynthesisRecipe) and recipe.pose_pretrained is not None:
        return recipe.pose_pretrained
    return recipe.pretrained


def build_networks(recipe: Recipe) -> dict[str, nn.Module]:
    """The networks of a recipe with random weights.

    `depth`; `pose` where moments are to be explained; `teacher`, the single-frame one of ManyDepth.
    """
    networks = {"depth": recipe.network.build()}
    if isinstance(recipe, MultiFrameRecipe):
        networks["teacher"] = recipe.teacher_network.build()
    if any(source != "stereo" for source in sources(recipe)):
        networks["pose"] = recipe.pose.build()
    return networks


def build_method(
    recipe: Recipe,
    networks: Mapping[str, nn.Module],
    teacher: Teacher | RichTeacher | None = None,
    images: Tensor | None = None,
) -> Method:
    """The training step around networks.

    Args:
        networks: as `build_networks` gives them, with the weights to start from. Under `etm` the depth network is
            changed in place.
        teacher: where the recipe has one.
        images: (B, 3, H, W) as in training; given where the depth network is trained already, so that equivalent
            transformation starts from what it is.
    """
    match recipe:
        case SelfDistilledRecipe():
            return _self_distilled(recipe, networks["depth"])
        case MultiFrameRecipe():
            return _multi_frame(recipe, networks)
        case PriorGuidedRecipe():
            return _prior_guided(recipe, networks, teacher)
    if recipe.etm:
        equivalent(networks["depth"], recipe.equivalent, images)
    return _view_synthesis(recipe, networks, teacher)


def _view_synthesis(
    recipe: ViewSynthesisRecipe, networks: Mapping[str, nn.Module], teacher: Teacher | None
) -> ViewSynthesisMethod:
    surroundings = Surroundings(
        recipe.augmentation,
        recipe.metres_per_unit,
        recipe.height,
        recipe.width,
        recipe.pyramid_loss if recipe.pyramid else None,
        teacher,
    )
    depth_network, pose_network = networks["depth"], networks.get("pose")
    shared = surroundings, recipe.optimiser, recipe.training.seed
    if recipe.loss == "bidirectional":
        return BidirectionalMethod(depth_network, pose_network, recipe.bidirectional, *shared)
    return PhotometricMethod(depth_network, pose_network, recipe.photometric, *shared)


def _prior_guided(
    recipe: PriorGuidedRecipe, networks: Mapping[str, nn.Module], teacher: RichTeacher
) -> PriorGuidedMethod:
    surroundings = Surroundings(recipe.augmentation, recipe.metres_per_unit, recipe.height, recipe.width)
    parts = networks["depth"], networks.get("pose"), teacher, recipe.losses, surroundings
    return PriorGuidedMethod(*parts, recipe.optimiser, recipe.training.seed)


def _multi_frame(recipe: MultiFrameRecipe, networks: Mapping[str, nn.Module]) -> MultiFrameMethod:
    losses = replace(recipe.losses, lookups=recipe.lookups)
    parts = networks["depth"], networks["teacher"], networks["pose"]
    return MultiFrameMethod(*parts, losses, recipe.augmentation, recipe.optimiser, recipe.training.seed)


def _self_distilled(recipe: SelfDistilledRecipe, network: SDFANet) -> SelfDistilledMethod:
    perceptual = None
    if recipe.losses.perceptual_weight > 0:
        # Random features must be the same ones when the run is resumed.
        with torch.random.fork_rng():
            torch.manual_seed(recipe.training.seed)
            perceptual = PerceptualFeatures()
        perceptual.load_pretrained(recipe.perceptual)
    return SelfDistilledMethod(
        network, perceptual, recipe.losses, recipe.augmentation, recipe.optimiser, recipe.training.seed
    )


def frame_size(recipe: Recipe) -> tuple[int, int]:
    """Height and width at which training reads its frames: those of the pyramid's highest level."""
    size = recipe.height, recipe.width
    return scaled_size(*size, HIGH) if isinstance(recipe, ViewSynthesisRecipe) and recipe.pyramid else size


def scale_of_baseline(recipe: Recipe, training_set: TrainingDataset) -> Scale | None:
    """The unit of depth of a network trained on this set; none where no stereo baseline fixes it."""
    if "stereo" not in sources(recipe):
        return None
    if isinstance(recipe, SelfDistilledRecipe):
        # SDFA-Net's unit is the baseline times the focal length in image widths.
        unit = recipe.losses.reference_baseline_m * float(training_set[0].intrinsics[0, 0])
        return Scale(unit, "stereo baseline")
    return Scale(recipe.metres_per_unit, "stereo baseline")
