"""What all training by view synthesis shares, whatever the loss: motions, levels of the pyramid, a teacher.

A scheme says in `step_result` how its loss judges one form of the views. Around it stand the pyramid loss of FA-Depth,
which takes the same views in five forms, a teacher's distillation and depth maps; each can join any loss.
"""

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from egodepth.data.configurations import AugmentationConfig
from egodepth.data.samples import Batch
from egodepth.data.transforms import Views, resized, without_augmentation
from egodepth.geometry.depth import enlarged_depth
from egodepth.geometry.poses import pose_to_transform, stereo_transform
from egodepth.methods.anchor import Anchor
from egodepth.methods.configurations import Level, OptimiserConfig, PyramidConfig
from egodepth.methods.distillation import Teacher
from egodepth.methods.frozen import FrozenNetwork
from egodepth.methods.method import Method
from egodepth.methods.pyramid import consistency, frozen_statistics, level_views
from egodepth.methods.solved_motions import Pair, SolvedMotions
from egodepth.methods.taught_depth import TaughtDepth
from egodepth.methods.warped_views import synthesis_error
from egodepth.networks.disparity import DisparityNetwork, Features
from egodepth.networks.pose import PoseNetwork


@dataclass(frozen=True)
class StepResult:
    """What the networks made of one form of the views, and how the loss judges it.

    Attributes:
        loss: scalar.
        values: scalars for the log, by name.
        disparities: of the target, sigmoid, fine to coarse.
        features: of the target.
        depth: (B, 1, H, W) of the target, in units of training.
        pictures: (B, C, H, W) in [0, 1] for the panels, by name.
        transforms: (S, B, 4, 4), target to source; None where nothing was warped.
    """

    loss: Tensor
    values: dict[str, Tensor]
    disparities: tuple[Tensor, ...]
    features: Features
    depth: Tensor
    pictures: dict[str, Tensor]
    transforms: Tensor | None = None


@dataclass(frozen=True)
class TrainingSetup:
    """What a training by view synthesis has around its loss.

    Attributes:
        augmentation: flips, crops and colours.
        metres_per_unit: what one unit of the network's depth means where a stereo baseline fixes the scale.
        height, width: of the pictures that the networks see at inference, and in training without a crop.
        pyramid: the pyramid loss, if the views are to be looked at in its five forms.
        teacher: whom the network is to approximate, if anyone. Frames may be larger than the network sees them then.
        taught: what depth maps teach, where the samples have them.
    """

    augmentation: AugmentationConfig
    metres_per_unit: float
    height: int
    width: int
    pyramid: PyramidConfig | None = None
    teacher: Teacher | None = None
    taught: TaughtDepth | None = None


