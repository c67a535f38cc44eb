"""Metres from the motion of the camera: what a pose network finds against what a log says."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from egodepth.data.motion_logs.oxts import read_oxts
from egodepth.data.motion_logs.track import MotionLog
from egodepth.errors import UserError
from egodepth.geometry.scale import STANDING_M
from egodepth.networks.modes import evaluating
from egodepth.networks.pose import motion_to
from egodepth.progress import progress_bar
from egodepth.scaling.alignment import align, first_offset
from egodepth.scaling.sequences import FrameSequence

PAIRS = 1000
"""So many pairs of frames are looked at, spread over a sequence."""

BATCH = 8


@dataclass(frozen=True)
class Motion:
    """What a pose network saw of a sequence.

    Attributes:
        pairs: positions of the two frames of each.
        found: (N,), the way of the camera between them, in units of training for the camera that was asked for.
    """

    pairs: tuple[tuple[int, int], ...]
    found: np.ndarray


def motion_of(pose_network: nn.Module, sequence: FrameSequence, focal: float | None = None) -> Motion:
    """Look at pairs of frames, spread over a sequence.

    Args:
        focal: of the camera that units are for, in widths; None for the sequence's own.
    """
    count = min(PAIRS, len(sequence.pairs))
    pairs = tuple(sequence.pairs[index * len(sequence.pairs) // count] for index in range(count))
    device = next(pose_network.parameters()).device
    found: list[float] = []
    with evaluating(pose_network), torch.inference_mode(), progress_bar(True) as bar:
        for batch in bar.track(list(_batches(pairs)), description="motion"):
            earlier = _pictures(sequence, [pair[0] for pair in batch]).to(device)
            later = _pictures(sequence, [pair[1] for pair in batch]).to(device)
            found += motion_to(pose_network, earlier, {1: later}, 1)[:, :3, 3].norm(dim=1).tolist()
    return Motion(pairs, np.array(found, dtype=np.float64) * sequence.unit_ratio(focal))


def require_times(sequence: FrameSequence) -> None:
    """Raises UserError: nothing says when the frames of a sequence were taken."""
    if sequence.seconds is None:
        raise UserError(
            f"{sequence.name}: nothing says when its frames were taken. Give --fps, or name them by their times."
        )


def require_entries(sequence: FrameSequence, log: MotionLog) -> None:
    """Raises UserError: a log without times has not one entry for each frame."""
    entries, last = len(log.seconds), sequence.numbers[-1]
    if entries <= last or sequence.count not in (None, entries):
        there = last + 1 if sequence.count is None else sequence.count
        raise UserError(
            f"{log.file}: has {entries} poses without times, but {sequence.name} has {there} frames. Give one pose for "
            "each frame, or poses with times."
        )


def ratios_by_number(motion: Motion, sequence: FrameSequence, log: MotionLog) -> np.ndarray:
    """Metres over units of the pairs that moved, by a log that has an entry for each frame."""
    return _ratios(motion, np.array(sequence.numbers, dtype=np.float64), log)


def ratios_in_time(motion: Motion, sequence: FrameSequence, log: MotionLog) -> tuple[np.ndarray, str]:
    """Metres over units of the pairs that moved, and a line on how the times were brought together."""
    seconds = sequence.seconds
    starts, ends = (seconds[[pair[end] for pair in motion.pairs]] for end in (0, 1))
    alignment = align(starts, ends, motion.found, log, first_offset(seconds[0], log.seconds[0]))
    return _ratios(motion, seconds + alignment.offset_s, log), alignment.said(seconds[0], log.seconds[0])


def ratios_of_measurements(motion: Motion, sequence: FrameSequence) -> np.ndarray:
    """Metres over units of the pairs that moved, by the measurements of a KITTI drive, which know the frames."""
    track, seconds = read_oxts(sequence.oxts)
    return _ratios(motion, np.array([seconds.get(number, np.nan) for number in sequence.numbers]), track)


def _ratios(motion: Motion, times: np.ndarray, log: MotionLog) -> np.ndarray:
    starts, ends = (times[[pair[end] for pair in motion.pairs]] for end in (0, 1))
    moved = log.moved_m(starts, ends)
    moves = (moved > STANDING_M) & (motion.found > 0)  # NaN is not greater
    return moved[moves] / motion.found[moves]


def _pictures(sequence: FrameSequence, positions: Sequence[int]) -> Tensor:
    """Frames (B, 3, H, W) in [0, 1]."""
    pixels = np.stack([sequence.read(position) for position in positions])
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255


def _batches(pairs: Sequence[tuple[int, int]]) -> Iterator[Sequence[tuple[int, int]]]:
    return (pairs[start : start + BATCH] for start in range(0, len(pairs), BATCH))
