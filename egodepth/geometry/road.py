"""The road as a plane under the camera, from depth alone.

The inverse depth of a plane is linear in the ray: n . p = h for p = z r gives 1 / z = (n / h) . r. Rays are exact, so
that fitting n / h to inverse depths has no error in its variables; fitting a plane to the points has.
"""

import math
from dataclasses import dataclass

import numpy as np

TOLERANCE = 0.05
"""Largest difference of a point's depth from the plane's, as a share of it. That is the same share of the camera's
height over the plane, wherever the point lies."""

HYPOTHESES = 200
"""With half of the points on the road, all of them miss it once in 10^11 fits."""

REFINEMENTS = 3

DOWN = np.array([0.0, 1.0, 0.0])
"""In the camera's axes, for a camera that looks level."""


@dataclass(frozen=True)
class Plane:
    """A plane under the camera.

    Attributes:
        normal: (3,), of length 1, from the camera down to the plane.
        distance: of the camera from the plane, in the unit of the depth.
        inliers: share of the points that lie on it.
    """

    normal: np.ndarray
    distance: float
    inliers: float

    @property
    def tilt_degrees(self) -> float:
        """Between the normal and the camera's down axis."""
        return math.degrees(math.acos(min(1.0, float(self.normal @ DOWN))))


def camera_rays(intrinsics: np.ndarray, columns: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Rays (N, 3) of depth 1 through pixels (N,) each, of a camera (3, 3) in pixels."""
    pixels = np.stack([columns, rows, np.ones(len(rows))], axis=1)
    return pixels @ np.linalg.inv(intrinsics).T


def fit_ground(rays: np.ndarray, depth: np.ndarray, steepest_degrees: float, seed: int = 0) -> Plane | None:
    """The plane on which most of the points lie, of those that are nearly horizontal and under the camera.

    Args:
        rays: (N, 3), of depth 1.
        depth: (N,), above 0, along the camera's axis.
        steepest_degrees: largest tilt of the plane.
        seed: of the points that hypotheses are drawn from; the same one gives the same plane.

    Returns:
        None where no three points span such a plane.
    """
    if len(depth) < 3:
        return None
    inverse = 1 / depth
    candidates = _hypotheses(rays, inverse, np.random.default_rng(seed))
    candidates = candidates[_is_flat(candidates, steepest_degrees)]
    if not len(candidates):
        return None
    counts = [int(_on_plane(rays, inverse, each).sum()) for each in candidates]
    found = candidates[int(np.argmax(counts))]
    for _ in range(REFINEMENTS):
        inside = _on_plane(rays, inverse, found)
        # A share of the depth counts alike near and far.
        weights = 1 / (rays[inside] @ found)
        refined = np.linalg.lstsq(rays[inside] * weights[:, None], inverse[inside] * weights, rcond=None)[0]
        if not _is_flat(refined[None], steepest_degrees)[0]:
            return None
        found = refined
    length = float(np.linalg.norm(found))
    return Plane(found / length, 1 / length, float(_on_plane(rays, inverse, found).mean()))


def _hypotheses(rays: np.ndarray, inverse: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """n / h (M, 3) of planes through three points each."""
    chosen = random.integers(0, len(inverse), (HYPOTHESES, 3))
    corners = rays[chosen]
    spans = np.abs(np.linalg.det(corners)) > 1e-9  # not the same point twice, nor three in a line
    return np.linalg.solve(corners[spans], inverse[chosen[spans]][..., None])[..., 0]


def _is_flat(planes: np.ndarray, steepest_degrees: float) -> np.ndarray:
    """Which planes n / h (M, 3) lie under the camera and nearly level."""
    return planes @ DOWN > math.cos(math.radians(steepest_degrees)) * np.linalg.norm(planes, axis=1)


def _on_plane(rays: np.ndarray, inverse: np.ndarray, plane: np.ndarray) -> np.ndarray:
    expected = rays @ plane
    return np.abs(inverse - expected) <= TOLERANCE * expected
