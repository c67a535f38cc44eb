"""The motion of a camera between two pictures from where points went, whatever depth they have.

A point that stands is seen in the second picture somewhere on its epipolar line, near or far. So turns and the
direction of the way come from the lines alone, by Gauss-Newton on the points' distances from them (Hartley and
Zisserman, Multiple View Geometry, 2nd edition, sections 9.6 and 11.4), each weighed by how far it is from the rest.
Depth says how long the way is, by one number of many points: what is wrong with its form turns no camera.
"""

import torch
from torch import Tensor

from egodepth.geometry.poses import axis_angle_to_rotation, rigid_transform
from egodepth.geometry.precision import in_float32
from egodepth.geometry.resection import STEPS, better_half, cauchy_weights, damped_step, median_where, resection

LEAST_LINE = 0.02
"""Added in square to the norm of a line's normal, which vanishes at the epipole: no direction is defined there."""
AGREE = 0.3
"""Points of less weight say nothing of the length of the way."""
BETTER = 0.8
"""Only lines that pass the points at less than this share of the start's distance are taken: turns, and walls that fill
the picture, have lines as good in many directions, and then the start, which knows depth, knows best."""


def solved_motion(points: Tensor, places: Tensor, valid: Tensor, intrinsics: Tensor) -> Tensor:
    """`epipolar_motion` that begins with what `resection` finds: the transforms (B, 4, 4), first camera to second."""
    return epipolar_motion(points, places, valid, intrinsics, resection(points, places, valid, intrinsics))


@in_float32
def epipolar_motion(points: Tensor, places: Tensor, valid: Tensor, intrinsics: Tensor, start: Tensor) -> Tensor:
    """The transforms (B, 4, 4), first camera to second, whose epipolar lines go through the places of the points.

    Args:
        points: (B, N, 3), in the first camera; their depth tells the length of the way alone.
        places: (B, N, 2), column and row in pixels of the second picture.
        valid: (B, N) bool, those that count.
        intrinsics: (B, 3, 3), in pixels.
        start: (B, 4, 4), motions to begin with, such as those of `resection`. The way straight ahead is tried, too.

    Where fewer than eight points count, or no lines are much better than the start's, the start is returned.
    """
    count, depth = len(points), points[..., 2]
    rays = points / depth[..., None]
    seen = torch.cat([places, torch.ones_like(places[..., :1])], dim=-1) @ torch.linalg.inv(intrinsics).mT
    focal = intrinsics[:, 0, 0]
    ahead = torch.eye(4, device=points.device).repeat(count, 1, 1)
    ahead[:, 2, 3] = -1
    begun = torch.cat([start, ahead])
    twice = [torch.cat([each, each]) for each in (rays, seen, valid, focal)]
    rotation, direction, distance = _refined(begun[:, :3, :3], begun[:, :3, 3], *twice)
    best = better_half(distance, twice[2])
    rotation, direction, distance = rotation[best], direction[best], distance[best]
    before, _ = _distances(rays @ start[:, :3, :3].mT, _direction(start[:, :3, 3]), seen, focal)
    better = median_where(distance, valid) < BETTER * median_where(before.abs(), valid)
    length = _length(rays @ rotation.mT, direction, seen, depth, cauchy_weights(distance, valid) > AGREE)
    found = rigid_transform(rotation, direction * length[:, None])
    taken = better & (valid.sum(1) >= 8) & found.isfinite().all(dim=(1, 2))
    return torch.where(taken[:, None, None], found, start)


def _refined(
    rotation: Tensor, way: Tensor, rays: Tensor, seen: Tensor, valid: Tensor, focal: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Rotation, direction of the way (B, 3), and the distances (B, N) of the points from their lines, in pixels."""
    direction = _direction(way)
    for _ in range(STEPS):
        turned = rays @ rotation.mT
        residual, scale = _distances(turned, direction, seen, focal)
        weight = cauchy_weights(residual.abs(), valid)
        along = direction[:, None].expand_as(turned)
        of_turn = torch.linalg.cross(turned, torch.linalg.cross(seen, along, dim=-1), dim=-1)
        of_way = torch.linalg.cross(turned, seen, dim=-1) @ _across(direction)
        jacobian = torch.cat([of_turn, of_way], dim=-1) * scale[..., None]
        weighted = jacobian * weight[..., None]
        step = damped_step(weighted.mT @ jacobian, (weighted.mT @ residual[..., None])[..., 0])
        rotation = axis_angle_to_rotation(step[:, :3]) @ rotation
        direction = _unit(direction + (_across(direction) @ step[:, 3:, None])[..., 0])
    residual, _ = _distances(rays @ rotation.mT, direction, seen, focal)
    return rotation, direction, residual.abs()


def _direction(way: Tensor) -> Tensor:
    """Unit vectors of translations (B, 3); straight ahead where the translation is zero."""
    return _unit(torch.where(way.norm(dim=-1, keepdim=True) > 0, way, way.new_tensor([0.0, 0.0, -1.0])))


def _distances(turned: Tensor, direction: Tensor, seen: Tensor, focal: Tensor) -> tuple[Tensor, Tensor]:
    """Signed distances (B, N) of what is seen from the epipolar lines, in pixels, and pixels for one unit of them."""
    line = torch.linalg.cross(direction[:, None].expand_as(turned), turned, dim=-1)
    scale = focal[:, None] / (line[..., :2].square().sum(-1) + LEAST_LINE**2).sqrt()
    return (line * seen).sum(-1) * scale, scale


def _length(turned: Tensor, direction: Tensor, seen: Tensor, depth: Tensor, agree: Tensor) -> Tensor:
    """The length of the way (B,) at which most points have the depth that they are said to have.

    A point moves along its line from where it would be seen if it were infinitely far. Those that move least say least
    of it, so that half of them are left out.
    """
    off = torch.linalg.cross(turned, seen, dim=-1)
    reach = torch.linalg.cross(direction[:, None].expand_as(turned), seen, dim=-1)
    inverse_depth = -(off * reach).sum(-1) / reach.square().sum(-1).clamp(min=1e-12)
    moved = off.norm(dim=-1).masked_fill(~agree, torch.nan)
    tells = moved >= moved.nanmedian(dim=1, keepdim=True).values
    return (inverse_depth * depth).masked_fill(~tells, torch.nan).nanmedian(dim=1).values


def _across(direction: Tensor) -> Tensor:
    """Two directions at right angles to one (B, 3) and to each other, as columns (B, 3, 2)."""
    least = direction.abs().argmin(dim=-1)
    first = _unit(torch.linalg.cross(direction, torch.eye(3, device=direction.device)[least], dim=-1))
    return torch.stack([first, torch.linalg.cross(direction, first, dim=-1)], dim=-1)


def _unit(vectors: Tensor) -> Tensor:
    return vectors / vectors.norm(dim=-1, keepdim=True)
