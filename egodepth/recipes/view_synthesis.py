"""Recipes of training by view synthesis with sigmoid disparities: Monodepth2, DNA-Depth, DIFFNet, FA-Depth."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, ClassVar, Literal

from tyro import MISSING

from egodepth.data.configurations import AugmentationConfig, Source, TeacherMapsConfig
from egodepth.errors import UserError
from egodepth.geometry.scale import Scale
from egodepth.losses.configurations import BidirectionalConfig
from egodepth.methods.configurations import (
    DistillationConfig,
    OptimiserConfig,
    PhotometricConfig,
    PyramidConfig,
    TaughtDepthConfig,
)
from egodepth.networks.configurations import (
    DNA_DEPTH_ENCODERS,
    DIFFNetConfig,
    DNADepthConfig,
    EquivalentConfig,
    FBNetPoseConfig,
    HQDecv2Config,
    Monodepth2Config,
    NetworkConfig,
    PoseConfig,
    PoseNetworkConfig,
    SmallDepthConfig,
    size_for,
)
from egodepth.recipes.recipe import LARGE_STARTER, STARTER, VIEWS, Mode, Recipe, TrainingConfig

if TYPE_CHECKING:
    from torch import Tensor, nn

    from egodepth.data.samples import TrainingDataset
    from egodepth.methods.distillation import Teacher
    from egodepth.methods.frozen import FrozenNetwork
    from egodepth.methods.view_synthesis import ViewSynthesisMethod
    from egodepth.recipes.needs import Needs, OpenModel

MONODEPTH2 = "Godard et al., Digging Into Self-Supervised Monocular Depth Estimation, ICCV 2019"
DNA_DEPTH = "Boya et al., Deep Neighbor Layer Aggregation for Lightweight Self-Supervised Monocular Depth, ICASSP 2024"
DIFFNET = "Zhou et al., Self-Supervised Monocular Depth Estimation with Internal Feature Fusion, BMVC 2021"
FA_DEPTH = "Wang et al., FA-Depth: Toward Fast and Accurate Self-Supervised Monocular Depth Estimation, 2024"


@dataclass(frozen=True)
class ViewSynthesisRecipe(Recipe):
    """Training by view synthesis with sigmoid disparities: Monodepth2, DNA-Depth, DIFFNet, FA-Depth.

    Attributes:
        pose: the pose network.
        pose_pretrained: where its encoder starts; none given means as `pretrained`.
        mode: whether the views to explain come from other times, the other camera, or both.
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
        teacher_depth: a folder of depth maps that `egodepth teach` or any other program wrote for the frames of DATA,
            to learn from beside view synthesis; `exact` takes the depth that simulated drives come with.
        teacher_maps: what the files of that folder hold.
        taught: what the maps weigh.
        anchor: with --from, and without a teacher or pairs, weight of the distance in depth from what the network saw
            before training. It holds depth where video tells nothing, or a lie: towards the horizon, and on what moves.
            0 lets go.
        motion: with --from, where views of other times are seen from: `flow` solves the motion from optical flow and
            the depth that the network saw before training, in its unit, or beside pairs in theirs; `network` takes the
            pose network's. Without view synthesis the report alone needs it, and has only the first.
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
    teacher_depth: str | None = None
    teacher_maps: TeacherMapsConfig = field(default_factory=TeacherMapsConfig)
    taught: TaughtDepthConfig = field(default_factory=TaughtDepthConfig)
    anchor: float = 0.0
    motion: Literal["flow", "network"] = "network"

    learns_camera: ClassVar[bool] = True

    stops_early: ClassVar[bool] = True

    @property
    def views(self) -> tuple[Source, ...]:
        return VIEWS[self.mode]

    @property
    def frame_size(self) -> tuple[int, int]:
        """Those of the pyramid's highest level, where there is one. A teacher may ask for more (`needs`)."""
        if not self.pyramid or "high" not in self.pyramid_loss.levels():
            return self.height, self.width
        from egodepth.methods.pyramid import HIGH, scaled_size

        return scaled_size(self.height, self.width, HIGH)

    @property
    def starts_from_images(self) -> bool:
        """Equivalent transformation of a trained network starts as the function that it is."""
        return self.etm and self.start_from is not None

    def pretrained_of(self, part: str) -> str:
        return self.pose_pretrained if part == "pose" and self.pose_pretrained is not None else self.pretrained

    def build_method(
        self, networks: "Mapping[str, nn.Module]", teacher: "Teacher | None" = None, images: "Tensor | None" = None
    ) -> "ViewSynthesisMethod":
        """Under `etm` the depth network is changed in place."""
        from egodepth.methods.bidirectional import BidirectionalMethod
        from egodepth.methods.photometric import PhotometricMethod
        from egodepth.methods.taught_depth import TaughtDepth
        from egodepth.methods.view_synthesis import TrainingSetup
        from egodepth.networks.equivalent import equivalent

        if self.etm:
            equivalent(networks["depth"], self.equivalent, images)
        pyramid = self.pyramid_loss if self.pyramid else None
        taught = TaughtDepth(self.taught, self.teacher_maps.units) if self.teacher_depth is not None else None
        size = self.height, self.width
        setup = TrainingSetup(self.augmentation, self.metres_per_unit, *size, pyramid, teacher, taught)
        parts, shared = (networks["depth"], networks.get("pose")), (setup, self.optimiser, self.training.seed)
        if self.loss == "bidirectional":
            return BidirectionalMethod(*parts, self.bidirectional, *shared)
        return PhotometricMethod(*parts, self.photometric, *shared)

    def needs(self, open_model: "OpenModel") -> "tuple[Recipe, Needs]":
        """Frames are read as large as student, pyramid and teacher see them at most; each network sees its own size."""
        from egodepth.methods.anchor import Anchor
        from egodepth.methods.distillation import Teacher
        from egodepth.methods.solved_motions import SolvedMotions
        from egodepth.networks.disparity import DisparityNetwork
        from egodepth.recipes.needs import Needs

        if self.teacher is not None and self.teacher_depth is not None:
            raise UserError("--teacher and --teacher-depth: take one teacher. egodepth teach writes a model's maps.")
        if self.taught.checked and self.teacher_depth is not None and self.taught.synthesis_weight == 0:
            raise UserError(
                "--taught.checked: without view synthesis nothing contradicts a map. Leave it out, or leave out "
                "--taught.synthesis-weight 0."
            )
        if self.training.patience is not None and 0 in self._synthesis_weights():
            raise UserError("--patience: without view synthesis there is no error of it. Leave it out.")
        if self.anchor < 0:
            raise UserError(f"--anchor {self.anchor}: is a weight. Give 0 or more.")
        start = self._start(open_model)
        anchor = Anchor(start, self.anchor) if self._is_held else None
        solved = SolvedMotions(start) if self._is_solved else None
        if self.teacher is None:
            return self, Needs(self.views, self.frame_size, start=start, anchor=anchor, solved=solved)
        model = open_model(self.teacher)
        network = model.depth_network()
        if not isinstance(network, DisparityNetwork):
            raise UserError(
                f"{self.teacher}: is no disparity network, so its features cannot teach. Give another teacher."
            )
        size = tuple(map(max, self.frame_size, model.size))
        teacher = Teacher(network, *model.size, self.distillation)
        return self, Needs(self.views, size, teacher, start=start, solved=solved)

    @property
    def _why_no_anchor(self) -> str | None:
        """Why depth is not held to the start in this training, whatever the weight; None where it can be."""
        if self.start_from is None:
            return "it belongs to --from."
        if self.teacher is not None or self.teacher_depth is not None:
            return "the teacher holds depth already."
        return None if self.mode == "mono" else "pairs hold depth already."

    @property
    def _why_not_solved(self) -> str | None:
        """Why no motion is solved in this training, whatever is asked for; None where it can be."""
        if self.start_from is None:
            return "it belongs to --from."
        return "there are no views of other times." if self.mode == "stereo" else None

    @property
    def _is_held(self) -> bool:
        return self.anchor > 0 and self._why_no_anchor is None

    @property
    def _is_solved(self) -> bool:
        return self.motion == "flow" and self._why_not_solved is None

    def _start(self, open_model: "OpenModel") -> "FrozenNetwork | None":
        """The depth network that training starts from, where a part of the loss goes back to it."""
        from egodepth.methods.frozen import FrozenNetwork
        from egodepth.networks.disparity import DisparityNetwork

        needed = self._is_held or self._is_solved
        if not needed and (self.start_from is None or self.teacher_depth is None):
            return None
        model = open_model(self.start_from)
        network = model.depth_network()
        if isinstance(network, DisparityNetwork):
            return FrozenNetwork(network, *size_for(*model.size, (self.height, self.width)))
        if needed:
            raise UserError(
                f"--from {self.start_from}: is no disparity network, so nothing can be held to its depth, which gives "
                "no motions. Start from another, or give --anchor 0 --motion network."
            )
        return None

    def _synthesis_weights(self) -> tuple[float, ...]:
        """What view synthesis weighs beside each teacher that there is."""
        teachers = (self.teacher, self.distillation), (self.teacher_depth, self.taught)
        return tuple(config.synthesis_weight for teacher, config in teachers if teacher is not None)

    def scale_of_baseline(self, training_set: "TrainingDataset") -> Scale | None:
        if self.teacher_depth is not None and self.teacher_maps.units == "metres":
            return Scale(self.metres_per_unit, "teacher depth")
        return super().scale_of_baseline(training_set)

    def unused_options(self) -> Mapping[str, str]:
        """Settings of losses, parts and schemes that are off."""
        unused = dict(super().unused_options())
        other = {"photometric": "bidirectional", "bidirectional": "photometric"}[self.loss]
        unused[other] = f"it belongs to --loss {other}."
        if not self.etm:
            unused["equivalent"] = "it belongs to --etm."
        if not self.pyramid:
            unused["pyramid_loss"] = "it belongs to --pyramid."
        if self.teacher is None:
            unused["distillation"] = "it belongs to --teacher MODEL."
        if self.teacher_depth is None:
            unused |= dict.fromkeys(("teacher_maps", "taught"), "it belongs to --teacher-depth FOLDER.")
        if self._why_no_anchor is not None:
            unused["anchor"] = self._why_no_anchor
        if self._why_not_solved is not None:
            unused["motion"] = self._why_not_solved
        if self.mode == "stereo":
            unused |= dict.fromkeys(("pose", "pose_pretrained"), "it belongs to --mode mono or mono+stereo.")
        if self.mode == "mono" and (self.teacher_depth is None or self.teacher_maps.units not in (None, "metres")):
            unused["metres_per_unit"] = "it belongs to --mode stereo or mono+stereo."
        return unused


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


