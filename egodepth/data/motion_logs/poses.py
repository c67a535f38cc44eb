"""Poses of odometry or an inertial sensor, in the formats that such programs write.

Only where the sensor was is taken: how far it moved needs no rotation, and none of the quaternion's two orders.
"""

from pathlib import Path

import numpy as np

from egodepth.data.kitti.poses import read_poses
from egodepth.data.motion_logs.tables import filled_lines, in_order, numbers, words
from egodepth.data.motion_logs.track import PoseTrack
from egodepth.errors import UserError

KITTI_COLUMNS = 12
TUM_COLUMNS = 8
NANOSECONDS = 1e9
CLOCK_NS = 1e16
"""Times from here on are in nanoseconds; in seconds they would lie 300 million years ahead."""

EXPECTED = (
    "TUM (time tx ty tz qx qy qz qw), EuRoC (nanoseconds, position, quaternion, with commas), or KITTI (12 numbers a "
    "line, one line for each frame)"
)


def read_pose_log(file: Path) -> PoseTrack:
    """The places of a log of poses, whose format its lines tell.

    Raises:
        UserError: it has none of the known forms, or a line has another form than the first.
    """
    lines = filled_lines(file)
    if not _is_number(words(lines[0][1])[0]):  # EuRoC's header, where it is no comment
        lines = lines[1:]
    first = lines[0][1] if lines else ""
    columns = len(words(first))
    if columns == KITTI_COLUMNS:
        positions = read_poses(file)[:, :3, 3]
        return PoseTrack(file, np.arange(len(positions), dtype=np.float64), positions, is_timed=False)
    if columns < TUM_COLUMNS:
        raise UserError(f"{file}: holds poses of no known form. Expected {EXPECTED}.")
    # EuRoC's ground truth has velocities and biases after the pose.
    values = numbers(file, lines, TUM_COLUMNS, f"a time, a position and a quaternion, {TUM_COLUMNS} numbers")
    if not np.allclose(np.linalg.norm(values[:, 4:], axis=1), 1, atol=0.05):
        raise UserError(f"{file}: its last four columns are no unit quaternions. Expected {EXPECTED}.")
    seconds = values[:, 0] / (NANOSECONDS if values[0, 0] > CLOCK_NS else 1)
    order = in_order(file, seconds)
    return PoseTrack(file, seconds[order], values[order, 1:4])


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True
