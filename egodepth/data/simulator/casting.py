"""Ray casting: what a pixel, a laser beam or the sun meets first.

Solids are few and convex, so each is met by exactly the rays inside the rectangle that it covers, nearest solids
first; a solid behind what is already drawn costs one comparison. Both cameras of the pair share their ray
directions and are cast as one.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from egodepth.data.simulator.profile import FLAT, Profile
from egodepth.data.simulator.solids import CYLINDER, Solids, crossing, image_rectangles
from egodepth.data.simulator.street import GROUND_REACH_M, Street

GROUND, SKY = -1, -2
SCAN_REACH_M = 80.0
SHADOW_CELL_M = 0.125
SHADOW_SIDE_M = 26.0
HILLY_SHADOW_SIDE_M = 42.0  # the map lies at y = 0, and what is up the hill falls on it farther off


@dataclass(frozen=True)
class StereoView:
    """A rectified pair: one set of intrinsics in pixels and the distance of the eyes.

    Pixel centres are integers.
    """

    height: int
    width: int
    focal_px: float
    centre_x_px: float
    centre_y_px: float
    baseline_m: float

    def rays(self) -> tuple[np.ndarray, np.ndarray]:
        """x (W,) and y (H,) of the rays through the pixel centres, at z = 1."""
        x = (np.arange(self.width) - self.centre_x_px) / self.focal_px
        y = (np.arange(self.height) - self.centre_y_px) / self.focal_px
        return x.astype(np.float32), y.astype(np.float32)

    def origins(self, pose: np.ndarray) -> np.ndarray:
        """The two eyes (2, 3) in the world."""
        return pose[:3, 3] + np.array([[0.0], [self.baseline_m]]) * pose[:3, 0]


@dataclass(frozen=True)
class Hits:
    """First hits of a pair of images.

    Attributes:
        depth: (2, H, W) float32, camera z in metres; infinite in the sky.
        solid: (2, H, W) int32, index of the solid, GROUND or SKY.
    """

    depth: np.ndarray
    solid: np.ndarray


@np.errstate(divide="ignore", invalid="ignore")
def cast_pair(view: StereoView, pose: np.ndarray, solids: Solids, profile: Profile = FLAT) -> Hits:
    """The first hit of every pixel of both eyes, left camera to world by `pose` (4, 4)."""
    x, y = view.rays()
    rotation, origins = pose[:3, :3], view.origins(pose)
    depth = np.empty((2, view.height, view.width), dtype=np.float32)
    down = rotation[1, 0] * x + (rotation[1, 1] * y + rotation[1, 2])[:, None]
    ahead = None if profile.flat else rotation[2, 0] * x + (rotation[2, 1] * y + rotation[2, 2])[:, None]
    for eye in range(2):
        if ahead is None:
            depth[eye] = np.where(down > 0, -origins[eye, 1] / down, np.inf)
        else:
            depth[eye] = profile.meet(origins[eye], down, ahead)
    depth[depth > GROUND_REACH_M] = np.inf
    solid = np.where(np.isfinite(depth), np.int32(GROUND), np.int32(SKY))

    for index, (left, top, right, bottom), nearest in _in_sight(view, pose, solids):
        shown = depth[:, top:bottom, left:right]
        if shown.max() <= nearest:
            continue
        axes = solids.rotation[index].T
        rows = (axes @ rotation).tolist()
        starts = np.float32((origins - solids.centre[index]) @ axes.T).T
        across, downward = x[left:right], y[top:bottom, None]
        direction = tuple(row[0] * across + (row[1] * downward + row[2]) for row in rows)
        origin = tuple(start[:, None, None] for start in starts)
        _draw(index, solids, origin, direction, shown, solid[:, top:bottom, left:right])
    return Hits(depth, solid)


def _draw(
    index: int, solids: Solids, origin: tuple, direction: tuple, distance: np.ndarray, number: np.ndarray
) -> None:
    """Enter a solid into a window of first hits wherever it is nearer than what is there."""
    # Plain numbers, because a float64 scalar would turn all arrays into float64.
    half, taper = solids.half[index].tolist(), solids.taper[index].tolist()
    enter, leave = crossing(int(solids.kind[index]), half, taper, origin, direction)
    closer = (enter <= leave) & (enter > 0) & (enter < distance)
    np.copyto(distance, enter, where=closer)
    np.copyto(number, np.int32(index), where=closer)


def _in_sight(view: StereoView, pose: np.ndarray, solids: Solids) -> Iterator[tuple[int, list[int], float]]:
    """Solids that may show in either picture: number, window (left, top, right, bottom) and least depth; near first."""
    rotation, eyes = pose[:3, :3], np.array([[0.0, 0, 0], [view.baseline_m, 0, 0]])
    ahead_m = (solids.centre - pose[:3, 3]) @ rotation[:, 2]
    size_m = np.linalg.norm(solids.half, axis=1)
    numbers = np.flatnonzero((ahead_m > -size_m) & (ahead_m - size_m < solids.reach_m))
    corners = (solids[numbers].corners() - pose[:3, 3]) @ rotation
    nearest = corners[..., 2].min(axis=1)
    rectangles = [image_rectangles(corners - eye) for eye in eyes]
    low = np.minimum(*(rectangle[:, :2] for rectangle in rectangles)) * view.focal_px
    high = np.maximum(*(rectangle[:, 2:] for rectangle in rectangles)) * view.focal_px
    centre, limit = [view.centre_x_px, view.centre_y_px], [view.width, view.height]
    first = np.clip(np.ceil(low + centre - 0.01), 0, limit).astype(int)
    last = np.clip(np.floor(high + centre + 0.01) + 1, 0, limit).astype(int)
    visible = np.flatnonzero((last > first).all(axis=1) & (nearest < solids.reach_m[numbers]))
    order = visible[np.argsort(nearest[visible], kind="stable")]
    windows = np.concatenate([first, last], axis=1)[order]
    return zip(numbers[order].tolist(), windows.tolist(), nearest[order].tolist(), strict=True)


def scan_directions() -> tuple[np.ndarray, np.ndarray]:
    """Azimuths (A,), increasing, and elevations (E,) in radians of a turning scanner; finer where it looks ahead."""
    ahead, behind = np.arange(-60, 60, 0.4), np.arange(60, 180, 2.0)
    azimuths = np.concatenate([behind - 240, ahead, behind])
    return np.deg2rad(azimuths), np.deg2rad(np.linspace(-24.0, 2.0, 40))


@np.errstate(divide="ignore", invalid="ignore")
def cast_scan(scanner_to_world: np.ndarray, solids: Solids, profile: Profile = FLAT) -> tuple[np.ndarray, np.ndarray]:
    """A scan from a scanner with axes x forward, y left, z up.

    Returns:
        points (N, 3) float32 in metres in the scanner's axes, and the index (N,) of the solid hit, or GROUND.
    """
    azimuths, elevations = scan_directions()
    rays = np.stack(
        [
            np.cos(elevations)[:, None] * np.cos(azimuths),
            np.cos(elevations)[:, None] * np.sin(azimuths),
            np.broadcast_to(np.sin(elevations)[:, None], (len(elevations), len(azimuths))),
        ]
    )
    rotation, origin = scanner_to_world[:3, :3], scanner_to_world[:3, 3]
    world = np.einsum("ij,jea->iea", rotation, rays).astype(np.float32)
    if profile.flat:
        distance = np.where(world[1] > 0, -origin[1] / world[1], np.inf).astype(np.float32)
    else:
        distance = profile.meet(origin, world[1], world[2])
    solid = np.full(distance.shape, GROUND, dtype=np.int32)

    for index, (left, low, right, high), nearest in _around(scanner_to_world, solids, azimuths, elevations):
        shown, beams = distance[low:high, left:right], world[:, low:high, left:right]
        if shown.max() <= nearest:
            continue
        axes = solids.rotation[index].T
        direction = tuple(axis[0] * beams[0] + axis[1] * beams[1] + axis[2] * beams[2] for axis in axes.tolist())
        start = (axes @ (origin - solids.centre[index])).tolist()
        _draw(index, solids, tuple(start), direction, shown, solid[low:high, left:right])
    met = distance < SCAN_REACH_M
    return (rays[:, met] * distance[met]).T.astype(np.float32), solid[met]


def _around(
    scanner_to_world: np.ndarray, solids: Solids, azimuths: np.ndarray, elevations: np.ndarray
) -> Iterator[tuple[int, list[int], float]]:
    """Solids within reach of the scanner: number, window of beams and least distance; near first."""
    rotation, origin = scanner_to_world[:3, :3], scanner_to_world[:3, 3]
    distance_m = np.linalg.norm(solids.centre - origin, axis=1) - np.linalg.norm(solids.half, axis=1)
    numbers = np.flatnonzero(distance_m < np.minimum(SCAN_REACH_M, solids.reach_m))
    corners = (solids[numbers].corners() - origin) @ rotation
    middle = (solids.centre[numbers] - origin) @ rotation
    bearing = np.arctan2(middle[:, 1], middle[:, 0])
    spread = np.arctan2(corners[..., 1], corners[..., 0]) - bearing[:, None]
    spread = (spread + np.pi) % (2 * np.pi) - np.pi
    right, left = bearing + spread.min(axis=1), bearing + spread.max(axis=1)
    behind = (right < -np.pi) | (left > np.pi)  # across the seam of the scan: every column
    first = np.where(behind, 0, np.searchsorted(azimuths, right))
    last = np.where(behind, len(azimuths), np.searchsorted(azimuths, left, side="right"))
    radius = np.hypot(solids.half[numbers, 0], solids.half[numbers, 2])
    radius = np.where(solids.kind[numbers] == CYLINDER, np.linalg.norm(solids.half[numbers], axis=1), radius)
    flat = np.hypot(middle[:, 0], middle[:, 1])
    near, far = np.maximum(flat - radius, 0.05), flat + radius
    bottom, top = corners[..., 2].min(axis=1), corners[..., 2].max(axis=1)
    lowest = np.searchsorted(elevations, np.arctan2(bottom, np.where(bottom < 0, near, far)) - 0.01)
    highest = np.searchsorted(elevations, np.arctan2(top, np.where(top > 0, near, far)) + 0.01)
    within = np.flatnonzero((last > first) & (highest > lowest))
    order = within[np.argsort(distance_m[numbers][within], kind="stable")]
    windows = np.stack([first, lowest, last, highest], axis=1)[order]
    nearest = np.maximum(near, distance_m[numbers])[order]
    return zip(numbers[order].tolist(), windows.tolist(), nearest.tolist(), strict=True)


@dataclass(frozen=True)
class ShadowMap:
    """How high the sunlight is blocked above each piece of the plane y = 0, along the sun's rays.

    Attributes:
        blocked_m: (rows along z, columns across), the greatest height of a hit on the ray that ends there.
    """

    street: Street
    blocked_m: np.ndarray

    @property
    def side_m(self) -> float:
        """How far the map reaches to either side of the road."""
        return _shadow_side_m(self.street)

    def shade(self, x: np.ndarray, height_m: np.ndarray, z: np.ndarray, facing: np.ndarray) -> np.ndarray:
        """How much of the sun is blocked at points (N,), from 0 to 1.

        Args:
            facing: (N,), cosine of the angle between the surface there and the sun. A surface that the sun
                grazes rises steeply within one cell of the map, and must not shade itself.
        """
        sun, cosine = self.street.sun, np.clip(facing, 0.1, 1)
        slack_m = np.float32(0.1) + np.float32(SHADOW_CELL_M) * np.sqrt(1 - cosine * cosine) / cosine
        run = height_m / sun[1].astype(np.float32)
        ground_x, ground_z = x + sun[0].astype(np.float32) * run, z + sun[2].astype(np.float32) * run
        column = (ground_x - self.street.course(ground_z)[0] + self.side_m) / SHADOW_CELL_M
        row = (ground_z - np.float32(self.street.start_m)) / SHADOW_CELL_M
        rows, columns = self.blocked_m.shape
        row, column = np.clip(row, 0, rows - 1.01), np.clip(column, 0, columns - 1.01)
        upper, left = row.astype(np.int32), column.astype(np.int32)
        down, across = row - upper, column - left
        first = upper * columns + left
        flat, limit = self.blocked_m.reshape(-1), height_m + slack_m
        above = (flat.take(first) > limit) * (1 - across) + (flat.take(first + 1) > limit) * across
        below = (flat.take(first + columns) > limit) * (1 - across) + (flat.take(first + columns + 1) > limit) * across
        return above * (1 - down) + below * down


def _shadow_side_m(street: Street) -> float:
    return SHADOW_SIDE_M if street.road.profile.flat else HILLY_SHADOW_SIDE_M


@np.errstate(divide="ignore", invalid="ignore")
def cast_shadows(street: Street) -> ShadowMap:
    """Follow the sun's rays through everything in the street that stands still."""
    side_m, flat = _shadow_side_m(street), street.road.profile.flat
    z = np.arange(street.start_m, street.end_m, SHADOW_CELL_M)
    across = np.arange(-side_m, side_m, SHADOW_CELL_M)
    middle = street.road.middle(z)
    blocked = np.full((len(z), len(across)), -1.0 if flat else -1e3, dtype=np.float32)
    solids, sun = street.solids, street.sun
    corners = solids.corners()
    run = corners[..., 1] / sun[1]
    ground_x, ground_z = corners[..., 0] - sun[0] * run, corners[..., 2] - sun[2] * run
    top = np.clip(((ground_z.min(1) - street.start_m) / SHADOW_CELL_M).astype(int), 0, len(z))
    bottom = np.clip(((ground_z.max(1) - street.start_m) / SHADOW_CELL_M).astype(int) + 2, 0, len(z))
    for index in np.flatnonzero(bottom > top):
        rows = slice(top[index], bottom[index])
        shift = middle[rows]
        left = int((ground_x[index].min() - shift.max() + side_m) / SHADOW_CELL_M)
        right = int((ground_x[index].max() - shift.min() + side_m) / SHADOW_CELL_M) + 2
        columns = slice(max(left, 0), min(max(right, 0), len(across)))
        if columns.stop <= columns.start:
            continue
        axes = solids.rotation[index].T
        x = across[columns] + shift[:, None] - solids.centre[index, 0]
        depth = z[rows, None] - solids.centre[index, 2]
        origin = tuple(
            (axis[0] * x + (axis[2] * depth - axis[1] * solids.centre[index, 1])).astype(np.float32) for axis in axes
        )
        direction = tuple(np.float32(axes @ sun))
        half, taper = solids.half[index].tolist(), solids.taper[index].tolist()
        enter, leave = crossing(int(solids.kind[index]), half, taper, origin, direction)
        met = (enter <= leave) & ((leave > 0) | (not flat))
        height = np.where(met, -sun[1] * leave, -1 if flat else -1e3).astype(np.float32)
        shown = blocked[rows, columns]
        np.maximum(shown, height, out=shown)
    return ShadowMap(street, blocked)
