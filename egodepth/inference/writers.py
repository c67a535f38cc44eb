"""Writing depth maps to files. Every file is encoded in memory first and then written whole or not at all.

Encoding in memory has a second reason: NumPy and Pillow lose the operating system's error number when they
write to a file themselves, and with it the difference between a full disk and a broken picture.
"""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np

from egodepth.colour import colour_depth
from egodepth.files import write_bytes
from egodepth.png import encode_png

Format = Literal["npy", "png16", "color", "ply", "las", "pcd", "video"]
"""How depth is written: numbers, 16-bit PNG (metres x 256), colours, coloured points, or a video beside its input."""

PNG16_STEPS_PER_METRE = 256
"""KITTI's convention for depth in 16-bit PNG; 0 means no value."""


def encode_npy(depth: np.ndarray) -> bytes:
    """A depth (H, W) as a NumPy file of float32."""
    buffer = io.BytesIO()
    np.save(buffer, depth.astype(np.float32, copy=False))
    return buffer.getvalue()


def encode_png16(depth_m: np.ndarray) -> bytes:
    """A depth (H, W) in metres as a 16-bit PNG of metres x 256.

    Values are rounded to the nearest step and clipped to 1/256 m and 65535/256 = 255.996 m. Zero, which says
    'no value', is kept for depths that are not numbers.
    """
    return encode_png(png16_steps(depth_m))


def png16_steps(depth_m: np.ndarray) -> np.ndarray:
    """A depth (H, W) in metres in steps of 1/256 m, uint16, see `encode_png16`."""
    steps = depth_m * np.float32(PNG16_STEPS_PER_METRE)
    np.rint(steps.clip(1, 65535, out=steps), out=steps)
    if np.isnan(steps.min()):
        steps[np.isnan(steps)] = 0
    return steps.astype(np.uint16)


def encode_color(depth: np.ndarray) -> bytes:
    """A depth (H, W) as an RGB PNG of its inverse in magma: near is bright, far is dark. For looking at only."""
    return encode_png(colour_depth(depth))


def write_depth(path: Path, depth: np.ndarray, format: Literal["npy", "png16", "color"]) -> None:
    """Write one depth map (H, W) to `path`.

    Raises:
        UserError: the disk is full, or the place cannot be written to.
    """
    write_bytes(path, ENCODERS[format](depth))


ENCODERS: dict[str, Callable[[np.ndarray], bytes]] = {
    "npy": encode_npy,
    "png16": encode_png16,
    "color": encode_color,
}

SUFFIXES: dict[str, str] = {
    "npy": ".npy",
    "png16": ".png",
    "color": ".png",
    "ply": ".ply",
    "las": ".las",
    "pcd": ".pcd",
    "video": ".mp4",
}
