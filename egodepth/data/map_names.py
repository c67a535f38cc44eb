"""By what names the frames of a training set and the depth maps of a folder find each other.

A frame's key is its place in its data set, without suffix:

    2011_09_26/2011_09_26_drive_0005_sync/image_02/0000000012    KITTI and simulated streets
    drive.mp4/000012                                             the 13th frame of a video
    holiday/IMG_0012                                             a picture of a folder
    train/aachen/aachen_000000_000019                            Cityscapes
    000150/15616458296936490                                     DDAD

The map has the same place in its folder. Leading folders may be left out of all maps, as long as no two frames of the
training set share what remains.
"""

import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

from torch.utils.data import ConcatDataset

from egodepth.data.map_files import SUFFIXES, UNREAD_SUFFIXES
from egodepth.data.samples import NamedFrames, TrainingDataset
from egodepth.errors import UserError

KITTI_LINE = re.compile(r"(?P<drive>\S+) (?P<frame>\d+) (?P<side>[lr])")
KITTI_CAMERA = {"l": "image_02", "r": "image_03"}
CITYSCAPES = re.compile(r"((?:train|val|test|train_extra)/)?([a-z-]+)_(\d{6})_(\d{6})")
IGNORED_FOLDERS = re.compile(r"data|proj_depth|groundtruth|rgb|CAMERA_\d\d|leftImg8bit(_sequence)?")
"""Folders of the data sets' layouts that come and go between a frame and its map."""
IGNORED_END = "_leftImg8bit"


def frame_key(name: str) -> str:
    """The key of the frame that a sample of this name is of."""
    if line := KITTI_LINE.fullmatch(name):
        return f"{line['drive']}/{KITTI_CAMERA[line['side']]}/{int(line['frame']):010d}"
    if city := CITYSCAPES.fullmatch(name):
        return f"{city[1] or ''}{city[2]}/{name.removeprefix(city[1] or '')}"
    place, _, frame = name.rpartition(" ")  # of DDAD, and of footage in packs that were made before
    return f"{place}/{frame}" if place and "/" not in name else name


def frame_keys(*datasets: TrainingDataset | None) -> list[list[str]]:
    """The keys of all samples of data sets that are used together, such as the training and the validation set.

    Footage of one name in several folders has these folders in its keys.

    Raises:
        UserError: frames of different data have one key.
    """
    parts = [[] if dataset is None else list(_leaves(dataset)) for dataset in datasets]
    paths = {part.path.absolute() for part in chain.from_iterable(parts) if isinstance(part, NamedFrames) and part.path}
    shared = {name for name, count in Counter(path.name for path in paths).items() if count > 1}
    return [_joined([_keys(part, shared) for part in of_one]) for of_one in parts]


def _keys(part: TrainingDataset, shared: set[str]) -> list[str]:
    """Args: shared: names that several pieces of footage have."""
    if not isinstance(part, NamedFrames):
        return [frame_key(name) for name in part.sample_names()]
    path = part.path
    before = f"{path.absolute().parent.name}/" if path is not None and path.name in shared else ""
    return [before + frame_key(name) for name in part.frame_names()]


def _joined(parts: Sequence[Sequence[str]]) -> list[str]:
    """Raises UserError: two parts have a key in common."""
    times = Counter(key for part in parts for key in set(part))
    twice = next((key for key, count in times.items() if count > 1), None)
    if twice is not None:
        raise UserError(
            f"{twice}: is the name of frames in two of the data sets, so one depth map would teach both. Rename the "
            "folders of one, or train on one of them."
        )
    return [key for part in parts for key in part]


def _leaves(dataset: TrainingDataset) -> Iterator[TrainingDataset]:
    if isinstance(dataset, ConcatDataset):
        for part in dataset.datasets:
            yield from _leaves(part)
    else:
        yield dataset


# --- the folder ------------------------------------------------------------------------------------------------------


def listed_maps(folder: Path, within: str | None = None) -> dict[str, Path]:
    """The maps of a folder by their keys.

    Args:
        within: a folder that those that count lie in, somewhere.

    Raises:
        UserError: there are none, or two have one key.
    """
    files: dict[str, Path] = {}
    others: Counter[str] = Counter()
    for place, folders, names in os.walk(folder):  # Path.walk came with Python 3.12
        folders[:] = sorted(each for each in folders if not each.startswith("."))
        relative = Path(place).relative_to(folder)
        if within is not None and within not in relative.parts:
            continue
        for name in sorted(names):
            suffix = Path(name).suffix.lower()
            if name.startswith(".") or suffix not in SUFFIXES:
                others[suffix] += suffix in UNREAD_SUFFIXES
                continue
            key = _file_key(relative / name)
            if key in files:
                raise UserError(f"{Path(place, name)}: belongs to the same frame as {files[key]}. Keep one of them.")
            files[key] = Path(place, name)
    if files:
        return files
    suffix, count = max(others.items(), key=lambda item: item[1], default=("", 0))
    found = f" but {count} files {suffix}, which are not read" if count else ""
    raise UserError(
        f"{folder}: holds no depth map{found}. Write npy, npz, 16-bit png or pfm; docs/teachers.md tells how."
    )


def found_maps(keys: Sequence[Sequence[str]], files: dict[str, Path]) -> list[list[Path | None]]:
    """For each key of each data set its map: by the whole key, or by as many last parts as tell all frames apart."""
    wanted = {key for each in keys for key in each}
    best: dict[str, str] = {key: key for key in wanted}
    dropped = 0
    while wanted and not any(short in files for short in best.values()):
        dropped += 1
        shorter = {key: key.split("/", dropped)[dropped:] for key in wanted}
        if not all(shorter.values()):
            break
        names = {key: rest[0] for key, rest in shorter.items()}
        if len(set(names.values())) < len(wanted):
            break
        best = names
    return [[files.get(best[key]) for key in each] for each in keys]


def _file_key(relative: Path) -> str:
    folders = (part for part in relative.parts[:-1] if not IGNORED_FOLDERS.fullmatch(part))
    return "/".join((*folders, relative.stem.removesuffix(IGNORED_END)))
