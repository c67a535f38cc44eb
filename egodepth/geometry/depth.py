"""Disparity and depth, and the range that a sigmoid spans.

Source: Monodepth2 (Godard et al., ICCV 2019), section 3.1; numbers in tests/reference/monodepth2.json.
"""

import torch.nn.functional as F
from torch import Tensor

from egodepth.geometry.precision import in_float32

MIN_DEPTH = 0.1
MAX_DEPTH = 100.0


@in_float32
def sigmoid_to_disparity(
    sigmoid_disparity: Tensor, min_depth: float = MIN_DEPTH, max_depth: float = MAX_DEPTH
) -> Tensor:
    """Inverse depth from a network's sigmoid output in (0, 1), linear between 1 / max_depth and 1 / min_depth."""
    return 1 / max_depth + (1 / min_depth - 1 / max_depth) * sigmoid_disparity


def sigmoid_to_depth(sigmoid_disparity: Tensor, min_depth: float = MIN_DEPTH, max_depth: float = MAX_DEPTH) -> Tensor:
    """Depth in [min_depth, max_depth] from a network's sigmoid output in (0, 1)."""
    return 1 / sigmoid_to_disparity(sigmoid_disparity, min_depth, max_depth)


def enlarged_depth(
    sigmoid_disparity: Tensor,
    size: tuple[int, int],
    min_depth: float = MIN_DEPTH,
    max_depth: float = MAX_DEPTH,
) -> Tensor:
    """Depth (B, 1, *size) from a sigmoid output (B, 1, h, w) that is enlarged bilinearly first, as disparity."""
    full_size = F.interpolate(sigmoid_disparity.float(), size, mode="bilinear", align_corners=False)
    return sigmoid_to_depth(full_size, min_depth, max_depth)
