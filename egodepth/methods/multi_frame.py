"""ManyDepth's training: a network that matches frames, beside a single-frame teacher and a pose network.

Source: Watson et al., "The Temporal Opportunist: Self-Supervised Multi-Frame Monocular Depth" (CVPR 2021), sections 3.3
to 3.5; specification sections B3 to B8. The teacher says where matching cannot be trusted, and what is right there.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from egodepth.data.configurations import AugmentationConfig
from egodepth.data.samples import Batch
from egodepth.data.transforms import Views, without_augmentation
from egodepth.geometry.depth import enlarged_depth, sigmoid_to_depth
from egodepth.geometry.poses import stereo_transform
from egodepth.geometry.warping import EpipolarRays, epipolar_rays, sample, sampling_grid
from egodepth.losses.multi_frame import consistency, multi_frame_reprojection, teacher_reprojection, trust_mask
from egodepth.losses.photometric import (
    PatchMoments,
    at_size,
    patch_moments,
    photometric_error,
    shown_error,
    tie_break,
    whole_patches,
)
from egodepth.losses.smoothness import edge_aware_smoothness, mean_normalised
from egodepth.methods.configurations import MultiFrameConfig, OptimiserConfig
from egodepth.methods.method import Method
from egodepth.networks.disparity import DisparityNetwork
from egodepth.networks.manydepth import Lookups, ManyDepth, MatchedFeatures, look_up
from egodepth.networks.pose import PoseNetwork, motion_to


@dataclass(frozen=True)
class Scene:
    """What both networks are judged against.

    Attributes:
        sources: (S, B, 3, H, W), the frames before and after, and the other camera's where there are pairs.
        rays: from the target to them.
        moments: of the target.
        target: (B, 3, H, W), for the smoothness.
        mask: (B, 1, H, W) bool, the pixels that show the scene; None where all do.
    """

    sources: Tensor
    rays: EpipolarRays
    moments: PatchMoments
    target: Tensor
    mask: Tensor | None = None

    @property
    def whole(self) -> Tensor | None:
        """(B, 1, H, W) bool, where the 3x3 patch shows the scene."""
        return None if self.mask is None else whole_patches(self.mask)


class MultiFrameMethod(Method):
    """Training of ManyDepth from video.

    Args:
        network: matches frames.
        teacher: sees one frame.
        pose_network: gives the motion between two frames.
        metres_per_unit: what one unit of depth means where the views have pairs, whose baseline is in metres.
    """

    uses_every_parameter = False
    """Teacher and pose network are frozen at the end."""

    def __init__(
        self,
        network: ManyDepth,
        teacher: DisparityNetwork,
        pose_network: PoseNetwork,
        config: MultiFrameConfig,
        augmentation: AugmentationConfig,
        optimiser: OptimiserConfig,
        seed: int,
        metres_per_unit: float = 5.4,
    ) -> None:
        super().__init__(optimiser, seed)
        self.depth_network = network
        self.teacher_network = teacher
        self.pose_network = pose_network
        self.config = config
        self.augmentation = augmentation
        self.metres_per_unit = metres_per_unit

    def networks(self) -> dict[str, nn.Module]:
        return {"depth": self.depth_network, "teacher": self.teacher_network, "pose": self.pose_network}

    def frozen(self, step: int, steps: int) -> bool:
        """Whether teacher and pose network stay as they are at this step."""
        return step >= self.config.freeze_from * steps

    def augmentation_of(self, frame_size: tuple[int, int]) -> AugmentationConfig:
        return self.augmentation

    def losses(self, batch: Batch) -> Iterator[Tensor]:
        """The teacher's loss, which the poses follow too, then that of the network that matches (section B5)."""
        frozen = self.frozen(self.global_step, self.trainer.max_steps)
        self.teacher_network.train(not frozen)
        self.pose_network.train(not frozen)
        views = self.augmented(batch)
        with torch.set_grad_enabled(not frozen):
            scene = self.scene(views)
            taught = self.teacher_network(views.target_jittered)
            if not frozen:
                loss = self.teacher_loss(taught, scene)
                self.log_training({"teacher_loss": loss.detach()}, len(batch))
                yield loss
        scene, taught = _detached(scene), tuple(disparity.detach() for disparity in taught)
        lookups, augmented = self._augmented(self.lookups(views), views)
        disparities, features = self.depth_network.with_features(views.target_jittered, lookups)
        loss, values, trust = self.matching_loss(disparities, features, taught, scene, augmented)
        yield loss
        if not frozen:
            self.depth_network.update_bins(self._depth(taught[0]))
        self.log_training({name: value.detach() for name, value in values.items()}, len(batch))
        depth = self._depth(disparities[0]).detach()
        self.watch_depth(depth)
        if self.wants_panels():
            self.show_panels({"input": views.target, "depth": depth, "trusted": trust.float()})

    def validation_step(self, batch: Batch, _: int) -> None:
        views = without_augmentation(batch)
        taught = self.teacher_network(views.target)
        disparities, features = self.depth_network.with_features(views.target, self.lookups(views))
        nothing = torch.zeros(len(batch), dtype=torch.bool, device=self.device)
        loss, _, _ = self.matching_loss(disparities, features, taught, self.scene(views), nothing)
        self.log("validation_loss", loss, batch_size=len(batch), sync_dist=True)

    def scene(self, views: Views) -> Scene:
        """The views to explain with the motions to them, which carry gradient where they are predicted."""
        explained = [source for source in (-1, 1, "stereo") if source in views.source_ids]
        places = [views.source_ids.index(source) for source in explained]
        frames = {offset: views.sources_jittered[:, places[row]] for row, offset in enumerate((-1, 1))}
        motions = [motion_to(self.pose_network, views.target_jittered, frames, offset) for offset in frames]
        if "stereo" in explained:
            unit_m = self.metres_per_unit * self.focal_ratio(views)
            motions.append(stereo_transform(views.stereo_offset * views.baseline_m / unit_m))
        rays = epipolar_rays(views.intrinsics, torch.stack(motions), *views.size)
        sources = views.sources[:, places].transpose(0, 1)
        return Scene(sources, rays, patch_moments(views.target), views.target, views.mask)

    @torch.no_grad()
    def lookups(self, views: Views) -> Lookups:
        """The frames to match with, and the motions to them (section B3)."""
        frames = dict(zip(views.source_ids, views.sources_jittered.unbind(1), strict=True))
        return look_up(self.pose_network, views.target_jittered, frames, self.config.lookups, views.intrinsics)

    def teacher_loss(self, disparities: tuple[Tensor, ...], scene: Scene) -> Tensor:
        """Monodepth2's loss, each scale's mean over its auto-mask."""
        identity = photometric_error(scene.sources, scene.moments, self.config.ssim_weight)
        whole = None if scene.mask is None else scene.whole[:, 0]
        losses = []
        for scale, disparity in enumerate(disparities):
            _, errors = self._reprojected(disparity, scene)
            reprojection = teacher_reprojection(errors, tie_break(identity, self.config.tie_break), whole)
            losses.append(reprojection + self._smoothness(disparity, scene, scale))
        return torch.stack(losses).mean()

    def matching_loss(
        self,
        disparities: tuple[Tensor, ...],
        features: MatchedFeatures,
        taught: tuple[Tensor, ...],
        scene: Scene,
        augmented: Tensor,
    ) -> tuple[Tensor, dict[str, Tensor], Tensor]:
        """Reprojection where matching is trusted, the teacher's depth elsewhere; its parts, and the trust.

        Args:
            taught: the teacher's disparities, without gradient.
            augmented: (B,) bool, samples whose lookup frames are not what they seem.
        """
        teacher_depths = [self._enlarged_depth(disparity, scene) for disparity in taught]
        trust = trust_mask(features.lowest_cost_depth, features.confidence, teacher_depths[0], augmented)
        counted = trust if scene.mask is None else trust & scene.whole
        losses, reprojections, consistencies = [], [], []
        for scale, disparity in enumerate(disparities):
            depth, errors = self._reprojected(disparity, scene)
            reprojections.append(multi_frame_reprojection(errors, counted))
            consistencies.append(consistency(depth, teacher_depths[scale], trust, scene.mask))
            losses.append(reprojections[-1] + consistencies[-1] + self._smoothness(disparity, scene, scale))
        values = {
            "reprojection": torch.stack(reprojections).mean(),
            "consistency": torch.stack(consistencies).mean(),
            "trusted_share": trust.float().mean(),
        }
        return torch.stack(losses).mean(), values, trust

    def _augmented(self, lookups: Lookups, views: Views) -> tuple[Lookups, Tensor]:
        """Sometimes the camera seems to stand still, sometimes the lookup frames are missing (section B6)."""
        draw = torch.rand(len(views.names), device=views.target.device)
        static = draw < self.config.static_share
        missing = ~static & (draw < self.config.static_share + self.config.missing_share)
        images = torch.where(static[:, None, None, None, None], views.target[:, None], lookups.images)
        valid = lookups.valid & ~missing[:, None]
        return Lookups(images, lookups.transforms, valid, lookups.intrinsics), static | missing

    def _reprojected(self, disparity: Tensor, scene: Scene) -> tuple[Tensor, Tensor]:
        """Depth (B, 1, H, W) at full size, and the errors (S, B, H, W) of the sources warped by it."""
        depth = self._enlarged_depth(disparity, scene)
        grid = sampling_grid(depth, scene.rays)
        error = photometric_error(sample(scene.sources, grid), scene.moments, self.config.ssim_weight)
        return depth, error if scene.mask is None else shown_error(error, scene.mask, grid)

    def _enlarged_depth(self, disparity: Tensor, scene: Scene) -> Tensor:
        return enlarged_depth(disparity, scene.rays.size, self.depth_network.min_depth, self.depth_network.max_depth)

    def _smoothness(self, disparity: Tensor, scene: Scene, scale: int) -> Tensor:
        colour = F.adaptive_avg_pool2d(scene.target, disparity.shape[-2:])
        mask = at_size(scene.mask, disparity.shape[-2:])
        smoothness = edge_aware_smoothness(mean_normalised(disparity.float(), mask), colour, mask)
        return self.config.smoothness_weight * smoothness / 2**scale

    def _depth(self, disparity: Tensor) -> Tensor:
        return sigmoid_to_depth(disparity, self.depth_network.min_depth, self.depth_network.max_depth)


def _detached(scene: Scene) -> Scene:
    """The same without gradient: the network that matches does not move the poses."""
    rays = EpipolarRays(scene.rays.direction.detach(), scene.rays.offset.detach())
    return Scene(scene.sources, rays, scene.moments, scene.target, scene.mask)
