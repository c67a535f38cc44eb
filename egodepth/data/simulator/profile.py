"""The ground's height along a street: straight from knot to knot, the same at either side.

A ray meets it exactly and at once. Seen from an eye, a knot hides all knots behind it that lie no higher in the
picture, so the lowest slope so far falls from knot to knot, and a search in that falling row finds the first segment
that a ray meets.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Profile:
    """Heights (K,) in metres above y = 0 at increasing z (K,) in metres; level before the first and after the last."""

    knots_m: np.ndarray
    heights_m: np.ndarray

    @property
    def flat(self) -> bool:
        """Whether the ground is the plane y = 0."""
        return not len(self.knots_m)

    def height(self, z: np.ndarray | float) -> np.ndarray | float:
        """Height of the ground above y = 0."""
        return 0.0 if self.flat else np.interp(z, self.knots_m, self.heights_m)

    def slope(self, z: np.ndarray) -> np.ndarray:
        """Rise per metre of z of the segment that z lies in."""
        slopes = np.diff(self.heights_m) / np.diff(self.knots_m)
        return slopes[np.clip(np.searchsorted(self.knots_m, z) - 1, 0, len(slopes) - 1)]

    def tilt(self, z: float) -> np.ndarray:
        """Rotation (3, 3) that lays the plane y = 0 onto the ground near z, smooth from segment to segment."""
        step_m = 1.5
        angle = np.arctan((self.height(z + step_m) - self.height(z - step_m)) / (2 * step_m))
        return np.array([[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]])

    def meet(self, origin: np.ndarray, down: np.ndarray, ahead: np.ndarray) -> np.ndarray:
        """Where rays first meet the ground, in multiples of their direction; infinite where they never do.

        Args:
            origin: (3,), above the ground.
            down, ahead: y and z of the directions, any one shape.
        """
        distance = np.full(down.shape, np.inf, dtype=np.float32)
        for sign in (1, -1):
            rays = ahead >= 0 if sign == 1 else ahead < 0
            if rays.any():
                distance[rays] = self._meet(origin, down[rays], np.abs(ahead[rays]), sign)
        return distance

    @np.errstate(divide="ignore", invalid="ignore")
    def _meet(self, origin: np.ndarray, down: np.ndarray, ahead: np.ndarray, sign: int) -> np.ndarray:
        away_m = sign * (self.knots_m - origin[2])[::sign]
        drop_m = (-self.heights_m - origin[1])[::sign]
        first = max(int(np.searchsorted(away_m, 0, side="right")), 1)
        fall = np.diff(drop_m)[first - 1 :] / np.diff(away_m)[first - 1 :]  # of the segment that ends at each knot
        away_m, drop_m = away_m[first:], drop_m[first:]
        if not len(away_m):
            return np.full(down.shape, np.inf, dtype=np.float32)
        lowest = np.minimum.accumulate(drop_m / away_m)
        segment = np.searchsorted(-lowest, -down / ahead)
        met = segment < len(lowest)
        segment[~met] = 0
        below_m = (drop_m - fall * away_m).astype(np.float32)[segment]
        return np.where(met, below_m / (down - fall.astype(np.float32)[segment] * ahead), np.float32(np.inf))


FLAT = Profile(np.empty(0), np.empty(0))
