"""Whole poses of a camera, rotation and place: for points of many frames in one space.

Two formats say unmistakably how they turn: TUM (time, place, quaternion with its real part last) and KITTI (the rows of
3x4 matrices). Both are camera to world, with x right, y down and z ahead.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from egodepth.data.kitti.poses import read_poses
from egodepth.data.motion_logs.poses import KITTI_COLUMNS, TUM_COLUMNS
from egodepth.data.motion_logs.tables import filled_lines, in_order, numbers, words
from egodepth.data.motion_logs.track import LARGEST_GAP_S
from egodepth.errors import UserError

EXPECTED = "TUM (time tx ty tz qx qy qz qw) or KITTI (12 numbers a line, one line for each frame)"
ROTATION_TOLERANCE = 1e-2


@dataclass(frozen=True)
class CameraPoses:
    """Where a camera was and where it looked.

    Attributes:
        file: for messages.
        seconds: (N,), growing, from the first pose on; None where the file has no times.
        poses: (N, 4, 4) float64, camera to world.
    """

    file: Path
    seconds: np.ndarray | None
    poses: np.ndarray

    def __len__(self) -> int:
        return len(self.poses)

    def of_frame(self, number: int) -> np.ndarray:
        """The pose (4, 4) of a frame by its number.

        Raises:
            UserError: there are fewer poses.
        """
        if number >= len(self):
            raise UserError(f"{self.file}: has {len(self)} poses, but there are more frames. Give one for each frame.")
        return self.poses[number]

    def at(self, seconds: float) -> np.ndarray | None:
        """The pose (4, 4) at a time since the first pose; None outside the log and in its gaps.

        Places in between lie on the straight line, and turns take the shorter way at an even pace.
        """
        times = self.seconds
        if times is None or not times[0] <= seconds <= times[-1]:
            return None
        after = int(np.clip(np.searchsorted(times, seconds), 1, len(times) - 1)) if len(times) > 1 else 0
        before = max(0, after - 1)
        span = times[after] - times[before]
        if span > LARGEST_GAP_S:
            return None
        share = (seconds - times[before]) / span if span > 0 else 0.0
        one, other = self.poses[before], self.poses[after]
        pose = np.eye(4)
        pose[:3, :3] = one[:3, :3] @ _turn_by(one[:3, :3].T @ other[:3, :3], share)
        pose[:3, 3] = (1 - share) * one[:3, 3] + share * other[:3, 3]
        return pose


def read_camera_poses(file: Path) -> CameraPoses:
    """Read whole poses of a camera.

    Raises:
        UserError: the file is missing or has another form, or what it holds are no rotations.
    """
    lines = filled_lines(file)
    columns = len(words(lines[0][1])) if lines else 0
    if columns == KITTI_COLUMNS:
        poses = read_poses(file)
        rotations = poses[:, :3, :3]
        if not np.allclose(rotations @ rotations.transpose(0, 2, 1), np.eye(3), atol=ROTATION_TOLERANCE):
            raise UserError(f"{file}: its matrices are no rotations. Expected {EXPECTED}.")
        return CameraPoses(file, None, poses)
    if columns != TUM_COLUMNS or "," in lines[0][1]:
        raise UserError(f"{file}: holds poses of another form. Expected {EXPECTED}.")
    values = numbers(file, lines, TUM_COLUMNS, f"a time, a place and a quaternion, {TUM_COLUMNS} numbers")
    if not np.allclose(np.linalg.norm(values[:, 4:], axis=1), 1, atol=0.05):
        raise UserError(f"{file}: its last four columns are no unit quaternions. Expected {EXPECTED}.")
    values = values[in_order(file, values[:, 0])]
    poses = np.tile(np.eye(4), (len(values), 1, 1))
    poses[:, :3, :3] = rotations_of_quaternions(values[:, 4:])
    poses[:, :3, 3] = values[:, 1:4]
    return CameraPoses(file, values[:, 0] - values[0, 0], poses)


def rotations_of_quaternions(quaternions: np.ndarray) -> np.ndarray:
    """Rotation matrices (N, 3, 3) of quaternions (N, 4) with their real part last."""
    x, y, z, w = (quaternions / np.linalg.norm(quaternions, axis=1, keepdims=True)).T
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    return np.moveaxis(np.array(rows), -1, 0)


def _turn_by(rotation: np.ndarray, share: float) -> np.ndarray:
    """A share of a rotation (3, 3), about its own axis."""
    angle = np.arccos(np.clip((np.trace(rotation) - 1) / 2, -1, 1))
    if angle < 1e-9:
        return np.eye(3)
    cross = (rotation - rotation.T) / (2 * np.sin(angle))
    return np.eye(3) + np.sin(share * angle) * cross + (1 - np.cos(share * angle)) * cross @ cross