class ViewSynthesisMethod(Method):
    """Training a depth network, and a pose network where time is a source. A subclass gives `step_result`.

    Args:
        depth_network: gives sigmoid disparities.
        pose_network: gives the motion between two frames; None when stereo pairs are the only sources.
    """

    def __init__(
        self,
        depth_network: DisparityNetwork,
        pose_network: PoseNetwork | None,
        setup: TrainingSetup,
        optimiser: OptimiserConfig,
        seed: int,
    ) -> None:
        super().__init__(optimiser, seed)
        self.depth_network = depth_network
        self.pose_network = pose_network
        self.training_setup = setup
        self.anchor: Anchor | None = None
        self.solved: SolvedMotions | None = None
        self.start: FrozenNetwork | None = None
        self._pose_distance: Tensor | None = None
        # Without view synthesis nothing reaches the pose network.
        self.uses_every_parameter = self.synthesises

    @abstractmethod
    def step_result(self, views: Views, seen: Views | None = None) -> StepResult:
        """See the views with the networks, and judge what they say.

        Args:
            views: that the loss compares.
            seen: the same at another size, as the networks see them; none means as the loss does.
        """

    def losses(self, batch: Batch) -> Iterator[Tensor]:
        pyramid = self.training_setup.pyramid
        views = self.augmented(batch)
        if pyramid is None or self._synthesis_weight() == 0:
            yield self._first_result(views).loss
        elif pyramid.sequential:
            yield from self._levels(views, pyramid)
        else:
            yield sum(self._levels(views, pyramid))

    def validation_step(self, batch: Batch, _: int) -> None:
        views = resized(without_augmentation(batch), *self._size())
        taught = self.training_setup.taught
        # Without view synthesis the motions are nobody's.
        if taught is None or self._synthesis_weight() > 0:
            result = self.step_result(views)
            loss, error = result.loss, synthesis_error(views, result.depth, result.transforms)
            self.log("validation_synthesis", error, batch_size=len(batch), sync_dist=True)
        else:
            loss, parts = self._taught_loss(self._unjudged(views), views)
            self.log("validation_taught_abs_rel", parts["taught_abs_rel"], batch_size=len(batch), sync_dist=True)
        self.log("validation_loss", loss, batch_size=len(batch), sync_dist=True)

    def networks(self) -> dict[str, nn.Module]:
        parts = {"depth": self.depth_network, "pose": self.pose_network}
        return {name: network for name, network in parts.items() if network is not None}

    def hold_to(self, anchor: Anchor) -> None:
        """Hold depth to what a network saw before training, wherever view synthesis says little."""
        self.anchor = anchor

    def solve_motions(self, solved: SolvedMotions) -> None:
        """See views of other times by the motions that flow gives; the pose network learns to say the same."""
        self.solved = solved

    def remember(self, start: FrozenNetwork) -> None:
        """Keep the network as it was before training, to which the parts of the loss that need it go back."""
        self.start = start

    def on_fit_start(self) -> None:
        super().on_fit_start()
        if self.start is not None:
            self.start.to(self.device)
        if self.training_setup.teacher is not None:
            self.training_setup.teacher.to(self.device)

    def transforms(self, views: Views) -> Tensor:
        """Target to source, (S, B, 4, 4): predicted or solved between frames, known between the cameras of a pair.

        Beside pairs solved motions are in the pairs' unit.
        """
        transforms: dict[int, Tensor] = {}
        pair = self._pair(views)
        places = [index for index, source in enumerate(views.source_ids) if source != "stereo"]
        if places:
            motions = self._motions(views, places)
            if self.solved is not None:
                motions, self._pose_distance = self.solved.in_place_of(motions, views, places, pair)
            transforms |= dict(zip(places, motions, strict=True))
        if pair is not None:
            transforms[pair.place] = stereo_transform(pair.offset)
        return torch.stack([transforms[index] for index in range(len(views.source_ids))])

    def _pair(self, views: Views) -> Pair | None:
        """The other camera of the views' pairs; None where they have none."""
        if "stereo" not in views.source_ids:
            return None
        baseline = views.baseline_m / self._unit_m(views)
        return Pair(views.source_ids.index("stereo"), views.stereo_offset * baseline)

    def _levels(self, views: Views, pyramid: PyramidConfig) -> Iterator[Tensor]:
        """The pyramid loss (FA-Depth, equation 20), level by level, the views as they are first."""
        first = self._first_result(views)
        yield first.loss
        # By now the graph of a sequential step is gone, so the other levels hold on to its values alone.
        reference = (first.disparities, first.features)
        for name, level in pyramid.levels().items():
            seen = level_views(views, name, self._size(), self.training_setup.augmentation, self.seed, self.global_step)
            with frozen_statistics(self):
                result = self.step_result(resized(seen, *self._size()) if pyramid.rescaled else seen, seen)
            yield self._level_loss(name, level, result, reference, pyramid.sequential, views.mask)

    def _level_loss(
        self,
        name: str,
        level: Level,
        result: StepResult,
        reference: tuple,
        detach: bool,
        mask: Tensor | None,
    ) -> Tensor:
        disparity, feature = consistency(name, level, reference, (result.disparities, result.features), detach, mask)
        self.log_training(
            {f"loss_{name}": result.loss, f"disparity_{name}": disparity, f"feature_{name}": feature},
            batch_size=len(result.depth),
        )
        level_loss = level.alpha * result.loss + level.beta * disparity + level.gamma * feature
        return self._synthesis_weight() * level_loss

    def _first_result(self, read: Views) -> StepResult:
        """A result whose figures and pictures are kept, with what a teacher, its maps and the start say in its loss.

        Args:
            read: the views at the size at which they were read.
        """
        setup = self.training_setup
        views = read if setup.teacher is None and setup.pyramid is None else resized(read, *self._view_size())
        result = self.step_result(views) if self._synthesis_weight() > 0 else self._unjudged(views)
        if setup.teacher is not None:
            student = result.disparities, result.features
            taught, parts = setup.teacher.loss(read.target_jittered, student, views.size[1], views.mask)
            loss = self._synthesis_weight() * result.loss + taught
            result = replace(result, loss=loss, values=result.values | parts)
        elif setup.taught is not None:
            taught, parts = self._taught_loss(result, views)
            loss = self._synthesis_weight() * result.loss + taught
            result = replace(result, loss=loss, values=result.values | parts)
        if self._pose_distance is not None:
            distance, self._pose_distance = self._pose_distance, None
            values = result.values | {"pose_distance": distance}
            result = replace(result, loss=result.loss + distance, values=values)
        if self.anchor is not None:
            held, parts = self.anchor.loss(result.disparities, views, self.depth_range)
            result = replace(result, loss=result.loss + held, values=result.values | parts)
        self.log_training({name: value.detach() for name, value in result.values.items()}, len(views.names))
        self.watch_depth(result.depth, *self.depth_range)
        if self.wants_panels():
            self.show_panels({"input": views.target, "depth": result.depth} | result.pictures)
        return result

    def _unjudged(self, views: Views) -> StepResult:
        """What the depth network makes of the target alone, with a loss of zero."""
        disparities, features = self.depth_network.with_features(views.target_jittered)
        depth = enlarged_depth(disparities[0].detach(), views.size, *self.depth_range)
        return StepResult(torch.zeros_like(disparities[0].sum()), {}, disparities, features, depth, {})

    def _taught_loss(self, result: StepResult, views: Views) -> tuple[Tensor, dict[str, Tensor]]:
        """What the samples' depth maps say of a result, and its parts for the log."""
        taught, unit_m, believed = self.training_setup.taught, self._unit_m(views), None
        if taught.config.checked and result.transforms is not None:
            believed = taught.believed(result.depth, views, result.transforms, unit_m, self.depth_range)
        start = None
        if taught.units == "scale-and-shift" and self.start is not None:
            start = self.start.inverse_depth(views.target)
        return taught.loss(result.disparities, views, unit_m, self.depth_range, believed, start)

    def teacher_depth(self, views: Views, depth: Tensor) -> tuple[Tensor, Tensor] | None:
        """What a teacher sees in views, (B, 1, H, W) in units of training, and where; None where none teaches.

        Args:
            depth: (B, 1, H, W), the student's, by which a teacher without a scale gets one.
        """
        setup = self.training_setup
        if setup.taught is not None and views.teacher_disparity is not None:
            return setup.taught.depth(1 / depth, views, self._unit_m(views), self.depth_range)
        if setup.teacher is not None:
            return setup.teacher.depth(views.target, depth)
        return None

    @property
    def depth_range(self) -> tuple[float, float]:
        """The nearest and the farthest depth that the network can predict, in units of training."""
        return self.depth_network.min_depth, self.depth_network.max_depth

    @property
    def synthesises(self) -> bool:
        """Whether view synthesis has a part in the loss."""
        return self._synthesis_weight() > 0

    def _unit_m(self, views: Views) -> Tensor:
        """Metres of one unit of depth in these pictures, (B,)."""
        return self.training_setup.metres_per_unit * self.focal_ratio(views)

    def focal_ratio(self, views: Views) -> Tensor:
        """As elsewhere; a window that is cut out, not enlarged, shows things as large as the whole picture does."""
        ratio = super().focal_ratio(views)
        if self.focal is None:
            return ratio
        return ratio * (self._view_size()[1] / self.training_setup.width)

    def _synthesis_weight(self) -> float:
        parts = (self.training_setup.teacher, self.training_setup.taught)
        return min((part.config.synthesis_weight for part in parts if part is not None), default=1.0)

    def augmentation_of(self, frame_size: tuple[int, int]) -> AugmentationConfig:
        """With a window that is as large a part of the frames as they were read as the recipe's is of its pictures."""
        config = self.training_setup.augmentation
        if config.crop is None or self.training_setup.teacher is None:
            return config
        sides = zip(config.crop, frame_size, self._size(), strict=True)
        return replace(config, crop=tuple(round(window * read / own) for window, read, own in sides))

    def _view_size(self) -> tuple[int, int]:
        """Height and width of the views as they are."""
        crop = self.training_setup.augmentation.crop
        return self._size() if crop is None or self.training_setup.pyramid is not None else crop

    def _size(self) -> tuple[int, int]:
        return self.training_setup.height, self.training_setup.width

    def _motions(self, views: Views, places: list[int]) -> list[Tensor]:
        """Motions from the target to the sources at these places, all pairs in one pass through the pose network."""
        target = views.target_jittered
        before = [views.source_ids[index] < 0 for index in places]
        sources = [views.sources_jittered[:, index] for index in places]
        earlier = [source if past else target for source, past in zip(sources, before, strict=True)]
        later = [target if past else source for source, past in zip(sources, before, strict=True)]
        axis_angle, translation = self.pose_network(torch.cat(earlier), torch.cat(later))
        parts = zip(axis_angle[:, 0].chunk(len(places)), translation[:, 0].chunk(len(places)), before, strict=True)
        return [pose_to_transform(rotation, shift, invert=past) for rotation, shift, past in parts]


def rescaled(disparities: tuple[Tensor, ...], seen: Views, views: Views) -> tuple[Tensor, ...]:
    """Disparities of views at one size, fine to coarse, as they are of the same views at another."""
    if seen.size == views.size:
        return disparities
    (height, width), (seen_height, seen_width) = views.size, seen.size
    sizes = [(each.shape[-2] * height // seen_height, each.shape[-1] * width // seen_width) for each in disparities]
    return tuple(
        F.interpolate(each.float(), size, mode="bilinear", align_corners=False)
        for each, size in zip(disparities, sizes, strict=True)
    )
