"""From a path that a user gives to the data sets that training and evaluation read.

What a kind of data can be used for stands in two tables: `TRAINING` and `EVALUATION_FRAMES`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

from egodepth.data.cityscapes.sequences import Cityscapes, CityscapesFrames, NoViews, training_names
from egodepth.data.cityscapes.triplets import CityscapesTriplets, triplet_names
from egodepth.data.configurations import DataConfig, DataKind, EvaluationDataConfig, Source
from egodepth.data.ddad.scenes import Ddad, DdadFrames, listed_scenes
from egodepth.data.footage.camera import footage_camera
from egodepth.data.footage.dataset import Footage
from egodepth.data.images import list_images
from egodepth.data.joint import JointDataset
from egodepth.data.kitti.depth import GroundTruth, KittiOdometry, KittiRawFrames, KittiStereo2015Frames, read_poses
from egodepth.data.kitti.raw import KittiRaw, NoUsableFrames, evaluation_lines, training_lines
from egodepth.data.kitti.selection import KittiSelectionFrames
from egodepth.data.make3d.frames import Make3dFrames, read_names
from egodepth.data.packs.reading import PackOptions, open_pack
from egodepth.data.recognise import recognise
from egodepth.data.samples import EvaluationFrames, TrainingDataset
from egodepth.data.splits import Stage, find_split_file
from egodepth.errors import UserError


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

    @property
    def first(self) -> TrainingDataset:
        """What DATA itself gives to train on, without those that are joined with it."""
        return self.training.datasets[0] if isinstance(self.training, JointDataset) else self.training


@dataclass(frozen=True)
class _Wanted:
    """What is asked of a kind of data for training."""

    root: Path
    config: DataConfig
    intrinsics: str
    source_ids: Sequence[Source]
    height: int
    width: int
    cache_folder: Path


def open_training_sets(
    root: Path,
    config: DataConfig,
    intrinsics: str,
    source_ids: Sequence[Source],
    height: int,
    width: int,
    cache_folder: Path,
) -> TrainingSets:
    """Open DATA for training, and what is to be trained on with it.

    Args:
        intrinsics: `calibrated`, `fixed` (KITTI: one camera for all; Cityscapes: one baseline of 0.22 m, and a
            principal point that mirroring leaves in place) or `fx,fy,cx,cy` in pixels (footage alone; of DATA alone).
        source_ids: of the training mode.
        height, width: training size in pixels.
        cache_folder: where frames unpacked from a video are kept.

    Raises:
        UserError: the layout is not known, cannot train with these sources, or data do not go together.
    """
    wanted = _Wanted(root, config, intrinsics, source_ids, height, width, cache_folder)
    sets = _open(wanted)
    if not config.also:
        return sets
    also = [Path(path) for path in config.also]
    _check_different(root, *also)
    others = []
    for path in also:
        try:
            others.append(_open(_joined_with(wanted, path)))
        except UserError as error:
            raise UserError(f"--also: {error}") from error
    training = JointDataset([each.training for each in (sets, *others)])
    return TrainingSets(training, sets.validation, sum((each.left_out for each in others), sets.left_out))


def _open(wanted: _Wanted) -> TrainingSets:
    kind = wanted.config.kind or recognise(wanted.root)
    if kind not in TRAINING:
        raise UserError(
            f"{wanted.root}: is {kind} data, single frames for evaluation only. Train on {', '.join(TRAINING)} data."
        )
    return TRAINING[kind](wanted)


def _joined_with(first: _Wanted, root: Path) -> _Wanted:
    """What is asked of further data: the first's form of samples, from their own files."""
    return replace(
        first,
        root=root,
        config=DataConfig(crop=first.config.crop),
        intrinsics="fixed" if first.intrinsics == "fixed" else "calibrated",
    )


