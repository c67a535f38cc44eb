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

from egodepth.data.images import shrunk

THUMBNAIL_WIDTH = 192
AGREE_PX = 1.5
"""How far from where it started the flow there and back may end, for a pixel to count as found again."""
ALIKE = 0.25
"""How much its grey may differ then, in spreads of the picture's grey."""
SAME_SCENE = 0.15
"""Share of the pixels that must be found again. Between KITTI's frames it is 0.6 to 0.9, across a cut below 0.1."""

STANDING = 0.001
"""In widths, by which half of the picture moves: less is a standing camera. Noise of a sensor gives a twentieth of it,
KITTI's drives at 10 frames a second six times as much at least."""

LEAST_CONTRAST = 4.0
"""Spread of grey levels below which two pictures are alike whatever the camera does: fog, a covered lens."""

WANTED = 0.01
"""How far half of the picture should have moved between neighbours, in widths, at least: KITTI's next frame. At twice
as much what is near moves farther than optical flow follows."""

FARTHEST = 0.04
"""How far at most, where neighbours are drawn. At 4 % no pair of KITTI's drives 0005 and 0009 shows so little of the
same that it would be taken for a cut; at 6 % 4 to 10 of 100 do, at 8 % 15 to 17."""


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
        farthest: the last positions that they are drawn up to; None where they are not drawn.
    """

    name: str
    travelled: Sequence[float]
    runs: Sequence[int]
    seconds: Sequence[float | None]
    neighbours: Sequence[tuple[int, ...] | None]
    farthest: Sequence[tuple[int, ...] | None] | None = None

    def said(self) -> str:
        """One line: how far neighbours lie apart, in frames, in seconds where known, and in the picture."""
        apart, (least, most) = self._apart(self.neighbours)
        lie = f"neighbours lie {apart} apart (median)"
        if self.farthest is not None:
            farthest, (_, most) = self._apart(self.farthest)
            lie = f"neighbours are drawn for each sample and epoch from {apart} to {farthest} away (medians)"
        return (
            f"{self.name}: {len(self.runs)} frames are used; {lie}, in which half of the picture moves by {least:.1%} "
            f"to {most:.1%} of its width"
        )

    def _apart(self, neighbours: Sequence[tuple[int, ...] | None]) -> tuple[str, tuple[float, float]]:
        """The median distance in words, and how far the picture moves, the lowest and the highest tenth left out."""
        pairs = [(place, other) for place, each in enumerate(neighbours) for other in each or ()]
        frames = np.array([abs(other - place) for place, other in pairs])
        moved = np.array([abs(self.travelled[other] - self.travelled[place]) for place, other in pairs])
        times = [abs(self.seconds[other] - self.seconds[place]) for place, other in pairs if None not in self.seconds]
        usual = round(float(np.median(frames)))
        apart = f"{usual} frame{'s' if usual > 1 else ''}" + (f", {np.median(times):.2f} s" if times else "")
        return apart, tuple(np.quantile(moved, (0.1, 0.9)))


def thumbnail(pixels: np.ndarray) -> np.ndarray:
    """A small grey copy (h, 192) uint8 of a picture (H, W, 3) uint8."""
    return shrunk(Image.fromarray(pixels).convert("L"), THUMBNAIL_WIDTH)


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
        steps: which neighbours, such as (-1, 1): the first ones before and after by which the picture moved by 1 %.
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


def farthest_by_motion(
    travelled: Sequence[float], runs: Sequence[int], steps: Sequence[int], nearest: Sequence[tuple[int, ...] | None]
) -> list[tuple[int, ...] | None]:
    """For each frame the last positions, going away from it, that may take the place of its nearest neighbours.

    Up to there the picture moved by `FARTHEST` for each step, and all frames are of one run. Where it moves faster from
    frame to frame, or the run ends, it is the nearest neighbour itself.

    Args:
        travelled, runs, steps: see `neighbours_by_motion`.
        nearest: what that gave.
    """
    way, run = np.asarray(travelled, dtype=np.float64), np.asarray(runs)
    return [
        None if each is None else tuple(_farthest(place, way, run, *both) for both in zip(steps, each, strict=True))
        for place, each in enumerate(nearest)
    ]


def _farthest(place: int, way: np.ndarray, run: np.ndarray, step: int, nearest: int) -> int:
    goal = way[place] + step * FARTHEST
    if step > 0:
        reached = min(np.searchsorted(way, goal + 1e-9, side="right"), np.searchsorted(run, run[place], side="right"))
        return max(int(reached) - 1, nearest)
    return min(int(max(np.searchsorted(way, goal - 1e-9), np.searchsorted(run, run[place]))), nearest)


def drawn_between(nearest: int, farthest: int, share: float) -> int:
    """The position so far on the way from the nearest to the farthest, each as likely as the others.

    Args:
        share: in [0, 1).
    """
    count = abs(farthest - nearest) + 1
    return nearest + int(np.sign(farthest - nearest)) * int(share * count)
