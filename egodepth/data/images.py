"""Image files in and out of memory: one decoder and one resize for training, evaluation and prediction.

Training and prediction must shrink a picture in the same way, because a network sees the filter: every image of
this project is decoded by Pillow and resized by its antialiased Lanczos filter.
"""

import io
import re
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from egodepth.errors import UserError
from egodepth.png import check_png

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".ppm", ".pgm"})

SIXTEEN_BIT_MODES = frozenset({"I", "I;16", "I;16L", "I;16B", "I;16N"})
EXIF_ORIENTATION = 0x0112
EXIF_DETAILS, EXIF_TAKEN, EXIF_SUBSECONDS = 0x8769, 0x9003, 0x9291

NUMBER = re.compile(r"([0-9]+)")
DECIMAL = re.compile(r"([^0-9]*)([0-9]+\.[0-9]+)(\.[a-z]+)")

BIT_DEPTHS = (8, 10, 12, 14, 16, 20, 24, 32)
LEAST_ROWS = 32
"""A thumbnail has so many rows at least, so that windows of flow fit into it."""

DEPTH_PROBES = 16
"""How many images of a sequence are looked into for its bit depth."""

WRITTEN_TOGETHER_S = 2.0
"""Times of files closer than this say nothing about their order: several were written at once, or copied."""
BACKWARDS_SHARE = 0.05
DEPTH_PNG_UNITS_PER_METRE = 256

MOST_PIXELS = 100_000_000
"""Largest picture or frame of a video; one takes 0.3 GB decoded, and several times that on its way."""

# What Pillow raises for a file whose bytes end early or contradict each other, according to the format.
BROKEN_FILE_ERRORS = (OSError, SyntaxError, ValueError, TypeError, EOFError, IndexError, struct.error)


def read_image(path: Path | str, bits: int | None = None) -> np.ndarray:
    """Read an image as (H, W, 3) uint8 RGB, upright by its EXIF orientation.

    Grey images are repeated over the channels, deeper ones keep the upper eight of their bits, transparency is dropped.

    Args:
        bits: that the values of an image of more than 8 bits use, see `bit_depth`; none takes 16.

    Raises:
        UserError: the file is missing, empty, cut short, no image, or larger than Pillow agrees to decode.
    """
    return np.asarray(_open_rgb(Path(path), bits))


