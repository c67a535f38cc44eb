"""How far a camera moved between two times, by a log of its speed, its way, or its places."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

LARGEST_GAP_S = 2.0
"""Nothing is interpolated between entries further apart."""

CLOCK_S = 1e8
"""Times from here on are seconds of a clock (since 1970), smaller ones seconds since some start."""


class MotionLog(Protocol):
    """A log that says how far the camera moved.

    Attributes:
        file: for messages.
        seconds: (N,), growing.
    """

    file: Path
    seconds: np.ndarray

    def moved_m(self, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
        """Metres (M,) from each start to each end, in the log's seconds; NaN outside the log and in its gaps."""


@dataclass(frozen=True)
class Track:
    """The way that a camera travelled.

    Attributes:
        file: for messages.
        seconds: (N,), growing.
        travelled_m: (N,), along the way since the first entry.
    """

    file: Path
    seconds: np.ndarray
    travelled_m: np.ndarray

    @classmethod
    def of_speeds(cls, file: Path, seconds: np.ndarray, speeds_m_s: np.ndarray) -> "Track":
        """From speeds (N,) at times (N,), between which they change evenly."""
        steps = np.diff(seconds) * (speeds_m_s[1:] + speeds_m_s[:-1]) / 2
        return cls(file, seconds, np.concatenate([[0.0], np.cumsum(steps)]))

    @classmethod
    def of_places(cls, file: Path, seconds: np.ndarray, latitudes: np.ndarray, longitudes: np.ndarray) -> "Track":
        """From places (N,) on the earth in degrees."""
        return cls(file, seconds, np.concatenate([[0.0], np.cumsum(_steps_m(latitudes, longitudes))]))

    def moved_m(self, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
        """See `MotionLog`."""
        moved = np.interp(ends, self.seconds, self.travelled_m) - np.interp(starts, self.seconds, self.travelled_m)
        return np.where(_is_covered(self.seconds, starts, ends), moved, np.nan)


@dataclass(frozen=True)
class PoseTrack:
    """Where a camera, or a sensor fixed to it, was.

    Attributes:
        file: for messages.
        seconds: (N,), growing. Where a log has no times, the number of each entry.
        positions_m: (N, 3), in axes that do not move.
        is_timed: whether the log has times.
    """

    file: Path
    seconds: np.ndarray
    positions_m: np.ndarray
    is_timed: bool = True

    def moved_m(self, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
        """See `MotionLog`: along the straight line."""
        moved = np.linalg.norm(self._places(ends) - self._places(starts), axis=1)
        return np.where(_is_covered(self.seconds, starts, ends), moved, np.nan)

    def _places(self, times: np.ndarray) -> np.ndarray:
        return np.stack([np.interp(times, self.seconds, axis) for axis in self.positions_m.T], axis=1)


def _is_covered(seconds: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Which stretches lie in a log and touch none of its gaps."""
    inside = (starts >= seconds[0]) & (ends <= seconds[-1])
    if len(seconds) < 2:
        return inside & (starts == ends)
    first = np.clip(np.searchsorted(seconds, starts, side="right") - 1, 0, len(seconds) - 2)
    last = np.clip(np.searchsorted(seconds, ends, side="left"), 1, len(seconds) - 1)
    gaps = np.concatenate([[0], np.cumsum(np.diff(seconds) > LARGEST_GAP_S)])
    return inside & (gaps[last] == gaps[first])


# --- places on the earth ---------------------------------------------------------------------------------------------

EQUATOR_M = 6_378_137.0
FLATTENING = 1 / 298.257223563


def _steps_m(latitudes: np.ndarray, longitudes: np.ndarray) -> np.ndarray:
    """Distances (N - 1,) between places that follow each other, on WGS 84's ellipsoid; for steps up to kilometres."""
    middle = np.radians((latitudes[1:] + latitudes[:-1]) / 2)
    squared = FLATTENING * (2 - FLATTENING)
    root = np.sqrt(1 - squared * np.sin(middle) ** 2)
    to_north = EQUATOR_M * (1 - squared) / root**3
    to_east = EQUATOR_M / root * np.cos(middle)
    across = (np.diff(longitudes) + 180) % 360 - 180  # over the date line too
    return np.hypot(np.radians(np.diff(latitudes)) * to_north, np.radians(across) * to_east)