VIDEO = ViewSynthesisRecipe(
    source="egodepth's own way from a video to a model: SmallDepth from its starter weights",
    network=SmallDepthConfig(pb_dsr=0.0, pb_sd=0.0),
    pose=PoseConfig(encoder="mobilenetv3_small_100"),
    optimiser=replace(FA_DEPTH_OPTIMISER, epochs=20, warm_up=0.02),
    augmentation=AugmentationConfig(max_scale=1.15),
    training=TrainingConfig(batch_size=8),
    height=96,
    width=320,
    pretrained="none",
    start_from=STARTER,
    frozen_norms=True,
    keep_aspect=True,
    anchor=0.01,
    motion="flow",
)

VIDEO_LARGE = replace(
    VIDEO,
    source="egodepth's own way from a video to a model that knows photographs: EfficientNet-Lite0 from starter weights",
    network=Monodepth2Config(encoder="tf_efficientnet_lite0"),
    optimiser=replace(VIDEO.optimiser, learning_rate=2e-4),
    height=128,
    width=416,
    start_from=LARGE_STARTER,
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
    "video": VIDEO,
    "video-large": VIDEO_LARGE,
    "hqdecv2": _fa_depth(HQDecv2Config(), optimiser=replace(FA_DEPTH_OPTIMISER, learning_rate=1e-4)),
}
