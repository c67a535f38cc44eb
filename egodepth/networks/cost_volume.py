"""A plane-sweep cost volume: how well each depth explains what other frames saw of a pixel.

Source: Watson et al., "The Temporal Opportunist: Self-Supervised Multi-Frame Monocular Depth" (CVPR 2021), section
3.2; specification section B2. Nothing here carries a gradient.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from egodepth.geometry.precision import in_float32
from egodepth.geometry.warping import EpipolarRays, pixel_grid, sample, sampling_grid
from egodepth.networks.configurations import Spacing

BORDER = 2
"""Pixels at an image's edge whose features saw the encoder's zero padding; they are compared with nothing."""

MEMORY_PER_IMAGE = 16 * 2**20
"""Bytes of warped features that one image may hold at a time: as many as two float32 features at 1/2 of 640x192."""

NO_COST = 100.0
"""What a cell without any cost counts as in the search for the lowest."""


@dataclass(frozen=True)
class CostVolume:
    """What matching found.

    Attributes:
        cost: (B, N, h, w), at least 0; cells that no lookup frame showed hold the pixel's largest cost, and pixels
            that no lookup frame showed at any depth are 0.
        confidence: (B, 1, h, w) bool, whether all N depths of the pixel had a cost.
        lowest_cost_depth: (B, 1, h, w), the hypothesis of least cost; the nearest one where there is no cost.
    """

    cost: Tensor
    confidence: Tensor
    lowest_cost_depth: Tensor


def depth_hypotheses(nearest: Tensor, farthest: Tensor, count: int, spacing: Spacing) -> Tensor:
    """Depths (count,) in ascending order between two depths, which are scalars in units of training."""
    place, last = torch.arange(count, device=nearest.device, dtype=nearest.dtype), count - 1
    if spacing == "inverse":
        return last / ((last - place) / nearest + place / farthest)
    return ((last - place) * nearest + place * farthest) / last


@torch.no_grad()
@in_float32
def match(
    current: Tensor,
    lookups: Tensor,
    transforms: Tensor,
    valid: Tensor,
    intrinsics: Tensor,
    depths: Tensor,
    memory_per_image: int = MEMORY_PER_IMAGE,
) -> CostVolume:
    """The cost volume of features against those of lookup frames.

    The features are warped for as many depths at a time as the memory allows, one at least. The number does not
    depend on the batch, whose size an exported graph leaves open.

    Args:
        current: (B, C, h, w), features of the current image.
        lookups: (B, L, C, h, w), features of the lookup frames.
        transforms: (B, L, 4, 4), current camera to lookup camera.
        valid: (B, L) bool, false where a frame is missing; its features and transform are then not looked at.
        intrinsics: (B, 3, 3) in pixels of the features, without skew.
        depths: (N,) hypotheses in ascending order, in units of the transforms' translation.
        memory_per_image: bytes that the warped features of one image take at most.
    """
    size = current.shape[-2:]
    frames = [
        (lookups[:, index], _rays(intrinsics, transforms[:, index], *size), valid[:, index, None, None, None])
        for index in range(lookups.shape[1])
    ]
    at_a_time = max(1, memory_per_image // (current[0].numel() * current.element_size()))
    costs = []
    for some_depths in depths.split(at_a_time):
        of_frames = torch.stack(
            [
                torch.where(present, _frame_costs(current, features, rays, some_depths), 0)
                for features, rays, present in frames
            ]
        )
        costs.append(of_frames.sum(0) / ((of_frames > 0).sum(0) + 1e-7))
    return _judged(torch.cat(costs, dim=1), depths)


def unmatched(current: Tensor, depths: Tensor) -> CostVolume:
    """The cost volume (B, N, h, w) of features (B, C, h, w) that no lookup frame goes with."""
    batch, _, height, width = current.shape
    return _judged(current.new_zeros(batch, depths.shape[0], height, width), depths)


def _judged(cost: Tensor, depths: Tensor) -> CostVolume:
    """Fill the cells (B, N, h, w) whose cost is exactly zero and read off what the volume says."""
    missing = cost == 0
    filled = torch.where(missing, cost.amax(1, keepdim=True), cost)
    lowest = torch.where(filled == 0, NO_COST, filled).argmin(1, keepdim=True)
    return CostVolume(filled, ~missing.any(1, keepdim=True), depths[lowest])


def _frame_costs(current: Tensor, lookup: Tensor, rays: EpipolarRays, depths: Tensor) -> Tensor:
    """Mean absolute difference (B, n, h, w) over the channels at n depths; 0 where pixels are not comparable."""
    grid = sampling_grid(depths[:, None, None, None], rays)
    # How the outside is padded does not matter: cells that would see it are not comparable.
    warped = sample(lookup, grid.flatten(1, 2)).unflatten(2, grid.shape[1:3])
    difference = warped.sub_(current[:, :, None]).abs_().mean(1)
    return torch.where(_comparable(grid), difference, 0)


def _comparable(grid: Tensor) -> Tensor:
    """Whether both pixels of a pair lie off the borders: (B, n, h, w) bool, of a grid (B, n, h, w, 2)."""
    height, width = grid.shape[2:4]
    position = (grid + 1) / 2 * grid.new_tensor([width - 1, height - 1])
    inside = (position >= BORDER) & (position <= grid.new_tensor([width - BORDER, height - BORDER]))
    interior = torch.ones(height - 2 * BORDER, width - 2 * BORDER, dtype=torch.bool, device=grid.device)
    return inside.all(-1) & F.pad(interior, [BORDER] * 4)


def _rays(intrinsics: Tensor, transform: Tensor, height: int, width: int) -> EpipolarRays:
    """The rays of every pixel, each with an axis for the depths: direction (B, 1, 3, h, w), offset (B, 1, 3, 1, 1).

    `geometry.epipolar_rays` inverts the intrinsics by a routine that ONNX lacks; without skew it takes a division.
    """
    pixels = pixel_grid(height, width, intrinsics.device, intrinsics.dtype).flatten(1)
    focal, centre = torch.diagonal(intrinsics, dim1=1, dim2=2)[:, :2, None], intrinsics[:, :2, 2:]
    plane = (pixels[:2] - centre) / focal
    rays = torch.cat([plane, torch.ones_like(plane[:, :1])], dim=1)
    direction = (intrinsics @ transform[:, :3, :3] @ rays).unflatten(-1, (height, width))
    return EpipolarRays(direction[:, None], (intrinsics @ transform[:, :3, 3:])[:, None, ..., None])
