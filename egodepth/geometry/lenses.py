"""Lenses that bend the picture: undistorting it, and bringing depth back to the original pixels.

The models are OpenCV's two, of which the maps are OpenCV's own: Brown's with a rational radial part, and the fisheye of
Kannala and Brandt. Undistorting turns nothing and moves nothing, so that the depth along the axis of a point stays what
it is and only its pixel changes.
"""

import math
from dataclasses import dataclass, replace
from functools import cache, cached_property, lru_cache
from types import ModuleType
from typing import Literal

import numpy as np

from egodepth.errors import UserError
from egodepth.geometry.cameras import Camera, pinhole

LensModel = Literal["opencv", "fisheye"]

Field = Literal["cropped", "full"]
"""What an undistorted picture shows: the largest part without black borders, or all that the lens saw."""

COEFFICIENTS: dict[LensModel, tuple[str, ...]] = {
    "opencv": ("k1", "k2", "p1", "p2", "k3", "k4", "k5", "k6"),
    "fisheye": ("k1", "k2", "k3", "k4"),
}
"""The coefficients of each model, in OpenCV's order."""

WIDEST_DEGREES = 65.0
"""From the axis: a flat picture of more is mostly stretched border, and of 90 degrees has no end."""

OUTLINE_POINTS = 200
ROUND_TRIP_PX = 0.1
ITERATIONS = 200


@dataclass(frozen=True)
class Lens:
    """A camera whose lens bends the picture.

    Attributes:
        model: whose formulas the coefficients belong to.
        coefficients: as `COEFFICIENTS` orders them.
        fx, fy, cx, cy: in pixels of the distorted picture.
        height, width: of the distorted picture, and of the undistorted one.
        field: what the undistorted picture shows.
    """

    model: LensModel
    coefficients: tuple[float, ...]
    fx: float
    fy: float
    cx: float
    cy: float
    height: int
    width: int
    field: Field = "cropped"

    @cached_property
    def matrix(self) -> np.ndarray:
        """The intrinsics (3, 3) of the distorted picture."""
        return np.array([[self.fx, 0, self.cx], [0, self.fy, self.cy], [0, 0, 1.0]])

    def turned(self, quarter_turns: int) -> "Lens":
        """The lens of the picture turned by 90 degrees, counterclockwise as `numpy.rot90` turns it."""
        lens = self
        for _ in range(quarter_turns % 4):
            coefficients = list(lens.coefficients)
            if lens.model == "opencv":  # (p2, p1) is a vector of the image plane, and turns with it
                coefficients[2:4] = [-coefficients[3], coefficients[2]]
            lens = replace(
                lens,
                coefficients=tuple(coefficients),
                fx=lens.fy,
                fy=lens.fx,
                cx=lens.cy,
                cy=lens.width - 1 - lens.cx,
                height=lens.width,
                width=lens.height,
            )
        return lens


def straight_camera(lens: Lens) -> Camera:
    """The camera of the undistorted picture: as large as the distorted one, and with the same shape of pixel.

    Raises:
        UserError: the coefficients do not describe the picture up to its border.
    """
    fx, fy, cx, cy = _straight_numbers(lens)
    return Camera(pinhole(fx, fy, cx, cy), lens.height, lens.width)


def field_said(lens: Lens) -> str:
    """What an undistorted picture shows, in words."""
    if lens.field == "full":
        return "to the full field of the lens, with black borders"
    return f"cropped to the {shown_pixels(lens).mean():.0%} of the picture that give no black border"


def undistort(image: np.ndarray, lens: Lens) -> np.ndarray:
    """The undistorted picture of one (H, W) or (H, W, C) that the lens took; black where it saw nothing."""
    _check_size(image, lens)
    return _opencv().remap(image, *_distorted_pixels(lens), _opencv().INTER_CUBIC, borderMode=_opencv().BORDER_CONSTANT)


