"""Pictures of a chessboard, drawn by a camera whose lens is known: formulas in float64, none of them OpenCV's."""

from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

SIZE = (360, 480)
MATRIX = (420.0, 418.0, 246.0, 175.0)
BROWN = (-0.22, 0.06, 0.001, -0.0008)
"""k1, k2, p1, p2"""
FISHEYE = (0.02, -0.01, 0.004, -0.001)
SAMPLES = 2
"""Along each side of a pixel."""


def bent_brown(x, y):
    k1, k2, p1, p2 = BROWN
    r2 = x * x + y * y
    radial = 1 + k1 * r2 + k2 * r2**2
    return x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x), y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y


def bent_fisheye(x, y):
    radius = np.hypot(x, y)
    angle = np.arctan(radius)
    factor = angle * (1 + sum(k * angle ** (2 * n) for n, k in enumerate(FISHEYE, 1))) / np.maximum(radius, 1e-12)
    return x * factor, y * factor


def straight(bent, x, y):
    """The points that are bent to (x, y), by steps of the difference."""
    found_x, found_y = x.copy(), y.copy()
    for _ in range(60):
        at_x, at_y = bent(found_x, found_y)
        found_x, found_y = found_x + x - at_x, found_y + y - at_y
    return found_x, found_y


def turn(tilt, pan, roll):
    """A rotation (3, 3) about the axes x, y and z."""
    (ca, cb, cc), (sa, sb, sc) = np.cos([tilt, pan, roll]), np.sin([tilt, pan, roll])
    about_x = np.array([[1, 0, 0], [0, ca, -sa], [0, sa, ca]])
    about_y = np.array([[cb, 0, sb], [0, 1, 0], [-sb, 0, cb]])
    about_z = np.array([[cc, -sc, 0], [sc, cc, 0], [0, 0, 1]])
    return about_z @ about_y @ about_x


@cache
def rays_of(bent):
    """Where every sample of every pixel looks: (H * SAMPLES, W * SAMPLES, 3)."""
    height, width = SIZE
    fx, fy, cx, cy = MATRIX
    step = (np.arange(SAMPLES) + 0.5) / SAMPLES - 0.5
    u, v = np.meshgrid((np.arange(width)[:, None] + step).ravel(), (np.arange(height)[:, None] + step).ravel())
    x, y = straight(bent, (u - cx) / fx, (v - cy) / fy)
    return np.stack([x, y, np.ones_like(x)], axis=-1)


def draw(columns, rows, rotation, centre, bent=bent_brown):
    """A board of unit squares with so many inner corners, its middle at `centre`: (H, W, 3) uint8."""
    height, width = SIZE
    rays = rays_of(bent)
    # The plane through `centre` with the board's axes: where each ray meets it, in the board's coordinates.
    normal = rotation[:, 2]
    points = rays * ((normal @ centre) / (rays @ normal))[..., None] - centre
    a, b = points @ rotation[:, 0] + (columns + 1) / 2, points @ rotation[:, 1] + (rows + 1) / 2
    board = (a > 0) & (a < columns + 1) & (b > 0) & (b < rows + 1)
    black = board & ((np.floor(a) + np.floor(b)) % 2 == 0)
    grey = np.where(black, 30.0, np.where(board, 225.0, 200.0))
    grey = grey.reshape(height, SAMPLES, width, SAMPLES).mean(axis=(1, 3))
    return np.repeat(grey.round().astype(np.uint8)[..., None], 3, axis=2)


def write_boards(folder: Path, count: int = 12, columns: int = 7, rows: int = 5, bent=bent_brown) -> Path:
    """Views from many sides, in the middle and the corners of the picture."""
    folder.mkdir(parents=True)
    random = np.random.default_rng(3)
    for number in range(count):
        angles = [*random.uniform(-0.45, 0.45, 2).tolist(), random.uniform(-0.2, 0.2)]
        side = np.array([(0, 0), (-1, -1), (1, -1), (-1, 1), (1, 1)][number % 5]) * (1.4, 0.9)
        centre = np.array([*side, random.uniform(10.0, 13.0)])
        Image.fromarray(draw(columns, rows, turn(*angles), centre, bent)).save(folder / f"{number}.png")
    return folder
