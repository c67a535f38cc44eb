"""The scale of a released model by what footage shows: camera height, speed, odometry."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from egodepth.data.camera_checking import same_aspect
from egodepth.data.footage.camera import CameraUnknown
from egodepth.data.motion_logs.poses import read_pose_log
from egodepth.data.motion_logs.reading import read_track
from egodepth.errors import UserError
from egodepth.geometry.cameras import field_of_view_degrees
from egodepth.geometry.scale import Origin
from egodepth.models.released import ReleasedModel
from egodepth.networks.configurations import size_for
from egodepth.scaling.estimate import estimate_of
from egodepth.scaling.found import Footage, Found, found_of
from egodepth.scaling.height import heights_over_road
from egodepth.scaling.motion import (
    Motion,
    motion_by_depth,
    motion_by_pose_network,
    ratios_by_number,
    ratios_in_time,
    ratios_of_measurements,
    require_entries,
    require_times,
)
from egodepth.scaling.sequences import FrameSequence, open_sequences

OXTS = "oxts"

FEWEST_FRAMES = 0.2
"""Where a smaller share of the frames shows a road, what is found is doubtful."""


def scale_from_height(model: ReleasedModel, footage: Footage, height_m: float, device: str = "cpu") -> Found:
    """By the height of the camera above the road.

    Raises:
        UserError: the camera is not known, or no frame shows a road.
    """
    predictor = model.predictor(device).with_scale(1.0)
    with _cache(footage) as cache:
        sequences = _opened(model, footage, cache)
        sequences, remarks = with_cameras(model, sequences)
        focal = _focal(model, sequences)
        heights = heights_over_road(predictor, sequences, focal)
    estimate = estimate_of(height_m / heights.units)
    if estimate.used < FEWEST_FRAMES * heights.frames:
        remarks.append("Few of the frames show a road. Do not trust the scale without another look.")
    note = f"camera height {height_m:g} m, {estimate.used} of {heights.frames} frames"
    return found_of(estimate, "camera height", note, remarks, "frames", focal)


def scale_from_speed(model: ReleasedModel, footage: Footage, log: str, device: str = "cpu") -> Found:
    """By the way that the camera travelled.

    Args:
        log: a CSV or GPX file, or `oxts` for the measurements of KITTI's drives.

    Raises:
        UserError: neither a camera nor a pose network is known, or the log cannot be read or tells nothing.
    """
    track = None if log == OXTS else read_track(Path(log))
    with _cache(footage) as cache:
        sequences = _moving(_opened(model, footage, cache))
        if track is None:
            measured = [sequence for sequence in sequences if sequence.oxts is not None]
            if not measured:
                raise UserError(f"--speed oxts: {footage.path} has no drive with an oxts folder. Give a log of speeds.")
            motions, focal, remarks = _motions(model, measured, device)
            ratios = [ratios_of_measurements(*each) for each in zip(motions, measured, strict=True)]
        else:
            sequence = _the_one(sequences, footage.path, log)
            require_times(sequence)
            [motion], focal, remarks = _motions(model, [sequence], device)
            found, remark = ratios_in_time(motion, sequence, track)
            ratios, remarks = [found], [*remarks, remark]
    name = OXTS if track is None else Path(log).name
    return _from_ratios(np.concatenate(ratios), "speed", f"speed of {name}", f"--speed {log}", remarks, focal)


def scale_from_poses(model: ReleasedModel, footage: Footage, file: Path, device: str = "cpu") -> Found:
    """By poses of odometry or an inertial sensor.

    Raises:
        UserError: neither a camera nor a pose network is known, or the poses cannot be read or tell nothing.
    """
    log = read_pose_log(file)
    with _cache(footage) as cache:
        sequence = _the_one(_moving(_opened(model, footage, cache)), footage.path, str(file))
        if log.is_timed:
            require_times(sequence)
        else:
            require_entries(sequence, log)
        [motion], focal, remarks = _motions(model, [sequence], device)
        if log.is_timed:
            ratios, remark = ratios_in_time(motion, sequence, log)
            remarks = [*remarks, remark]
        else:
            ratios = ratios_by_number(motion, sequence, log)
    return _from_ratios(ratios, "odometry", f"poses of {file.name}", f"--poses {file}", remarks, focal)


# --- what the sources share ------------------------------------------------------------------------------------------


@contextmanager
def _cache(footage: Footage) -> Iterator[Path]:
    if footage.cache_folder is not None:
        yield footage.cache_folder
        return
    with TemporaryDirectory() as folder:
        yield Path(folder)


def _opened(model: ReleasedModel, footage: Footage, cache: Path) -> list[FrameSequence]:
    def size_of(native: tuple[int, int]) -> tuple[int, int]:
        return size_for(*model.size, native) if model.config.get("keep_aspect") else model.size

    return [
        sequence
        for root in (footage.path, *footage.beside)
        for sequence in open_sequences(root, size_of, cache, footage.intrinsics, footage.frames_per_second)
    ]


def _focal(model: ReleasedModel, sequences: Sequence[FrameSequence]) -> float | None:
    """Focal length in widths of the camera that a scale is for: the model's, or else that of the footage."""
    known = model.config.get("focal")
    return known or next((sequence.focal for sequence in sequences if sequence.focal is not None), None)


