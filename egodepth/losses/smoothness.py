"""Edge-aware smoothness of the disparity (Monodepth2 equation 6)."""

import torch
from torch import Tensor

from egodepth.geometry.precision import in_float32
from egodepth.losses.photometric import mean_where


def mean_normalised(disparity: Tensor, mask: Tensor | None = None) -> Tensor:
    """Disparity (B, 1, H, W) divided by its spatial mean, so that shrinking all depths wins nothing.

    Args:
        mask: (B, 1, H, W) bool, the pixels that count in the mean; none counts all.
    """
    if mask is None:
        return disparity / (disparity.mean((2, 3), keepdim=True) + 1e-7)
    mean = torch.where(mask, disparity, 0).sum((2, 3), keepdim=True) / mask.sum((2, 3), keepdim=True).clamp(min=1)
    return disparity / (mean + 1e-7)


@in_float32
def edge_aware_smoothness(disparity: Tensor, image: Tensor, mask: Tensor | None = None) -> Tensor:
    """Mean disparity gradient, weighed down where the image has an edge; a scalar.

    Args:
        disparity: (B, 1, H, W), usually `mean_normalised`.
        image: (B, C, H, W) in [0, 1], of the same size.
        mask: (B, 1, H, W) bool, the pixels between which gradients count; none counts all.
    """
    horizontal = _gradient(disparity, -1) * torch.exp(-_gradient(image, -1).mean(1, keepdim=True))
    vertical = _gradient(disparity, -2) * torch.exp(-_gradient(image, -2).mean(1, keepdim=True))
    if mask is None:
        return horizontal.mean() + vertical.mean()
    across, along = mask[..., 1:] & mask[..., :-1], mask[..., 1:, :] & mask[..., :-1, :]
    return mean_where(horizontal, across) + mean_where(vertical, along)


def _gradient(values: Tensor, axis: int) -> Tensor:
    return values.diff(dim=axis).abs()
