"""Inputs whose every number follows from its index and a seed by integer arithmetic, in any language.

The rule and the pictures, disparities and camera made with it are stated in the specification of the losses, section 0.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

BATCH, HEIGHT, WIDTH = 2, 32, 104
BITS = 0xFFFFFFFF


def hashed_uniform(shape: Sequence[int], seed: int) -> Tensor:
    """Numbers in [0, 1), float64: the hash of each row-major index, offset by the seed."""
    hashed = (torch.arange(math.prod(shape), dtype=torch.int64) + 1 + 1000003 * seed) & BITS
    hashed = _times(hashed, 2654435761)
    hashed = _times(hashed ^ (hashed >> 15), 2246822519)
    hashed = hashed ^ (hashed >> 13)
    return (hashed.double() / 2**32).reshape(tuple(shape))


def _times(value: Tensor, factor: int) -> Tensor:
    """The low 32 bits of the product; in two halves, because the whole product does not fit 63 bits."""
    low, high = value & 0xFFFF, value >> 16
    return (low * factor + (((high * factor) & 0xFFFF) << 16)) & BITS


def hashed_image(seed: int) -> Tensor:
    """I(seed), float64 (B, 3, H, W) in [0, 1]: waves that move with the seed, and noise."""
    b, c, y, x = _coordinates(3)
    phase = 2 * math.pi * ((2 + c) * x / WIDTH + 0.05 * seed + 0.2 * b)
    waves = 0.25 * torch.sin(phase) * torch.cos(2 * math.pi * (1 + c) * y / HEIGHT)
    return 0.5 + waves + 0.1 * (hashed_uniform((BATCH, 3, HEIGHT, WIDTH), seed) - 0.5)


def hashed_disparity(seed: int) -> Tensor:
    """S(seed), float64 (B, 1, H, W): the sigmoid disparity of a street, nearer towards the bottom."""
    _, _, y, _ = _coordinates(1)
    return 0.01 + 0.03 * y / HEIGHT + 0.002 * hashed_uniform((BATCH, 1, HEIGHT, WIDTH), seed)


def hashed_depth(seed: int) -> Tensor:
    """The depth 1 / (10 S + 0.01) of `hashed_disparity`."""
    return 1 / (10 * hashed_disparity(seed) + 0.01)


def hashed_features(seed: int) -> Tensor:
    """Features, float64 (B, 8, H, W) in [0, 1)."""
    return hashed_uniform((BATCH, 8, HEIGHT, WIDTH), seed)


def hashed_intrinsics() -> Tensor:
    """K, float64 (B, 3, 3) in pixels."""
    matrix = [[0.58 * WIDTH, 0, 0.5 * WIDTH], [0, 1.92 * HEIGHT, 0.5 * HEIGHT], [0, 0, 1]]
    return torch.tensor(matrix, dtype=torch.float64).repeat(BATCH, 1, 1)


def hashed_transform() -> Tensor:
    """T_ab, float64 (B, 4, 4): the rotation is the matrix exponential of the cross product with its axis-angle."""
    x, y, z = 0.002, -0.004, 0.001
    cross = torch.tensor([[0, -z, y], [z, 0, -x], [-y, x, 0]], dtype=torch.float64)
    transform = torch.eye(4, dtype=torch.float64)
    transform[:3, :3] = torch.linalg.matrix_exp(cross)
    transform[:3, 3] = transform.new_tensor([0.02, -0.01, 0.15])
    return transform.repeat(BATCH, 1, 1)


def _coordinates(channels: int) -> tuple[Tensor, ...]:
    """Batch, channel, row and column of each place, each broadcastable to (B, C, H, W)."""
    sizes = (BATCH, channels, HEIGHT, WIDTH)
    return torch.meshgrid(*(torch.arange(size, dtype=torch.float64) for size in sizes), indexing="ij")
