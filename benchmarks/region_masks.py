"""Which pixels of an evaluated frame belong to which region, for tables and pictures of errors by region."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np

from benchmarks.regions import lit_sides, moving, shadows, thin
from egodepth.data.opening import open_sequence
from egodepth.data.samples import EvaluationFrames
from egodepth.errors import UserError
from egodepth.evaluation.evaluate import FrameResult
from egodepth.inference.frames import place_in_drive

RegionKind = Literal["borders", "traffic", "thin"]
Masks = dict[str, np.ndarray]

BASELINE_M = 0.54
"""Distance of the two cameras of a simulated drive."""


def region_masks(kind: RegionKind, result: FrameResult, frames: EvaluationFrames, test: Path) -> dict[str, np.ndarray]:
    """Masks (H, W) of the pixels that count, by region; the one that the kind is about comes first.

    Args:
        frames: all that are evaluated, with dense ground truth.
        test: the simulated drives that they come from.

    Raises:
        UserError: a camera is needed, and not known.
    """
    makers: dict[str, Callable[[], Masks]] = {
        "borders": lambda: _borders(result),
        "traffic": lambda: _traffic(result, frames, test),
        "thin": lambda: _split(result, "thin", thin(result.frame.depth)),
    }
    return makers[kind]()


def relative_error(result: FrameResult) -> np.ndarray:
    """(H, W), NaN where no ground truth counts."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(result.mask, np.abs(result.depth - result.frame.depth) / result.frame.depth, np.nan)


def _split(result: FrameResult, name: str, region: np.ndarray, rest: str = "elsewhere") -> Masks:
    return {name: result.mask & region, rest: result.mask & ~region}


def _borders(result: FrameResult) -> Masks:
    """Shadows, as wide a band on the objects beside them, and the rest."""
    if result.frame.camera is None:
        raise UserError(f"{result.frame.name}: its camera is not known. Take data with a calibration.")
    depth = np.where(result.frame.depth > 0, result.frame.depth, np.inf)
    shadow = shadows(depth, float(result.frame.camera.intrinsics[0, 0]), BASELINE_M)
    lit = lit_sides(shadow)
    rest = result.mask & ~shadow & ~lit
    return {"shadow": result.mask & shadow, "lit side": result.mask & lit, "elsewhere": rest}


def _traffic(result: FrameResult, frames: EvaluationFrames, test: Path) -> Masks:
    drive, number = place_in_drive(result.frame.name)
    poses = poses_of(test, drive)
    others = []
    for place in (result.index - 1, result.index + 1):
        if 0 <= place < len(frames):
            frame = frames[place]
            other_drive, other_number = place_in_drive(frame.name)
            if other_drive == drive:
                others.append((frame.depth, np.linalg.inv(poses[other_number]) @ poses[number]))
    moves = moving(result.frame.depth, others, result.frame.camera.intrinsics.astype(np.float64))
    return _split(result, "moving", moves, "standing")


@functools.cache
def poses_of(test: Path, drive: str) -> np.ndarray:
    """The poses (N, 4, 4) of a simulated drive, camera to world."""
    return open_sequence(test, drive).poses
