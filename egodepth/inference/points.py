"""Coloured points from a picture's depth, as a binary PLY file in the optical frame: x right, y down, z ahead."""

from pathlib import Path

import numpy as np

from egodepth.files import write_bytes
from egodepth.geometry.cameras import Camera

POINT = np.dtype([("x", "<f4"), ("y", "<f4"), ("z", "<f4"), ("red", "u1"), ("green", "u1"), ("blue", "u1")])

FARTHEST_M = 80.0
"""By default points in metres end here: beyond it is mostly sky."""

FARTHEST_MEDIANS = 8.0
"""The same for depth without a unit, as a multiple of the picture's median depth."""

EDGE = 0.12
"""Where depth differs by a larger share between neighbours, a network's smooth border hangs in the air."""


def points_of(depth: np.ndarray, image: np.ndarray, rays: np.ndarray, farthest: float) -> np.ndarray:
    """The points (N,) of a picture, of the type `POINT`, without what is far, unknown, or between front and background.

    Args:
        depth: (H, W) along the camera's axis.
        image: (H, W, 3) uint8 RGB.
        rays: (H, W, 2), x / z and y / z of each pixel; NaN where the lens shows nothing.
        farthest: depth up to which there are points.
    """
    known = np.isfinite(depth) & (depth > 0) & np.isfinite(rays).all(-1)
    near = -_largest_around(np.where(known, -depth, -np.inf))
    far = _largest_around(np.where(known, depth, 0))
    kept = known & (depth <= farthest) & (far / (1 + EDGE) <= near)
    points = np.empty(int(kept.sum()), POINT)
    points["z"] = depth[kept]
    points["x"], points["y"] = rays[kept].T * depth[kept]
    for channel, name in enumerate(("red", "green", "blue")):
        points[name] = image[..., channel][kept]
    return points


def _largest_around(values: np.ndarray) -> np.ndarray:
    """The largest value of the nine pixels around each pixel of (H, W)."""
    padded = np.pad(values.astype(np.float32), 1, mode="edge")
    rows = np.maximum(np.maximum(padded[:-2], padded[1:-1]), padded[2:])
    return np.maximum(np.maximum(rows[:, :-2], rows[:, 1:-1]), rows[:, 2:])


def pixel_rays(camera: Camera) -> np.ndarray:
    """x / z and y / z (H, W, 2) of the pixels of a pinhole camera's picture."""
    (fx, _, cx), (_, fy, cy), _ = camera.intrinsics.tolist()
    columns, rows = np.meshgrid(np.arange(camera.width), np.arange(camera.height))
    return np.stack([(columns - cx) / fx, (rows - cy) / fy], axis=-1)


def farthest_of(depth: np.ndarray, is_metric: bool) -> float:
    """How far the points of a depth (H, W) reach where nobody says it."""
    return FARTHEST_M if is_metric else FARTHEST_MEDIANS * float(np.nanmedian(depth))


def encode_ply(points: np.ndarray, unit: str) -> bytes:
    """Points of the type `POINT` as a binary PLY file.

    Args:
        unit: of the coordinates, for the header.
    """
    names = {"<f4": "float", "|u1": "uchar"}
    properties = [f"property {names[POINT[name].str]} {name}" for name in POINT.names]
    header = [
        "ply",
        "format binary_little_endian 1.0",
        f"comment egodepth, {unit}, x right, y down, z ahead",
        f"element vertex {len(points)}",
        *properties,
        "end_header",
    ]
    return "\n".join(header).encode("ascii") + b"\n" + points.tobytes()


def write_points(path: Path, points: np.ndarray, unit: str) -> None:
    """Write points of the type `POINT` to `path`.

    Raises:
        UserError: the disk is full, or the place cannot be written to.
    """
    write_bytes(path, encode_ply(points, unit))
