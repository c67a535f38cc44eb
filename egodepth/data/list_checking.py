"""Looking through the split lists of a data set: whether they are there, can be read, and name what it holds."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from egodepth.data.cityscapes import triplets as cityscapes_triplets
from egodepth.data.cityscapes.layout import SPLITS, CityscapesTree, read_names
from egodepth.data.configurations import DataKind
from egodepth.data.findings import TITLES, Findings
from egodepth.data.kitti.raw import KittiTree
from egodepth.data.make3d import frames as make3d
from egodepth.data.splits import SplitLine, read_split
from egodepth.errors import UserError

DRIVE_LISTS = ("*_files.txt",)
CITY_LISTS = ("*_files.txt", "train.txt", "val.txt")


@dataclass(frozen=True)
class _Lists:
    """How lists are read against a data set.

    Attributes:
        patterns: of the file names of lists in the folder of a split.
        read: the frames that a list names; raises `UserError` for what is wrong with its form.
        holds: whether the data set has a frame.
        shown: a frame for a message.
        frames: what a frame is called.
        mend: for frames that are missing.
        own: lists that the data set has outside its splits.
    """

    patterns: tuple[str, ...]
    read: Callable[[Path], Sequence[Any]]
    holds: Callable[[Any], bool]
    shown: Callable[[Any], str] = str
    frames: str = "frames"
    mend: str = "Copy them or take the lines out."
    own: tuple[Path, ...] = ()


def check_lists(root: Path, kind: DataKind, split: str | None, findings: Findings) -> None:
    """Read the lists of one split, or of all of them.

    Args:
        split: the name of a folder in `splits` of the root, or a path to a folder or a file of lists; none takes all.

    Raises:
        UserError: there is no such split, or the kind of data has no lists at all.
    """
    if kind not in LISTS:
        if split is not None:
            raise UserError(f"--split {split}: {root} is {TITLES[kind]}, which has no split lists. Leave --split out.")
        return
    lists = LISTS[kind](root)
    for file in find_lists(root, split, lists.patterns, lists.own):
        with findings.catching():
            listed = lists.read(file)
            missing = [frame for frame in listed if not lists.holds(frame)]
            name = file.relative_to(root) if file.is_relative_to(root) else file
            findings.count(f"{lists.frames} listed in {name}", len(listed))
            if missing:
                findings.faults.append(
                    f"{file}: {len(missing)} of its {len(listed)} {lists.frames} are not in the tree (the first: "
                    f"{lists.shown(missing[0])}). {lists.mend}"
                )


def find_lists(root: Path, split: str | None, patterns: Sequence[str], own: Sequence[Path] = ()) -> list[Path]:
    """The files of split lists, found as training finds them (`find_split_file`).

    Raises:
        UserError: the named split is not there or has no list.
    """
    splits = root / "splits"
    folders = sorted(path for path in splits.iterdir() if path.is_dir()) if splits.is_dir() else []
    if split is None:
        files = [file for folder in folders for file in _lists_in(folder, patterns)]
        return [*files, *(file for file in own if file.is_file())]
    if Path(split).is_file():
        return [Path(split)]
    folder = next((place for place in (splits / split, Path(split)) if place.is_dir()), None)
    if folder is None:
        known = ", ".join(place.name for place in folders) or "none"
        raise UserError(f"--split {split}: neither a folder in {splits} (found: {known}) nor a path. Correct it.")
    if files := _lists_in(folder, patterns):
        return files
    raise UserError(f"{folder}: has no list of a split ({', '.join(patterns)}). Add one or choose another --split.")


def _lists_in(folder: Path, patterns: Sequence[str]) -> list[Path]:
    return sorted({file for pattern in patterns for file in folder.glob(pattern) if file.is_file()})


def _of_drives(root: Path) -> _Lists:
    tree = KittiTree(root)

    def shown(line: SplitLine) -> str:
        return f"{line.origin.rsplit(', ', 1)[-1]}, `{line}`"

    return _Lists(
        DRIVE_LISTS,
        read_split,
        lambda line: tree.find(line.folder, line.side, line.frame) is not None,
        shown,
        mend="Add the drives or take the lines out.",
    )


def _of_cityscapes(root: Path) -> _Lists:
    tree = CityscapesTree(root)
    known = {name for split in SPLITS for name in tree.images("left", split)}
    return _Lists(CITY_LISTS, read_names, known.__contains__, mend="Unpack leftImg8bit again or take the lines out.")


def _of_triplets(root: Path) -> _Lists:
    known = set(cityscapes_triplets.list_triplets(root))
    own = tuple(root / f"{stage}.txt" for stage in ("train", "val"))
    return _Lists(CITY_LISTS, read_names, known.__contains__, frames="triplets", own=own)


def _of_make3d(root: Path) -> _Lists:
    images, _ = make3d.list_images_and_grids(root)
    return _Lists(DRIVE_LISTS, make3d.read_names, images.keys().__contains__)


LISTS: dict[DataKind, Callable[[Path], _Lists]] = {
    "kitti-raw": _of_drives,
    "simulated": _of_drives,
    "cityscapes": _of_cityscapes,
    "cityscapes-triplets": _of_triplets,
    "make3d": _of_make3d,
}
