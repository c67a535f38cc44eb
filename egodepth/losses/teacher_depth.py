"""What a student learns from depth maps whose scale, or scale and shift, may be unknown.

Source: Ranftl et al., "Towards Robust Monocular Depth Estimation: Mixing Datasets for Zero-shot Cross-dataset Transfer"
(MiDaS, TPAMI 2020), section 5: alignment by median and mean deviation, the trimmed mean, gradient matching over four
scales. Known scales are compared in the logarithm of depth, so that near and far count by their relative error.
"""

import torch
from torch import Tensor

from egodepth.geometry.precision import in_float32
from egodepth.losses.photometric import mean_where

GRADIENT_SCALES = 4
FIT_ROUNDS, FITTED_WITHIN = 4, 0.2
"""How often a map is fitted to what another network sees, and the relative error beyond which that one is wrong."""

TRIMMED_SHARE = 0.2
"""The largest residuals, which MiDaS leaves out where scale and shift are unknown: they are the teacher's errors."""

LEAST_DEVIATION = 1e-4
"""The least deviation of a student's inverse depth from its median: a flat one would have a gradient without bound."""

LEAST_TEACHER_DEVIATION = 1e-6
"""As a share of the largest value: below it is rounding. A teacher's units are free; in 1/mm 1e-4 is more than all."""


@in_float32
def log_residual(disparity: Tensor, teacher: Tensor, known: Tensor) -> Tensor:
    """Difference (B, 1, H, W) of the logarithms of inverse depths, 0 where the teacher's is not known.

    Args:
        disparity, teacher: inverse depth (B, 1, H, W), above 0 where `known`.
        known: (B, 1, H, W) bool.
    """
    safe = torch.where(known, teacher, 1)
    return torch.where(known, disparity.log() - safe.log(), 0)


@in_float32
def aligned_to(disparity: Tensor, teacher: Tensor, known: Tensor) -> Tensor:
    """The teacher's inverse depth (B, 1, H, W) times the factor of each image at which it lies around the student's.

    The factor is the median ratio, and a constant: it moves neither side.

    Args:
        disparity, teacher: inverse depth (B, 1, H, W), at least 0; a teacher's 0 is infinitely far at any scale.
        known: (B, 1, H, W) bool.
    """
    disparity, finite = disparity.detach(), known & (teacher > 0)
    ratio = disparity.log() - torch.where(finite, teacher, 1).log()
    return teacher * _medians(ratio, finite).exp()


@in_float32
def moved_to(disparity: Tensor, teacher: Tensor, known: Tensor) -> Tensor:
    """The teacher's inverse depth (B, 1, H, W) with the median and the mean deviation of the student's in each image.

    What of it is then below 0 is infinitely far. Arguments are those of `affine_residual`.
    """
    own = disparity.detach()
    middle = _medians(own, known)
    deviation = torch.where(known, (own - middle).abs(), 0).sum((1, 2, 3)) / known.sum((1, 2, 3)).clamp(min=1)
    standardised = _standardised(teacher, known, _least_deviation(teacher, known))
    return (standardised * deviation[:, None, None, None] + middle).clamp(min=0)


