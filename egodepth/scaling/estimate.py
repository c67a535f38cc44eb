"""The metres of a unit of depth from many ratios of metres to units, and how sure they are.

The ratios of frames that follow each other are wrong alike, so that their spread divided by the root of their number
promises too much. The error that is kept is therefore the spread itself: by so much the scale of one picture differs
from the median, two times in three. How well the median is known is told apart, from the medians of stretches, within
which frames may be wrong together.
"""

from dataclasses import dataclass

import numpy as np

TO_DEVIATION = 1.4826
"""From the median absolute deviation to the standard deviation, of normal errors."""

STRETCHES = 8
FEWEST_OF_STRETCH = 3
FEWEST_FOR_DEVIATION = 5
"""The median deviation of fewer ratios says little: half of their range is taken."""

OUTLIER = 0.3
OUTLIER_DEVIATIONS = 5.0
"""A measured distance is left out if it is off by more than this share, and by more than so many deviations."""


@dataclass(frozen=True)
class Estimate:
    """A scale from ratios.

    Attributes:
        metres_per_unit: the median.
        spread: of the ratios, as a share of it; None of a single one.
        median_error: of the median, as a share, from stretches of the ratios in order; None of too few.
        used: number of ratios.
    """

    metres_per_unit: float
    spread: float | None
    median_error: float | None
    used: int


def estimate_of(ratios: np.ndarray) -> Estimate:
    """The scale of ratios (N,), metres over units, in order of time; N at least 1."""
    middle = float(np.median(ratios))
    spread = None if len(ratios) < 2 else spread_of(ratios) / middle
    return Estimate(middle, spread, _median_error(ratios, middle), len(ratios))


def spread_of(values: np.ndarray) -> float:
    """Standard deviation of most of the values (N,), whatever the others are."""
    if len(values) < FEWEST_FOR_DEVIATION:
        return float(np.ptp(values)) / 2
    return TO_DEVIATION * float(np.median(np.abs(values - np.median(values))))


def outliers(ratios: np.ndarray) -> np.ndarray:
    """Which ratios (N,) are far from the median of all, by any measure."""
    middle = float(np.median(ratios))
    off = np.abs(ratios - middle)
    deviation = TO_DEVIATION * float(np.median(off))
    return (off > OUTLIER * middle) & (off > OUTLIER_DEVIATIONS * deviation)


def unit_ratio(own: float | None, focal: float | None) -> float:
    """A network's unit of depth in pictures of one focal length over that in pictures of another, both in widths.

    What looks alike through a lens twice as long is twice as far away (Metric3D, Yin et al., ICCV 2023, section 3.2).
    1 where a camera is not known.
    """
    return 1.0 if own is None or focal is None else own / focal


def _median_error(ratios: np.ndarray, middle: float) -> float | None:
    stretches = min(STRETCHES, len(ratios) // FEWEST_OF_STRETCH)
    if stretches < 2:
        return None
    medians = [float(np.median(each)) for each in np.array_split(ratios, stretches)]
    return float(np.std(medians, ddof=1)) / middle / np.sqrt(stretches)
