"""Files of points: PLY, PCD and LAS, by the suffix of their name."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from egodepth.errors import UserError
from egodepth.files import replacing, write_bytes
from egodepth.inference.points import encode_ply

LAS_STEP = 0.001
"""LAS stores whole numbers of it: a millimetre, where points are in metres."""

PCD_POINT = np.dtype([("x", "<f4"), ("y", "<f4"), ("z", "<f4"), ("rgb", "<u4")])


def encode_pcd(points: np.ndarray, unit: str) -> bytes:
    """Points of the type `POINT` as a binary PCD file, version 0.7, with x right, y down and z ahead.

    Colours are packed into one number of four bytes that the header calls a float, as PCL does.
    """
    packed = np.empty(len(points), PCD_POINT)
    for axis in "xyz":
        packed[axis] = points[axis]
    red, green, blue = (points[name].astype(np.uint32) for name in ("red", "green", "blue"))
    packed["rgb"] = red << 16 | green << 8 | blue
    header = [
        "# .PCD v0.7 - Point Cloud Data file format",
        f"# egodepth, {unit}, x right, y down, z ahead",
        "VERSION 0.7",
        "FIELDS x y z rgb",
        "SIZE 4 4 4 4",
        "TYPE F F F F",
        "COUNT 1 1 1 1",
        f"WIDTH {len(points)}",
        "HEIGHT 1",
        "VIEWPOINT 0 0 0 1 0 0 0",
        f"POINTS {len(points)}",
        "DATA binary",
    ]
    return "\n".join(header).encode("ascii") + b"\n" + packed.tobytes()


def write_las(path: Path, points: np.ndarray) -> None:
    """Write points of the type `POINT` as LAS 1.2, with x right, y ahead and z up, as that format is looked at.

    Raises:
        UserError: laspy is not installed, the disk is full, or the place cannot be written to.
    """
    laspy = require_laspy(path)
    header = laspy.LasHeader(point_format=2, version="1.2")
    header.scales = np.full(3, LAS_STEP)
    las = laspy.LasData(header)
    las.x, las.y, las.z = (values.astype(np.float64) for values in (points["x"], points["z"], -points["y"]))
    for name in ("red", "green", "blue"):
        setattr(las, name, points[name].astype(np.uint16) * 257)
    with replacing(path) as temporary:
        las.write(str(temporary))


def require_laspy(path: Path):
    """Raises UserError: laspy, which writes LAS, is not installed."""
    try:
        import laspy
    except ImportError as error:
        raise UserError(f"{path}: LAS files need laspy: pip install 'egodepth[points]'. Or write .ply.") from error
    return laspy


def cloud_writer(path: Path, unit: str) -> Callable[[np.ndarray], None]:
    """What writes points of the type `POINT` to a file, by its suffix; asked for before the points are made.

    Args:
        unit: of the coordinates, for the header.

    Raises:
        UserError: no such file of points is known, or what writes it is not installed.
    """
    suffix = path.suffix.lower()
    if suffix == ".las":
        require_laspy(path)
        return partial(write_las, path)
    encoders = {".ply": encode_ply, ".pcd": encode_pcd}
    if suffix not in encoders:
        raise UserError(f"{path}: is no file of points by its name. End it in .ply, .pcd or .las.")
    return lambda points: write_bytes(path, encoders[suffix](points, unit))
