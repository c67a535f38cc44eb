"""The time offset between footage and a log, from how the speed that a pose network sees follows that of the log."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from egodepth.data.motion_logs.track import CLOCK_S, MotionLog

STEP_S = 0.25
FINE_STEPS = 12
"""So many smaller steps, to either side, are looked at around the best one."""

FEWEST_PAIRS = 20
LEAST_SHARE = 0.5
"""At an offset that is looked at, so many pairs of frames lie within the log."""

LEAST_VARIATION = 0.05
"""A speed whose deviation is a smaller share of its mean has no shape to be found again."""

LEAST_CORRELATION = 0.7
LEAST_LEAD = 0.1
"""A peak is clear that is so high, falls by so much on its sides, and has no other beside it that is nearly as high."""

Finding = Literal["shifted", "constant speed", "no clear peak", "too short"]


@dataclass(frozen=True)
class Alignment:
    """How the times of footage become those of a log.

    Attributes:
        offset_s: to be added to the footage's times.
        finding: `shifted`, or why the times were left as they were.
        correlation: of the two speeds at the offset; NaN where they were not compared.
    """

    offset_s: float
    finding: Finding
    correlation: float

    def said(self, frames_s: float, log_s: float) -> str:
        """One line: where the footage lies in the log, and how that is known.

        Args:
            frames_s, log_s: times of the footage's first frame and of the log's first entry.
        """
        correlation = "" if np.isnan(self.correlation) else f", correlation {self.correlation:.2f}"
        begins = frames_s + self.offset_s - log_s
        if self.finding == "shifted":
            said = f"{abs(begins):.2f} s {'after' if begins >= 0 else 'before'} the log"
            return f"Time offset: the footage begins {said}{correlation}."
        taken = "the log is taken to begin with the footage" if begins == 0 else "times are taken as they are"
        return f"Time offset: none was found ({self.finding}{correlation}); {taken}."


def first_offset(frames_s: float, log_s: float) -> float:
    """The offset before anything is compared: of footage whose first frame, and a log whose first entry, have times.

    None, if both are clock times or both are not; else the log begins with the footage.
    """
    return 0.0 if (frames_s > CLOCK_S) == (log_s > CLOCK_S) else log_s - frames_s


def align(starts: np.ndarray, ends: np.ndarray, found: np.ndarray, log: MotionLog, offset_s: float = 0.0) -> Alignment:
    """Find the time offset at which the motions of pairs of frames follow a log's.

    Args:
        starts, ends: (N,), times of pairs of frames.
        found: (N,), the motion of each pair, up to scale.
        offset_s: from the footage's times to the log's, where nothing better is found.
    """
    if len(found) < FEWEST_PAIRS:
        return Alignment(offset_s, "too short", np.nan)
    speeds = found / (ends - starts)
    first, last = log.seconds[0] - ends.max(), log.seconds[-1] - starts.min()
    # Through the given offset, so that times that fit are left exactly as they are.
    offsets = offset_s + STEP_S * np.arange(np.floor((first - offset_s) / STEP_S), (last - offset_s) / STEP_S + 1)
    if _is_constant(starts, ends, log):
        return Alignment(offset_s, "constant speed", np.nan)
    correlations = np.array([_correlation(speeds, starts, ends, log, each) for each in offsets])
    if np.isnan(correlations).all():
        return Alignment(offset_s, "too short", np.nan)
    best = int(np.nanargmax(correlations))
    if correlations[best] < LEAST_CORRELATION or not _stands_alone(correlations, best):
        return Alignment(offset_s, "no clear peak", float(correlations[best]))
    fine = offsets[best] + STEP_S / FINE_STEPS * np.arange(-FINE_STEPS, FINE_STEPS + 1)
    finer = np.array([_correlation(speeds, starts, ends, log, each) for each in fine])
    place = int(np.nanargmax(finer))
    return Alignment(float(fine[place]), "shifted", float(finer[place]))


def _stands_alone(correlations: np.ndarray, best: int) -> bool:
    """Whether what is nearly as high as the peak is all on its own slope, and the slope ends on a side."""
    high = np.flatnonzero(np.nan_to_num(correlations, nan=-1.0) >= correlations[best] - LEAST_LEAD)
    falls = np.isfinite(correlations).sum() > len(high)
    return bool(falls and high[-1] - high[0] == len(high) - 1)


def _is_constant(starts: np.ndarray, ends: np.ndarray, log: MotionLog) -> bool:
    """Whether the log's speed hardly changes, over stretches as long as between two frames."""
    length = float(np.median(ends - starts))
    begins = np.arange(log.seconds[0], log.seconds[-1] - length, max(length, STEP_S))
    speeds = log.moved_m(begins, begins + length)
    speeds = speeds[np.isfinite(speeds)]
    return len(speeds) == 0 or bool(speeds.std() <= LEAST_VARIATION * speeds.mean())


def _correlation(speeds: np.ndarray, starts: np.ndarray, ends: np.ndarray, log: MotionLog, offset: float) -> float:
    """Correlation of the two speeds' ranks at an offset: a pose network is wrong by any factor now and then.

    NaN where too few pairs lie within the log, or its speed is constant there.
    """
    true = log.moved_m(starts + offset, ends + offset) / (ends - starts)
    known = np.isfinite(true)
    if known.sum() < max(FEWEST_PAIRS, LEAST_SHARE * len(speeds)):
        return np.nan
    one, other = speeds[known], true[known]
    if other.std() <= LEAST_VARIATION * other.mean() or one.std() == 0:
        return np.nan
    return float(np.corrcoef(_ranks(one), _ranks(other))[0, 1])


def _ranks(values: np.ndarray) -> np.ndarray:
    return np.argsort(np.argsort(values))
