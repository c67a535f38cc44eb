"""What is always in the picture of moving footage: a bonnet, a logo, a date stamp, black borders.

Such pixels do not move while the scene does, so that view synthesis learns wrong depths from them. They are known by
their edges. A pixel that hardly changes may be one of a clear sky, of asphalt, or of the night; an edge that stays at
its place, with its direction, in nearly every frame belongs to the camera's own picture. Where that is not clear a
pixel stays in: a bonnet that is trained on costs less than a scene that is not.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

MOST_FRAMES = 48
"""Frames that are looked at, spread over the footage."""

FEWEST_FRAMES = 12
"""The scene of fewer frames may not have moved on yet, so that nothing is said of them."""

# On highway footage the bonnet's edge has 20 to 100 grey levels in four frames of five, and the scene's own pixels,
# 95 of 100, less than 3. On a drive of KITTI 999 of 1000 pixels have less than 2.
EDGE_GREY_LEVELS = 4.0
IN_ALL_BUT = 0.2
"""Share of the frames in which a fixed edge may be missing: the scene behind it has its brightness there."""

LEAST_CHANGE = 6.0
"""Spread in grey levels that the livelier half of a scene has at least; below it the camera stands, or it is dark."""
LARGEST_SHARE_OF_CHANGE = 0.5
"""A fixed region changes less than this share of what the scene does: a bonnet mirrors the sky, a logo is opaque."""

SMALLEST_AREA = 0.001
LARGEST_AREA = 0.4
"""Shares of the picture. Where more seems fixed, it is the camera that stands."""


def used_pixels(frames: np.ndarray) -> np.ndarray:
    """Which pixels show the scene, (H, W) bool: false for what is always in the picture.

    Args:
        frames: (N, H, W, 3) uint8, spread over footage of a moving camera.
    """
    count, height, width = frames.shape[:3]
    used = np.ones((height, width), dtype=bool)
    if count < FEWEST_FRAMES:
        return used
    grey = frames.astype(np.float32).mean(-1)
    spread = np.subtract(*np.percentile(grey, [75, 25], axis=0))
    change = np.percentile(spread, 75)
    if change < LEAST_CHANGE:
        return used
    closing, opening = max(2, height // 48), max(1, height // 96)
    edges = _shrunk(_grown(_as_map(_fixed_edges(grey)), closing), closing)
    spread = torch.from_numpy(spread)
    fixed = edges | _enclosed(~edges)
    fixed = _grown(_shrunk(fixed, opening), opening)
    found = torch.zeros(height, width, dtype=torch.bool)
    for part in _parts(fixed):
        calm = spread[part].median() < LARGEST_SHARE_OF_CHANGE * change
        if calm and SMALLEST_AREA * used.size <= part.sum() <= LARGEST_AREA * used.size:
            found |= part
    # A pixel beside a fixed one is mixed with it by compression and by resizing.
    found = _grown(found, opening)
    return used if found.sum() > LARGEST_AREA * used.size else ~found.numpy()


def _fixed_edges(grey: np.ndarray) -> np.ndarray:
    """Where (N, H, W) grey pictures have one and the same edge in nearly every frame: (H, W) bool."""
    padded = np.pad(grey, ((0, 0), (1, 1), (1, 1)), mode="edge")
    right = padded[:, 1:-1, 2:] - padded[:, 1:-1, :-2]
    down = padded[:, 2:, 1:-1] - padded[:, :-2, 1:-1]
    usual_right, usual_down = np.median(right, axis=0), np.median(down, axis=0)
    length = np.hypot(usual_right, usual_down).clip(1e-6)
    along = (right * usual_right + down * usual_down) / length
    return np.percentile(along, 100 * IN_ALL_BUT, axis=0) > EDGE_GREY_LEVELS


def _enclosed(free: Tensor) -> Tensor:
    """What fixed edges, and the borders of the picture, cut off from the scene, which is the largest part."""
    parts = list(_parts(free))
    if len(parts) < 2:
        return torch.zeros_like(free)
    scene = max(parts, key=lambda part: int(part.sum()))
    return free & ~scene


# --- maps (H, W) of bool ------------------------------------------------------------------------------------------


def _as_map(values: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values))


def _grown(region: Tensor, radius: int) -> Tensor:
    """With all pixels within a square of this radius."""
    return F.max_pool2d(region[None].float(), 2 * radius + 1, 1, radius)[0] > 0


def _shrunk(region: Tensor, radius: int) -> Tensor:
    """Without those within a square of this radius of a pixel outside it; what is beyond the picture is inside."""
    return ~_grown(~region, radius)


def _parts(region: Tensor) -> list[Tensor]:
    """The connected parts of a region, each (H, W) bool; pixels that touch at a corner are connected."""
    inside = np.pad(region.numpy().astype(np.int8), ((0, 0), (1, 1)))
    numbers = np.zeros(region.shape, dtype=np.int64)
    joined: list[int] = []  # of each run of pixels in a row, one that it is connected with, itself where none is
    above: list[tuple[int, int, int]] = []
    for row, steps in enumerate(np.diff(inside, axis=1)):
        here = []
        for start, end in zip(np.flatnonzero(steps == 1).tolist(), np.flatnonzero(steps == -1).tolist(), strict=True):
            number = len(joined)
            joined.append(number)
            for other_start, other_end, other in above:
                if other_start <= end and start <= other_end:
                    joined[_first(joined, other)] = _first(joined, number)
            numbers[row, start:end] = number + 1
            here.append((start, end, number))
        above = here
    firsts = np.array([0] + [1 + _first(joined, number) for number in range(len(joined))])
    found = torch.from_numpy(firsts[numbers])
    return [found == number for number in found.unique().tolist() if number > 0]


def _first(joined: list[int], number: int) -> int:
    while joined[number] != number:
        joined[number] = number = joined[joined[number]]
    return number
