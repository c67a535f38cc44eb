"""From a path that a user gives to the data sets that training and evaluation read."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

from egodepth.data import kinds
from egodepth.data.configurations import FOOTAGE, LEARNED_EACH, DataConfig, EvaluationDataConfig, Source
from egodepth.data.footage.camera import footage_size
from egodepth.data.images import check_bits
from egodepth.data.recognise import kind_of
from egodepth.data.record import TrainingSets, Wanted, open_together
from egodepth.data.samples import EvaluationFrames, PosedSequence
from egodepth.errors import UserError


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
        root: DATA, or the first of several videos; `config.beside` has the others.
        intrinsics: `calibrated`, `fixed` (KITTI: one camera for all; Cityscapes: one baseline of 0.22 m, and a
            principal point that mirroring leaves in place), `fx,fy,cx,cy` in pixels or a file
            (footage alone; of DATA alone).
        source_ids: of the training mode.
        height, width: training size in pixels.
        cache_folder: where frames unpacked from a video are kept.

    Raises:
        UserError: the layout is not known, cannot train with these sources, or data do not go together.
    """
    also = [Path(path) for path in config.also]
    _check_different(root, *config.beside, *also)
    wanted = Wanted(root, config, intrinsics, source_ids, height, width, cache_folder)
    sets = open_together(wanted, [root, *config.beside], _open)
    for camera in sets.learning if intrinsics == LEARNED_EACH else ():
        if len(camera.footage) > 1:
            raise UserError(
                f"--intrinsics {LEARNED_EACH}: {len(camera.footage)} of DATA are called {camera.name}, and a camera is "
                "learnt under that name. Rename one."
            )
    if not also:
        return sets
    others = []
    for path in also:
        try:
            others.append(_open(_joined_with(wanted, path)))
        except UserError as error:
            raise UserError(f"--also: {error}") from error
    joint = TrainingSets.together([sets, *others])
    return replace(joint, validation=sets.validation)


def lacks_camera(root: Path, config: DataConfig) -> bool:
    """Whether nothing says what camera DATA is of."""
    return kind_of(root, config.kind).lacks_camera(root)


def frame_size(root: Path, config: DataConfig) -> tuple[int, int] | None:
    """Height and width of the frames of footage; None for data that come in a form of their own."""
    if kind_of(root, config.kind).name not in ("frames", "video"):
        return None
    return footage_size(root)


def _open(wanted: Wanted) -> TrainingSets:
    kind = kind_of(wanted.root, wanted.config.kind)
    if kind.open_training is None:
        known = ", ".join(kind.name for kind in kinds.KINDS if kind.open_training)
        raise UserError(
            f"{wanted.root}: is {kind.name} data, single frames for evaluation only. Train on {known} data."
        )
    if wanted.config.bits is not None:
        check_bits("--data.bits", wanted.config.bits)
        if kind.name != "frames":
            raise UserError(f"--data.bits {wanted.config.bits}: is for folders of frames. Leave it out.")
    if wanted.config.offsets == "drawn" and kind.name not in FOOTAGE:
        raise UserError(f"--data.offsets drawn: is for footage; those of {kind.name} data are given. Leave it out.")
    if wanted.config.mask not in ("auto", "none") and kind.name not in ("frames", "video"):
        raise UserError(f"--mask {wanted.config.mask}: a picture is for footage. Take none, or leave it out.")
    return kind.open_training(wanted)


def _joined_with(first: Wanted, root: Path) -> Wanted:
    """What is asked of further data: the first's form of samples, from their own files."""
    return replace(
        first,
        root=root,
        config=DataConfig(crop=first.config.crop, sides=first.config.sides, mask=_mask_of_others(first.config.mask)),
        intrinsics="fixed" if first.intrinsics == "fixed" else "calibrated",
    )


def _mask_of_others(mask: str) -> str:
    """A picture is of DATA alone."""
    return "none" if mask == "none" else "auto"


def _check_different(*roots: Path) -> None:
    for one, other in pairwise(sorted(root.resolve() for root in roots)):
        if one == other:
            raise UserError(f"{other}: is given twice. Give each data set once.")


def open_evaluation_frames(
    root: Path,
    frames: str,
    config: EvaluationDataConfig = EvaluationDataConfig(),
    time_offsets: Sequence[int] = (),
) -> EvaluationFrames:
    """Open DATA as a protocol asks: frames with its ground truth.

    Args:
        frames: a name in `DatasetKind.evaluation_frames`; protocols name theirs.
        time_offsets: of frames to read as well, where the data has them (for multi-frame systems).

    Raises:
        UserError: the data has another layout than the protocol needs, or lacks a file.
    """
    kind = kind_of(root, config.kind)
    if frames not in kind.evaluation_frames:
        needed = " or ".join(kind.name for kind in kinds.KINDS if frames in kind.evaluation_frames)
        raise UserError(
            f"{root}: is {kind.name} data; this protocol needs {needed} data. Give other data or another protocol."
        )
    return kind.evaluation_frames[frames](root, config.split, time_offsets)


def open_sequence(root: Path, sequence: str | None) -> PosedSequence:
    """A sequence of images with poses: of KITTI's odometry layout, or a simulated drive.

    Args:
        sequence: `09`, or the drive's name; none takes the last one there is, which the simulator does not train on.

    Raises:
        UserError: the data has no poses, or no such sequence.
    """
    found = {name: read for kind in kinds.KINDS for name, read in kind.sequences(root).items()}
    if not found:
        raise UserError(f"{root}: no poses; expected poses/NN.txt (KITTI odometry) or simulated drives.")
    name = sequence or list(found)[-1]
    if name not in found:
        raise UserError(f"{root}: no sequence {name!r} with poses. Choose one of {', '.join(found)}.")
    return found[name]()
