"""Pinhole cameras that stay right when their picture is resized, cropped or mirrored.

Pixel centres have integer coordinates, the top-left one is (0, 0). Matrices are NumPy arrays where pictures are read,
and tensors, perhaps batches of them, where networks are trained: the arithmetic here is the same for both.
"""

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

    Matrix = np.ndarray | Tensor


@dataclass(frozen=True)
class Camera:
    """A pinhole camera: intrinsics in pixels and the image size that they belong to.

    Attributes:
        intrinsics: (..., 3, 3), focal lengths and principal point in pixels.
        height, width: the image size in pixels.
    """

    intrinsics: "Matrix"
    height: int
    width: int

    @classmethod
    def from_normalised(cls, intrinsics: "Matrix", height: int, width: int) -> "Camera":
        """The camera of an image of this size from size-free intrinsics (see `normalised`)."""
        pixel = _scale_rows(intrinsics, width, height)
        return cls(_shift_centre(pixel, -0.5, -0.5), height, width)

    @classmethod
    def of_field_of_view(cls, degrees: float, height: int, width: int) -> "Camera":
        """The camera with square pixels and its centre in the middle that sees so many degrees from left to right."""
        focal_px = width / 2 / math.tan(math.radians(degrees) / 2)
        return cls(pinhole(focal_px, focal_px, (width - 1) / 2, (height - 1) / 2), height, width)

    def normalised(self) -> "Matrix":
        """Intrinsics (..., 3, 3) in fractions of the image: (fx / W, fy / H, (cx + 1/2) / W, (cy + 1/2) / H).

        The half pixel makes them the same at every size of one picture: the left border of the image, not
        the centre of its first pixel, is zero.
        """
        return _scale_rows(_shift_centre(self.intrinsics, 0.5, 0.5), 1 / self.width, 1 / self.height)

    def resize(self, height: int, width: int, half_pixel: bool = True) -> "Camera":
        """The camera of the same picture resampled to another size.

        Args:
            half_pixel: keep the principal point at the same place of the picture. False multiplies it by the
                scale alone, as the Monodepth2 code and most others do, which is off by up to half a pixel.
        """
        shift = 0.5 if half_pixel else 0.0
        scaled = _scale_rows(_shift_centre(self.intrinsics, shift, shift), width / self.width, height / self.height)
        return Camera(_shift_centre(scaled, -shift, -shift), height, width)

    def crop(self, top: int, left: int, height: int, width: int) -> "Camera":
        """The camera of a window of the picture; the window may reach over the border."""
        return Camera(_shift_centre(self.intrinsics, -left, -top), height, width)

    def flip(self) -> "Camera":
        """The camera of the picture mirrored left to right."""
        mirrored = self.intrinsics * _like(self.intrinsics, [[1, 1, -1], [1, 1, 1], [1, 1, 1]])
        return replace(self, intrinsics=_shift_centre(mirrored, self.width - 1, 0))


def turned(camera: Camera, quarter_turns: int) -> Camera:
    """The camera of the picture turned by so many times 90 degrees, counterclockwise as `numpy.rot90` turns it.

    Only for a pinhole without skew; what was the vertical focal length is then the horizontal one.
    """
    (fx, _, cx), (_, fy, cy), _ = camera.intrinsics.tolist()
    height, width = camera.height, camera.width
    for _ in range(quarter_turns % 4):
        fx, fy, cx, cy, height, width = fy, fx, cy, width - 1 - cx, width, height
    return Camera(pinhole(fx, fy, cx, cy), height, width)


def pinhole(fx: float, fy: float, cx: float, cy: float) -> np.ndarray:
    """The intrinsics matrix (3, 3), float32, of a pinhole camera without skew."""
    return np.array([[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]], dtype=np.float32)


def field_of_view_degrees(focal: float) -> float:
    """What a camera sees from left to right, by its focal length in widths of the picture."""
    return 2 * math.degrees(math.atan(0.5 / focal))


def _scale_rows(intrinsics: "Matrix", horizontal: float, vertical: float) -> "Matrix":
    return intrinsics * _like(intrinsics, [[horizontal], [vertical], [1.0]])


def _shift_centre(intrinsics: "Matrix", horizontal: float, vertical: float) -> "Matrix":
    return intrinsics + _like(intrinsics, [[0, 0, horizontal], [0, 0, vertical], [0, 0, 0]])


def _like(matrix: "Matrix", rows: list[list[float]]) -> "Matrix":
    """Rows of numbers as a matrix of the same kind, type and device as another."""
    if isinstance(matrix, np.ndarray):
        return np.array(rows, dtype=matrix.dtype)
    return matrix.new_tensor(rows)
