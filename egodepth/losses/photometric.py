"""The photometric error and the minimum over sources that Monodepth2 trains with.

Source: Godard et al., "Digging Into Self-Supervised Monocular Depth Estimation" (ICCV 2019), section 3; numbers
in tests/reference/monodepth2.json. SSIM runs in float32 also under autocast, because its variances are
differences of nearly equal numbers.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from egodepth.geometry.precision import in_float32
from egodepth.geometry.warping import sample

SSIM_C1 = 0.01**2
SSIM_C2 = 0.03**2
MID_GREY = 0.5


@dataclass(frozen=True)
class PatchMoments:
    """An image with the mean and the variance of the 3x3 patch around each pixel; all (..., C, H, W).

    Image and mean are less `MID_GREY`: the variance is a small difference of squares, which have a quarter of the
    rounding error around zero.

    The target's are needed against every source at every scale: made once, they halve the cost of SSIM.
    """

    image: Tensor
    mean: Tensor
    variance: Tensor


@in_float32
def patch_moments(image: Tensor) -> PatchMoments:
    """3x3 patch mean and biased variance of an image (..., C, H, W), reflected at the border."""
    centred = image - MID_GREY
    mean = _patch_mean(centred)
    return PatchMoments(centred, mean, _patch_mean(centred.square()) - mean.square())


@in_float32
def structural_dissimilarity(image: Tensor, target: PatchMoments) -> Tensor:
    """(1 - SSIM) / 2 in [0, 1], per pixel and channel.

    Args:
        image: (..., C, H, W) in [0, 1].
        target: the moments of an image that broadcasts to the same shape.

    Returns:
        (..., C, H, W), 0 where the patches are equal. Wang et al. 2004 with 3x3 uniform windows, C1 = 1e-4 and
        C2 = 9e-4, as Monodepth2 section 3.1 takes it.
    """
    moments = patch_moments(image)
    covariance = _patch_mean(moments.image * target.image) - moments.mean * target.mean
    mean, target_mean = moments.mean + MID_GREY, target.mean + MID_GREY
    numerator = (2 * mean * target_mean + SSIM_C1) * (2 * covariance + SSIM_C2)
    denominator = (mean.square() + target_mean.square() + SSIM_C1) * (moments.variance + target.variance + SSIM_C2)
    return ((1 - numerator / denominator) / 2).clamp(0, 1)


@in_float32
def photometric_error(image: Tensor, target: PatchMoments, ssim_weight: float = 0.85) -> Tensor:
    """pe(image, target): SSIM and L1 mixed, mean over the channels (Monodepth2 equation 3).

    Args:
        image: (..., C, H, W) in [0, 1]; several sources are stacked on a leading axis.
        ssim_weight: alpha of the paper; 0 leaves L1 alone.

    Returns:
        (..., H, W), at least 0.
    """
    absolute = (image - MID_GREY - target.image).abs().mean(-3)
    if ssim_weight == 0:
        return absolute
    dissimilarity = structural_dissimilarity(image, target).mean(-3)
    return ssim_weight * dissimilarity + (1 - ssim_weight) * absolute


def tie_break(errors: Tensor, magnitude: float = 1e-5) -> Tensor:
    """Add normal noise, so that where an identity and a reprojection error are equal neither always wins."""
    return errors + magnitude * torch.randn_like(errors)


@dataclass(frozen=True)
class MinimumError:
    """Which error each pixel is trained with.

    Attributes:
        error: (B, H, W), the least over all candidates.
        reprojected: (B, H, W) bool, true where a reprojection error won: the auto-mask of Monodepth2 section 3.3.
            Where an identity error won, the pixel is a constant without gradient, but still counts in the mean.
    """

    error: Tensor
    reprojected: Tensor


def whole_patches(mask: Tensor) -> Tensor:
    """Where the 3x3 patch around a pixel is used whole, so that no error there depends on a pixel that is left out.

    Args:
        mask: (B, 1, H, W) bool, the pixels that are used; the result is of the same form.
    """
    return F.max_pool2d((~mask).float(), 3, stride=1, padding=1) == 0


def shown_error(error: Tensor, mask: Tensor, grid: Tensor, align_corners: bool = True) -> Tensor:
    """The errors of warped sources, infinite where a source was sampled beside the scene: no other has to be as good.

    Args:
        error: (S, B, H, W).
        mask: (B, 1, H, W) bool, the pixels of each source that show the scene.
        grid: (S, B, H, W, 2), where the sources were sampled.
        align_corners: as they were sampled.
    """
    shown = whole_patches(mask).to(grid.dtype).expand(len(grid), *mask.shape)
    with torch.no_grad():
        seen = sample(shown, grid, align_corners)[..., 0, :, :] > 0.99
    return error.masked_fill(~seen, torch.inf)


def at_size(mask: Tensor | None, size: Sequence[int]) -> Tensor | None:
    """A mask (B, 1, H, W) at another size: a pixel is used where all that it covers are."""
    if mask is None or mask.shape[-2:] == tuple(size):
        return mask
    return F.adaptive_max_pool2d((~mask).float(), tuple(size)) == 0


def mean_where(values: Tensor, mask: Tensor | None) -> Tensor:
    """Mean of values, over those where a bool mask of the same shape is true if there is one; 0 where it is nowhere.

    What is left out may be infinite, and has a gradient of exactly zero.
    """
    if mask is None:
        return values.mean()
    return torch.where(mask, values, 0).sum() / mask.sum().clamp(min=1)


def minimum_error(reprojection: Tensor, identity: Tensor | None = None) -> MinimumError:
    """Per-pixel minimum over the sources, the un-warped ones included (Monodepth2 equations 4 and 5).

    Args:
        reprojection: (S, B, H, W), error of each warped source.
        identity: (S, B, H, W), error of each source as it is, for auto-masking; ties must be broken before.
    """
    if identity is None:
        error = reprojection.amin(0)
        return MinimumError(error, torch.ones_like(error, dtype=torch.bool))
    best = reprojection.amin(0)
    static = identity.amin(0)
    # On a tie the reference keeps the first candidate, which is an identity error.
    return MinimumError(torch.minimum(best, static), best < static)


def _patch_mean(image: Tensor) -> Tensor:
    """3x3 mean; sums of shifted views, which on a CPU take half the time of average pooling."""
    padded = F.pad(image.flatten(0, -4), (1, 1, 1, 1), mode="reflect")
    rows = padded[..., :-2] + padded[..., 1:-1] + padded[..., 2:]
    return ((rows[..., :-2, :] + rows[..., 1:-1, :] + rows[..., 2:, :]) / 9).view(image.shape)
