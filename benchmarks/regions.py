"""Regions of simulated frames in which methods are said to differ, from exact depth, camera and motion."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

OCCLUDED = 0.05
"""A point whose depth differs by a larger share from the one seen at its place in another frame is hidden there."""
STANDS_OUT = 1.2
"""How many times as far that is which is seen beside a thin thing."""


def shadows(depth: np.ndarray, focal_px: float, baseline_m: float) -> np.ndarray:
    """(H, W) bool, what a camera to the right does not see, of a dense depth (H, W) in metres.

    A pixel is hidden if one to its right falls on the same place of the other picture, or further left.
    """
    place = np.arange(depth.shape[1]) - focal_px * baseline_m / depth
    leftmost = np.minimum.accumulate(place[:, ::-1], axis=1)[:, ::-1]
    hidden = np.zeros(depth.shape, dtype=bool)
    hidden[:, :-1] = place[:, :-1] >= leftmost[:, 1:]
    return hidden


def lit_sides(shadow: np.ndarray) -> np.ndarray:
    """(H, W) bool, as wide a band as each shadow, on the object to the right of it that casts it."""
    lit = np.zeros_like(shadow)
    for row in range(len(shadow)):
        edges = np.diff(np.concatenate([[0], shadow[row].astype(np.int8), [0]]))
        for start, end in zip(np.flatnonzero(edges == 1), np.flatnonzero(edges == -1), strict=True):
            lit[row, end : 2 * end - start] = True
    return lit & ~shadow


def thin(depth: np.ndarray) -> np.ndarray:
    """(H, W) bool, pixels of a dense depth (H, W) of things that are narrow and stand before what is beside them.

    Narrow is up to a fiftieth of the picture's width. What has no depth counts as infinitely far.
    """
    with np.errstate(divide="ignore"):
        near = np.where(depth > 0, 1 / depth, 0).astype(np.float32)
    widest = depth.shape[1] // 50 + 1
    # Opening takes away what is nearer than its surroundings and narrower than this.
    without = cv2.morphologyEx(near, cv2.MORPH_OPEN, np.ones((1, widest), np.uint8), borderType=cv2.BORDER_REPLICATE)
    return near > STANDS_OUT * without


@dataclass(frozen=True)
class Seen:
    """Where the points of a frame lie in another frame, if all of them stand still.

    Attributes:
        inside: (H, W) bool, those that fall into the other frame.
        rows, columns: (N,) int64, the nearest pixels there of the N points inside.
        depth: (N,) their depth there, in metres.
    """

    inside: np.ndarray
    rows: np.ndarray
    columns: np.ndarray
    depth: np.ndarray


def seen_from(depth: np.ndarray, motion: np.ndarray, intrinsics: np.ndarray) -> Seen:
    """The points of a dense depth (H, W), seen by a camera that `motion` (4, 4) takes them to.

    Args:
        intrinsics: (3, 3) in pixels, of both frames.
    """
    height, width = depth.shape
    rows, columns = np.mgrid[0:height, 0:width]
    rays = np.stack([columns, rows, np.ones_like(rows)], axis=-1).reshape(-1, 3) @ np.linalg.inv(intrinsics).T
    points = rays * depth.reshape(-1, 1) @ motion[:3, :3].T + motion[:3, 3]
    with np.errstate(divide="ignore", invalid="ignore"):
        there = np.rint((points @ intrinsics.T)[:, :2] / points[:, 2:]).reshape(height, width, 2)
    ahead = points[:, 2].reshape(height, width)
    inside = (there >= 0).all(-1) & (there[..., 0] < width) & (there[..., 1] < height) & (ahead > 0.1)
    column, row = (there[inside].astype(int)[:, side] for side in (0, 1))
    return Seen(inside, row, column, ahead[inside])


def moving(depth: np.ndarray, others: Sequence[tuple[np.ndarray, np.ndarray]], intrinsics: np.ndarray) -> np.ndarray:
    """(H, W) bool, pixels of a dense depth (H, W) of things that have moved.

    Where a thing that stands lies in another frame, nothing further away can be seen. So a point is taken to have moved
    if another frame, before or after, looks through its place.

    Args:
        others: dense depths of frames around this one, and the (4, 4) motions that take points of this one there.
        intrinsics: (3, 3) in pixels, of all frames.
    """
    moved = np.zeros(depth.shape, dtype=bool)
    for there, motion in others:
        seen = seen_from(depth, motion, intrinsics)
        moved[seen.inside] |= _nearest_around(there)[seen.rows, seen.columns] > (1 + OCCLUDED) * seen.depth
    return moved & (depth > 0)


def _nearest_around(depth: np.ndarray) -> np.ndarray:
    """The smallest depth of each pixel and its eight neighbours, so that rounding at an edge looks through nothing.

    What has no depth counts as infinitely far.
    """
    padded = np.pad(np.where(depth > 0, depth, np.inf), 1, mode="edge")
    return np.lib.stride_tricks.sliding_window_view(padded, (3, 3)).min(axis=(-1, -2))
