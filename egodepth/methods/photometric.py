"""Training by view synthesis, from video, from stereo pairs or from both (Monodepth2, DNA-Depth, DIFFNet).

Source: Godard et al., "Digging Into Self-Supervised Monocular Depth Estimation" (ICCV 2019), section 3. Any network
that gives sigmoid disparities can be trained; the pose network is needed where a source is a frame of another time.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from egodepth.data.transforms import Views
from egodepth.geometry.depth import enlarged_depth
from egodepth.geometry.warping import epipolar_rays, sample, sampling_grid
from egodepth.losses.photometric import (
    at_size,
    mean_where,
    minimum_error,
    patch_moments,
    photometric_error,
    shown_error,
    tie_break,
    whole_patches,
)
from egodepth.losses.smoothness import edge_aware_smoothness, mean_normalised
from egodepth.methods.configurations import OptimiserConfig, PhotometricConfig
from egodepth.methods.view_synthesis import StepResult, TrainingSetup, ViewSynthesisMethod, rescaled
from egodepth.networks.disparity import DisparityNetwork
from egodepth.networks.pose import PoseNetwork


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
    mask: Tensor | None = None,
) -> PhotometricLoss:
    """Monodepth2's loss: every scale judged at full resolution, each pixel by its best source.

    Args:
        target: (B, 3, H, W) in [0, 1].
        sources: (S, B, 3, H, W) in [0, 1].
        disparities: sigmoid disparities, fine to coarse, (B, 1, H / n, W / n), n whole.
        transforms: (S, B, 4, 4), target camera to source camera.
        intrinsics: (B, 3, 3) in pixels of the target.
        depth_range: that the sigmoid spans.
        mask: (B, 1, H, W) bool, the pixels of all views that show the scene; none is all of them. A source explains
            only what it shows of it.
    """
    size = target.shape[-2:]
    moments = patch_moments(target)
    rays = epipolar_rays(intrinsics, transforms, *size)
    identity = photometric_error(sources, moments, config.ssim_weight) if config.auto_mask else None

    whole = None if mask is None else whole_patches(mask)

    losses, shares, finest = [], [], None
    for scale, disparity in enumerate(disparities):
        depth = enlarged_depth(disparity, size, *depth_range)
        grid = sampling_grid(depth, rays)
        warped = sample(sources, grid, config.align_corners)
        error = photometric_error(warped, moments, config.ssim_weight)
        if mask is not None:
            error = shown_error(error, mask, grid, config.align_corners)
        best = minimum_error(error, None if identity is None else tie_break(identity, config.tie_break))
        colour = F.adaptive_avg_pool2d(target, disparity.shape[-2:])
        coarse = at_size(mask, disparity.shape[-2:])
        smoothness = edge_aware_smoothness(mean_normalised(disparity.float(), coarse), colour, coarse)
        counted = None if whole is None else whole[:, 0] & best.error.isfinite()
        losses.append(mean_where(best.error, counted) + config.smoothness_weight * smoothness / 2**scale)
        shares.append(best.reprojected.float().mean())
        if finest is None:
            finest = depth, warped, best.reprojected
    scales = torch.stack(losses)
    return PhotometricLoss(scales.mean(), scales.detach(), torch.stack(shares), *(x.detach() for x in finest))


class PhotometricMethod(ViewSynthesisMethod):
    """Training with Monodepth2's loss; the arguments are those of `ViewSynthesisMethod`."""

    def __init__(
        self,
        depth_network: DisparityNetwork,
        pose_network: PoseNetwork | None,
        config: PhotometricConfig,
        setup: TrainingSetup,
        optimiser: OptimiserConfig,
        seed: int,
    ) -> None:
        super().__init__(depth_network, pose_network, setup, optimiser, seed)
        self.config = config

    def step_result(self, views: Views, seen: Views | None = None) -> StepResult:
        seen = seen or views
        disparities, features = self.depth_network.with_features(seen.target_jittered)
        transforms = self.transforms(seen)
        loss = photometric_loss(
            views.target,
            views.sources.transpose(0, 1),
            rescaled(disparities, seen, views),
            transforms,
            views.intrinsics,
            self.config,
            self.depth_range,
            views.mask,
        )
        values = {f"loss_scale_{scale}": value for scale, value in enumerate(loss.scales)}
        values |= {f"reprojected_scale_{scale}": value for scale, value in enumerate(loss.reprojected_share)}
        pictures = _pictures(views, loss)
        return StepResult(loss.total, values, disparities, features, loss.depth, pictures, transforms.detach())


def _pictures(views: Views, loss: PhotometricLoss) -> dict[str, Tensor]:
    """Each warped source, and where the finest scale explained best; (B, C, H, W) each."""
    warped = {f"warped {source}": image for source, image in zip(views.source_ids, loss.warped, strict=True)}
    return warped | {"mask": loss.reprojected[:, None].float()}