def distort_depth(depth: np.ndarray, lens: Lens) -> np.ndarray:
    """Depth (H, W) of the undistorted picture at the pixels of the distorted one, as float32.

    Inverse depth is interpolated, which for a plane is exact. Pixels that the undistorted picture does not show are not
    a number.
    """
    _check_size(depth, lens)
    across, down = _undistorted_pixels(lens)
    inverse = (1 / depth.astype(np.float32)).astype(np.float32)
    moved = 1 / _opencv().remap(inverse, across, down, _opencv().INTER_LINEAR, borderMode=_opencv().BORDER_REPLICATE)
    moved[~shown_pixels(lens)] = np.nan
    return moved


def shown_pixels(lens: Lens) -> np.ndarray:
    """Which pixels (H, W) of the distorted picture the undistorted one shows."""
    across, down = _undistorted_pixels(lens)
    return (across >= -0.5) & (across <= lens.width - 0.5) & (down >= -0.5) & (down <= lens.height - 0.5)


def rays(lens: Lens, pixels: np.ndarray) -> np.ndarray:
    """Where the rays of pixels (N, 2) meet the plane at distance 1: (N, 2) float64, not a number where none is found.

    The distortion is inverted by iteration, and each result is held against the pixel that it came from.
    """
    pixels = np.asarray(pixels, np.float64).reshape(-1, 1, 2)
    criteria = (_opencv().TERM_CRITERIA_COUNT | _opencv().TERM_CRITERIA_EPS, ITERATIONS, 1e-10)
    coefficients = np.array(lens.coefficients)
    if lens.model == "fisheye":
        found = _opencv().fisheye.undistortPoints(pixels, lens.matrix, coefficients, criteria=criteria)
    else:
        found = _opencv().undistortPoints(pixels, lens.matrix, coefficients, criteria=criteria)
    found = found.reshape(-1, 2)
    with np.errstate(over="ignore", invalid="ignore"):
        away = np.abs(_project(lens, found) - pixels[:, 0]).max(axis=1)
        found[~(away < ROUND_TRIP_PX)] = np.nan
    return found


def _project(lens: Lens, points: np.ndarray) -> np.ndarray:
    """Pixels (N, 2) of points (N, 2) of the plane at distance 1."""
    coefficients = np.array(lens.coefficients)
    if lens.model == "fisheye":
        return _opencv().fisheye.distortPoints(points[:, None], lens.matrix, coefficients).reshape(-1, 2)
    whole = np.concatenate([points, np.ones((len(points), 1))], axis=1)
    return (
        _opencv().projectPoints(whole[:, None], np.zeros(3), np.zeros(3), lens.matrix, coefficients)[0].reshape(-1, 2)
    )


@cache
def _opencv() -> ModuleType:
    """OpenCV, whose lens models these are.

    Raises:
        UserError: it is not installed.
    """
    try:
        import cv2
    except ModuleNotFoundError as error:
        raise UserError(
            "OpenCV is not installed, by which lens distortion is undone: pip install 'egodepth[lenses]'."
        ) from error
    return cv2


@lru_cache(maxsize=8)
def _straight_numbers(lens: Lens) -> tuple[float, float, float, float]:
    """fx, fy, cx, cy of the undistorted picture."""
    # Python's own numbers: of NumPy's the camera's tensor would be in double precision, and training refuses that.
    left, right, top, bottom = map(float, _sides(lens))
    last_x, last_y = lens.width - 1, lens.height - 1
    scales = last_x / (lens.fx * (right - left)), last_y / (lens.fy * (bottom - top))
    scale = max(scales) if lens.field == "cropped" else min(scales)
    fx, fy = lens.fx * scale, lens.fy * scale
    return fx, fy, _centre(fx, lens.cx, left, right, last_x), _centre(fy, lens.cy, top, bottom, last_y)


def _centre(focal_px: float, preferred: float, low: float, high: float, last: int) -> float:
    """The principal point, as near the distorted picture's as the sides of the field allow."""
    limits = -low * focal_px, last - high * focal_px
    return min(max(preferred, min(limits)), max(limits))