def resize_image(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resize (H, W, 3) uint8 to (height, width, 3) with the antialiased Lanczos filter (a = 3).

    Source: Monodepth2 specification, section 7.2.
    """
    return np.asarray(_resize(Image.fromarray(image), height, width))


def read_resized_image(path: Path | str, height: int, width: int) -> np.ndarray:
    """`resize_image(read_image(path), height, width)` without the copies between."""
    return np.asarray(_resize(_open_rgb(Path(path)), height, width))


def read_thumbnail(path: Path, width: int) -> np.ndarray:
    """A small grey copy (h, width) uint8 of an image, without decoding all of a JPEG.

    Raises:
        UserError: see `read_image`.
    """
    with _opened(path) as image:
        image.draft("L", (2 * width, 2 * width * image.height // image.width))
        return shrunk(ImageOps.exif_transpose(image).convert("L"), width)


def shrunk(image: Image.Image, width: int) -> np.ndarray:
    """A grey image at a small width, (h, width) uint8, and at least `LEAST_ROWS` high."""
    rows = max(LEAST_ROWS, round(width * image.height / image.width))
    return np.asarray(image.resize((width, rows), Image.Resampling.BOX))


def cut_image(image: np.ndarray, shares: tuple[float, float, float, float], height: int, width: int) -> np.ndarray:
    """Resize a part of an image (H, W, 3) uint8 to (height, width, 3) in one Lanczos step.

    The pixels are those that the part has after the whole image is resized; what lies beside it takes part in the
    filter.

    Args:
        shares: top, left, bottom and right of the part, in shares of the image's height and width.
    """
    return np.asarray(_resize_part(Image.fromarray(image), shares, height, width))


def read_cut_image(path: Path | str, shares: tuple[float, float, float, float], height: int, width: int) -> np.ndarray:
    """`cut_image(read_image(path), …)` without the copies between."""
    return np.asarray(_resize_part(_open_rgb(Path(path)), shares, height, width))


def read_depth_png(path: Path | str) -> np.ndarray:
    """Read a 16-bit depth PNG as (H, W) float32 in metres, 0 where there is no depth.

    Raises:
        UserError: the file cannot be read or holds something else than one 16-bit channel.
    """
    return read_png16(path) / np.float32(DEPTH_PNG_UNITS_PER_METRE)


def read_png16(path: Path | str) -> np.ndarray:
    """Read the raw values of a 16-bit grey PNG as (H, W) float32 (depth or disparity times 256)."""
    path = Path(path)
    with _reading(path):
        content = path.read_bytes()
        check_png(content)
    with _opened(path, io.BytesIO(content)) as image:
        if image.mode not in SIXTEEN_BIT_MODES:
            raise UserError(
                f"{path}: expected a 16-bit grey PNG (value / 256), found mode {image.mode}. "
                "Depth and disparity maps must not be converted to 8 bits."
            )
        return np.asarray(image).astype(np.float32)


def image_size(path: Path | str) -> tuple[int, int]:
    """Height and width of the upright image, from the file's header alone.

    Raises:
        UserError: the file is missing, empty or no image.
    """
    path = Path(path)
    with _opened(path) as image:
        width, height = image.size
        turned = image.getexif().get(EXIF_ORIENTATION, 1) >= 5
    return (width, height) if turned else (height, width)


def is_image(path: Path) -> bool:
    """Whether the name is that of an image file. Hidden files are not: systems leave such beside the real ones."""
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")


def list_images(folder: Path | str) -> list[Path]:
    """The image files of a folder in natural order (`2.png` before `10.png`).

    Raises:
        UserError: the folder is missing or holds no image.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder. Check the path.")
    images = sorted((path for path in folder.iterdir() if is_image(path)), key=natural_key)
    if not images:
        raise UserError(f"{folder}: holds no image ({', '.join(sorted(IMAGE_SUFFIXES))}). Check the path.")
    return images


def natural_key(path: Path) -> tuple[tuple[Decimal, str], ...]:
    """Sort key by which numbers within names count as numbers.

    A name that is one decimal (`1700000000.15.png`, a time stamp), after a word or none, counts by its value.
    """
    name = path.name.lower()
    decimal = DECIMAL.fullmatch(name)
    pieces = decimal.groups() if decimal else NUMBER.split(name)
    # Pieces at odd places are the numbers.
    keys = ((Decimal(piece), "") if place % 2 else (Decimal(0), piece) for place, piece in enumerate(pieces))
    return (*keys, (Decimal(0), path.name))


def bit_depth(images: Sequence[Path]) -> int | None:
    """How many bits the values of a sequence of deep images use: the fewest usual ones that hold the largest value.

    Cameras store 10, 12 or 14 bits in 16. Some images spread over the sequence are looked into, and all of it is then
    read alike. None where the images have 8 bits, or cannot be read.
    """
    step = max(1, len(images) // DEPTH_PROBES)
    largest = 0
    for path in images[::step]:
        try:
            with _opened(path) as image:
                if image.mode not in SIXTEEN_BIT_MODES:
                    return None
                largest = max(largest, int(np.asarray(image).max()))
        except UserError:
            continue
    return next((bits for bits in BIT_DEPTHS if largest < 1 << bits), BIT_DEPTHS[-1]) if largest else None


def check_bits(option: str, bits: int) -> None:
    """Raises UserError: no image has values of so many bits."""
    if not BIT_DEPTHS[0] <= bits <= BIT_DEPTHS[-1]:
        raise UserError(f"{option} {bits}: images have 8 to 32 bits. Give how many their values use, such as 12.")


def disagreement_in_time(images: Sequence[Path]) -> str | None:
    """What to say where the order of images by name is not that of the times in their EXIF data, or of their files."""
    for times, tolerance, kind in (
        (_times_taken(images), 0.0, "the times in their EXIF data"),
        ([path.stat().st_mtime for path in images], WRITTEN_TOGETHER_S, "the times of the files"),
    ):
        if len(times) != len(images):
            continue
        backwards = [place for place in range(1, len(times)) if times[place] < times[place - 1] - tolerance]
        if len(backwards) > (BACKWARDS_SHARE * len(times) if tolerance else 0):
            before, after = images[backwards[0] - 1], images[backwards[0]]
            return (
                f"{after}: comes after {before.name} by name, but before it by {kind} ({len(backwards)} such places). "
                "Frames are taken in the order of their names; rename them if that is wrong."
            )
    return None


def _times_taken(images: Sequence[Path]) -> list[float]:
    """Seconds at which images were taken, up to the first that does not say so."""
    times: list[float] = []
    for path in images:
        try:
            with _opened(path) as image:
                details = image.getexif().get_ifd(EXIF_DETAILS)
                taken = datetime.strptime(str(details[EXIF_TAKEN]), "%Y:%m:%d %H:%M:%S")
                times.append(taken.timestamp() + float(f"0.{details.get(EXIF_SUBSECONDS, 0)}"))
        except (UserError, KeyError, ValueError):
            break
    return times


def _open_rgb(path: Path, bits: int | None = None) -> Image.Image:
    with _opened(path) as image:
        if image.mode == "F":
            raise UserError(f"{path}: holds floating-point values, not a picture. Convert it to 8-bit RGB.")
        # The file's own object is worked on, because each copy of a KITTI frame costs as much as decoding it.
        image.load()
        ImageOps.exif_transpose(image, in_place=True)
        if image.mode in SIXTEEN_BIT_MODES:
            values = np.maximum(np.asarray(image).astype(np.int64), 0) >> ((bits or 16) - 8)
            return Image.fromarray(np.minimum(values, 255).astype(np.uint8)).convert("RGB")
        return image if image.mode == "RGB" else image.convert("RGB")


def _resize(image: Image.Image, height: int, width: int) -> Image.Image:
    return image.resize((width, height), Image.Resampling.LANCZOS)


def _resize_part(image: Image.Image, shares: tuple[float, float, float, float], height: int, width: int) -> Image.Image:
    top, left, bottom, right = shares
    box = left * image.width, top * image.height, right * image.width, bottom * image.height
    return image.resize((width, height), Image.Resampling.LANCZOS, box)


@contextmanager
def _opened(path: Path, content: BinaryIO | None = None) -> Iterator[Image.Image]:
    """An image, not decoded yet, and of a size that can be.

    Args:
        content: of the file, where it was read already.

    Raises:
        UserError: see `read_image`.
    """
    with _reading(path), Image.open(path if content is None else content) as image:
        if image.width * image.height > MOST_PIXELS:
            raise UserError(
                f"{path}: has {image.width}x{image.height} pixels, more than {MOST_PIXELS // 1_000_000} million. "
                "Shrink it first."
            )
        yield image


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Turn what goes wrong while `path` is decoded into one line that names it."""
    if not path.exists():
        raise UserError(f"{path}: no such file. Check the path.")
    if path.is_dir():
        raise UserError(f"{path}: is a folder, expected an image file.")
    if path.stat().st_size == 0:
        raise UserError(f"{path}: is empty (0 bytes). Copy or download it again.")
    try:
        yield
    except FileNotFoundError as error:
        raise UserError(f"{path}: was removed while it was in use. Put it back, and run again.") from error
    except PermissionError as error:
        raise UserError(f"{path}: cannot be read (permission denied). Change its permissions.") from error
    except UnidentifiedImageError as error:
        raise UserError(f"{path}: is not an image that can be decoded. Replace or remove it.") from error
    except Image.DecompressionBombError as error:
        allowed = 2 * Image.MAX_IMAGE_PIXELS / 1e6  # at half of it Pillow only warns
        raise UserError(f"{path}: has more than {allowed:.3g} million pixels. Shrink it first.") from error
    except BROKEN_FILE_ERRORS as error:
        raise UserError(f"{path}: is damaged or cut short ({error}). Replace or remove it.") from error
