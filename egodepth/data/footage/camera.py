"""The camera of footage: typed in, or from the camera.json beside it."""

import json
import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from egodepth.data.camera_checking import Numbers, are_fractions, check_camera, numbers_of, same_aspect, shown
from egodepth.data.configurations import FIELD_OF_VIEW, LEARNED, field_of_view_in
from egodepth.data.footage.video import video_info
from egodepth.data.images import image_size, list_images
from egodepth.errors import UserError
from egodepth.geometry.cameras import Camera, pinhole, turned


class CameraUnknown(UserError):
    """Footage comes without intrinsics."""


LEARNED_START_DEGREES = 60.0
"""The horizontal field of view that a camera has before it is learnt."""

OWN_SIZE = "Give the intrinsics of the frames' own size"


def parse_intrinsics(text: str) -> Numbers:
    """Read `fx,fy,cx,cy` in pixels.

    Raises:
        UserError: there are not four numbers, or a focal length is not positive.
    """
    try:
        fx, fy, cx, cy = (float(piece) for piece in text.split(","))
    except ValueError:
        raise UserError(f"--intrinsics {text}: expected four numbers fx,fy,cx,cy in pixels.") from None
    if not (0 < fx < np.inf and 0 < fy < np.inf and np.isfinite([cx, cy]).all()):
        raise UserError(f"--intrinsics {text}: focal lengths must be positive and all four numbers finite.")
    return fx, fy, cx, cy


def camera_of_field_of_view(degrees: float, height: int, width: int) -> Camera:
    """The camera with square pixels and its centre in the middle that sees so many degrees from left to right."""
    focal_px = width / 2 / math.tan(math.radians(degrees) / 2)
    return Camera(pinhole(focal_px, focal_px, (width - 1) / 2, (height - 1) / 2), height, width)


def footage_camera(path: Path | str, intrinsics: str | None = None) -> Camera:
    """The camera of a piece of footage at its native size, checked against its frames.

    Args:
        path: video file or folder of frames.
        intrinsics: `fx,fy,cx,cy` in pixels of the native frames, `fov=DEGREES` from left to right, or `learned` for
            the camera that learning starts from. Without it `camera.json` is read, in the folder or beside the video
            (also as `<name of the video>.json`): an object of fx, fy, cx and cy, and width and height where it was
            calibrated at another size.

    Raises:
        CameraUnknown: neither is there.
        UserError: one has another form, or cannot be the camera of these frames.
    """
    path = Path(path)
    height, width = footage_size(path)
    if intrinsics == LEARNED:
        return camera_of_field_of_view(LEARNED_START_DEGREES, height, width)
    if intrinsics is not None and intrinsics.startswith(FIELD_OF_VIEW):
        return camera_of_field_of_view(field_of_view_in(intrinsics), height, width)
    if intrinsics is not None:
        camera = Camera(pinhole(*parse_intrinsics(intrinsics)), height, width)
        check_camera(f"--intrinsics {intrinsics}", camera, f"{OWN_SIZE}.", has_square_pixels(path))
        return camera
    places = [path / "camera.json"] if path.is_dir() else [path.with_suffix(".json"), path.with_name("camera.json")]
    file = next((place for place in places if place.is_file()), None)
    if file is None:
        raise CameraUnknown(
            f"{path}: the camera is not known. Give --intrinsics fx,fy,cx,cy in pixels of its {width}x{height} frames, "
            f'or --fov DEGREES, or write {places[0]}: {{"fx": …, "fy": …, "cx": …, "cy": …}}.'
        )
    return _read_camera(file, height, width, quarter_turns(path), has_square_pixels(path))


def footage_size(path: Path | str) -> tuple[int, int]:
    """Native height and width of a video, or the most common ones in a folder of frames."""
    path = Path(path)
    if path.is_dir():
        return common_size(image_sizes(list_images(path)), path)
    info = video_info(path)
    return info.height, info.width


def has_square_pixels(path: Path) -> bool:
    """Whether a frame's pixels are as wide as they are high."""
    return path.is_dir() or video_info(path).pixel_aspect == 1


def quarter_turns(path: Path) -> int | None:
    """Turns by 90 degrees, counterclockwise, from the recorded picture to the upright one; None where not known."""
    return None if path.is_dir() else video_info(path).quarter_turns


