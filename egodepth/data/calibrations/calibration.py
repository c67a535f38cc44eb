"""What a file says of a camera, and how the readers refuse one that they cannot use."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from egodepth.geometry.lenses import COEFFICIENTS, Field, LensModel

LARGEST_SIDE = 100_000
"""Longest side of a picture, in pixels; JPEG ends at 65,535."""


class Unusable(Exception):
    """What is wrong with a file, without its name: the reader's caller knows that."""


@dataclass(frozen=True)
class Calibration:
    """A camera as a file has it, not yet held against any frames.

    Attributes:
        fx, fy, cx, cy: in pixels, the centre of the top-left one at (0, 0).
        height, width: the picture's that the numbers belong to; None where the file does not say.
        model: of the lens.
        coefficients: of the lens, as `COEFFICIENTS` orders them; all zero where it bends nothing.
        field: of the undistorted picture.
    """

    fx: float
    fy: float
    cx: float
    cy: float
    height: int | None = None
    width: int | None = None
    model: LensModel = "opencv"
    coefficients: tuple[float, ...] = (0.0,) * 8
    field: Field = "cropped"

    def __post_init__(self) -> None:
        numbers = (self.fx, self.fy, self.cx, self.cy, *self.coefficients)
        if not np.isfinite(numbers).all() or min(self.fx, self.fy) <= 0:
            raise Unusable("a focal length is not positive, or a number not finite")
        sides = [size for size in (self.height, self.width) if size is not None]
        if not all(0 < size <= LARGEST_SIDE for size in sides):
            raise Unusable(f"width and height must be from 1 to {LARGEST_SIDE}")

    @property
    def is_bent(self) -> bool:
        """Whether there is distortion; a fisheye without coefficients is one all the same."""
        return self.model == "fisheye" or any(self.coefficients)


def coefficients_named(model: LensModel, entries: Mapping[str, Any]) -> tuple[float, ...]:
    """The coefficients of a model from entries by their names; those that are missing are zero."""
    return tuple(float(entries.get(name, 0)) for name in COEFFICIENTS[model])


def coefficients_listed(model: LensModel, values: Sequence[float]) -> tuple[float, ...]:
    """The coefficients of a model from a list in OpenCV's order.

    Raises:
        Unusable: there are more, and they are not zero.
    """
    count = len(COEFFICIENTS[model])
    values = [float(value) for value in values]
    if any(values[count:]):
        known = " ".join(COEFFICIENTS[model])
        raise Unusable(f"has {len(values)} distortion coefficients; known are {known}. Calibrate without the others")
    return tuple((values + [0.0] * count)[:count])


def chosen(entries: Mapping[str, Any], name: str | None, what: str) -> Any:
    """One of several cameras in a file.

    Raises:
        Unusable: there is none of that name, or several and none was named.
    """
    listed = ", ".join(entries)
    if name is not None and name not in entries:
        raise Unusable(f"has no {what} {name}. It has {listed or 'none'}")
    if name is None and len(entries) != 1:
        raise Unusable(f"has {len(entries)} {what}s ({listed}). Name one: --intrinsics FILE#{next(iter(entries), '')}")
    return next(iter(entries.values())) if name is None else entries[name]


def agreed(values: Iterable[Any], what: str) -> Any:
    """The one value that all have.

    Raises:
        Unusable: they differ.
    """
    first, *others = values
    if any(other != first for other in others):
        raise Unusable(f"{what} differs from frame to frame. Give frames of one camera")
    return first
