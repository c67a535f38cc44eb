"""The frames of pictures, videos and evaluation data as one stream, with what is known of each: for looking at drives.

Pictures are undistorted where a lens is known, so that picture, depth and points share one pinhole camera.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from egodepth.data.footage.video import Cut, read_video
from egodepth.data.images import read_image
from egodepth.data.motion_logs.camera_poses import CameraPoses
from egodepth.errors import UserError
from egodepth.geometry.cameras import Camera
from egodepth.inference.input_cameras import InputCameras
from egodepth.inference.inputs import ImageInput, Input
from egodepth.inference.pictures import Source, surrounded

if TYPE_CHECKING:
    from egodepth.data.record import DatasetKind
    from egodepth.inference.predictor import Predictor


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
        neighbours: (H, W, 3) uint8 each, undistorted: the frames of the model's `time_offsets` that there are.
    """

    name: str
    image: np.ndarray
    camera: Camera | None = None
    seconds: float | None = None
    pose: np.ndarray | None = None
    depth_m: np.ndarray | None = None
    neighbours: Mapping[int, np.ndarray] = field(default_factory=dict)


def predicted_depth(predictor: "Predictor", frame: SeenFrame) -> np.ndarray:
    """The depth (H, W) of a frame by what is known of it, in metres where the model's are."""
    fitted = predictor.fitted_to(*frame.image.shape[:2])
    return fitted.predict_images([frame.image], [frame.camera], [frame.neighbours])[0]


def frames_of_inputs(
    inputs: Sequence[Input],
    intrinsics: str | None = None,
    poses: CameraPoses | None = None,
    time_offsets: Sequence[int] = (),
) -> Iterator[SeenFrame]:
    """The frames of pictures and videos, in their order.

    Args:
        time_offsets: of the neighbours that the model looks at. Neighbours are of the same folder, or of the same video
            and no cut away.
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
    for source, image, neighbours in _with_neighbours(_pictures(inputs, cameras), time_offsets):
        pose = None
        if poses is not None:
            pose = poses.at(source.seconds) if by_time else poses.of_frame(count)
        camera = cameras.camera(source.name, *image.shape[:2])
        yield SeenFrame(str(source.name), image, camera, source.seconds, pose, neighbours=neighbours)
        count += 1
    if poses is not None and not by_time and count != len(poses):
        raise UserError(f"{poses.file}: has {len(poses)} poses, but there are {count} frames. Give one for each frame.")


def frames_of_data(
    root: Path, kind: "DatasetKind", split: str | None = None, time_offsets: Sequence[int] = ()
) -> Iterator[SeenFrame]:
    """The frames of evaluation data with their ground truth, and with poses where the data hold them.

    Args:
        time_offsets: of the neighbours that the model looks at.

    Raises:
        UserError: a file is missing or damaged.
    """
    # The last reader is the kind's own: simulated drives have those of KITTI raw before their exact depth.
    read = list(kind.evaluation_frames.values())[-1]
    sequences = kind.sequences(root)
    poses: dict[str, np.ndarray] = {}
    for frame in read(root, split, time_offsets):
        drive, number = place_in_drive(frame.name)
        if drive in sequences and drive not in poses:
            poses[drive] = sequences[drive]().poses
        pose = poses[drive][number] if drive in poses and number < len(poses[drive]) else None
        yield SeenFrame(frame.name, frame.image, frame.camera, None, pose, frame.depth, frame.neighbours)


def _pictures(inputs: Sequence[Input], cameras: InputCameras) -> Iterator[tuple[Source, np.ndarray]]:
    """Pictures and frames, undistorted."""
    for each in inputs:
        if isinstance(each, ImageInput):
            yield Source(each.name), cameras.straight(each.name, read_image(each.path))
            continue
        number = run = 0
        for item in read_video(each.path):
            if isinstance(item, Cut):
                run += 1
                continue
            name = each.name / f"{number:06d}"
            yield Source(name, item.seconds, run), cameras.straight(name, item.pixels)
            number += 1


def _with_neighbours(
    pictures: Iterator[tuple[Source, np.ndarray]], time_offsets: Sequence[int]
) -> Iterator[tuple[Source, np.ndarray, dict[int, np.ndarray]]]:
    for _, sequence in groupby(pictures, key=lambda picture: picture[0].sequence):
        for (source, image), around in surrounded(sequence, time_offsets):
            yield source, image, {offset: neighbour for offset, (_, neighbour) in around.items()}


def place_in_drive(name: str) -> tuple[str, int]:
    """The drive and the number of a frame of KITTI's layout, `date/drive number side`."""
    words = name.split()
    if len(words) < 3 or not words[1].isdigit() or words[2] != "l":
        return "", 0
    return words[0].rpartition("/")[2], int(words[1])