def _read_camera(file: Path, height: int, width: int, turns: int | None, square_pixels: bool) -> Camera:
    try:
        entries = json.loads(file.read_text(encoding="utf-8"))
        numbers = fx, fy, cx, cy = tuple(float(entries[key]) for key in ("fx", "fy", "cx", "cy"))
        size = int(entries.get("height", height)), int(entries.get("width", width))
        if min(fx, fy, *size) <= 0 or not np.isfinite(numbers).all():
            raise ValueError
    except (ValueError, TypeError, KeyError, AttributeError):
        raise UserError(
            f"{file}: expected an object with the numbers fx, fy, cx and cy in pixels, and width and height where they "
            "belong to another size than the frames'. Correct it."
        ) from None
    sized = "width" in entries or "height" in entries
    remedy = f"{OWN_SIZE}." if sized else f"{OWN_SIZE}, or add width and height."
    camera = Camera(pinhole(fx, fy, cx, cy), *size)
    if are_fractions(numbers):
        check_camera(str(file), Camera(camera.intrinsics, height, width), remedy, square_pixels)
    if not same_aspect(size, (height, width)):
        camera = _of_the_frames_form(file, camera, height, width, turns, square_pixels)
    camera = camera.resize(height, width)
    check_camera(str(file), camera, remedy, square_pixels)
    return camera


def _of_the_frames_form(
    file: Path, camera: Camera, height: int, width: int, turns: int | None, square_pixels: bool
) -> Camera:
    """The camera of a lying calibration for upright frames, or of an upright one for lying frames.

    Raises:
        UserError: the two are of another form, or the calibration is turned and nothing says to which side.
    """
    lies, stands = ("lying", "upright") if camera.width > camera.height else ("upright", "lying")
    is_turned = (camera.width > camera.height) != (width > height)
    calibrated, frames = f"{camera.width}x{camera.height}", f"{width}x{height}"
    found = f"{file}: calibrated at {calibrated}, but the frames are {frames}"
    if is_turned:
        found = f"{file}: calibrated {lies} at {calibrated}, but the frames are {stands}, {frames}"
        if turns is not None and turns % 2:
            camera = turned(camera, turns)
        elif same_aspect((camera.width, camera.height), (height, width)):
            sides = [numbers_of(turned(camera, side).resize(height, width)) for side in (1, 3)]
            if any(abs(one - other) > 0.01 * max(height, width) for one, other in zip(*sides, strict=True)):
                raise UserError(
                    f"{found}: turned, and nothing says to which side. In pixels of the frames write fx, fy, cx, cy = "
                    f"{shown(sides[0])} where they were turned counterclockwise, {shown(sides[1])} clockwise."
                )
            return turned(camera, 1)
        else:
            camera = turned(camera, 1)
        if same_aspect((camera.height, camera.width), (height, width)):
            return camera
    wider = camera.width / camera.height > width / height
    scale = height / camera.height if wider else width / camera.width
    fx, fy, cx, cy = numbers_of(camera)
    # The cut is measured between borders, half a pixel outside the first and the last pixel's centre.
    cut_x, cut_y = ((camera.width * scale - width) / 2, (camera.height * scale - height) / 2)
    cx, cy = (cx + 0.5) * scale - 0.5 - max(0.0, cut_x), (cy + 0.5) * scale - 0.5 - max(0.0, cut_y)
    remedy = f"{OWN_SIZE}"
    if square_pixels:
        sides = "left and right" if wider else "top and bottom"
        remedy += (
            f"; where the same picture was only cut at {sides}, to equal parts, these are "
            f"fx, fy, cx, cy = {shown((fx * scale, fy * scale, cx, cy))}"
        )
    raise UserError(f"{found}, of another form: how the one is cut from the other is not known. {remedy}.")


def image_sizes(images: Sequence[Path]) -> dict[Path, tuple[int, int] | UserError]:
    """Height and width of each image, or why it cannot be read."""
    sizes: dict[Path, tuple[int, int] | UserError] = {}
    for path in images:
        try:
            sizes[path] = image_size(path)
        except UserError as error:
            sizes[path] = error
    return sizes


def common_size(sizes: dict[Path, tuple[int, int] | UserError], folder: Path) -> tuple[int, int]:
    """The most common height and width.

    Raises:
        UserError: no image can be read.
    """
    counts = Counter(size for size in sizes.values() if not isinstance(size, UserError))
    if not counts:
        raise UserError(f"{folder}: none of its {len(sizes)} images can be read. Check the files.")
    return counts.most_common(1)[0][0]
