"""What a street is built of: convex solids, and where a ray enters and leaves them.

World axes: x right, y down, z along the street; the ground is y = 0, so heights are negative y. A solid has its
own axes (the columns of `rotation`) and lies within `half` of its centre on each of them.
"""

from dataclasses import dataclass, field, fields

import numpy as np

BOX, ELLIPSOID, CYLINDER = range(3)

_SIGNS = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], dtype=np.float64)
_EDGES = np.array([(i, j) for i in range(8) for j in range(i) if (_SIGNS[i] != _SIGNS[j]).sum() == 1])


@dataclass(frozen=True)
class Skin:
    """How the faces across one axis of a solid are painted.

    Attributes:
        texture: its number in the atlas.
        tile_m: width and height of one repetition of the texture in metres.
        offset: shift of the texture in repetitions.
    """

    texture: int
    tile_m: tuple[float, float]
    offset: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True)
class Solids:
    """N solids as columns.

    Attributes:
        kind: (N,) BOX, ELLIPSOID or CYLINDER (its axis is the solid's y).
        centre: (N, 3) metres.
        rotation: (N, 3, 3), from the solid's axes to the world's.
        half: (N, 3) half extents in metres.
        taper: (N, 2), by how much a box's x and z extents have shrunk at its top, 0 to 1.
        texture: (N, 3), atlas numbers of the faces across x, y and z.
        scale: (N, 3, 2), texture repetitions per metre.
        offset: (N, 3, 2), texture shifts in repetitions.
        tint: (N, 3), colour that multiplies the texture where that is tintable.
        reach_m: (N,), from where on it is not drawn.
        follows_road: (N,), its top is painted along the road instead of along its own axes.
    """

    kind: np.ndarray
    centre: np.ndarray
    rotation: np.ndarray
    half: np.ndarray
    taper: np.ndarray
    texture: np.ndarray
    scale: np.ndarray
    offset: np.ndarray
    tint: np.ndarray
    reach_m: np.ndarray
    follows_road: np.ndarray

    def __len__(self) -> int:
        return len(self.kind)

    def __getitem__(self, index: np.ndarray) -> "Solids":
        return Solids(*(getattr(self, column.name)[index] for column in fields(self)))

    def __add__(self, other: "Solids") -> "Solids":
        return Solids(
            *(np.concatenate([getattr(self, column.name), getattr(other, column.name)]) for column in fields(self))
        )

    def corners(self) -> np.ndarray:
        """(N, 8, 3) corners of the boxes around the solids, in the world."""
        return self.centre[:, None] + np.einsum("nij,nkj->nki", self.rotation, _SIGNS * self.half[:, None])

    def moved(self, offset: np.ndarray, rotation: np.ndarray) -> "Solids":
        """The same solids turned about the origin by `rotation` (3, 3), then shifted by `offset` (3,)."""
        columns = {column.name: getattr(self, column.name) for column in fields(self)}
        columns["centre"] = self.centre @ rotation.T + offset
        columns["rotation"] = rotation @ self.rotation
        return Solids(**columns)


@dataclass
class Builder:
    """Collects solids one by one."""

    rows: list[tuple] = field(default_factory=list)

    def add(
        self,
        kind: int,
        centre: tuple[float, float, float],
        half: tuple[float, float, float],
        skins: Skin | tuple[Skin, Skin, Skin],
        tint: tuple[float, float, float] = (1.0, 1.0, 1.0),
        rotation: np.ndarray | None = None,
        taper: tuple[float, float] = (0.0, 0.0),
        reach_m: float = 300.0,
        follows_road: bool = False,
    ) -> None:
        skins = (skins,) * 3 if isinstance(skins, Skin) else skins
        turned = np.eye(3) if rotation is None else rotation
        textures = [skin.texture for skin in skins]
        scales = [(1 / skin.tile_m[0], 1 / skin.tile_m[1]) for skin in skins]
        offsets = [skin.offset for skin in skins]
        self.rows.append((kind, centre, turned, half, taper, textures, scales, offsets, tint, reach_m, follows_road))

    def build(self) -> Solids:
        return Solids(*(np.array(column) for column in zip(*self.rows, strict=True)))