def _check_different(*roots: Path) -> None:
    for one, other in pairwise(sorted(root.resolve() for root in roots)):
        if one == other:
            raise UserError(f"--also {other}: is trained on already. Give each data set once.")


@dataclass(frozen=True)
class _FrameSet:
    """Frames with ground truth: the kinds of data that hold them, and what reads them.

    `read` takes the root, the split and whether the frame before each is wanted too.
    """

    kinds: tuple[DataKind, ...]
    read: Callable[[Path, str | None, Sequence[int]], EvaluationFrames]


def open_evaluation_frames(
    root: Path,
    frames: str,
    config: EvaluationDataConfig = EvaluationDataConfig(),
    moments: Sequence[int] = (),
) -> EvaluationFrames:
    """Open DATA as a protocol asks: frames with its ground truth.

    Args:
        frames: a name in `EVALUATION_FRAMES`; protocols name theirs.
        moments: time offsets of frames to read as well, where the data has them (for multi-frame systems).

    Raises:
        UserError: the data has another layout than the protocol needs, or lacks a file.
    """
    wanted, kind = EVALUATION_FRAMES[frames], config.kind or recognise(root)
    if kind not in wanted.kinds:
        raise UserError(
            f"{root}: is {kind} data; this protocol needs {' or '.join(wanted.kinds)} data. "
            "Give other data or another protocol."
        )
    return wanted.read(root, config.split, moments)


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


# --- training --------------------------------------------------------------------------------------------------------


def _drives(wanted: _Wanted) -> TrainingSets:
    _check_intrinsics(wanted, "KITTI drives", ("calibrated", "fixed"))
    _check_stride(wanted, "drives go frame by frame")

    def frames(stage: Stage) -> KittiRaw:
        lines = training_lines(wanted.root, wanted.config.split, stage, wanted.source_ids)
        return KittiRaw(wanted.root, lines, wanted.source_ids, wanted.height, wanted.width, wanted.intrinsics)

    training = frames("train")
    try:
        validation = frames("val")
    except NoUsableFrames:  # a drive so short that its held-out frames are its last ones, or a split of one list
        validation = None
    return TrainingSets(training, validation, tuple(training.left_out))


def _footage(wanted: _Wanted) -> TrainingSets:
    if wanted.intrinsics == "fixed":
        raise UserError("--intrinsics fixed is KITTI's camera. Give your own: --intrinsics fx,fy,cx,cy in pixels.")
    camera = footage_camera(wanted.root, None if wanted.intrinsics == "calibrated" else wanted.intrinsics)
    size, stride = (wanted.height, wanted.width), wanted.config.stride
    training, validation = (
        Footage(wanted.root, wanted.source_ids, *size, camera, wanted.cache_folder, stage, stride)
        for stage in ("train", "val")
    )
    return TrainingSets(training, validation if len(validation) else None, tuple(training.left_out))


def _cityscapes(wanted: _Wanted) -> TrainingSets:
    _check_intrinsics(wanted, "Cityscapes", ("calibrated", "fixed"))
    config = wanted.config

    def frames(stage: Stage) -> Cityscapes:
        return Cityscapes(
            wanted.root,
            wanted.source_ids,
            wanted.height,
            wanted.width,
            stage,
            names=training_names(wanted.root, config.split, stage),
            crop=config.crop,
            stride=config.stride,
            published=wanted.intrinsics == "fixed",
        )

    training = frames("train")
    try:
        validation = frames("val")
    except NoViews:  # a split of one list, or an archive without the val cities
        validation = None
    return TrainingSets(training, validation, tuple(training.left_out))


def _triplets(wanted: _Wanted) -> TrainingSets:
    _check_intrinsics(wanted, "Cityscapes' triplets", ("calibrated", "fixed"))
    _check_stride(wanted, "triplets have their neighbours already")

    def frames(stage: Stage) -> CityscapesTriplets:
        names = triplet_names(wanted.root, wanted.config.split, stage)
        size = wanted.height, wanted.width
        return CityscapesTriplets(wanted.root, names, wanted.source_ids, *size, wanted.intrinsics == "fixed")

    validation = frames("val")
    return TrainingSets(frames("train"), validation if len(validation) else None, ())


