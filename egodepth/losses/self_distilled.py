"""The loss terms of SDFA-Net: view synthesis, smoothness, and the distillation of the raw depth.

Source: "Self-Distilled Feature Aggregation for Self-Supervised Monocular Depth Estimation" (Zhou & Dong, ECCV 2022),
sections 3.3 and 3.4, equations 10 to 18; numbers in tests/reference/sdfa_net.json. The photometric error l(D) of
equation 10 is `egodepth.losses.photometric.photometric_error`.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from egodepth.geometry.precision import in_float32
from egodepth.geometry.stereo_volume import per_sample

GREY = (0.299, 0.587, 0.114)
"""Shares of red, green and blue in the luminance."""

OCCLUSION_SEARCH_PX = 61


# --- view synthesis --------------------------------------------------------------------------------------------


@in_float32
def synthesis_loss(
    image: Tensor,
    target: Tensor,
    features: Sequence[Tensor],
    target_features: Sequence[Tensor],
    perceptual_weight: float = 0.01,
) -> Tensor:
    """L_syn, equation 14, a scalar: the L1 distance, and the perceptual ones weighed.

    Args:
        image, target: (B, 3, H, W), the synthesised and the real view.
        features, target_features: of the two, as `perceptual_distances` takes them.
    """
    return (image - target).abs().mean() + perceptual_weight * perceptual_distances(features, target_features).sum()


@in_float32
def perceptual_distances(features: Sequence[Tensor], target_features: Sequence[Tensor]) -> Tensor:
    """Mean squared distances (L,) of L pairs of feature maps (B, C_i, H_i, W_i); the target's carry no gradient."""
    pairs = zip(features, target_features, strict=True)
    return torch.stack([F.mse_loss(own.float(), target.detach().float()) for own, target in pairs])


# --- smoothness ------------------------------------------------------------------------------------------------


@in_float32
def curvature_aware_smoothness(disparity: Tensor, image: Tensor, sharpness: float = 2.0) -> Tensor:
    """L_sm, equations 16 and 17, a scalar: steps of the disparity, weighed down where the image bends.

    Args:
        disparity: (B, 1, H, W) in pixels.
        image: (B, 3, H, W) in [0, 1], without augmentation.
        sharpness: γ.
    """
    grey = (image * image.new_tensor(GREY)[:, None, None]).sum(1, keepdim=True)
    return sum(_steps(disparity, axis) * torch.exp(-sharpness * _curvature(grey, axis)) for axis in (-1, -2)).mean()


def _steps(values: Tensor, axis: int) -> Tensor:
    """Sum of the absolute differences to both neighbours along an axis; the border repeats itself."""
    before, after = _neighbours(values, axis)
    return (values - before).abs() + (values - after).abs()


def _curvature(values: Tensor, axis: int) -> Tensor:
    """Absolute second difference along an axis; the border repeats itself."""
    before, after = _neighbours(values, axis)
    return (2 * values - before - after).abs()


def _neighbours(values: Tensor, axis: int) -> tuple[Tensor, Tensor]:
    """At each place, the values before and after it along an axis."""
    size = values.shape[axis]
    before = torch.cat([values.narrow(axis, 0, 1), values.narrow(axis, 0, size - 1)], dim=axis)
    after = torch.cat([values.narrow(axis, 1, size - 1), values.narrow(axis, size - 1, 1)], dim=axis)
    return before, after


# --- self-distillation -----------------------------------------------------------------------------------------


def photometric_mask(raw_error: Tensor, distilled_error: Tensor, margin: float = 1e-5, most: float = 0.2) -> Tensor:
    """M_p, equation 11: where the raw depth explains the image well, and no worse than the distilled depth does.

    Args:
        raw_error, distilled_error: l(D) of the raw and of the distilled depth, any equal shape.
        margin: t_1, by which the raw error may be the larger.
        most: t_2, which the raw error must stay below.

    Returns:
        bool, of the same shape.
    """
    return (raw_error - distilled_error < margin) & (raw_error < most)


@torch.no_grad()
def unoccluded(disparity: Tensor, factor: Tensor | float = 1.0, threshold: float = 0.5) -> Tensor:
    """M_occ, equation 12: where the other view sees the pixel too. (B, 1, H, W) bool.

    A pixel is hidden if a pixel to its right falls on the same place of the other view: its disparity is larger by as
    much as it lies further right. Rows are averaged by three; the half-pixel bookkeeping is the published code's.

    Args:
        disparity: (B, 1, H, W) in pixels.
        factor: one or (B,); below zero for a right target, of which the mirror image is taken.
        threshold: t_3, in pixels.
    """
    right = per_sample(factor, disparity) < 0
    rows = F.pad(torch.where(right, disparity.flip(-1), disparity), (0, 0, 1, 1), mode="replicate")
    mean = (rows[..., :-2, :] + rows[..., 1:-1, :] + rows[..., 2:, :]) / 3
    width = mean.shape[-1]
    padded = torch.cat([mean, mean[..., -1:].expand(*mean.shape[:-1], OCCLUSION_SEARCH_PX + 1)], dim=-1)
    own = (padded[..., :width] + padded[..., 1 : width + 1]) / 2
    nearest = torch.full_like(mean, torch.inf)
    for step in range(1, OCCLUSION_SEARCH_PX + 1):
        distance = (own - padded[..., step + 1 : step + 1 + width] + step).abs_()
        nearest = torch.minimum(nearest, distance)
    visible = nearest > threshold
    return torch.where(right, visible.flip(-1), visible)


def visible_mask(disparity: Tensor, inside: Tensor, factor: Tensor | float = 1.0) -> Tensor:
    """M_v, equation 13: seen by the other view, and within its picture. (B, 1, H, W) bool.

    Args:
        disparity: (B, 1, H, W) in pixels, of the distilled path.
        inside: (B, 1, H, W) bool, of `egodepth.geometry.stereo_volume.Reprojection`.
        factor: see `unoccluded`.
    """
    return unoccluded(disparity, factor) & inside


@in_float32
def distillation_loss(distilled_depth: Tensor, raw_depth: Tensor, mask: Tensor) -> Tensor:
    """L_sd, equation 15, a scalar: the masked L1 distance to the raw depth, as a mean over all pixels.

    Args:
        distilled_depth, raw_depth: (B, 1, H, W), of one unit. The raw depth carries no gradient.
        mask: (B, 1, H, W) bool.
    """
    return (mask * (distilled_depth - raw_depth.detach()).abs()).mean()
