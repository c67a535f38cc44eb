"""Edge-aware smoothness of the disparity (Monodepth2 equation 6)."""

import torch
from torch import Tensor

from egodepth.geometry.precision import in_float32


def mean_normalised(disparity: Tensor) -> Tensor:
    """Disparity (B, 1, H, W) divided by its spatial mean, so that shrinking all depths wins nothing."""
    return disparity / (disparity.mean((2, 3), keepdim=True) + 1e-7)


@in_float32
def edge_aware_smoothness(disparity: Tensor, image: Tensor) -> Tensor:
    """Mean disparity gradient, weighed down where the image has an edge; a scalar.

    Args:
        disparity: (B, 1, H, W), usually `mean_normalised`.
        image: (B, C, H, W) in [0, 1], of the same size.
    """
    horizontal = _gradient(disparity, -1) * torch.exp(-_gradient(image, -1).mean(1, keepdim=True))
    vertical = _gradient(disparity, -2) * torch.exp(-_gradient(image, -2).mean(1, keepdim=True))
    return horizontal.mean() + vertical.mean()


def _gradient(values: Tensor, axis: int) -> Tensor:
    return values.diff(dim=axis).abs()
