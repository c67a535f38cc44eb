"""Training by view synthesis, from video, from stereo pairs or from both (Monodepth2, DNA-Depth, DIFFNet).

Source: Godard et al., "Digging Into Self-Supervised Monocular Depth Estimation" (ICCV 2019), section 3. Any network
that gives sigmoid disparities can be trained; the pose network is needed where a source is another moment.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from egodepth.data.samples import Batch
from egodepth.data.transforms import AugmentationConfig, Views, augment, without_augmentation
from egodepth.geometry import (
    epipolar_rays,
    pose_to_transform,
    sample,
    sampling_grid,
    sigmoid_to_depth,
    stereo_transform,
)
from egodepth.losses.photometric import minimum_error, patch_moments, photometric_error, tie_break
from egodepth.losses.smoothness import edge_aware_smoothness, mean_normalised
from egodepth.methods.training import Method, OptimiserConfig
from egodepth.networks.disparity import DisparityNetwork
from egodepth.networks.pose import PoseNetwork


@dataclass(frozen=True)
class PhotometricConfig:
    """The loss of Monodepth2.

    Attributes:
        ssim_weight: alpha of equation 3; the rest is L1.
        smoothness_weight: lambda, at the finest scale; halved with each coarser one.
        auto_mask: leave out pixels that an un-warped source explains better (equation 5).
        tie_break: standard deviation of the noise that decides between equal errors.
        align_corners: sample as the geometry means it. False repeats the published code on PyTorch 1.3 and later.
        metres_per_unit: what one unit of the network's depth means where a stereo baseline fixes the scale. KITTI's
            0.54 m is then 0.1 units, and depths of 0.1 to 100 units are 0.54 to 540 m.
    """

    ssim_weight: float = 0.85
    smoothness_weight: float = 1e-3
    auto_mask: bool = True
    tie_break: float = 1e-5
    align_corners: bool = True
    metres_per_unit: float = 5.4


@dataclass(frozen=True)
class PhotometricLoss:
    """The loss of a batch and what it was made of.

    Attributes:
        total: scalar, mean over the scales.
        scales: (scales,), the loss of each scale.
        reprojected_share: (scales,), share of pixels that a warped source explained best.
        depth: (B, 1, H, W), of the finest scale, in units of training.
        warped: (S, B, 3, H, W), the sources warped by it.
        reprojected: (B, H, W) bool, the auto-mask of the finest scale.
    """

    total: Tensor
    scales: Tensor
    reprojected_share: Tensor
    depth: Tensor
    warped: Tensor
    reprojected: Tensor


def photometric_loss(
    target: Tensor,
    sources: Tensor,
    disparities: Sequence[Tensor],
    transforms: Tensor,
    intrinsics: Tensor,
    config: PhotometricConfig = PhotometricConfig(),
    depth_range: tuple[float, float] = (0.1, 100.0),
) -> PhotometricLoss:
    """Monodepth2's loss: every scale judged at full resolution, each pixel by its best source.

    Args:
        target: (B, 3, H, W) in [0, 1].
        sources: (S, B, 3, H, W) in [0, 1].
        disparities: sigmoid disparities, fine to coarse, (B, 1, H / 2^s, W / 2^s).
        transforms: (S, B, 4, 4), target camera to source camera.
        intrinsics: (B, 3, 3) in pixels of the target.
        depth_range: that the sigmoid spans.
    """
    size = target.shape[-2:]
    moments = patch_moments(target)
    rays = epipolar_rays(intrinsics, transforms, *size)
    identity = photometric_error(sources, moments, config.ssim_weight) if config.auto_mask else None

    losses, shares, finest = [], [], None
    colour = target
    for scale, disparity in enumerate(disparities):
        if scale > 0:
            colour = F.avg_pool2d(colour, 2)
        full_size = F.interpolate(disparity.float(), size, mode="bilinear", align_corners=False)
        depth = sigmoid_to_depth(full_size, *depth_range)
        warped = sample(sources, sampling_grid(depth, rays), config.align_corners)
        error = photometric_error(warped, moments, config.ssim_weight)
        best = minimum_error(error, None if identity is None else tie_break(identity, config.tie_break))
        smoothness = edge_aware_smoothness(mean_normalised(disparity.float()), colour)
        losses.append(best.error.mean() + config.smoothness_weight * smoothness / 2**scale)
        shares.append(best.reprojected.float().mean())
        if finest is None:
            finest = depth, warped, best.reprojected
    scales = torch.stack(losses)
    return PhotometricLoss(scales.mean(), scales.detach(), torch.stack(shares), *(x.detach() for x in finest))


class PhotometricMethod(Method):
    """One photometric training: depth network, pose network where time is a source, and the loss.

    Args:
        depth_network: gives sigmoid disparities.
        pose_network: gives the motion between two moments; None when stereo pairs are the only sources.
    """

    def __init__(
        self,
        depth_network: DisparityNetwork,
        pose_network: PoseNetwork | None,
        config: PhotometricConfig,
        optimiser: OptimiserConfig,
        augmentation: AugmentationConfig,
        seed: int,
    ) -> None:
        super().__init__(optimiser, seed)
        self.depth_network = depth_network
        self.pose_network = pose_network
        self.config = config
        self.augmentation = augmentation

    def training_step(self, batch: Batch, _: int) -> Tensor:
        views = augment(batch, self.augmentation, self.seed, self.global_step)
        loss = self._loss(views)
        self.log_training(
            {"loss": loss.total.detach()}
            | {f"loss_scale_{scale}": value for scale, value in enumerate(loss.scales)}
            | {f"reprojected_scale_{scale}": value for scale, value in enumerate(loss.reprojected_share)},
            batch_size=len(batch),
        )
        self.watch_depth(loss.depth)
        if self.wants_panels():
            self.show_panels(_panels(views, loss))
        return loss.total

    def validation_step(self, batch: Batch, _: int) -> None:
        loss = self._loss(without_augmentation(batch))
        self.log("validation_loss", loss.total, batch_size=len(batch), sync_dist=True)

    def networks(self) -> dict[str, nn.Module]:
        parts = {"depth": self.depth_network, "pose": self.pose_network}
        return {name: network for name, network in parts.items() if network is not None}

    def _loss(self, views: Views) -> PhotometricLoss:
        disparities = self.depth_network(views.target_jittered)
        return photometric_loss(
            views.target,
            views.sources.transpose(0, 1),
            disparities,
            self._transforms(views),
            views.intrinsics,
            self.config,
            (self.depth_network.min_depth, self.depth_network.max_depth),
        )

    def _transforms(self, views: Views) -> Tensor:
        """Target to source, (S, B, 4, 4): predicted between moments, known between the cameras of a pair."""
        transforms: dict[int, Tensor] = {}
        moments = [index for index, source in enumerate(views.source_ids) if source != "stereo"]
        if moments:
            predicted = self._motions(views, moments)
            transforms |= dict(zip(moments, predicted, strict=True))
        for index, source in enumerate(views.source_ids):
            if source == "stereo":
                baseline = views.baseline_m / self.config.metres_per_unit
                transforms[index] = stereo_transform(views.stereo_offset * baseline)
        return torch.stack([transforms[index] for index in range(len(views.source_ids))])

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


def _panels(views: Views, loss: PhotometricLoss) -> dict[str, Tensor]:
    """What there is to see of the first samples: input, depth, each warped source, mask; (B, C, H, W) each."""
    warped = {f"warped {source}": image for source, image in zip(views.source_ids, loss.warped, strict=True)}
    return {
        "input": views.target,
        "depth": loss.depth,
        **warped,
        "mask": loss.reprojected[:, None].float(),
    }
