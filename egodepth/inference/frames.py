"""The frames of pictures, videos and evaluation data as one stream, with what is known of each: for looking at drives.

Pictures are undistorted where a lens is known, so that picture, depth and points share one pinhole camera.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from egodepth.data.footage.video import Frame, read_video
from egodepth.data.images import read_image
from egodepth.data.motion_logs.camera_poses import CameraPoses
from egodepth.errors import UserError
from egodepth.geometry.cameras import Camera
from egodepth.inference.input_cameras import InputCameras
from egodepth.inference.inputs import ImageInput, Input

if TYPE_CHECKING:
    from egodepth.data.record import DatasetKind


@dataclass(frozen=True)
class SeenFrame:
    """One frame and what is known of it.

    Attributes:
        name: what a message calls it.
        image: (H, W, 3) uint8 RGB, undistorted.
        camera: of the image, where known.
        seconds: since the first frame of its video; None for pictures.
        pose: (4, 4), camera to world, where known.
        depth_m: (H, W) ground truth in metres, 0 where there is none; None for what has no ground truth.
    """

    name: str
    image: np.ndarray
    camera: Camera | None = None
    seconds: float | None = None
    pose: np.ndarray | None = None
    depth_m: np.ndarray | None = None


def frames_of_inputs(
    inputs: Sequence[Input], intrinsics: str | None = None, poses: CameraPoses | None = None
) -> Iterator[SeenFrame]:
    """The frames of pictures and videos, in their order.

    Args:
        intrinsics: see `InputCameras`.
        poses: of the camera. Where they have times and the input is one video, each frame takes the pose of its time,
            and frames beyond the log have none; else they are one for each frame, in the order of the frames.

    Raises:
        UserError: a file cannot be read, or there are other numbers of poses and frames.
    """
    cameras = InputCameras(inputs, intrinsics)
    by_time = poses is not None and poses.seconds is not None and not any(isinstance(i, ImageInput) for i in inputs)
    if by_time and len(inputs) > 1:
        raise UserError(f"{poses.file}: holds the times of one video, but {len(inputs)} are given. Give one.")
    count = 0
    for name, image, seconds in _pictures(inputs):
        pose = None
        if poses is not None:
            pose = poses.at(seconds) if by_time else poses.of_frame(count)
        camera = cameras.camera(name, *image.shape[:2])
        yield SeenFrame(str(name), cameras.straight(name, image), camera, seconds, pose)
        count += 1
    if poses is not None and not by_time and count != len(poses):
        raise UserError(f"{poses.file}: has {len(poses)} poses, but there are {count} frames. Give one for each frame.")


def frames_of_data(root: Path, kind: "DatasetKind", split: str | None = None) -> Iterator[SeenFrame]:
    """The frames of evaluation data with their ground truth, and with poses where the data hold them.

    Raises:
        UserError: a file is missing or damaged.
    """
    # The last reader is the kind's own: simulated drives have those of KITTI raw before their exact depth.
    read = list(kind.evaluation_frames.values())[-1]
    sequences = kind.sequences(root)
    poses: dict[str, np.ndarray] = {}
    for frame in read(root, split, ()):
        drive, number = _place(frame.name)
        if drive in sequences and drive not in poses:
            poses[drive] = sequences[drive]().poses
        pose = poses[drive][number] if drive in poses and number < len(poses[drive]) else None
        yield SeenFrame(frame.name, frame.image, frame.camera, None, pose, frame.depth)


def _pictures(inputs: Sequence[Input]) -> Iterator[tuple[Path, np.ndarray, float | None]]:
    for each in inputs:
        if isinstance(each, ImageInput):
            yield each.name, read_image(each.path), None
            continue
        for number, frame in enumerate(item for item in read_video(each.path) if isinstance(item, Frame)):
            yield each.name / f"{number:06d}", frame.pixels, frame.seconds


def _place(name: str) -> tuple[str, int]:
    """The drive and the number of a frame of KITTI's layout, `date/drive number side`."""
    words = name.split()
    if len(words) < 3 or not words[1].isdigit() or words[2] != "l":
        return "", 0
    return words[0].rpartition("/")[2], int(words[1])