def _moving(sequences: Sequence[FrameSequence]) -> list[FrameSequence]:
    """Raises UserError: none has two frames that follow each other."""
    found = [sequence for sequence in sequences if sequence.pairs]
    if not found:
        raise UserError(f"{sequences[0].name}: no two frames follow each other and move. Give longer footage.")
    return found


def _the_one(sequences: Sequence[FrameSequence], data: Path, log: str) -> FrameSequence:
    """Raises UserError: a log is of one drive, and there are several."""
    if len(sequences) > 1:
        names = ", ".join(sequence.name for sequence in sequences[:3])
        raise UserError(f"{data}: holds several sequences ({names}), and {log} is of one. Give that one as DATA.")
    return sequences[0]


def _motions(
    model: ReleasedModel, sequences: Sequence[FrameSequence], device: str
) -> tuple[list[Motion], float | None, list[str]]:
    """How far the camera of each sequence went; the focal length that units are for; and what is to be said.

    The model's depth tells it wherever cameras are known, for its unit is what is asked for. A pose network's ways may
    be of another length: it is taught by depth, and learns more slowly.

    Raises:
        UserError: a camera is not known, and the model has no pose network.
    """
    try:
        sequences, remarks = with_cameras(model, sequences)
        see = partial(motion_by_depth, model.predictor(device).with_scale(1.0))
    except CameraUnknown:
        if model.config.get("pose") is None:
            raise
        see = partial(motion_by_pose_network, model.pose_network().to(device))
        remarks = [
            "The camera is not known, so that its ways are what the pose network says. With --intrinsics or --fov they "
            "are found from depth, which is surer."
        ]
    focal = _focal(model, sequences)
    return [see(sequence, focal) for sequence in sequences], focal, remarks


def with_cameras(model: ReleasedModel, sequences: Sequence[FrameSequence]) -> tuple[list[FrameSequence], list[str]]:
    """The sequences, each with a camera: its own, or the one that the model was trained with by learning it.

    Raises:
        CameraUnknown: neither is known.
    """
    found, remarks = [], []
    for sequence in sequences:
        if sequence.intrinsics is None:
            camera = _learned_camera(model, sequence)
            found.append(replace(sequence, intrinsics=np.array(camera["intrinsics"], np.float32)))
            taken = f"the one that the model learnt in training ({camera['name']}) is taken"
            if camera.get("assumed", False):
                degrees = field_of_view_degrees(camera["intrinsics"][0][0])
                taken = f"training did not find it either, and the {degrees:.0f} degrees that it assumed are taken"
            remarks.append(f"{sequence.name}: the camera is not known; {taken}.")
        else:
            found.append(sequence)
    return found, remarks


def _learned_camera(model: ReleasedModel, sequence: FrameSequence) -> Mapping[str, Any]:
    """The camera that training learnt for this footage, for frames of its size, or else of its form, as configs say it.

    Raises:
        CameraUnknown: there is none, or it is not clear which it is.
    """
    learned = model.config.get("learned_cameras", [])
    height, width = sequence.native
    for suits in (
        [camera for camera in learned if sequence.name in camera["footage"]],
        [camera for camera in learned if camera["name"] == f"{width}x{height}"],
        [camera for camera in learned if same_aspect((height, width), _form(camera["intrinsics"]))],
    ):
        if len(suits) == 1:
            return suits[0]
    names = ", ".join(camera["name"] for camera in learned)
    nor = f", nor which of those that the model learnt it is ({names})" if learned else ""
    raise CameraUnknown(
        f"{sequence.name}: the camera is not known{nor}. Give --intrinsics fx,fy,cx,cy in pixels, or --fov DEGREES."
    )


def _form(intrinsics: Sequence[Sequence[float]]) -> tuple[float, float]:
    """Height and width, up to a factor, of the pictures of a camera with square pixels."""
    return intrinsics[0][0], intrinsics[1][1]


def _from_ratios(
    ratios: np.ndarray, origin: Origin, note: str, option: str, remarks: list[str], focal: float | None
) -> Found:
    if not len(ratios):
        said = f" {remarks[-1]}" if remarks else ""
        raise UserError(f"{option}: says of no two frames that the camera moved between them.{said} Check its times.")
    estimate = estimate_of(ratios)
    return found_of(estimate, origin, f"{note}, {estimate.used} pairs of frames", remarks, "pairs of frames", focal)