def image_rectangles(corners: np.ndarray, near_m: float = 0.2) -> np.ndarray:
    """The rectangles that solids cover on the image plane at distance 1.

    Args:
        corners: (N, 8, 3) in camera axes.

    Returns:
        (N, 4) as left, top, right, bottom; left > right where nothing lies before the camera.
    """
    ends = corners[:, _EDGES]
    first, second = ends[:, :, 0], ends[:, :, 1]
    with np.errstate(divide="ignore", invalid="ignore"):
        along = (near_m - first[..., 2]) / (second[..., 2] - first[..., 2])
        cut = first + along[..., None] * (second - first)
    crosses = (first[..., 2] < near_m) != (second[..., 2] < near_m)
    points = np.concatenate([corners, np.where(crosses[..., None], cut, 0.0)], axis=1)
    seen = np.concatenate([corners[..., 2] >= near_m, crosses], axis=1)
    plane = points[..., :2] / np.where(seen, points[..., 2], 1.0)[..., None]
    low = np.where(seen[..., None], plane, np.inf).min(axis=1)
    high = np.where(seen[..., None], plane, -np.inf).max(axis=1)
    return np.concatenate([low, high], axis=1)


def crossing(
    kind: int, half: list[float], taper: list[float], origin: tuple, direction: tuple
) -> tuple[np.ndarray, np.ndarray]:
    """Where rays enter and leave one solid, in multiples of their direction; they miss where enter > leave.

    Args:
        origin, direction: x, y and z in the solid's axes; numbers or arrays that broadcast together.
    """
    if kind == ELLIPSOID:
        return _through_ellipsoid(half, origin, direction)
    if kind == CYLINDER:
        return _both(_through_tube(half, origin, direction), _through_slab(half[1], origin[1], direction[1]))
    upright = _through_slab(half[1], origin[1], direction[1])
    across = [_through_wedge(half, taper[i], axis, origin, direction) for i, axis in enumerate((0, 2))]
    return _both(_both(*across), upright)


def _both(one: tuple, other: tuple) -> tuple[np.ndarray, np.ndarray]:
    return np.maximum(one[0], other[0]), np.minimum(one[1], other[1])


def _through_slab(half: float, origin: np.ndarray, direction: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    inverse = 1 / direction
    middle = -origin * inverse
    reach = half * np.abs(inverse)
    return middle - reach, middle + reach


def _through_wedge(half: list[float], taper: float, axis: int, origin: tuple, direction: tuple) -> tuple:
    """Between two planes that lean towards each other: |x| <= a + b y."""
    if taper == 0:
        return _through_slab(half[axis], origin[axis], direction[axis])
    a, b = half[axis] * (1 - taper / 2), half[axis] * taper / (2 * half[1])
    enter, leave = -np.inf, np.inf
    for sign in (-1, 1):
        slope = sign * direction[axis] - b * direction[1]
        t = (a + b * origin[1] - sign * origin[axis]) / slope
        enter = np.maximum(enter, np.where(slope < 0, t, -np.inf))
        leave = np.minimum(leave, np.where(slope > 0, t, np.inf))
    return enter, leave


def _through_tube(half: list[float], origin: tuple, direction: tuple) -> tuple[np.ndarray, np.ndarray]:
    ox, oz, dx, dz = origin[0] / half[0], origin[2] / half[2], direction[0] / half[0], direction[2] / half[2]
    squared = dx * dx + dz * dz
    # The cross product instead of b^2 - a c: a thin far pole would drown in the difference of two large numbers.
    return _from_discriminant(squared, ox * dx + oz * dz, squared - (ox * dz - oz * dx) ** 2)


def _through_ellipsoid(half: list[float], origin: tuple, direction: tuple) -> tuple[np.ndarray, np.ndarray]:
    ox, oy, oz = (value / extent for value, extent in zip(origin, half, strict=True))
    dx, dy, dz = (value / extent for value, extent in zip(direction, half, strict=True))
    squared = dx * dx + dy * dy + dz * dz
    away = (oy * dz - oz * dy) ** 2 + (oz * dx - ox * dz) ** 2 + (ox * dy - oy * dx) ** 2
    return _from_discriminant(squared, ox * dx + oy * dy + oz * dz, squared - away)


def _from_discriminant(squared: np.ndarray, along: np.ndarray, discriminant: np.ndarray) -> tuple:
    root = np.sqrt(np.maximum(discriminant, 0))
    missed = discriminant < 0
    return np.where(missed, np.inf, (-along - root) / squared), np.where(missed, -np.inf, (root - along) / squared)