@in_float32
def fitted_to(start: Tensor, teacher: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
    """The teacher's inverse depth (B, 1, H, W), each image with the factor and shift at which it lies around another's.

    Both are those of least squares of relative errors, in which errors beyond `FITTED_WITHIN` have little weight, found
    anew several times, first from median and mean deviation.

    Args:
        start: inverse depth (B, 1, H, W), above 0, in the unit that is wanted.
        teacher: inverse depth of any scale and shift.
        known: (B, 1, H, W) bool.

    Returns:
        the fitted maps, 0 where they are not to be used, and where they are: known and above 0; nowhere in an image
        that is flat, or whose factor is not above 0.
    """
    least, fitted = torch.finfo(start.dtype).tiny, moved_to(start, teacher, known)
    for _ in range(FIT_ROUNDS):
        missed = ((fitted - start) / start / FITTED_WITHIN).square()
        weight = known / (start * (1 + missed)).square()
        total = weight.sum((1, 2, 3), keepdim=True).clamp(min=least)
        means = [(weight * each).sum((1, 2, 3), keepdim=True) / total for each in (teacher, start)]
        apart, wanted = teacher - means[0], start - means[1]
        spread = (weight * apart.square()).sum((1, 2, 3), keepdim=True).clamp(min=least)
        factor = (weight * apart * wanted).sum((1, 2, 3), keepdim=True) / spread
        fitted = means[1] + factor * apart
    flat = spread < total * _least_deviation(teacher, known)[:, None, None, None].square()
    used = known & (factor > 0) & (fitted > 0) & ~flat
    return torch.where(used, fitted, 0), used


@in_float32
def affine_residual(disparity: Tensor, teacher: Tensor, known: Tensor) -> Tensor:
    """Difference (B, 1, H, W) of inverse depths, each brought to median 0 and mean deviation 1 (MiDaS, equations 5, 6).

    Args:
        disparity, teacher: (B, 1, H, W); the teacher's may have any scale above 0 and any shift.
        known: (B, 1, H, W) bool.
    """
    student = _standardised(disparity, known, disparity.new_tensor(LEAST_DEVIATION))
    return torch.where(known, student - _standardised(teacher, known, _least_deviation(teacher, known)), 0)


@in_float32
def trimmed_mean(residual: Tensor, known: Tensor, share: float = TRIMMED_SHARE) -> Tensor:
    """Mean absolute residual of each image without its largest ones, meaned over the batch (MiDaS, equation 7)."""
    size = residual.abs()
    with torch.no_grad():
        limits = [
            size[row][known[row]].quantile(1 - share) if known[row].any() else size.new_tensor(torch.inf)
            for row in range(len(size))
        ]
        kept = known & (size <= torch.stack(limits)[:, None, None, None])
    return mean_where(size, kept)


@in_float32
def gradient_matching(residual: Tensor, known: Tensor, scales: int = GRADIENT_SCALES) -> Tensor:
    """Mean absolute gradient of a residual (B, 1, H, W), summed over scales (MiDaS, equation 11).

    It makes borders in depth fall together. Each scale takes every second pixel of the one before.
    """
    total = residual.new_zeros(())
    for scale in range(scales):
        step = 2**scale
        coarse, used = residual[..., ::step, ::step], known[..., ::step, ::step]
        if min(coarse.shape[-2:]) < 2:
            break
        across, along = used[..., 1:] & used[..., :-1], used[..., 1:, :] & used[..., :-1, :]
        total = total + mean_where(coarse.diff(dim=-1).abs(), across) + mean_where(coarse.diff(dim=-2).abs(), along)
    return total


def _standardised(values: Tensor, known: Tensor, least: Tensor) -> Tensor:
    """Values with median 0 and mean deviation 1 where known, of each image.

    Args:
        least: (B,) or (), deviation by which they are divided at least.
    """
    centred = values - _medians(values.detach(), known)
    deviation = torch.where(known, centred.abs(), 0).sum((1, 2, 3)) / known.sum((1, 2, 3)).clamp(min=1)
    return centred / deviation.maximum(least)[:, None, None, None]


def _least_deviation(teacher: Tensor, known: Tensor) -> Tensor:
    """By which a teacher's map is divided at least, (B,): so little, in whatever unit, is noise."""
    largest = torch.where(known, teacher, 0).abs().amax((1, 2, 3))
    return (LEAST_TEACHER_DEVIATION * largest).clamp(min=torch.finfo(teacher.dtype).tiny)


def _medians(values: Tensor, known: Tensor) -> Tensor:
    """The median (B, 1, 1, 1) of each image's known values; 0 where none is."""
    medians = torch.where(known, values, torch.nan).flatten(1).nanmedian(dim=1).values
    return medians.nan_to_num(0)[:, None, None, None]
