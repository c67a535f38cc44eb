"""What egodepth knows about Make3D."""

from collections.abc import Sequence
from pathlib import Path

from egodepth.data.findings import Findings
from egodepth.data.make3d.frames import (
    GRID_FOLDERS,
    GRID_PREFIX,
    IMAGE_FOLDERS,
    TEST_IMAGES,
    Make3dFrames,
    list_images_and_grids,
    read_grid,
    read_names,
)
from egodepth.data.probing import unreadable
from egodepth.data.record import DatasetKind, SplitLists
from egodepth.data.splits import find_split_file


def _is_make3d(path: Path) -> bool:
    return any((path / name).is_dir() for name in (*IMAGE_FOLDERS, *GRID_FOLDERS))


def _frames(root: Path, split: str | None, _: Sequence[int]) -> Make3dFrames:
    file = find_split_file(root, split, ["test_files.txt"])
    return Make3dFrames(root, read_names(file) if file else None)


def _lists(root: Path) -> SplitLists:
    images, _ = list_images_and_grids(root)
    return SplitLists(("*_files.txt",), read_names, images.keys().__contains__)


def _check(root: Path, findings: Findings) -> None:
    images, grids = list_images_and_grids(root)
    both = sorted(images.keys() & grids.keys())
    without = sorted(images.keys() - grids.keys())
    findings.several(
        [f"{images[name]}: has no {GRID_PREFIX}{name}.mat. Unpack Test134Depth.tar.gz again." for name in without]
    )
    if len(images) != TEST_IMAGES:
        findings.faults.append(
            f"{root}: holds {len(images)} test images, expected {TEST_IMAGES}. Unpack Test134.tar.gz again."
        )
    findings.several(unreadable((grids[name] for name in both), read_grid))
    findings.look_at_images(images[name] for name in both)
    findings.count("images (protocol make3d)", len(both))


MAKE3D = DatasetKind(
    name="make3d",
    title="Make3D",
    expected="Make3D (Test134 and Gridlaserdata)",
    recognise=_is_make3d,
    check=_check,
    evaluation_frames={"make3d": _frames},
    lists=_lists,
)
