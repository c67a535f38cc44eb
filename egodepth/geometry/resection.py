"""The motion of a camera between two pictures, from points whose depth is known and where they went.

Resection, or the perspective-n-point problem: Gauss-Newton on the distances in the picture, each weighed by how far it
is from the rest (Cauchy's weights, iteratively reweighted), so that what moves by itself has little say.
"""

import torch
from torch import Tensor

from egodepth.geometry.poses import axis_angle_to_rotation, rigid_transform
from egodepth.geometry.precision import in_float32

STEPS = 12
LEAST_DEPTH_SHARE = 0.05
"""Points that come nearer to the second camera than this share of their median depth count as if they stood there."""

SPREAD = 1.5
"""Distances beyond so many medians count less than half."""

LEAST_SPREAD_PX = 0.05
DAMPING = 1e-6

AHEAD = 0.05
"""Length of the way ahead that is tried, too, in median depths."""


@in_float32
def resection(points: Tensor, places: Tensor, valid: Tensor, intrinsics: Tensor) -> Tensor:
    """The transforms (B, 4, 4), first camera to second, under which points are seen where they were found.

    Args:
        points: (B, N, 3), in the first camera.
        places: (B, N, 2), column and row in pixels of the second picture.
        valid: (B, N) bool, those that count.
        intrinsics: (B, 3, 3), in pixels.

    Where fewer than six points count, the transform is the identity: the camera stands still.
    """
    count = len(points)
    standing = points.new_zeros(count, 3)
    # From a standing camera, points that hardly move may win over the near ones; from one that drives they do not.
    ahead = standing - AHEAD * points[..., 2].median(dim=1).values[:, None] * points.new_tensor([0.0, 0.0, 1.0])
    twice = [torch.cat([each, each]) for each in (points, places, valid, intrinsics)]
    found, distance = _solved(*twice, torch.cat([standing, ahead]))
    best = better_half(distance, twice[2])
    enough = valid.sum(1) >= 6
    return torch.where(enough[:, None, None], found[best], torch.eye(4, device=points.device))


def better_half(distance: Tensor, valid: Tensor) -> Tensor:
    """The index (B,) of the better of two solutions i and B + i: the one with the smaller median distance (2 B, N)."""
    count, off = len(distance) // 2, median_where(distance, valid)
    return torch.arange(count, device=distance.device) + count * (off[count:] < off[:count])


def median_where(values: Tensor, valid: Tensor) -> Tensor:
    """The medians (B,) of values (B, N) that count; NaN where none does."""
    return values.masked_fill(~valid, torch.nan).nanmedian(dim=1).values


def _solved(
    points: Tensor, places: Tensor, valid: Tensor, intrinsics: Tensor, translation: Tensor
) -> tuple[Tensor, Tensor]:
    """The transforms (B, 4, 4) to which iterations from a translation (B, 3) lead, and the points' distances (B, N)."""
    focal = intrinsics.diagonal(dim1=1, dim2=2)[:, None, :2]
    centre = intrinsics[:, None, :2, 2]
    least = _least(points)
    rotation = torch.eye(3, device=points.device).expand(len(points), 3, 3)
    for _ in range(STEPS):
        moved = points @ rotation.mT + translation[:, None]
        depth = torch.maximum(moved[..., 2], least)[..., None]
        residual = focal * moved[..., :2] / depth + centre - places
        weight = cauchy_weights(residual.norm(dim=-1), valid)
        step = _step(moved, depth, residual, weight, focal)
        turn = axis_angle_to_rotation(step[:, :3])
        rotation = turn @ rotation
        translation = (turn @ translation[..., None])[..., 0] + step[:, 3:]
    return rigid_transform(rotation, translation), residual.norm(dim=-1)


def seen_from(motion: Tensor, points: Tensor, intrinsics: Tensor) -> Tensor:
    """Where points (B, N, 3) are seen after a motion (B, 4, 4): column and row in pixels, (B, N, 2)."""
    moved = points @ motion[:, :3, :3].mT + motion[:, None, :3, 3]
    focal = intrinsics.diagonal(dim1=1, dim2=2)[:, None, :2]
    return focal * moved[..., :2] / torch.maximum(moved[..., 2], _least(points))[..., None] + intrinsics[:, None, :2, 2]


def _least(points: Tensor) -> Tensor:
    """(B, 1), the least depth that points count with after a motion."""
    return LEAST_DEPTH_SHARE * points[..., 2].median(dim=1, keepdim=True).values


def cauchy_weights(distance: Tensor, valid: Tensor) -> Tensor:
    """(B, N), Cauchy's, by the median distance of the points that count."""
    median = median_where(distance, valid)[:, None].nan_to_num()
    spread = (SPREAD * median).clamp(min=LEAST_SPREAD_PX)
    return valid / (1 + (distance / spread).square())


def _step(moved: Tensor, depth: Tensor, residual: Tensor, weight: Tensor, focal: Tensor) -> Tensor:
    """Gauss-Newton's turn and shift of the moved points, (B, 6)."""
    zero = torch.zeros_like(depth[..., 0])
    (fx, fy), (x, y) = (focal / depth).unbind(-1), (moved[..., :2] / depth).unbind(-1)
    # What the column and the row gain by a shift of the point; by a turn it is shifted by the cross product with it.
    of_shift = torch.stack([torch.stack([fx, zero, -fx * x], dim=-1), torch.stack([zero, fy, -fy * y], dim=-1)], dim=-2)
    of_turn = torch.linalg.cross(moved[..., None, :].expand_as(of_shift), of_shift, dim=-1)
    jacobian = torch.cat([of_turn, of_shift], dim=-1)
    weighted = jacobian * weight[..., None, None]
    normal = torch.einsum("bnki,bnkj->bij", weighted, jacobian)
    gradient = torch.einsum("bnki,bnk->bi", weighted, residual)
    return damped_step(normal, gradient)


def damped_step(normal: Tensor, gradient: Tensor) -> Tensor:
    """Gauss-Newton's step (B, K) of normal matrices (B, K, K) and gradients (B, K), damped so that it always exists."""
    damped = normal + torch.diag_embed(DAMPING * normal.diagonal(dim1=1, dim2=2) + 1e-9)
    return -torch.linalg.solve(damped, gradient[..., None])[..., 0]
