"""Image files in and out of memory: one decoder and one resize for training, evaluation and prediction.

Training and prediction must shrink a picture in the same way, because a network sees the filter: every image of
this project is decoded by Pillow and resized by its antialiased Lanczos filter.
"""

import re
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from egodepth.errors import UserError

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".ppm", ".pgm"})

SIXTEEN_BIT_MODES = frozenset({"I", "I;16", "I;16L", "I;16B", "I;16N"})
EXIF_ORIENTATION = 0x0112
DEPTH_PNG_UNITS_PER_METRE = 256

# What Pillow raises for a file whose bytes end early or contradict each other, according to the format.
BROKEN_FILE_ERRORS = (OSError, SyntaxError, ValueError, EOFError, IndexError, struct.error)


def read_image(path: Path | str) -> np.ndarray:
    """Read an image as (H, W, 3) uint8 RGB, upright by its EXIF orientation.

    Grey images are repeated over the channels, 16-bit ones keep their upper eight bits, transparency is dropped.

    Raises:
        UserError: the file is missing, empty, cut short, no image, or larger than Pillow agrees to decode.
    """
    return np.asarray(_open_rgb(Path(path)))


def resize_image(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resize (H, W, 3) uint8 to (height, width, 3) with the antialiased Lanczos filter (a = 3).

    Source: Monodepth2 specification, section 7.2.
    """
    return np.asarray(_resize(Image.fromarray(image), height, width))


def read_resized_image(path: Path | str, height: int, width: int) -> np.ndarray:
    """`resize_image(read_image(path), height, width)` without the copies between."""
    return np.asarray(_resize(_open_rgb(Path(path)), height, width))


def read_depth_png(path: Path | str) -> np.ndarray:
    """Read a 16-bit depth PNG as (H, W) float32 in metres, 0 where there is no depth.

    Raises:
        UserError: the file cannot be read or holds something else than one 16-bit channel.
    """
    return read_png16(path) / np.float32(DEPTH_PNG_UNITS_PER_METRE)


def read_png16(path: Path | str) -> np.ndarray:
    """Read the raw values of a 16-bit grey PNG as (H, W) float32 (depth or disparity times 256)."""
    path = Path(path)
    with _reading(path), Image.open(path) as image:
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
    with _reading(path), Image.open(path) as image:
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


def natural_key(path: Path) -> tuple[tuple[int, str], ...]:
    """Sort key by which numbers within names count as numbers."""
    pieces = re.split(r"(\d+)", path.name.lower())
    return (*((int(piece), "") if piece.isdigit() else (0, piece) for piece in pieces), (0, path.name))


def _open_rgb(path: Path) -> Image.Image:
    with _reading(path), Image.open(path) as image:
        if image.mode == "F":
            raise UserError(f"{path}: holds floating-point values, not a picture. Convert it to 8-bit RGB.")
        # The file's own object is worked on, because each copy of a KITTI frame costs as much as decoding it.
        image.load()
        ImageOps.exif_transpose(image, in_place=True)
        if image.mode in SIXTEEN_BIT_MODES:
            return Image.fromarray((np.asarray(image).astype(np.uint32) >> 8).astype(np.uint8)).convert("RGB")
        return image if image.mode == "RGB" else image.convert("RGB")


def _resize(image: Image.Image, height: int, width: int) -> Image.Image:
    return image.resize((width, height), Image.Resampling.LANCZOS)


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
    except PermissionError as error:
        raise UserError(f"{path}: cannot be read (permission denied). Change its permissions.") from error
    except UnidentifiedImageError as error:
        raise UserError(f"{path}: is not an image that can be decoded. Replace or remove it.") from error
    except Image.DecompressionBombError as error:
        limit = 2 * Image.MAX_IMAGE_PIXELS // 1_000_000
        raise UserError(f"{path}: has more than {limit} million pixels. Shrink it first.") from error
    except BROKEN_FILE_ERRORS as error:
        raise UserError(f"{path}: is damaged or cut short ({error}). Replace or remove it.") from error
