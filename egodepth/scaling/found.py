"""A scale that was found, whatever it was found by."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from egodepth.geometry.scale import Origin, Scale
from egodepth.scaling.estimate import Estimate

DOUBTFUL_SPREAD = 0.25


@dataclass(frozen=True)
class Footage:
    """What a model is held against.

    Attributes:
        path: KITTI tree or drive, video, folder of videos, or folder of frames.
        intrinsics: `calibrated`, or as `footage_camera`.
        frames_per_second: of data that say nothing of their times.
        beside: further data of the same kinds.
        cache_folder: where frames of videos are unpacked, or lie already; none takes a folder for the time being.
    """

    path: Path
    intrinsics: str = "calibrated"
    frames_per_second: float | None = None
    beside: tuple[Path, ...] = ()
    cache_folder: Path | None = None


@dataclass(frozen=True)
class Found:
    """A scale that was found.

    Attributes:
        estimate: with what says how sure it is.
        remarks: one line each.
        unit: what the ratios are of, in the plural: frames, pairs of frames, points.
        focal: focal length, in widths, of the camera that the scale belongs to; None where it is not known.
    """

    scale: Scale
    estimate: Estimate
    remarks: tuple[str, ...]
    unit: str
    focal: float | None = None

    def said(self) -> list[str]:
        """The scale and how sure it is, in lines."""
        found = self.estimate
        lines = [*self.remarks, f"One unit of depth is {found.metres_per_unit:.4g} m ({self.scale.note})."]
        if found.spread is None:
            return [*lines, f"It is the only one of the {self.unit}: nothing says how sure it is."]
        spread = f"The {self.unit} differ from it by {found.spread:.1%} (the error of a single picture's scale)"
        if found.median_error is not None:
            spread += f"; the median itself is known to {found.median_error:.1%}"
        lines.append(f"{spread}.")
        if found.spread > DOUBTFUL_SPREAD:
            lines.append(f"The {self.unit} disagree. Do not trust the scale without another look.")
        return lines


def found_of(
    estimate: Estimate, origin: Origin, note: str, remarks: Sequence[str], unit: str, focal: float | None
) -> Found:
    """A scale with what says how sure it is.

    Args:
        note: what it was obtained from, for people to read.
        unit: what the ratios are of, in the plural.
    """
    error = None if estimate.spread is None else round(estimate.spread, 4)
    scale = Scale(float(f"{estimate.metres_per_unit:.6g}"), origin, error=error, note=note)
    return Found(scale, estimate, tuple(remarks), unit, focal)
