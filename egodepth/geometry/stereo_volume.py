"""Discrete disparity volumes of a rectified stereo pair: pure functions on tensors.

A volume holds, for each pixel of the target view, a logit for each of N disparities. Shifted by its own disparity, each
slice speaks about the other view, which can so be painted from the target's colours alone.

Conventions. Disparities are in pixels of the volume's own width. A `factor` scales them for a whole batch or for each
sample, (B,): its sign says which view the target is, +1 left and -1 right, and its size is the baseline in units of
the one that the levels are meant for. Over a width W, a disparity d moves a pixel by d (W - 1) / W, as in the published
code, which measures shifts by W / 2 on a grid between pixel centres. Everything runs in float32 at least.

Source: "Self-Distilled Feature Aggregation for Self-Supervised Monocular Depth Estimation" (Zhou & Dong, ECCV 2022),
section 3.2, equations 6 to 9, after FAL-Net (Gonzalez & Kim, NeurIPS 2020); numbers in tests/reference/sdfa_net.json.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from egodepth.geometry.precision import in_float32
from egodepth.geometry.warping import sample


def disparity_levels(count: int, smallest: float, largest: float) -> tuple[float, ...]:
    """Disparities that grow by one ratio from `smallest` to `largest`, equation 6."""
    return tuple(largest * (largest / smallest) ** (place / (count - 1) - 1) for place in range(count))


def per_sample(factor: Tensor | float, like: Tensor) -> Tensor:
    """A factor, one or (B,), as (1 or B, 1, 1, 1) beside a tensor (B, C, H, W)."""
    return torch.as_tensor(factor, dtype=like.dtype, device=like.device).reshape(-1, 1, 1, 1)


@in_float32
def expected_disparity(logits: Tensor, levels: Sequence[float], factor: Tensor | float = 1.0) -> Tensor:
    """The mean disparity (B, 1, H, W) of a volume of logits (B, N, H, W), equation 8."""
    weights = logits.new_tensor(levels)[:, None, None]
    mean = (logits.softmax(1) * weights).sum(1, keepdim=True)
    return mean * per_sample(factor, mean).abs()


# --- the other view --------------------------------------------------------------------------------------------


@in_float32
def synthesise_other_view(
    image: Tensor, logits: Tensor, levels: Sequence[float], factor: Tensor | float = 1.0
) -> Tensor:
    """The other view (B, C, H, W), painted with the target's colours, equation 7.

    At each pixel the N images that the target gives when it is shifted by each of the levels are mixed by the softmax
    of the equally shifted logits. Outside the picture, the image repeats its border and logits are zero.

    The N shifted images, three times the size of the volume, never exist at once: forward and backward make them one
    by one and keep one volume of probabilities.

    Args:
        image: (B, C, H, W), of the target view.
        logits: (B, N, H, W), of the target view.
        levels: N disparities in pixels.
        factor: for all or for each sample; few different ones keep this fast.
    """
    factors = factor.tolist() if isinstance(factor, Tensor) and factor.ndim else [float(factor)] * len(image)
    distinct = list(dict.fromkeys(factors))
    if len(distinct) == 1:
        return _synthesised(image, logits, levels, distinct[0])
    groups = [[place for place, other in enumerate(factors) if other == value] for value in distinct]
    views = [
        _synthesised(image[group], logits[group], levels, value) for group, value in zip(groups, distinct, strict=True)
    ]
    order = torch.tensor([place for group in groups for place in group], device=image.device)
    return torch.cat(views)[order.argsort()]


def _synthesised(image: Tensor, logits: Tensor, levels: Sequence[float], factor: float) -> Tensor:
    width = image.shape[-1]
    shifts = [factor * level * (width - 1) / width for level in levels]
    # A shift by the width or more shows the border alone, as does one by the width less one pixel.
    margin = min(int(max(map(abs, shifts))) + 2, width)
    padded = F.pad(image, (margin, 0, 0, 0) if factor < 0 else (0, margin, 0, 0), mode="replicate")
    return _ShiftedMixture.apply(logits, padded, shifts, margin if factor < 0 else 0)


class _ShiftedMixture(torch.autograd.Function):
    """Sum over n of softmax_n(shifted logits) times the shifted image, one level in memory at a time."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, padded: Tensor, shifts: list[float], origin: int) -> Tensor:
        weights = torch.zeros_like(logits)
        for level, shift in enumerate(shifts):
            for whole, share in _neighbours(shift):
                _add_shifted(weights[:, level], logits[:, level], whole, share)
        weights.sub_(weights.amax(1, keepdim=True)).exp_()
        weights.div_(weights.sum(1, keepdim=True))
        width = logits.shape[-1]
        mixture = padded.new_zeros(*padded.shape[:-1], width)
        for level, shift in enumerate(shifts):
            mixture.addcmul_(weights[:, level : level + 1], _window(padded, shift, origin, width))
        ctx.save_for_backward(weights, padded, mixture)
        ctx.shifts, ctx.origin = shifts, origin
        return mixture

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        weights, padded, mixture = ctx.saved_tensors
        width = mixture.shape[-1]
        of_logits = torch.zeros_like(weights) if ctx.needs_input_grad[0] else None
        of_padded = torch.zeros_like(padded) if ctx.needs_input_grad[1] else None
        mean = (gradient * mixture).sum(1)
        for level, shift in enumerate(ctx.shifts):
            weight = weights[:, level]
            if of_logits is not None:
                colour = (gradient * _window(padded, shift, ctx.origin, width)).sum(1)
                of_shifted = weight * (colour - mean)
                for whole, share in _neighbours(shift):
                    _add_shifted(of_logits[:, level], of_shifted, -whole, share)
            if of_padded is not None:
                of_window = weight[:, None] * gradient
                for start, share in _window_starts(padded, shift, ctx.origin, width):
                    of_padded[..., start : start + width].add_(of_window, alpha=share)
        return of_logits, of_padded, None, None


