"""Reading what somebody uploaded, within limits that are checked before anything large is decoded.

The file is of unknown origin: sizes are read from its header first, and messages name it as its owner does, not where
it lies here.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from egodepth.data.calibrations.exif import camera_from_exif
from egodepth.data.footage.video import Frame, read_video, video_info
from egodepth.data.images import image_size, read_image, resize_image
from egodepth.errors import UserError
from egodepth.geometry.cameras import field_of_view_degrees
from egodepth.web.limits import WebLimits

SHOWN_PIXELS = 2_000_000
"""A browser turns so many points, and sends so large files, without making anybody wait."""

SHOWN_FRAME_PIXELS = 640_000

START_BYTES = 12
PICTURES = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"BM", b"II*\0", b"MM\0*", b"P5", b"P6")
MATROSKA = b"\x1a\x45\xdf\xa3"
MP4_BOXES = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide")
TAKEN = "JPEG, PNG, WebP, TIFF, BMP, MP4, MOV, WebM, MKV or AVI"


@dataclass(frozen=True)
class UploadedPicture:
    """A picture as the page works on it.

    Attributes:
        pixels: (H, W, 3) uint8 RGB, of `SHOWN_PIXELS` at most.
        degrees: horizontal field of view that the file states; None where it states none.
        full_size: height and width that the file has.
    """

    pixels: np.ndarray
    degrees: float | None
    full_size: tuple[int, int]


def shows_video(file: Path) -> bool:
    """Whether an upload is a video; by what it holds, since its name is whatever somebody called it.

    Only these few formats are let through to the decoders: FFmpeg follows playlists to other files and servers, and
    Pillow gives PostScript to a program that runs it.

    Raises:
        UserError: it is neither a picture nor a video of these formats.
    """
    with file.open("rb") as opened:
        start = opened.read(START_BYTES)
    if any(start.startswith(signature) for signature in PICTURES) or (start[:4], start[8:]) == (b"RIFF", b"WEBP"):
        return False
    if start.startswith(MATROSKA) or start[4:8] in MP4_BOXES or (start[:4], start[8:]) == (b"RIFF", b"AVI "):
        return True
    raise UserError(f"{file.name}: is no picture and no video that is read here. Take {TAKEN}.")


def read_upload(file: Path, limits: WebLimits) -> UploadedPicture:
    """Read a picture, made smaller where it is larger than a page needs.

    Raises:
        UserError: it cannot be read, or has more pixels than the limits allow.
    """
    with _within(file, limits):
        height, width = image_size(file)
        camera = camera_from_exif(file, height, width)
        pixels = read_image(file)
    degrees = None
    if camera is not None:
        degrees = field_of_view_degrees(float(camera.intrinsics[0, 0]) / width)
    return UploadedPicture(fitted_into(pixels, SHOWN_PIXELS), degrees, (height, width))


def check_video(file: Path, limits: WebLimits) -> int:
    """How many frames a video says that it has.

    Raises:
        UserError: it cannot be read, is too long, or its frames are too large.
    """
    with _within(file, limits):
        info = video_info(file)
    if info.height * info.width > limits.frame_pixels:
        raise UserError(
            f"{file.name}: its frames have {info.width}x{info.height} pixels, "
            f"{limits.frame_pixels / 1e6:.3g} million are allowed here. Make it smaller."
        )
    if info.frames / info.frames_per_second > limits.video_seconds:
        raise UserError(_too_long(file, limits))
    return info.frames


def read_uploaded_video(file: Path, limits: WebLimits) -> Iterator[tuple[np.ndarray, float]]:
    """The frames (H, W, 3) of a video, of the first one's size, made smaller where a page needs less, and their times.

    Raises:
        UserError: it goes on for longer than it said, and than the limits allow.
    """
    size: tuple[int, ...] | None = None
    with _within(file, limits):
        for each in read_video(file):
            if not isinstance(each, Frame):
                continue
            if each.seconds > limits.video_seconds:
                raise UserError(_too_long(file, limits))
            size = size or each.pixels.shape
            if each.pixels.shape == size:
                yield fitted_into(each.pixels, SHOWN_FRAME_PIXELS), each.seconds


def fitted_into(pixels: np.ndarray, most: int) -> np.ndarray:
    """A picture (H, W, 3) with so many pixels at most, of its own form."""
    height, width = pixels.shape[:2]
    if height * width <= most:
        return pixels
    share = (most / (height * width)) ** 0.5
    return resize_image(pixels, max(1, int(height * share)), max(1, int(width * share)))


def _too_long(file: Path, limits: WebLimits) -> str:
    return f"{file.name}: is longer than {limits.video_seconds:g} seconds. Cut it, or use egodepth predict."


@contextmanager
def _within(file: Path, limits: WebLimits) -> Iterator[None]:
    """Let no picture beyond the limits be decoded, and take the folder out of messages about the file."""
    # Pillow looks at a header's size whenever it opens a file, warns from here on and refuses twice as much.
    before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, limits.picture_pixels // 2
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            yield
    except UserError as error:
        raise UserError(str(error).replace(str(file), file.name)) from error
    finally:
        Image.MAX_IMAGE_PIXELS = before
