"""What egodepth knows about KITTI: raw drives, Stereo 2015, and the selection of the depth benchmark."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from egodepth.data.kitti.checking import check_drives, check_selection, check_stereo_2015
from egodepth.data.kitti.depth import GroundTruth, KittiRawFrames, KittiStereo2015Frames
from egodepth.data.kitti.near_misses import DRIVE, near_misses
from egodepth.data.kitti.odometry import benchmark_sequences
from egodepth.data.kitti.raw import KittiRaw, KittiTree, evaluation_lines, training_lines
from egodepth.data.kitti.selection import KittiSelectionFrames, find_selection
from egodepth.data.record import DatasetKind, FramesReader, SplitLists, TrainingSets, Wanted, visible_entries
from egodepth.data.splits import SplitLine, Stage, read_split
from egodepth.data.standing import MovingParts

# --- raw drives ------------------------------------------------------------------------------------------------------


def holds_drives(path: Path) -> bool:
    """Whether a path is a tree of drives, recorded or simulated."""
    return path.is_dir() and bool(KittiTree(path).drives() or KittiTree(path).unrectified_drives())


def _hint(path: Path) -> str | None:
    if remark := next(near_misses(path), None):
        return remark
    if any(DRIVE.fullmatch(entry.name) for entry in visible_entries(path)):
        return f"is one date of KITTI raw; give the folder above, {path.parent}."
    if path.is_dir() and DRIVE.fullmatch(path.name):
        return f"is one drive of KITTI raw; give the folder above its date, {path.parent.parent}."
    return None


def _open_drives(wanted: Wanted) -> TrainingSets:
    wanted.require_intrinsics("KITTI drives", ("calibrated", "fixed"))
    wanted.require_no_stride("drives go frame by frame")

    tree = KittiTree(wanted.root)
    parts = MovingParts(lambda drive: tree.frames(drive, "l") or tree.frames(drive, "r"), wanted.cache_folder)
    standing: list[str] = []

    def frames(stage: Stage) -> KittiRaw:
        lines = training_lines(wanted.root, wanted.config.split, stage, wanted.source_ids, wanted.config.sides)
        # Whoever lists frames has chosen them.
        if wanted.has_time and not any(line.origin for line in lines):
            lines, said = parts.select(lines, lambda line: (line.folder, line.frame))
            standing.extend(said)
        return KittiRaw(wanted.root, lines, wanted.source_ids, wanted.height, wanted.width, wanted.intrinsics)

    sets = TrainingSets.of_stages(frames)
    missed = tuple(f"{wanted.root}: {remark}" for remark in near_misses(wanted.root))
    return replace(sets, left_out=(*missed, *standing, *sets.left_out))


def drive_frames(ground_truth: GroundTruth) -> FramesReader:
    """A reader of the frames that a split tests on, with one kind of ground truth."""
    # A split may have a list of its own for either ground truth, as KITTI's have not the same frames.
    listed_as = "improved" if ground_truth == "improved" else "raw"

    def read(root: Path, split: str | None, time_offsets: Sequence[int]) -> KittiRawFrames:
        return KittiRawFrames(root, evaluation_lines(root, split, listed_as), ground_truth, time_offsets)

    return read


def _lists(root: Path) -> SplitLists:
    tree = KittiTree(root)

    def shown(line: SplitLine) -> str:
        return f"{line.origin.rsplit(', ', 1)[-1]}, `{line}`"

    return SplitLists(
        ("*_files.txt",),
        read_split,
        lambda line: tree.find(line.folder, line.side, line.frame) is not None,
        shown,
        remedy="Add the drives or take the lines out.",
    )


KITTI_RAW = DatasetKind(
    name="kitti-raw",
    title="KITTI raw",
    expected="KITTI raw (<date>/<date>_drive_NNNN_sync)",
    recognise=holds_drives,
    check=check_drives,
    open_training=_open_drives,
    evaluation_frames={"eigen": drive_frames("velodyne"), "eigen-benchmark": drive_frames("improved")},
    lists=_lists,
    hint=_hint,
    sequences=benchmark_sequences,
)


# --- Stereo 2015 and the depth selection -----------------------------------------------------------------------------


def _is_stereo_2015(path: Path) -> bool:
    folders = (path, path / "training")
    return any((folder / "image_2").is_dir() and (folder / "disp_occ_0").is_dir() for folder in folders)


KITTI_STEREO_2015 = DatasetKind(
    name="kitti-2015",
    title="KITTI Stereo 2015",
    expected="KITTI Stereo 2015 (training/image_2 and disp_occ_0)",
    recognise=_is_stereo_2015,
    check=check_stereo_2015,
    evaluation_frames={"kitti-2015": lambda root, split, time_offsets: KittiStereo2015Frames(root)},
)

KITTI_BENCHMARK = DatasetKind(
    name="kitti-benchmark",
    title="KITTI's depth prediction benchmark, selected validation images",
    expected="KITTI's depth selection (val_selection_cropped)",
    recognise=lambda path: find_selection(path) is not None,
    check=check_selection,
    evaluation_frames={"kitti-benchmark": lambda root, split, time_offsets: KittiSelectionFrames(root)},
)
