"""FA-Depth's L_cr: two frames explain each other, each pixel weighed by how well both agree about its place.

Source: "FA-Depth: Toward Fast and Accurate Self-supervised Monocular Depth Estimation", equation 21, which takes its
terms from CbwLoss. Neither paper gives the formulas in full: the terms here are ours, with the standard
forward-backward check of flow and the scale-free depth difference; numbers in tests/reference/losses.json.

Both directions run as one batch. The first axis of every stacked tensor, of size 2, is the frame that is the target:
a, then b. Further axes between it and the batch may count pairs, such as the two neighbours of a frame; each gets its
own terms.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from egodepth.geometry.poses import rigid_transform
from egodepth.geometry.precision import in_float32
from egodepth.geometry.warping import EpipolarRays, epipolar_rays, pixel_grid, sample
from egodepth.losses.configurations import BidirectionalConfig
from egodepth.losses.photometric import PatchMoments, patch_moments, photometric_error, whole_patches

# --- the pair --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class FramePair:
    """What the images and the motion give, without any depth: made once, shared by all scales of a training step.

    Attributes:
        sources: (2, ..., B, 3, H, W), the images in the order in which they are sampled: b, a.
        moments: of the targets a, b.
        rays: from target to source, with leading axes (2, ..., B).
        mask: (B, H, W) bool, the pixels of both whose 3x3 patch shows the scene; None where all do.
    """

    sources: Tensor
    moments: PatchMoments
    rays: EpipolarRays
    mask: Tensor | None = None


@in_float32
def frame_pair(images: Tensor, transform: Tensor, intrinsics: Tensor, mask: Tensor | None = None) -> FramePair:
    """Prepare two frames that are to explain each other.

    Args:
        images: (2, ..., B, 3, H, W) in [0, 1], a and b.
        transform: (..., B, 4, 4), rigid, from camera a to camera b. The way back is its inverse.
        intrinsics: (B, 3, 3) in pixels, of both frames.
        mask: (B, 1, H, W) bool, the pixels of both frames that show the scene; none is all of them.
    """
    transforms = torch.stack([transform, _inverse(transform)])
    rays = epipolar_rays(intrinsics, transforms, *images.shape[-2:])
    whole = None if mask is None else whole_patches(mask)[:, 0]
    return FramePair(images.flip(0), patch_moments(images), rays, whole)


def _inverse(transform: Tensor) -> Tensor:
    rotation = transform[..., :3, :3].transpose(-1, -2)
    return rigid_transform(rotation, -(rotation @ transform[..., :3, 3:])[..., 0])


# --- where each pixel goes, and whether to believe it ----------------------------------------------------------


@dataclass(frozen=True)
class Correspondence:
    """Where the target's pixels fall in the source, and what the two depth maps say about it.

    Attributes:
        grid: (2, ..., B, H, W, 2), places in the source as fractions of the image in [-1, 1] from border to border
            (`align_corners=False`), which are the same at every resolution.
        valid: (2, ..., B, H, W) bool, before the camera and inside the source image.
        flow_error_px2: (2, ..., B, H, W), squared distance of a pixel from where the flow there and back leads.
        consistent: (2, ..., B, H, W) bool, the flow error is within its tolerance: not occluded, not moving.
        depth_difference: (2, ..., B, H, W) in [0, 1), |z - D(q)| / (z + D(q)) of the transformed depth z and the depth
            sampled in the source. It alone, with the grid, carries a gradient.
        weight: (2, ..., B, H, W) in [0, 1], of a pixel in the loss: zero unless valid and consistent.
    """

    grid: Tensor
    valid: Tensor
    flow_error_px2: Tensor
    consistent: Tensor
    depth_difference: Tensor
    weight: Tensor


@in_float32
def correspondence(
    depths: Tensor,
    rays: EpipolarRays,
    config: BidirectionalConfig = BidirectionalConfig(),
    mask: Tensor | None = None,
) -> Correspondence:
    """Project both depth maps into each other's frame and compare.

    Args:
        depths: (2, ..., B, 1, H, W) of a and b, in the unit of the transform's translation.
        rays, mask: of a `FramePair`.
    """
    height, width = rays.size
    pixels, depth, in_front = _reproject(depths, rays, config.nearest_depth)
    last = pixels.new_tensor([width - 1, height - 1])[:, None, None]
    valid = in_front & ((pixels >= 0) & (pixels <= last)).all(-3)
    grid = ((2 * pixels + 1) / (last + 1) - 1).movedim(-3, -1)
    if mask is not None:
        shown = mask.to(grid.dtype)[:, None].expand(*grid.shape[:-3], 1, height, width)
        valid = valid & mask & (sample(shown, grid.detach(), align_corners=False).squeeze(-3) > 0.99)

    seen_depth = sample(depths.flip(0), grid, align_corners=False).squeeze(-3)
    depth_difference = (depth - seen_depth).abs() / (depth + seen_depth)
    with torch.no_grad():
        flow = pixels - pixel_grid(height, width, pixels.device, pixels.dtype)[:2]
        way_back = sample(flow.flip(0), grid, align_corners=False)
        error = (flow + way_back).square().sum(-3)
        lengths = flow.square().sum(-3) + way_back.square().sum(-3)
        consistent = error < config.flow_tolerance * lengths + config.flow_tolerance_px2
        weight = (valid & consistent) * (1 - depth_difference)
    return Correspondence(grid, valid, error, consistent, depth_difference, weight)


def _reproject(depths: Tensor, rays: EpipolarRays, nearest: float) -> tuple[Tensor, Tensor, Tensor]:
    """Pixels (..., 2, H, W) in the source, depths (..., H, W) there, at least `nearest`, and which are beyond it."""
    homogeneous = depths * rays.direction + rays.offset
    depth = homogeneous[..., 2, :, :]
    in_front = depth > nearest
    depth = depth.clamp(min=nearest)
    return homogeneous[..., :2, :, :] / depth.unsqueeze(-3), depth, in_front


# --- the terms -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class BidirectionalTerms:
    """The terms of L_cr but the smoothness, and what to watch.

    Attributes:
        photometric, depth: (2, ...), L_p and L_d of each direction; each the weighted mean over a whole batch.
        feature: (2, ...), L_feat; zeros if there are no features.
        valid_share, flow_share: (2, ...), of the pixels that fall into the source, and that pass the flow check.
        weight: (2, ..., B, H, W) in [0, 1], for pictures.
    """

    photometric: Tensor
    depth: Tensor
    feature: Tensor
    valid_share: Tensor
    flow_share: Tensor
    weight: Tensor


@in_float32
def bidirectional_terms(
    depths: Tensor, features: Tensor | None, pair: FramePair, config: BidirectionalConfig = BidirectionalConfig()
) -> BidirectionalTerms:
    """L_p, L_d and L_feat of two frames, both ways (equation 21).

    Gradients: all three reach the depths and the pose through the place where the source is sampled, L_d through both
    depths besides, L_feat through both feature maps. The weights are constants. Where no pixel is seen, everything is
    zero, with gradients of zero.

    Args:
        depths: (2, ..., B, 1, H, W) of a and b, in the unit of the transform's translation.
        features: (2, ..., B, C, h, w) of a and b, at most as large as the images; None leaves L_feat out.
    """
    found = correspondence(depths, pair.rays, config, pair.mask)
    warped = sample(pair.sources, found.grid, align_corners=False)
    error = photometric_error(warped, pair.moments, config.ssim_weight)
    photometric = _weighted_mean(error, found.weight)
    return BidirectionalTerms(
        photometric=photometric,
        depth=_weighted_mean(found.depth_difference, (found.valid & found.consistent).to(error.dtype)),
        feature=torch.zeros_like(photometric) if features is None else _feature_term(features, found, config),
        valid_share=_share(found.valid),
        flow_share=_share(found.consistent),
        weight=found.weight,
    )


def bidirectional_loss(
    terms: BidirectionalTerms, smoothness: Tensor, config: BidirectionalConfig = BidirectionalConfig()
) -> Tensor:
    """L_cr, equation 21, a scalar: the mean over directions and pairs of the weighed terms.

    Args:
        smoothness: scalar, `egodepth.losses.smoothness.edge_aware_smoothness` of the mean-normalised sigmoid
            disparities of both frames.
    """
    pairwise = terms.photometric + config.depth_weight * terms.depth + config.feature_weight * terms.feature
    return pairwise.mean() + config.smoothness_weight * smoothness


def _feature_term(features: Tensor, found: Correspondence, config: BidirectionalConfig) -> Tensor:
    """L_feat at the resolution of the features."""
    grid, weight = _at_size(found, (features.shape[-2], features.shape[-1]))
    target = features.detach() if config.detach_target_features else features
    difference = (target - sample(features.flip(0), grid, align_corners=False)).abs().mean(-3)
    return _weighted_mean(difference, weight)


def _at_size(found: Correspondence, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """The sampling grid and the weights at another resolution.

    Both are interpolated at the centres of the coarse pixels; a grid in fractions of the image needs nothing else. A
    coarse pixel counts only if all the fine ones that it is made from do: a mean of places inside and outside the
    image is neither.
    """
    if found.weight.shape[-2:] == size:
        return found.grid, found.weight

    # The border repeats itself, so that places may be moved onto it. A point next to the camera's plane is
    # millions of pixels away otherwise, and would carry a neighbour along by the smallest share.
    places = _resize(found.grid.clamp(-1, 1).movedim(-1, -3), size)
    weights = torch.stack([found.weight, (found.weight > 0).to(found.weight.dtype)], dim=-3)
    weight, counted = _resize(weights, size).unbind(-3)
    return places.movedim(-3, -1), weight * (counted > 0.99)


def _resize(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear, half a pixel kept, of maps (..., C, H, W) with any leading axes."""
    resized = F.interpolate(maps.flatten(0, -4), size, mode="bilinear", align_corners=False)
    return resized.unflatten(0, maps.shape[:-3])


def _weighted_mean(values: Tensor, weight: Tensor) -> Tensor:
    """Over the whole batch: (..., B, H, W) to (...). Less than one pixel's weight in all counts as one."""
    axes = (-3, -2, -1)
    return (values * weight).sum(axes) / weight.sum(axes).clamp(min=1)


def _share(mask: Tensor) -> Tensor:
    return mask.float().mean((-3, -2, -1))
