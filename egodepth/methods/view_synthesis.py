"""What all training by view synthesis shares, whatever the loss: motions, levels of the pyramid, a teacher.

A scheme says in `look` how its loss judges one form of the views. Around it stand the pyramid loss of FA-Depth, which
looks at the same views in five forms, and a teacher's distillation; either can join any loss.
"""

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from egodepth.data.samples import Batch
from egodepth.data.transforms import AugmentationConfig, Views, augment, resized, without_augmentation
from egodepth.geometry import pose_to_transform, stereo_transform
from egodepth.methods.distillation import Teacher, bounded
from egodepth.methods.pyramid import Level, PyramidConfig, consistency, frozen_statistics, level_views
from egodepth.methods.training import Method, OptimiserConfig
from egodepth.networks.disparity import DisparityNetwork, Features
from egodepth.networks.pose import PoseNetwork


@dataclass(frozen=True)
class Look:
    """What one look of the networks at one form of the views gave.

    Attributes:
        loss: scalar.
        values: scalars for the log, by name.
        disparities: of the target, sigmoid, fine to coarse.
        features: of the target.
        depth: (B, 1, H, W) of the target, in units of training.
        pictures: (B, C, H, W) in [0, 1] for the panels, by name.
    """

    loss: Tensor
    values: dict[str, Tensor]
    disparities: tuple[Tensor, ...]
    features: Features
    depth: Tensor
    pictures: dict[str, Tensor]


@dataclass(frozen=True)
class Surroundings:
    """What a training by view synthesis has around its loss.

    Attributes:
        augmentation: flips, crops and colours.
        metres_per_unit: what one unit of the network's depth means where a stereo baseline fixes the scale.
        height, width: of the pictures that the networks see at inference, and in training without a crop.
        pyramid: the pyramid loss, if the views are to be looked at in its five forms.
        teacher: whom the network is to approximate, if anyone.
    """

    augmentation: AugmentationConfig
    metres_per_unit: float
    height: int
    width: int
    pyramid: PyramidConfig | None = None
    teacher: Teacher | None = None


class ViewSynthesisMethod(Method):
    """Training a depth network, and a pose network where time is a source. A subclass gives `look`.

    Args:
        depth_network: gives sigmoid disparities.
        pose_network: gives the motion between two moments; None when stereo pairs are the only sources.
    """

    def __init__(
        self,
        depth_network: DisparityNetwork,
        pose_network: PoseNetwork | None,
        surroundings: Surroundings,
        optimiser: OptimiserConfig,
        seed: int,
    ) -> None:
        super().__init__(optimiser, seed)
        self.depth_network = depth_network
        self.pose_network = pose_network
        self.surroundings = surroundings

    @abstractmethod
    def look(self, views: Views) -> Look:
        """See the views with the networks, and judge what they say."""

    def losses(self, batch: Batch) -> Iterator[Tensor]:
        pyramid = self.surroundings.pyramid
        views = augment(batch, self.surroundings.augmentation, self.seed, self.global_step)
        if pyramid is None:
            yield self._first_look(views).loss
        elif pyramid.sequential:
            yield from self._levels(views, pyramid)
        else:
            yield sum(self._levels(views, pyramid))

    def validation_step(self, batch: Batch, _: int) -> None:
        look = self.look(resized(without_augmentation(batch), *self._size()))
        self.log("validation_loss", look.loss, batch_size=len(batch), sync_dist=True)

    def networks(self) -> dict[str, nn.Module]:
        parts = {"depth": self.depth_network, "pose": self.pose_network}
        return {name: network for name, network in parts.items() if network is not None}

    def on_fit_start(self) -> None:
        super().on_fit_start()
        if self.surroundings.teacher is not None:
            self.surroundings.teacher.to(self.device)

    def transforms(self, views: Views) -> Tensor:
        """Target to source, (S, B, 4, 4): predicted between moments, known between the cameras of a pair."""
        transforms: dict[int, Tensor] = {}
        moments = [index for index, source in enumerate(views.source_ids) if source != "stereo"]
        if moments:
            predicted = self._motions(views, moments)
            transforms |= dict(zip(moments, predicted, strict=True))
        for index, source in enumerate(views.source_ids):
            if source == "stereo":
                baseline = views.baseline_m / self.surroundings.metres_per_unit
                transforms[index] = stereo_transform(views.stereo_offset * baseline)
        return torch.stack([transforms[index] for index in range(len(views.source_ids))])

    def _levels(self, views: Views, pyramid: PyramidConfig) -> Iterator[Tensor]:
        """The pyramid loss (FA-Depth, equation 20), level by level, the views as they are first."""
        first = self._first_look(resized(views, *self._size()))
        yield first.loss
        # By now the graph of a sequential step is gone, so the other levels hold on to its values alone.
        reference = (first.disparities, first.features)
        for name, level in pyramid.levels().items():
            seen = level_views(views, name, self._size(), self.surroundings.augmentation, self.seed, self.global_step)
            with frozen_statistics(self):
                look = self.look(seen)
            yield self._level_loss(name, level, look, reference, pyramid.sequential)

    def _level_loss(self, name: str, level: Level, look: Look, reference: tuple, detach: bool) -> Tensor:
        disparity, feature = consistency(name, level, reference, (look.disparities, look.features), detach)
        self.log_training(
            {f"loss_{name}": look.loss, f"disparity_{name}": disparity, f"feature_{name}": feature},
            batch_size=len(look.depth),
        )
        return level.alpha * look.loss + level.beta * disparity + level.gamma * feature

    def _first_look(self, views: Views) -> Look:
        """A look whose figures and pictures are kept, with the teacher's part in its loss."""
        look = self.look(views)
        values, loss = look.values, look.loss
        teacher = self.surroundings.teacher
        if teacher is not None:
            taught = teacher.loss(views.target_jittered, look.disparities, look.features)
            values = values | {"distillation": taught}
            loss = loss + bounded(taught, look.loss, teacher.config.largest_share)
        self.log_training({name: value.detach() for name, value in values.items()}, len(views.names))
        self.watch_depth(look.depth)
        if self.wants_panels():
            self.show_panels({"input": views.target, "depth": look.depth} | look.pictures)
        return Look(loss, values, look.disparities, look.features, look.depth, look.pictures)

    def _size(self) -> tuple[int, int]:
        return self.surroundings.height, self.surroundings.width

    def _motions(self, views: Views, moments: list[int]) -> list[Tensor]:
        """Motions from the target to the sources at `moments`, all pairs in one pass through the pose network."""
        target = views.target_jittered
        before = [views.source_ids[index] < 0 for index in moments]
        sources = [views.sources_jittered[:, index] for index in moments]
        earlier = [source if past else target for source, past in zip(sources, before, strict=True)]
        later = [target if past else source for source, past in zip(sources, before, strict=True)]
        axis_angle, translation = self.pose_network(torch.cat(earlier), torch.cat(later))
        parts = zip(axis_angle[:, 0].chunk(len(moments)), translation[:, 0].chunk(len(moments)), before, strict=True)
        return [pose_to_transform(rotation, shift, invert=past) for rotation, shift, past in parts]
