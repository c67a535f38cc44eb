"""Make3D's 134 test images with their laser grids, to evaluate on.

Sources: Saxena et al., TPAMI 2009; datasets specification, section 3. The ground truth is in MATLAB files of version 5,
of which `read_matlab_array` reads what it needs.
"""

import struct
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from egodepth.data.images import is_image, read_image
from egodepth.data.samples import EvaluationFrame, EvaluationFrames
from egodepth.errors import UserError
from egodepth.files import read_text

TEST_IMAGES = 134
IMAGE_FOLDERS = ("Test134", "Test134Img")
GRID_FOLDERS = ("Gridlaserdata", "Test134Depth/Gridlaserdata", "Test134Depth")
IMAGE_PREFIX, GRID_PREFIX = "img-", "depth_sph_corr-"
GRID_VARIABLE = "Position3DGrid"

# Of the four numbers of a point: the distance along the ray. All published figures take it, and not z.
DISTANCE_CHANNEL = 3

# MATLAB's numbers for the types of stored values, and those of a variable's parts.
VALUE_TYPES = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
MATRIX, COMPRESSED = 14, 15

LARGEST_MATLAB_BYTES = 64 * 2**20
"""Packed or not; a grid of 55x305 points takes half a megabyte."""


class Make3dFrames(EvaluationFrames):
    """Upright images with depth on the laser's coarse grid, 55x305 over the whole image; protocols cut both.

    Args:
        root: the folder with `Test134` and `Gridlaserdata`.
        names: the frames, for example from `read_names`; none takes all.
        expected: how many there must be where no names are given.

    Raises:
        UserError: a folder is missing, an image has no grid, or their number is another one.
    """

    def __init__(self, root: Path | str, names: Sequence[str] | None = None, expected: int = TEST_IMAGES) -> None:
        root = Path(root)
        images, grids = list_images_and_grids(root)
        if names is None and len(images) != expected:
            raise UserError(
                f"{root}: holds {len(images)} test images, expected {expected}. Unpack both archives again."
            )
        self._frames = []
        for name in sorted(images) if names is None else names:
            if name not in images:
                raise UserError(f"{root}: has no image {IMAGE_PREFIX}{name}.jpg. Unpack Test134.tar.gz here.")
            if name not in grids:
                raise UserError(f"{root}: has no {GRID_PREFIX}{name}.mat. Unpack Test134Depth.tar.gz here.")
            self._frames.append((name, images[name], grids[name]))

    def __len__(self) -> int:
        return len(self._frames)

    def __getitem__(self, index: int) -> EvaluationFrame:
        name, image, grid = self._frames[index]
        return EvaluationFrame(name=name, image=read_image(image), depth=read_grid(grid))


def list_images_and_grids(root: Path) -> tuple[dict[str, Path], dict[str, Path]]:
    """The image and the ground truth files by their common name.

    Raises:
        UserError: one of the folders is missing.
    """
    images = _folder(root, IMAGE_FOLDERS, "Test134.tar.gz")
    grids = _folder(root, GRID_FOLDERS, "Test134Depth.tar.gz")
    return (
        {bare_name(path.name): path for path in images.iterdir() if is_image(path)},
        {bare_name(path.name): path for path in grids.glob("*.mat") if not path.name.startswith(".")},
    )


def read_names(file: Path) -> list[str]:
    """The frames of a list, whose lines are `img-NAME.jpg`, `img-NAME` or NAME."""
    names = [bare_name(line.strip()) for line in read_text(file).splitlines() if line.strip()]
    if not names:
        raise UserError(f"{file}: is empty. Expected lines like `img-NAME.jpg`.")
    return names


def bare_name(name: str) -> str:
    """What image and ground truth have in common. Names have dots inside, so only known endings are taken off."""
    for suffix in (".jpg", ".JPG", ".jpeg", ".png", ".mat"):
        name = name.removesuffix(suffix)
    return name.removeprefix(IMAGE_PREFIX).removeprefix(GRID_PREFIX)


