"""From a path that a user gives to the data sets that training and evaluation read."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from egodepth.data.footage import Footage, footage_camera
from egodepth.data.images import list_images
from egodepth.data.kitti import KittiRaw, NoUsableFrames, evaluation_lines, training_lines
from egodepth.data.kitti_depth import KittiOdometry, KittiRawFrames, KittiStereo2015Frames, read_poses
from egodepth.data.recognise import DataKind, recognise
from egodepth.data.samples import EvaluationFrames, Source, TrainingDataset
from egodepth.data.splits import Stage
from egodepth.errors import UserError

SINGLE_CAMERA: tuple[DataKind, ...] = ("frames", "video")


@dataclass(frozen=True)
class DataConfig:
    """Where the frames come from and which of them are used.

    Attributes:
        kind: layout of the data; none means that it is recognised.
        split: name of a folder in DATA/splits, or a path to a folder or file of split lists.
        stride: frames between two views that follow each other, for footage of a high frame rate.
    """

    kind: DataKind | None = None
    split: str | None = None
    stride: int = 1


@dataclass(frozen=True)
class TrainingSets:
    """What a run trains and validates on.

    Attributes:
        validation: None where nothing is held out.
        left_out: one message for each frame, or group of frames, that cannot be used.
    """

    training: TrainingDataset
    validation: TrainingDataset | None
    left_out: tuple[str, ...]


def open_training_sets(
    root: Path,
    config: DataConfig,
    intrinsics: str,
    source_ids: Sequence[Source],
    height: int,
    width: int,
    cache_folder: Path,
) -> TrainingSets:
    """Open DATA for training.

    Args:
        intrinsics: `calibrated`, `fixed` (KITTI alone) or `fx,fy,cx,cy` in pixels (footage alone).
        source_ids: of the training mode.
        height, width: training size in pixels.
        cache_folder: where frames unpacked from a video are kept.

    Raises:
        UserError: the layout is not known, or cannot train with these sources.
    """
    kind = config.kind or recognise(root)
    if kind == "kitti-2015":
        raise UserError(f"{root}: KITTI Stereo 2015 has single frames, for evaluation only. Train on KITTI raw.")
    if kind in SINGLE_CAMERA:
        return _footage(root, config, intrinsics, source_ids, height, width, cache_folder)
    return _drives(root, config, intrinsics, source_ids, height, width)


@dataclass(frozen=True)
class EvaluationDataConfig:
    """Which frames are evaluated.

    Attributes:
        kind: layout of the data; none means that it is recognised.
        split: name of a folder in DATA/splits, or a path to a folder or file of test lists.
    """

    kind: DataKind | None = None
    split: str | None = None


def open_evaluation_frames(
    root: Path,
    protocol: str,
    config: EvaluationDataConfig = EvaluationDataConfig(),
) -> EvaluationFrames:
    """Open DATA as a protocol asks: frames with its ground truth.

    Raises:
        UserError: the data has another layout than the protocol needs, or lacks a file.
    """
    kind, split = config.kind or recognise(root), config.split
    if protocol.startswith("kitti-2015"):
        _expect(root, kind, ("kitti-2015",), protocol)
        return KittiStereo2015Frames(root)
    if protocol == "simulated":
        _expect(root, kind, ("simulated",), protocol)
        return KittiRawFrames(root, evaluation_lines(root, split, "improved"), "improved")
    _expect(root, kind, ("kitti-raw", "simulated"), protocol)
    if protocol == "eigen-benchmark":
        return KittiRawFrames(root, evaluation_lines(root, split, "improved"), "improved")
    return KittiRawFrames(root, evaluation_lines(root, split, "raw"), "velodyne")


def open_sequence(root: Path, sequence: str | None) -> KittiOdometry:
    """A sequence of images with poses: of KITTI's odometry layout, or a simulated drive.

    Args:
        sequence: `09`, or the drive's name; none takes the last one there is, which the simulator does not train on.

    Raises:
        UserError: the data has no poses, or no such sequence.
    """
    poses = {file.stem: file for file in sorted((root / "poses").glob("*.txt"))}
    images = {name: root / "sequences" / name / "image_2" for name in poses}
    for file in sorted(root.glob("*/*_sync/poses.txt")):
        poses[file.parent.name] = file
        images[file.parent.name] = file.parent / "image_02" / "data"
    if not poses:
        raise UserError(f"{root}: no poses; expected poses/NN.txt (KITTI odometry) or simulated drives.")
    name = sequence or list(poses)[-1]
    if name not in poses:
        raise UserError(f"{root}: no sequence {name!r} with poses. Choose one of {', '.join(poses)}.")
    return KittiOdometry(name, list_images(images[name]), read_poses(poses[name]))


def _drives(
    root: Path, config: DataConfig, intrinsics: str, source_ids: Sequence[Source], height: int, width: int
) -> TrainingSets:
    if intrinsics not in ("calibrated", "fixed"):
        raise UserError(f"--intrinsics {intrinsics}: KITTI drives bring their calibration. Take calibrated or fixed.")
    if config.stride != 1:
        raise UserError(f"--data.stride {config.stride}: is for footage; drives go frame by frame. Leave it out.")

    def frames(stage: Stage) -> KittiRaw:
        lines = training_lines(root, config.split, stage, source_ids)
        return KittiRaw(root, lines, source_ids, height, width, intrinsics)

    training = frames("train")
    try:
        validation = frames("val")
    except NoUsableFrames:  # a drive so short that its held-out frames are its last ones, or a split of one list
        validation = None
    return TrainingSets(training, validation, tuple(training.left_out))


def _footage(
    root: Path,
    config: DataConfig,
    intrinsics: str,
    source_ids: Sequence[Source],
    height: int,
    width: int,
    cache_folder: Path,
) -> TrainingSets:
    if intrinsics == "fixed":
        raise UserError("--intrinsics fixed is KITTI's camera. Give your own: --intrinsics fx,fy,cx,cy in pixels.")
    camera = footage_camera(root, None if intrinsics == "calibrated" else intrinsics)
    training, validation = (
        Footage(root, source_ids, height, width, camera, cache_folder, stage, config.stride)
        for stage in ("train", "val")
    )
    return TrainingSets(training, validation if len(validation) else None, tuple(training.left_out))


def _expect(root: Path, kind: DataKind, wanted: tuple[DataKind, ...], protocol: str) -> None:
    if kind not in wanted:
        raise UserError(f"{root}: is {kind} data; protocol {protocol} needs {' or '.join(wanted)}. Give other data.")