def _ddad(wanted: _Wanted) -> TrainingSets:
    _check_intrinsics(wanted, "DDAD", ("calibrated",))
    _check_stride(wanted, "DDAD goes frame by frame")
    if wanted.config.split is not None:
        raise UserError(f"--data.split {wanted.config.split}: DDAD's own splits train and validate. Leave it out.")
    size = wanted.height, wanted.width
    training = Ddad(wanted.root, wanted.source_ids, *size)
    has_validation = bool(listed_scenes(wanted.root, "val"))
    validation = Ddad(wanted.root, wanted.source_ids, *size, stage="val") if has_validation else None
    return TrainingSets(training, validation, tuple(training.left_out))


def _check_intrinsics(wanted: _Wanted, what: str, known: tuple[str, ...]) -> None:
    if wanted.intrinsics not in known:
        raise UserError(
            f"--intrinsics {wanted.intrinsics}: the calibration of {what} comes with the data. "
            f"Take {' or '.join(known)}."
        )


def _check_stride(wanted: _Wanted, reason: str) -> None:
    if wanted.config.stride != 1:
        raise UserError(f"--data.stride {wanted.config.stride}: is for footage; {reason}. Leave it out.")


def _packed(wanted: _Wanted) -> TrainingSets:
    config = wanted.config
    options = PackOptions(
        tuple(wanted.source_ids),
        wanted.height,
        wanted.width,
        wanted.intrinsics,
        config.split,
        config.stride,
        config.crop,
    )
    pack = open_pack(wanted.root, options)
    return TrainingSets(pack.training, pack.validation, pack.left_out)


TRAINING: dict[DataKind, Callable[[_Wanted], TrainingSets]] = {
    "kitti-raw": _drives,
    "simulated": _drives,
    "cityscapes": _cityscapes,
    "cityscapes-triplets": _triplets,
    "ddad": _ddad,
    "packed": _packed,
    "frames": _footage,
    "video": _footage,
}


# --- evaluation ------------------------------------------------------------------------------------------------------


def _drive_frames(ground_truth: GroundTruth) -> Callable[[Path, str | None, Sequence[int]], KittiRawFrames]:
    # A split may have a list of its own for either ground truth, as KITTI's have not the same frames.
    listed_as = "improved" if ground_truth == "improved" else "raw"

    def read(root: Path, split: str | None, moments: Sequence[int]) -> KittiRawFrames:
        return KittiRawFrames(root, evaluation_lines(root, split, listed_as), ground_truth, moments)

    return read


def _make3d_frames(root: Path, split: str | None, _: Sequence[int]) -> Make3dFrames:
    file = find_split_file(root, split, ["test_files.txt"])
    return Make3dFrames(root, read_names(file) if file else None)


EVALUATION_FRAMES: dict[str, _FrameSet] = {
    "eigen": _FrameSet(("kitti-raw", "simulated"), _drive_frames("velodyne")),
    "eigen-benchmark": _FrameSet(("kitti-raw", "simulated"), _drive_frames("improved")),
    "simulated": _FrameSet(("simulated",), _drive_frames("improved")),
    "kitti-2015": _FrameSet(("kitti-2015",), lambda root, _, __: KittiStereo2015Frames(root)),
    "kitti-benchmark": _FrameSet(("kitti-benchmark",), lambda root, _, __: KittiSelectionFrames(root)),
    "cityscapes": _FrameSet(("cityscapes",), CityscapesFrames),
    "ddad": _FrameSet(
        ("ddad",),
        lambda root, split, moments: DdadFrames(root, split or "val", moments=moments),
    ),
    "make3d": _FrameSet(("make3d",), _make3d_frames),
}