def read_grid(file: Path) -> np.ndarray:
    """The laser's distances (55, 305) float32 in metres.

    Raises:
        UserError: the file cannot be read, or holds no grid of points.
    """
    grid = read_matlab_array(file, GRID_VARIABLE)
    if grid.ndim != 3 or grid.shape[2] <= DISTANCE_CHANNEL:
        raise UserError(f"{file}: {GRID_VARIABLE} is {grid.shape}, expected (55, 305, 4). Unpack it again.")
    return np.nan_to_num(grid[..., DISTANCE_CHANNEL], posinf=0, neginf=0).astype(np.float32)


def _folder(root: Path, names: Sequence[str], archive: str) -> Path:
    for name in names:
        if (root / name).is_dir():
            return root / name
    raise UserError(f"{root}: has no folder {names[0]}. Unpack {archive} here.")


# --- MATLAB files ----------------------------------------------------------------------------------------------------


def read_matlab_array(file: Path, variable: str) -> np.ndarray:
    """A numeric array of a MATLAB 5 file (MATLAB's default until version 7.2).

    Compressed blocks whose checksum is missing or wrong are read as far as they go: public copies of Make3D have such.

    Raises:
        UserError: the file is missing, of another version or cut short, or has no such array of numbers.
    """
    if not file.is_file():
        raise UserError(f"{file}: no such file. Unpack the archive again.")
    if file.stat().st_size > LARGEST_MATLAB_BYTES:
        raise UserError(f"{file}: has {file.stat().st_size} bytes, too many for a grid. Unpack the archive again.")
    content = file.read_bytes()
    if content[:6] != b"MATLAB" or content[124:128] not in (b"\x00\x01IM", b"\x01\x00MI"):
        raise UserError(f"{file}: is not a MATLAB 5 file (HDF5 and text are not read). Unpack the archive again.")
    order = "<" if content[126:128] == b"IM" else ">"
    try:
        for kind, body in _elements(content[128:], order):
            if kind == COMPRESSED:
                # Without zlib's two bytes of header, so that its checksum is not asked for.
                kind, body = next(_elements(_inflated(body[2:]), order))
            if kind == MATRIX and (found := _array(body, variable, order)) is not None:
                return found
    except (ValueError, KeyError, IndexError, StopIteration, struct.error, zlib.error) as error:
        raise UserError(f"{file}: is damaged or cut short ({error}). Unpack the archive again.") from None
    raise UserError(f"{file}: holds no {variable}. Unpack the archive again.")


def _inflated(content: bytes) -> bytes:
    """Raises ValueError: there is more in it than a grid can be."""
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    inflated = inflater.decompress(content, LARGEST_MATLAB_BYTES)
    if inflater.unconsumed_tail:
        raise ValueError(f"more than {LARGEST_MATLAB_BYTES} bytes are packed into it")
    return inflated


def _elements(content: bytes, order: str) -> Iterator[tuple[int, bytes]]:
    """Type and body of each element; short ones stand in four bytes behind a packed tag."""
    place = 0
    while place + 8 <= len(content):
        kind, size = struct.unpack_from(f"{order}II", content, place)
        if kind >> 16:
            yield kind & 0xFFFF, content[place + 4 : place + 4 + (kind >> 16)]
            place += 8
        else:
            yield kind, content[place + 8 : place + 8 + size]
            # All but compressed elements are padded to eight bytes.
            place += 8 + (size if kind == COMPRESSED else -(-size // 8) * 8)


def _array(body: bytes, variable: str, order: str) -> np.ndarray | None:
    """The array in a matrix element, or None where it has another name."""
    parts = _elements(body, order)
    next(parts)  # class and flags
    _, dimensions = next(parts)
    _, name = next(parts)
    if name.decode("ascii", "replace").rstrip("\0") != variable:
        return None
    kind, values = next(parts)
    shape = np.frombuffer(dimensions, order + "i4")
    numbers = np.frombuffer(values, order + VALUE_TYPES[kind])
    return numbers.reshape(shape, order="F").astype(np.float64)
