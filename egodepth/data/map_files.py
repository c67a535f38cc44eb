"""Files of depth maps: what other programs write (npy, npz, 16-bit PNG, PFM), and the 16-bit PNG that we write.

Nothing in a file is run: an array of objects is refused, not unpickled.
"""

import io
import re
import tokenize
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

from egodepth.data.array_files import read_npy, read_npz
from egodepth.errors import UserError
from egodepth.png import encode_png

INVERSE_STEPS = 65534
"""A 16-bit PNG of inverse depth holds 0 (infinitely far) to this value times its scale; the value above is unknown."""
UNKNOWN_STEP = 65535

MOST_VALUES = 100_000_000
"""In one map; a header that claims more is damaged."""

PFM_HEADER = re.compile(rb"(P[fF])\s+(\d+)\s+(\d+)\s+([-+0-9.eE]+)\s")
LONGEST_HEADER = 200
END_OF_PNG = b"IEND\xaeB`\x82"

# What NumPy raises for a file whose bytes end early or contradict each other, according to where it notices.
BROKEN_FILE_ERRORS = (
    *(OSError, ValueError, EOFError, LookupError, TypeError, AttributeError, MemoryError, SyntaxError, RuntimeError),
    *(zipfile.BadZipFile, zlib.error, tokenize.TokenError),
)


def read_values(file: Path) -> np.ndarray:
    """The one map (H, W) float32 that a file of `READERS` holds, as it is.

    Raises:
        UserError: it cannot be read, or holds something else than one map of numbers.
    """
    try:
        values = READERS[file.suffix.lower()](file)
        if not isinstance(values, np.ndarray) or values.dtype.kind not in "fiu":
            raise ValueError("it holds no array of numbers")
        _check_count(values.size)
    except BROKEN_FILE_ERRORS as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"{file}: is no depth map, or is damaged ({reason}). Write it again.") from error
    found = values.shape
    if values.ndim > 2:
        values = values.reshape([side for side in found if side != 1])
    if values.ndim != 2 or values.size == 0:
        raise UserError(f"{file}: expected one map (height, width), found an array {found}. Write it again.")
    with np.errstate(over="ignore"):  # beyond float32 is infinitely far
        return values.astype(np.float32)


def _read_npz(file: Path) -> np.ndarray:
    return read_npz(file, "depth", or_first=True)


def _read_pfm(file: Path) -> np.ndarray:
    """A PFM of one channel: rows from the bottom up. Of the header's scale the sign alone counts, as elsewhere."""
    with file.open("rb") as stream:
        content = stream.read(LONGEST_HEADER + 4 * MOST_VALUES)
    header = PFM_HEADER.match(content[:LONGEST_HEADER])
    if header is None:
        raise ValueError("it has no PFM header")
    kind, width, height, scale = header.groups()
    if kind == b"PF":
        raise ValueError("it holds three channels")
    _check_count(int(width) * int(height))
    order = "<" if float(scale) < 0 else ">"
    values = np.frombuffer(content, f"{order}f4", int(width) * int(height), header.end())
    return values.reshape(int(height), int(width))[::-1]


def _check_count(values: int) -> None:
    if values > MOST_VALUES:
        raise ValueError(f"it claims {values} values")


READERS: dict[str, Callable[[Path], np.ndarray]] = {".npy": read_npy, ".npz": _read_npz, ".pfm": _read_pfm}

SUFFIXES = (*READERS, ".png")

UNREAD_SUFFIXES = (".exr", ".tif", ".tiff", ".pt", ".pth", ".mat", ".h5")
"""Other forms in which depth is kept, for a message: OpenCV 5 reads no EXR, and a pickle is never opened."""


# --- writing ---------------------------------------------------------------------------------------------------------


def inverse_png(inverse_depth: np.ndarray, scale: float) -> tuple[bytes, int]:
    """A map (H, W) of inverse depth as a 16-bit PNG, and how many of its values were too near and were clipped.

    Args:
        inverse_depth: 0 or below is infinitely far, NaN unknown.
        scale: inverse depth of one step.
    """
    known = np.isfinite(inverse_depth)
    steps = np.where(known, inverse_depth, 0) / scale
    pixels = np.where(known, np.clip(np.rint(steps), 0, INVERSE_STEPS), UNKNOWN_STEP).astype(np.uint16)
    return encode_png(pixels), int((known & (steps > INVERSE_STEPS + 0.5)).sum())


def is_whole_png(file: Path) -> bool:
    """Whether a PNG is there and was not cut short."""
    try:
        with file.open("rb") as content:
            content.seek(-len(END_OF_PNG), io.SEEK_END)
            return content.read() == END_OF_PNG
    except OSError:
        return False
