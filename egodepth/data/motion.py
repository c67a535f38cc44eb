"""How far the picture moved between two frames, from small grey thumbnails.

Training needs neighbours that differ visibly and still show the same things. How many frames they lie apart depends on
the frame rate and on the speed, which nobody should have to know: it is measured, by dense optical flow between
thumbnails (Kroeger et al., ECCV 2016, in OpenCV).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image

THUMBNAIL_WIDTH = 192
LEAST_ROWS = 32

AGREE_PX = 1.5
"""How far from where it started the flow there and back may end, for a pixel to count as found again."""
ALIKE = 0.25
"""How much its grey may differ then, in spreads of the picture's grey."""
SAME_SCENE = 0.15
"""Share of the pixels that must be found again. Between KITTI's frames it is 0.6 to 0.9, across a cut below 0.1."""

LEAST_CONTRAST = 4.0
"""Spread of grey levels below which two pictures are alike whatever the camera does: fog, a covered lens."""

WANTED = 0.02
"""How far half of the picture should have moved between neighbours, in widths, at least."""


@dataclass(frozen=True)
class Motion:
    """What happened between two frames.

    Attributes:
        shift: how far half of the picture moved at least, in widths.
        found: share of the picture that was found again.
    """

    shift: float
    found: float

    @property
    def is_cut(self) -> bool:
        """Whether the two frames show different scenes, or lie too far apart to be compared."""
        return self.found < SAME_SCENE


@dataclass(frozen=True)
class SequenceMotion:
    """How a sequence moves, and which of its frames are neighbours.

    Attributes:
        name: of the video or folder.
        travelled: for each frame that is used, how far the picture has moved since the first one, in widths.
        runs: for each frame, the unbroken run that it belongs to.
        seconds: for each frame, its time; None where not known.
        neighbours: for each frame the positions of its sources; None where it lacks one.
    """

    name: str
    travelled: Sequence[float]
    runs: Sequence[int]
    seconds: Sequence[float | None]
    neighbours: Sequence[tuple[int, ...] | None]

    def said(self) -> str:
        """One line: how far neighbours lie apart, in frames, in seconds where known, and in the picture."""
        pairs = [(place, other) for place, each in enumerate(self.neighbours) for other in each or ()]
        frames = np.array([abs(other - place) for place, other in pairs])
        moved = np.array([abs(self.travelled[other] - self.travelled[place]) for place, other in pairs])
        times = [abs(self.seconds[other] - self.seconds[place]) for place, other in pairs if None not in self.seconds]
        apart = f"{np.median(frames):.0f} frames" + (f", {np.median(times):.2f} s" if times else "")
        least, most = np.quantile(moved, (0.1, 0.9))
        return (
            f"{self.name}: {len(self.runs)} frames are used; neighbours lie {apart} apart (median), in which half of "
            f"the picture moves by {least:.1%} to {most:.1%} of its width"
        )


def thumbnail(pixels: np.ndarray) -> np.ndarray:
    """A small grey copy (h, 192) uint8 of a picture (H, W, 3) uint8."""
    height, width = pixels.shape[:2]
    rows = max(LEAST_ROWS, round(THUMBNAIL_WIDTH * height / width))
    return np.asarray(Image.fromarray(pixels).convert("L").resize((THUMBNAIL_WIDTH, rows), Image.Resampling.BOX))


def is_flat(picture: np.ndarray) -> bool:
    """Whether there is too little to be seen in a thumbnail to tell whether it moves."""
    return picture.std() < LEAST_CONTRAST


def motion_between(one: np.ndarray, other: np.ndarray) -> Motion:
    """How far the picture moved from one thumbnail to the other, of which neither is flat."""
    estimator = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    there, back = estimator.calc(one, other, None), estimator.calc(other, one, None)
    columns, rows = np.meshgrid(np.arange(one.shape[1], dtype=np.float32), np.arange(one.shape[0], dtype=np.float32))
    goal = columns + there[..., 0], rows + there[..., 1]
    returned = there + cv2.remap(back, *goal, cv2.INTER_LINEAR, borderValue=(1e6, 1e6))
    seen = cv2.remap(other, *goal, cv2.INTER_LINEAR).astype(np.float32)
    found = (np.hypot(*np.moveaxis(returned, -1, 0)) <= AGREE_PX) & (np.abs(seen - one) <= ALIKE * one.std())
    return Motion(float(np.median(np.hypot(there[..., 0], there[..., 1]))) / one.shape[1], float(found.mean()))


def neighbours_by_number(runs: Sequence[int], offsets: Sequence[int]) -> list[tuple[int, ...] | None]:
    """For each frame the positions at fixed offsets from it; None for frames that lack one in their run."""
    count = len(runs)
    return [
        tuple(place + offset for offset in offsets)
        if all(0 <= place + offset < count and runs[place + offset] == runs[place] for offset in offsets)
        else None
        for place in range(count)
    ]


def neighbours_by_motion(
    travelled: Sequence[float], runs: Sequence[int], steps: Sequence[int]
) -> list[tuple[int, ...] | None]:
    """For each frame the positions of its neighbours, so far away that the picture moved visibly.

    Args:
        travelled: way of the picture from the first frame to each, in widths.
        runs: the unbroken run of each frame.
        steps: which neighbours, such as (-1, 1): the first ones before and after by which the picture moved by 2 %.
            Two steps are twice that.

    Returns:
        None for frames that lack a neighbour in their run.
    """
    way, run = np.asarray(travelled, dtype=np.float64), np.asarray(runs)
    return [_neighbours(place, way, run, steps) for place in range(len(way))]


def _neighbours(place: int, way: np.ndarray, run: np.ndarray, steps: Sequence[int]) -> tuple[int, ...] | None:
    found = []
    for step in steps:
        goal = way[place] + step * WANTED
        # At least as many frames away as steps: a neighbour is another frame.
        if step > 0:
            other = max(int(np.searchsorted(way, goal - 1e-9)), place + step)
        else:
            other = min(int(np.searchsorted(way, goal + 1e-9, side="right")) - 1, place + step)
        if not 0 <= other < len(way) or run[other] != run[place]:
            return None
        found.append(other)
    return tuple(found)
