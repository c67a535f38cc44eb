"""Whether a camera can be that of its frames, asked once wherever the two meet.

Intrinsics of another image size, or of another form, train without a word and give depth that is bent. What can be seen
from the numbers alone is refused here, with what would be right.
"""

import math

from egodepth.errors import UserError
from egodepth.geometry.cameras import Camera

INNERMOST = (0.1, 0.9)
"""Where the principal point may lie, in fractions of the width and of the height. Cropping moves it, within limits."""

FIELD_OF_VIEW_DEGREES = (10.0, 150.0)
"""Narrowest and widest of the longer side. Below are telescopes, above are lenses that no pinhole describes."""

ASPECT_TOLERANCE = 0.02
FOCAL_TOLERANCE = 0.05

LARGEST_FRACTION = 10.0
"""A focal length below this many pixels is one in widths and heights of the picture."""

SAME_SHARE = 0.02
FAR_FROM_THE_MIDDLE = 0.15

Numbers = tuple[float, float, float, float]
"""fx, fy, cx, cy."""


def check_camera(what: str, camera: Camera, remedy: str) -> None:
    """Refuse a camera that cannot be the one of its frames.

    Args:
        what: where the numbers stand, for the message: a file, or the option that gave them.
        camera: at the size of the frames.
        remedy: what to do where the numbers belong to another size.

    Raises:
        UserError: the numbers are fractions of the picture, the principal point lies outside or at the border, the
            field of view is no camera's, or fx and fy differ by more than 5 %.
    """
    fx, fy, cx, cy = numbers_of(camera)
    height, width = camera.height, camera.width
    frames = f"{width}x{height} frames"
    if are_fractions((fx, fy, cx, cy)):
        raise UserError(f"{what}: {_in_pixels((fx, fy, cx, cy), height, width)}")
    across, down = (cx + 0.5) / width, (cy + 0.5) / height
    point = f"principal point ({cx:g}, {cy:g})"
    if not (0 <= across <= 1 and 0 <= down <= 1):
        raise UserError(f"{what}: {point} lies outside the {frames}. {remedy}")
    if _is_of_turned_frames(across, down, cx, cy, height, width):
        raise UserError(
            f"{what}: {point} is the middle of {height}x{width} frames, but these are {width}x{height}: the camera was "
            f"calibrated lying, the frames are upright, or the other way round. {remedy}"
        )
    least, most = INNERMOST
    if not (least <= across <= most and least <= down <= most):
        raise UserError(f"{what}: {point} lies at the border of the {frames}, not about their middle. {remedy}")
    if abs(across - down) < SAME_SHARE and abs(across - 0.5) > FAR_FROM_THE_MIDDLE:
        raise UserError(
            f"{what}: {point} is the middle of {2 * cx + 1:.0f}x{2 * cy + 1:.0f} frames, but these are "
            f"{width}x{height}. {remedy}"
        )
    horizontal, vertical = field_of_view(width, fx), field_of_view(height, fy)
    narrowest, widest = FIELD_OF_VIEW_DEGREES
    if not narrowest <= max(horizontal, vertical) <= widest:
        raise UserError(
            f"{what}: fx {fx:g} and fy {fy:g} give the {frames} a field of view of {horizontal:.1f} x {vertical:.1f} "
            f"degrees; a camera has {narrowest:.0f} to {widest:.0f}. {remedy}"
        )
    if abs(fx / fy - 1) > FOCAL_TOLERANCE:
        raise UserError(
            f"{what}: fx {fx:g} and fy {fy:g} of the {frames} differ by {abs(fx / fy - 1):.0%}, but pixels are square, "
            f"so they must be equal. {remedy}"
        )


def numbers_of(camera: Camera) -> Numbers:
    (fx, _, cx), (_, fy, cy), _ = camera.intrinsics.tolist()
    return fx, fy, cx, cy


def are_fractions(numbers: Numbers) -> bool:
    """Whether intrinsics are normalised by the width and the height, as Monodepth2's code has them."""
    fx, fy, cx, cy = numbers
    return max(fx, fy) < LARGEST_FRACTION and 0 < cx < 1 and 0 < cy < 1


def same_aspect(one: tuple[float, float], other: tuple[float, float]) -> bool:
    """Whether two heights and widths are of one form, to 2 %."""
    ratio = (one[1] / one[0]) / (other[1] / other[0])
    return abs(ratio - 1) <= ASPECT_TOLERANCE


def field_of_view(size: float, focal_px: float) -> float:
    """In degrees, of a side of this many pixels."""
    return 2 * math.degrees(math.atan(size / 2 / focal_px))


def shown(numbers: Numbers) -> str:
    """Intrinsics as they are typed in."""
    return ",".join(f"{number:.1f}".removesuffix(".0") for number in numbers)


def _in_pixels(numbers: Numbers, height: int, width: int) -> str:
    fx, fy, cx, cy = numbers
    pixels = fx * width, fy * height, cx * width, cy * height
    found = f"fx,fy,cx,cy = {fx:g},{fy:g},{cx:g},{cy:g} are fractions of the width and the height, not pixels."
    if abs(pixels[0] / pixels[1] - 1) > FOCAL_TOLERANCE:
        return (
            f"{found} In pixels of the {width}x{height} frames they are {shown(pixels)}, where fx and fy differ, so "
            "they belong to frames of another form. Calibrate this camera."
        )
    return f"{found} In pixels of the {width}x{height} frames: {shown(pixels)}."


def _is_of_turned_frames(across: float, down: float, cx: float, cy: float, height: int, width: int) -> bool:
    """Whether the principal point is the middle once width and height change places, and is not as they are."""
    turned = abs((cx + 0.5) / height - 0.5) < 0.05 and abs((cy + 0.5) / width - 0.5) < 0.05
    return turned and not (abs(across - 0.5) < 0.1 and abs(down - 0.5) < 0.1)