def _sides(lens: Lens) -> tuple[float, float, float, float]:
    """Left, right, top and bottom of the field, on the plane at distance 1."""
    across = np.linspace(0, lens.width - 1, OUTLINE_POINTS)
    down = np.linspace(0, lens.height - 1, OUTLINE_POINTS)
    sides = [
        np.stack(np.broadcast_arrays(x, y), axis=1)
        for x, y in ((0.0, down), (lens.width - 1.0, down), (across, 0.0), (across, lens.height - 1.0))
    ]
    left, right, top, bottom = (_outline(lens, side) for side in sides)
    if lens.field == "full":
        points = np.concatenate([left, right, top, bottom])
        (low_x, low_y), (high_x, high_y) = points.min(axis=0), points.max(axis=0)
        return low_x, high_x, low_y, high_y
    found = left[:, 0].max(), right[:, 0].min(), top[:, 1].max(), bottom[:, 1].min()
    if found[0] >= found[1] or found[2] >= found[3]:
        raise UserError(_beyond(lens))
    return found


def _outline(lens: Lens, pixels: np.ndarray) -> np.ndarray:
    """The rays of pixels at the border, cut at `WIDEST_DEGREES`."""
    points = rays(lens, pixels)
    lost = np.isnan(points).any(axis=1)
    widest = math.tan(math.radians(WIDEST_DEGREES))
    if lost.any():
        if lens.model != "fisheye":
            raise UserError(_beyond(lens))
        # Beyond 90 degrees there is no point on the plane, only a direction.
        away = (pixels[lost] - (lens.cx, lens.cy)) / (lens.fx, lens.fy)
        points[lost] = away / np.linalg.norm(away, axis=1, keepdims=True) * widest
    radius = np.linalg.norm(points, axis=1, keepdims=True)
    return points * np.minimum(1, widest / np.maximum(radius, 1e-12))


def _beyond(lens: Lens) -> str:
    names = COEFFICIENTS[lens.model]
    given = ", ".join(f"{name} {value:g}" for name, value in zip(names, lens.coefficients, strict=True) if value)
    return (
        f"the distortion {given} folds the {lens.width}x{lens.height} picture over before its border. Calibrate with "
        "boards in the corners of the picture, or with fewer coefficients."
    )


@lru_cache(maxsize=4)
def _distorted_pixels(lens: Lens) -> tuple[np.ndarray, np.ndarray]:
    """For each pixel of the undistorted picture, column and row in the distorted one: (H, W) float32 each."""
    fx, fy, cx, cy = _straight_numbers(lens)
    new = np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1.0]])
    size, coefficients = (lens.width, lens.height), np.array(lens.coefficients)
    straight = _opencv().fisheye if lens.model == "fisheye" else _opencv()
    return straight.initUndistortRectifyMap(lens.matrix, coefficients, np.eye(3), new, size, _opencv().CV_32FC1)


@lru_cache(maxsize=4)
def _undistorted_pixels(lens: Lens) -> tuple[np.ndarray, np.ndarray]:
    """For each pixel of the distorted picture, column and row in the undistorted one: (H, W) float32 each."""
    fx, fy, cx, cy = _straight_numbers(lens)
    pixels = np.stack(np.meshgrid(np.arange(lens.width), np.arange(lens.height)), axis=-1)
    points = rays(lens, pixels) * (fx, fy) + (cx, cy)
    # Far outside stands for nowhere: OpenCV does not say what it makes of numbers that are none.
    points = np.nan_to_num(points, nan=-1e4).clip(-1e4, 3e4).astype(np.float32).reshape(lens.height, lens.width, 2)
    return np.ascontiguousarray(points[..., 0]), np.ascontiguousarray(points[..., 1])


def _check_size(picture: np.ndarray, lens: Lens) -> None:
    if picture.shape[:2] != (lens.height, lens.width):
        raise ValueError(f"the lens is of {lens.height}x{lens.width} pictures, got {picture.shape[:2]}")
