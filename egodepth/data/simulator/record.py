"""What egodepth knows about simulated drives: they are KITTI raw with exact depth and poses."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from egodepth.data.kitti.odometry import read_sequence
from egodepth.data.kitti.record import KITTI_RAW, drive_frames, holds_drives
from egodepth.data.record import no_hint
from egodepth.data.samples import PosedSequence
from egodepth.data.simulator.writer import MARKER


def _is_simulated(path: Path) -> bool:
    return (path / MARKER).is_file() and holds_drives(path)


def _drives_with_poses(root: Path) -> dict[str, Callable[[], PosedSequence]]:
    return {
        file.parent.name: partial(read_sequence, file.parent.name, file.parent / "image_02" / "data", file)
        for file in sorted(root.glob("*/*_sync/poses.txt"))
    }


SIMULATED = replace(
    KITTI_RAW,
    name="simulated",
    title="simulated drives",
    expected="a simulated drive",
    recognise=_is_simulated,
    evaluation_frames={**KITTI_RAW.evaluation_frames, "simulated": drive_frames("improved")},
    hint=no_hint,
    sequences=_drives_with_poses,
)
