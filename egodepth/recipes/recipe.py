"""What every recipe decides, whatever its training scheme."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from tyro.conf import Suppress, arg

from egodepth.data.configurations import LEARNED, LEARNED_WAYS, AugmentationConfig, DataConfig, Source, as_intrinsics
from egodepth.errors import UserError
from egodepth.geometry.scale import Scale
from egodepth.methods.configurations import LearnedCameraConfig, OptimiserConfig
from egodepth.networks.configurations import SIDES, SIZE_MULTIPLE, Monodepth2Config, NetworkConfig

if TYPE_CHECKING:
    from torch import Tensor, nn

    from egodepth.data.samples import TrainingDataset
    from egodepth.methods.method import Method
    from egodepth.recipes.needs import Needs, OpenModel

Mode = Literal["mono", "stereo", "mono+stereo"]

IMAGENET, NOTHING = "imagenet", "none"

STARTER, LARGE_STARTER = "starter", "starter-large"
"""What a user calls the weights that egodepth comes with."""

VIEWS: dict[Mode, tuple[Source, ...]] = {
    "mono": (-1, 1),
    "stereo": ("stereo",),
    "mono+stereo": (-1, 1, "stereo"),
}
"""The views beside the target that each mode explains."""


@dataclass(frozen=True)
class TrainingConfig:
    """How long, on what, and how often to look.

    Attributes:
        steps: length of the training in optimiser steps; by default the recipe's epochs.
        batch_size: samples per step and device.
        seed: decides everything random; the same seed, data and machine give the same weights.
        devices: processes on this machine, one for each accelerator (or CPU share).
        nodes: machines that train together.
        precision: arithmetic of the networks; geometry and losses stay in float32.
        workers: loader processes; by default one less than the processor's cores, at most 8.
        log_every: steps between two lines of the log.
        validate_every: steps between two validations.
        patience: after so many validations without a lower error of view synthesis on held-out frames, training ends,
            and the weights of the best validation are released. By default it takes all its steps and releases the last
            ones.
        checkpoint_every: steps between two checkpoints.
        checkpoint_minutes: minutes after which there is a checkpoint in any case.
        panels_every: steps between two image panels.
    """

    limits: ClassVar[Mapping[str, tuple[float, float]]] = {
        **dict.fromkeys(("batch_size", "devices", "nodes"), (1, 65536)),
        "patience": (1, 2**53),
        **dict.fromkeys(("steps", "log_every", "validate_every", "checkpoint_every", "panels_every"), (1, 2**53)),
        "checkpoint_minutes": (0, 1e6),
        "seed": (0, 2**32 - 1),
        "workers": (0, 65536),
    }

    steps: int | None = None
    batch_size: int = 12
    seed: int = 0
    devices: int = 1
    nodes: int = 1
    precision: str = "32-true"
    workers: int | None = None
    log_every: int = 25
    validate_every: int = 500
    patience: int | None = None
    checkpoint_every: int = 250
    checkpoint_minutes: float = 15.0
    panels_every: int = 500


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
        height: rows of the picture that the networks see, a multiple of 32.
        width: columns of that picture, a multiple of 32.
        intrinsics: `calibrated` takes what the data says (KITTI's calibration files, camera.json), `fixed` is
            Monodepth2's one camera for all of KITTI, `fx,fy,cx,cy` gives pixels of the native frames, a file is
            camera.json or one of OpenCV, ROS, Kalibr, COLMAP or nerfstudio. `learned` finds those of footage that comes
            without, one camera for all frames of a size; `learned-each` one for each video and folder.
        fov: horizontal field of view in degrees, in place of intrinsics: square pixels, centre in the middle.
        learned_camera: how intrinsics are found and learnt, with --intrinsics learned or learned-each.
        pretrained: where the encoder starts: imagenet (timm's hub), none, or the path of a file of weights.
        start_from: whose networks this training starts from: a run, an imported model, or what egodepth comes with,
            `starter` or `starter-large`; with `imagenet` and `none` it is another name of --pretrained.
        frozen_norms: with --from, batch norms keep the statistics of the weights that training starts from. Those of
            little footage, which looks alike, fit no other.
        keep_aspect: footage of another form than height and width is seen in its own, with about as many pixels, and
            so are pictures in use.
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
    fov: float | None = None
    learned_camera: LearnedCameraConfig = field(default_factory=LearnedCameraConfig)
    pretrained: str = "imagenet"
    start_from: Annotated[str | None, arg(name="from", metavar="RUN|starter|starter-large|imagenet|none")] = None
    frozen_norms: bool = False
    keep_aspect: bool = False

    def __post_init__(self) -> None:
        # Runs, packs and priors know one setting of the camera, so that a field of view becomes one of its values.
        object.__setattr__(self, "intrinsics", as_intrinsics(self.fov, self.intrinsics))
        object.__setattr__(self, "fov", None)
        if self.start_from in (IMAGENET, NOTHING):
            object.__setattr__(self, "pretrained", self.start_from)
            object.__setattr__(self, "start_from", None)
        if self.data.offsets == "drawn" and self.augmentation.native:
            raise UserError(
                "--data.offsets drawn: --augmentation.native reads frames of fixed offsets. Leave one of them out."
            )
        if self.training.patience is not None and not self.stops_early:
            raise UserError(
                "--patience: this recipe's held-out error of view synthesis is not measured. Leave it out, or train "
                "with a recipe of view synthesis alone, such as monodepth2."
            )
        if self.intrinsics in LEARNED_WAYS and not self.learns_camera:
            raise UserError(
                f"--intrinsics {self.intrinsics}: this recipe cannot learn them. Give --fov or --intrinsics, or learn "
                "them with a recipe that trains by view synthesis alone, such as monodepth2."
            )

    limits: ClassVar[Mapping[str, tuple[float, float]]] = {
        "height": SIDES,
        "width": SIDES,
        "metres_per_unit": (1e-9, 1e9),
    }
    """The least and the largest value of numbers in the files of runs and models."""

    modes: ClassVar[tuple[Mode, ...]] = tuple(VIEWS)
    """What views the scheme can learn from."""

    learns_camera: ClassVar[bool] = False
    """Whether the scheme can learn the intrinsics of footage."""

    stops_early: ClassVar[bool] = False
    """Whether its validation measures view synthesis, so that `patience` can end a training."""

    lookups: ClassVar[tuple[int, ...] | None] = None
    """Time offsets of the frames that the released network matches with."""

    starts_from_images: ClassVar[bool] = False
    """A trained depth network is changed before the first step, by how it sees a few training images."""

    makes_its_needs: ClassVar[bool] = False
    """What the training stands on is trained on the way."""

    @property
    def views(self) -> tuple[Source, ...]:
        """The views beside the target that training explains."""
        raise NotImplementedError

    @property
    def frame_size(self) -> tuple[int, int]:
        """Height and width at which training reads its frames."""
        return self.height, self.width

    @property
    def sized_network(self) -> NetworkConfig:
        """The config of the depth network for pictures of the recipe's size."""
        return self.network.at_size(self.height, self.width)

    def build_networks(self) -> "dict[str, nn.Module]":
        """The networks with random weights: `depth`, and `pose` where frames of other times are to be explained.

        With stereo pairs among the views the depth starts far, as `networks.disparity.start_far` says.
        """
        networks = {"depth": self.started(self.sized_network.build())}
        if any(view != "stereo" for view in self.views):
            networks["pose"] = self.pose.build()
        return networks

    def started(self, network: "nn.Module") -> "nn.Module":
        """An untrained depth network, with the depth that it starts from set for the views."""
        from egodepth.networks.disparity import start_far

        if "stereo" in self.views:
            start_far(network)
        return network

    def build_method(
        self, networks: "Mapping[str, nn.Module]", teacher: Any = None, images: "Tensor | None" = None
    ) -> "Method":
        """The training step around networks.

        Args:
            networks: as `build_networks` gives them, with the weights to start from.
            teacher: of `needs`.
            images: (B, 3, H, W) as in training; given where the recipe `starts_from_images`.
        """
        raise NotImplementedError

    def pretrained_of(self, part: str) -> str:
        """Where the encoder of a part, `depth` or `pose`, starts."""
        return self.pretrained

    def first_networks(self, trained: "dict[str, nn.Module]") -> "dict[str, nn.Module]":
        """The networks that each part of this training takes its weights from, of a run to start from."""
        return trained

    def needs(self, open_model: "OpenModel") -> "tuple[Recipe, Needs]":
        """What training needs besides its data, and the recipe as that makes it.

        Args:
            open_model: from what a user calls a model to the model.

        Raises:
            UserError: it is missing, cannot be read, or does not belong together.
        """
        from egodepth.recipes.needs import Needs

        return self, Needs(self.views, self.frame_size)

    def scale_of_baseline(self, training_set: "TrainingDataset") -> Scale | None:
        """The unit of depth of a network trained on this set; None where no stereo baseline fixes it."""
        return Scale(self.metres_per_unit, "stereo baseline") if "stereo" in self.views else None

    def unused_options(self) -> Mapping[str, str]:
        """Fields that this training never reads, with what would make it read them."""
        unused = {}
        if self.intrinsics not in LEARNED_WAYS:
            unused["learned_camera"] = f"it belongs to --intrinsics {LEARNED}."
        if self.start_from is None:
            unused["frozen_norms"] = "it belongs to --from."
        return unused

    def check_options(self, published: "Recipe") -> None:
        """Refuse options that nothing would read.

        Args:
            published: the recipe of that name, which has this one's defaults.

        Raises:
            UserError: one was set; the message names it.
        """
        for name, reason in self.unused_options().items():
            option = first_difference(getattr(self, name), getattr(published, name), name)
            if option is not None:
                raise UserError(f"--{option.replace('_', '-')}: this training does not read it; {reason}")


def first_difference(value: Any, default: Any, name: str) -> str | None:
    """The dotted name of the first setting in which two configurations differ; None where they are equal."""
    if value == default:
        return None
    if is_dataclass(value) and type(value) is type(default):
        entries = (entry.name for entry in fields(value))
        inner = (
            first_difference(getattr(value, entry), getattr(default, entry), f"{name}.{entry}") for entry in entries
        )
        return next(found for found in inner if found is not None)
    return name


def check_size(recipe: Recipe) -> None:
    """Raises UserError: the network cannot see pictures of the recipe's size; the nearest that it can is named."""
    smallest = recipe.network.smallest_size
    least = f", {smallest} at least" if smallest > SIZE_MULTIPLE else ""
    crop = (("--augmentation.crop", side) for side in recipe.augmentation.crop or ())
    for option, value in (("--height", recipe.height), ("--width", recipe.width), *crop):
        if value < smallest or value % SIZE_MULTIPLE:
            nearest = max(smallest, round(value / SIZE_MULTIPLE) * SIZE_MULTIPLE)
            raise UserError(f"{option} {value}: must be a multiple of {SIZE_MULTIPLE}{least}. Take {nearest}.")
