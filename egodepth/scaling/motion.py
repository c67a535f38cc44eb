"""Metres from the motion of the camera: how far depth or a pose network says it went, against what a log says."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from egodepth.data.motion_logs.oxts import read_oxts
from egodepth.data.motion_logs.track import MotionLog
from egodepth.errors import UserError
from egodepth.geometry.cameras import Camera
from egodepth.geometry.scale import STANDING_M
from egodepth.inference.motion import predicted_motions
from egodepth.inference.predictor import Predictor
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
    """How far the camera of a sequence went.

    Attributes:
        pairs: positions of the two frames of each.
        found: (N,), the way of the camera between them, in units of depth for the camera that was asked for.
    """

    pairs: tuple[tuple[int, int], ...]
    found: np.ndarray


def motion_by_depth(predictor: Predictor, sequence: FrameSequence, focal: float | None = None) -> Motion:
    """Look at pairs of frames, spread over a sequence: where points of the first, as far away as its depth says, went.

    Args:
        predictor: whose depth is in units of its network.
        sequence: whose camera is known.
        focal: of the camera that units are for, in widths; None for the sequence's own.
    """
    fitted = predictor.fitted_to(*sequence.native)
    camera = Camera.from_normalised(sequence.intrinsics, sequence.height, sequence.width)

    def ways(batch: Sequence[tuple[int, int]]) -> Tensor:
        earlier, later = ([sequence.read(pair[end]) for pair in batch] for end in (0, 1))
        around = [sequence.neighbours(pair[0], fitted.time_offsets) for pair in batch]
        return predicted_motions(fitted, earlier, later, around, camera, sequence.mask)

    return _motion(sequence, ways, focal)


def motion_by_pose_network(pose_network: nn.Module, sequence: FrameSequence, focal: float | None = None) -> Motion:
    """Look at pairs of frames, spread over a sequence: what the pose network says.

    Its unit is depth's only as far as training brought the two together.

    Args:
        focal: see `motion_by_depth`.
    """
    device = next(pose_network.parameters()).device

    def ways(batch: Sequence[tuple[int, int]]) -> Tensor:
        earlier, later = (_pictures(sequence, [pair[end] for pair in batch]).to(device) for end in (0, 1))
        return motion_to(pose_network, earlier, {1: later}, 1)

    with evaluating(pose_network):
        return _motion(sequence, ways, focal)


def _motion(
    sequence: FrameSequence, transforms: Callable[[Sequence[tuple[int, int]]], Tensor], focal: float | None
) -> Motion:
    count = min(PAIRS, len(sequence.pairs))
    pairs = tuple(sequence.pairs[index * len(sequence.pairs) // count] for index in range(count))
    found: list[float] = []
    with torch.inference_mode(), progress_bar(True) as bar:
        for batch in bar.track(list(_batches(pairs)), description="motion"):
            found += transforms(batch)[:, :3, 3].norm(dim=1).tolist()
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
