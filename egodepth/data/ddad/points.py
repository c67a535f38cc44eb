"""DDAD's point clouds: reading the files, and drawing them into a camera.

Source: datasets specification, sections 2.2 and 2.3; numbers in tests/reference/datasets.json.
"""

import tokenize
import zipfile
import zlib
from pathlib import Path
from typing import Literal

import numpy as np

from egodepth.data.array_files import LARGEST_BYTES, read_npy, read_npz
from egodepth.errors import UserError, first_line

Drawing = Literal["published", "clean"]

# What NumPy, zip archives and text raise for bytes that end early or contradict each other.
BROKEN_FILE_ERRORS = (
    *(OSError, ValueError, EOFError, LookupError, TypeError, OverflowError, SyntaxError, NotImplementedError),
    *(MemoryError, RuntimeError, zipfile.BadZipFile, zlib.error, tokenize.TokenError),
)

PLY_TYPES = {
    "char": "i1",
    "int8": "i1",
    "uchar": "u1",
    "uint8": "u1",
    "short": "i2",
    "int16": "i2",
    "ushort": "u2",
    "uint16": "u2",
    "int": "i4",
    "int32": "i4",
    "uint": "u4",
    "uint32": "u4",
    "float": "f4",
    "float32": "f4",
    "double": "f8",
    "float64": "f8",
}
PLY_BYTE_ORDERS = {"binary_little_endian": "<", "binary_big_endian": ">"}


def project_points(
    points: np.ndarray,
    camera_from_points: np.ndarray,
    intrinsics: np.ndarray,
    height: int,
    width: int,
    drawing: Drawing = "published",
) -> np.ndarray:
    """Draw a point cloud into a sparse depth map; a pixel's depth is the point's z in the camera's frame.

    Args:
        points: (N, 3) in metres.
        camera_from_points: (4, 4), into a camera frame of x right, y down, z forward.
        intrinsics: (3, 3) in pixels.
        height, width: of the map, in pixels.
        drawing: `published` cuts pixel coordinates off towards zero, so that the first row and column also catch points
            up to one pixel outside, and lets the last point on a pixel win; `clean` rounds down and keeps the nearest.

    Returns:
        (H, W) float32 in metres, 0 where no point falls.
    """
    seen = points @ camera_from_points[:3, :3].T + camera_from_points[:3, 3]
    seen = seen[seen[:, 2] > 0]
    depth = seen[:, 2]
    exact = np.stack(
        [
            intrinsics[0, 0] * seen[:, 0] / depth + intrinsics[0, 2],
            intrinsics[1, 1] * seen[:, 1] / depth + intrinsics[1, 2],
        ],
        axis=1,
    )
    pixels = np.trunc(exact) if drawing == "published" else np.floor(exact)
    inside = ((pixels >= 0) & (pixels < (width, height))).all(axis=1)
    columns, rows = pixels[inside].astype(np.int64).T
    depth = depth[inside]
    if drawing == "clean":
        nearest_last = np.argsort(-depth, kind="stable")
        columns, rows, depth = columns[nearest_last], rows[nearest_last], depth[nearest_last]
    drawn = np.zeros((height, width), dtype=np.float32)
    drawn[rows, columns] = depth
    return drawn


def read_points(file: Path) -> np.ndarray:
    """Read a point cloud as (N, 3) float64 in metres: .npz, .npy or .ply.

    An .npz holds `data`, (N, 3 or more) numbers or a structured array with fields X, Y, Z.

    Raises:
        UserError: the file is missing, cut short or empty, has another form, or holds coordinates that are not finite.
    """
    if not file.is_file():
        raise UserError(f"{file}: no such point cloud. Unpack the scene again.")
    try:
        points = _read_ply(file) if file.suffix.lower() == ".ply" else _read_numpy(file)
        points = _coordinates(points)
    except BROKEN_FILE_ERRORS as error:
        raise UserError(
            f"{file}: cannot be read as a point cloud ({first_line(error)}). Unpack the scene again."
        ) from None
    if not len(points) or not np.isfinite(points).all():
        problem = "holds coordinates that are not finite" if len(points) else "holds no point"
        raise UserError(f"{file}: {problem}. Unpack the scene again.")
    return points


def _read_numpy(file: Path) -> np.ndarray:
    with file.open("rb") as stream:
        is_archive = stream.read(2) == b"PK"
    return read_npz(file, "data") if is_archive else read_npy(file)


def _coordinates(points: np.ndarray) -> np.ndarray:
    if points.dtype.names:
        fields = {name.lower(): name for name in points.dtype.names}
        return np.stack([points[fields[axis]].astype(np.float64).ravel() for axis in "xyz"], axis=1)
    if points.ndim != 2 or points.shape[1] < 3:
        raise ValueError(f"expected (N, 4) numbers, found {points.shape}")
    return points[:, :3].astype(np.float64)


def _read_ply(file: Path) -> np.ndarray:
    """The vertices, as a structured array; what else a file holds comes after them by custom."""
    if file.stat().st_size > LARGEST_BYTES:
        raise ValueError(f"it has {file.stat().st_size} bytes")
    header, separator, body = file.read_bytes().partition(b"end_header\n")
    if not header.startswith(b"ply") or not separator:
        raise ValueError("no PLY header")
    form, count, fields, in_vertices = "", 0, [], False
    for line in header.decode("ascii", "replace").splitlines():
        match line.split():
            case ["format", form, _]:
                pass
            case ["element", name, number]:
                in_vertices = name == "vertex"
                count = int(number) if in_vertices else count
            case ["property", kind, name] if in_vertices:
                fields.append((name, PLY_TYPES[kind]))
    if form == "ascii":
        rows = [tuple(map(float, line.split())) for line in body.decode("ascii").splitlines()[:count]]
        vertices = np.array(rows, dtype=[(name, "f8") for name, _ in fields])
    else:
        order = PLY_BYTE_ORDERS[form]
        vertices = np.frombuffer(body, dtype=[(name, order + kind) for name, kind in fields], count=count)
    if len(vertices) != count:
        raise ValueError(f"{len(vertices)} of {count} points")
    return vertices
