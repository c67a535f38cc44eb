"""The camera of footage: typed in, or from the camera.json beside it."""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from egodepth.data.footage.video import video_info
from egodepth.data.images import image_size, list_images
from egodepth.errors import UserError
from egodepth.geometry.cameras import Camera, pinhole


def parse_intrinsics(text: str) -> tuple[float, float, float, float]:
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


def footage_camera(path: Path | str, intrinsics: str | None = None) -> Camera:
    """The camera of a piece of footage at its native size.

    Args:
        path: video file or folder of frames.
        intrinsics: `fx,fy,cx,cy` in pixels of the native frames. Without it `camera.json` is read, in the folder or
            beside the video (also as `<name of the video>.json`): an object of fx, fy, cx and cy, and width and
            height where it was calibrated at another size.

    Raises:
        UserError: neither is there, or one has another form.
    """
    path = Path(path)
    height, width = footage_size(path)
    if intrinsics is not None:
        return Camera(pinhole(*parse_intrinsics(intrinsics)), height, width)
    places = [path / "camera.json"] if path.is_dir() else [path.with_suffix(".json"), path.with_name("camera.json")]
    file = next((place for place in places if place.is_file()), None)
    if file is None:
        raise UserError(
            f"{path}: the camera is not known. Give --intrinsics fx,fy,cx,cy in pixels of its {width}x{height} frames, "
            f'or write {places[0]}: {{"fx": …, "fy": …, "cx": …, "cy": …}}.'
        )
    return _read_camera(file, height, width)


def footage_size(path: Path | str) -> tuple[int, int]:
    """Native height and width of a video, or the most common ones in a folder of frames."""
    path = Path(path)
    if path.is_dir():
        return common_size(image_sizes(list_images(path)), path)
    info = video_info(path)
    return info.height, info.width


def _read_camera(file: Path, height: int, width: int) -> Camera:
    try:
        entries = json.loads(file.read_text(encoding="utf-8"))
        fx, fy, cx, cy = (float(entries[key]) for key in ("fx", "fy", "cx", "cy"))
        size = int(entries.get("height", height)), int(entries.get("width", width))
        if min(fx, fy, *size) <= 0:
            raise ValueError
    except (ValueError, TypeError, KeyError, AttributeError):
        raise UserError(
            f"{file}: expected an object with the numbers fx, fy, cx and cy in pixels, and width and height where they "
            "belong to another size than the frames'. Correct it."
        ) from None
    return Camera(pinhole(fx, fy, cx, cy), *size).resize(height, width)


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