def _neighbours(shift: float) -> list[tuple[int, float]]:
    """The two whole shifts beside a shift, with the share that linear interpolation gives each."""
    whole = int(shift // 1)
    return [(whole, 1 - (shift - whole)), (whole + 1, shift - whole)]


def _add_shifted(target: Tensor, source: Tensor, shift: int, share: float) -> None:
    """target[x] += share source[x + shift] along the last axis, wherever x + shift is inside."""
    width = target.shape[-1]
    first, last = max(0, -shift), min(width, width - shift)
    if first < last:
        target[..., first:last].add_(source[..., first + shift : last + shift], alpha=share)


def _window_starts(padded: Tensor, shift: float, origin: int, width: int) -> list[tuple[int, float]]:
    last = padded.shape[-1] - width
    return [(min(max(origin + whole, 0), last), share) for whole, share in _neighbours(shift)]


def _window(padded: Tensor, shift: float, origin: int, width: int) -> Tensor:
    """The image (B, C, H, width) at x + shift, of one that is `padded` and whose first column is at `origin`."""
    (first, share), (second, other) = _window_starts(padded, shift, origin, width)
    return (share * padded[..., first : first + width]).add_(padded[..., second : second + width], alpha=other)


# --- back again ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Reprojection:
    """The target view painted with the other view's colours.

    Attributes:
        image: (B, C, H, W).
        inside: (B, 1, H, W) bool, where the sampled place lies in the other view: M_oe of equation 13.
    """

    image: Tensor
    inside: Tensor


@in_float32
def reproject(other: Tensor, disparity: Tensor, factor: Tensor | float = 1.0) -> Reprojection:
    """Sample the other view (B, C, H, W) at x - d, equation 9, border pixels repeated outside.

    Args:
        disparity: (B, 1, H, W) in pixels, of the target view, positive; already scaled by the factor's size.
        factor: its sign alone counts: +1 for a left target, -1 for a right one.
    """
    batch, _, height, width = disparity.shape
    side = per_sample(factor, disparity).sign()
    columns = torch.linspace(-1, 1, width, device=disparity.device) - side * disparity * (2 / width)
    rows = torch.linspace(-1, 1, height, device=disparity.device)[:, None].expand(batch, height, width)
    return Reprojection(sample(other, torch.stack([columns[:, 0], rows], dim=-1)), columns.abs() <= 1)
