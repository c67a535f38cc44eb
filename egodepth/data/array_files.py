"""NumPy's files, read after their claims were held against their bytes: a header may claim 16 TB and have none."""

import io
import math
import zipfile
from pathlib import Path

import numpy as np

LARGEST_BYTES = 801_000_000
"""Largest array; a laser's scan takes 4 MB, a map of 100 megapixels 800 MB."""


def read_npy(file: Path) -> np.ndarray:
    """The array of an .npy file.

    Raises:
        ValueError, OSError: it cannot be read, claims more than it has, or holds objects.
    """
    _check_size(file.stat().st_size)
    return _array(file.read_bytes())


def read_npz(file: Path, name: str, or_first: bool = False) -> np.ndarray:
    """An array of an .npz file by its name.

    Args:
        or_first: where none has that name, take the first one.

    Raises:
        ValueError, OSError, zipfile.BadZipFile, zlib.error: it cannot be read, claims more than it has, holds objects,
            or holds no array.
    """
    with zipfile.ZipFile(file) as archive:
        entries = {Path(entry.filename).stem: entry for entry in archive.infolist() if entry.filename.endswith(".npy")}
        if not entries:
            raise ValueError("it holds no array")
        if name not in entries and not or_first:
            raise ValueError(f"it holds no array {name}")
        entry = entries.get(name) or next(iter(entries.values()))
        _check_size(entry.file_size)  # before a small file unpacks to all of the memory
        with archive.open(entry) as stream:
            return _array(stream.read(LARGEST_BYTES + 1))


def _check_size(size: int) -> None:
    if size > LARGEST_BYTES:
        raise ValueError(f"it claims {size} bytes, where {LARGEST_BYTES} are the most that is read")


def _array(content: bytes) -> np.ndarray:
    stream = io.BytesIO(content)
    version = np.lib.format.read_magic(stream)
    # Version 3 differs from 2 in the encoding of field names alone.
    read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, kind = read_header(stream)
    if kind.hasobject:
        raise ValueError("it holds objects, which are never unpickled")
    if min(shape, default=0) < 0 or math.prod(shape) * kind.itemsize > len(content):
        raise ValueError(f"its header claims an array {shape} of {kind}, which its bytes do not hold")
    return np.load(io.BytesIO(content), allow_pickle=False)
