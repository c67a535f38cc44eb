"""Depth maps that another program wrote for the frames of a training set, and the training set with them.

A map is matched to its frame by the frame's name and read as inverse depth: 0 is infinitely far, NaN is unknown.
"""

import json
import logging
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from egodepth.data.configurations import MapUnits, MapValues, Source, TeacherMapsConfig
from egodepth.data.cutting import read_window
from egodepth.data.draws import Window
from egodepth.data.images import read_depth_png, read_png16
from egodepth.data.samples import Sample, TrainingDataset
from egodepth.errors import UserError
from egodepth.files import read_json

log = logging.getLogger("egodepth")

EXACT = "exact"
"""In place of a folder: the exact depth that simulated drives come with."""

DESCRIPTION = "depth_maps.json"
"""In a folder of maps: what its files hold. `egodepth teach` writes it."""

SIMULATION = "simulation.json"
KITTI_LINE = re.compile(r"(?P<drive>\S+) (?P<frame>\d+) (?P<side>[lr])")
KITTI_CAMERA = {"l": "image_02", "r": "image_03"}
IGNORED_FOLDERS = ("data", "proj_depth", "groundtruth")
"""Folders of KITTI's layouts that come and go between a frame and its map."""

INVERSE_STEPS = 65534
"""A 16-bit PNG of inverse depth holds 0 (infinitely far) to this value times `scale`; the value above is unknown."""
UNKNOWN_STEP = 65535

MOST_VALUES = 100_000_000
"""In one map; a header that claims more is damaged."""

SKY_SHARE, GROUND_SHARE = 0.25, 0.25
UPSIDE_DOWN_SHARE = 0.6
CHECKED_MAPS = 12


@dataclass(frozen=True)
class DepthMaps:
    """A folder of depth maps.

    Attributes:
        folder: for messages.
        files: by the name of the frame that they belong to, see `frame_key`.
        values: what the files hold.
        units: up to what the values are known.
        scale: of 16-bit inverse depth: inverse depth of one step.
        zero_is_far: a depth of 0 is the sky, not an unknown.
    """

    folder: Path
    files: dict[str, Path]
    values: MapValues
    units: MapUnits
    scale: float = 1.0
    zero_is_far: bool = False

    def find(self, name: str) -> Path | None:
        """The map of the sample of this name; None where there is none.

        Raises:
            UserError: several maps could be meant.
        """
        return self.files.get(frame_key(name))

    def read(self, file: Path) -> np.ndarray:
        """A map as inverse depth (H, W) float32: 0 infinitely far, NaN unknown, in the units of the file.

        Raises:
            UserError: it cannot be read, or holds no map.
        """
        if file.suffix.lower() == ".png":
            return self._read_png(file)
        values = READERS[file.suffix.lower()](file)
        if values.ndim == 3 and 1 in (values.shape[0], values.shape[-1]):
            values = values.reshape([side for side in values.shape if side != 1] or [1])
        if values.ndim != 2:
            raise UserError(f"{file}: expected one map (height, width), found an array {values.shape}. Write it again.")
        values = values.astype(np.float32)
        if self.values == "inverse-depth":
            return np.where(np.isfinite(values), values, np.nan)
        # Infinitely far is a depth like any other; negative ones and NaN are none.
        return _reciprocal(values)

    def _read_png(self, file: Path) -> np.ndarray:
        if self.values == "depth":
            depth = read_depth_png(file)
            return np.where(depth == 0, np.float32(0), _reciprocal(depth)) if self.zero_is_far else _reciprocal(depth)
        steps = read_png16(file)
        return np.where(steps == UNKNOWN_STEP, np.nan, steps * np.float32(self.scale)).astype(np.float32)


def _reciprocal(depth: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(depth > 0, 1 / depth, np.nan).astype(np.float32)


# --- opening ---------------------------------------------------------------------------------------------------------


def open_maps(source: str, root: Path, config: TeacherMapsConfig) -> DepthMaps:
    """The maps of a folder, or the exact depth of the simulated drives at `root`.

    Args:
        source: a folder, or `exact`.
        root: DATA.
        config: what the files hold, where the folder does not say.

    Raises:
        UserError: there is no such folder, it holds no maps, or two maps belong to one frame.
    """
    if source == EXACT:
        if not (root / SIMULATION).is_file():
            raise UserError(f"--teacher-depth {EXACT}: {root} is no simulated street. Give a folder of depth maps.")
        return DepthMaps(root, _listed(root, "proj_depth"), "depth", "metres", zero_is_far=True)
    folder = Path(source)
    if not folder.is_dir():
        raise UserError(f"--teacher-depth {source}: no such folder. Give one that holds a depth map for each frame.")
    said = _described(folder)
    values = config.values or said.get("values") or "depth"
    units = config.units or said.get("units") or ("metres" if (folder / SIMULATION).is_file() else "scale")
    return DepthMaps(folder, _listed(folder), values, units, float(said.get("scale", 1.0)))


def _described(folder: Path) -> dict:
    file = folder / DESCRIPTION
    if not file.is_file():
        return {}
    said = read_json(file)
    known = {"values": (None, "depth", "inverse-depth"), "units": (None, "metres", "scale", "scale-and-shift")}
    for key, values in known.items():
        if not isinstance(said, dict) or said.get(key) not in values:
            found = said.get(key) if isinstance(said, dict) else said
            choices = ", ".join(filter(None, values))
            raise UserError(f"{file}: {key} is {json.dumps(found)}; expected one of {choices}. Write the maps again.")
    scale = said.get("scale", 1.0)
    if not (isinstance(scale, int | float) and np.isfinite(scale) and scale > 0):
        raise UserError(f"{file}: scale is {json.dumps(scale)}; expected a positive number. Write the maps again.")
    return said


def _listed(folder: Path, within: str | None = None) -> dict[str, Path]:
    files: dict[str, Path] = {}
    for place, folders, names in os.walk(folder):  # Path.walk came with Python 3.12
        folders[:] = sorted(each for each in folders if not each.startswith("."))
        relative = Path(place).relative_to(folder)
        if within is not None and within not in relative.parts:
            continue
        for name in sorted(names):
            if name.startswith(".") or Path(name).suffix.lower() not in (*READERS, ".png"):
                continue
            key = _file_key(relative / name)
            if key in files:
                raise UserError(f"{Path(place, name)}: belongs to the same frame as {files[key]}. Keep one of them.")
            files[key] = Path(place, name)
    if not files:
        raise UserError(f"{folder}: holds no depth map (npy, npz, 16-bit png, exr, pfm). Give another --teacher-depth.")
    return files


def frame_key(name: str) -> str:
    """By which a sample and its map find each other: the place of its target, without suffix and plain folders.

    A frame `2011_09_26/2011_09_26_drive_0005_sync 12 l` of KITTI is `…_sync/image_02/0000000012`.
    """
    line = KITTI_LINE.fullmatch(name)
    if line is None:
        return name
    return f"{line['drive']}/{KITTI_CAMERA[line['side']]}/{int(line['frame']):010d}"


def _file_key(relative: Path) -> str:
    folders = (part for part in relative.parts[:-1] if part not in IGNORED_FOLDERS)
    return "/".join((*folders, relative.stem))


# --- formats ---------------------------------------------------------------------------------------------------------


def _read_npy(file: Path) -> np.ndarray:
    return _numpy_array(file, lambda: np.load(file, allow_pickle=False, mmap_mode="r"))


def _read_npz(file: Path) -> np.ndarray:
    def first() -> np.ndarray:
        with np.load(file, allow_pickle=False) as arrays:
            name = "depth" if "depth" in arrays.files else arrays.files[0]
            return arrays[name]

    return _numpy_array(file, first)


def _numpy_array(file: Path, read: Callable[[], np.ndarray]) -> np.ndarray:
    try:
        values = read()
        if not isinstance(values, np.ndarray) or values.size > MOST_VALUES or values.dtype.kind not in "fiu":
            raise ValueError("holds no array of numbers")
        return np.asarray(values)
    except (OSError, ValueError, EOFError, IndexError, KeyError) as error:
        raise UserError(f"{file}: is no depth map ({error}). Write it again.") from error


def _read_with_opencv(file: Path) -> np.ndarray:
    # OpenCV reads EXR only where this is set before its first look at one.
    os.environ.setdefault("OPENCV_IO_ENABLE_OPENEXR", "1")
    import cv2

    try:
        values = cv2.imread(str(file), cv2.IMREAD_UNCHANGED | cv2.IMREAD_ANYDEPTH)
    except cv2.error as error:
        raise UserError(f"{file}: is no depth map ({error.err}). Write it again.") from error
    if values is None:
        raise UserError(f"{file}: cannot be read as a depth map. Write it again.")
    return values[..., 0] if values.ndim == 3 else values


READERS: dict[str, Callable[[Path], np.ndarray]] = {
    ".npy": _read_npy,
    ".npz": _read_npz,
    ".exr": _read_with_opencv,
    ".pfm": _read_with_opencv,
}


# --- the training set ------------------------------------------------------------------------------------------------


class TaughtDataset:
    """A training set whose samples carry the maps of a teacher (a `NativeDataset`); those without one carry NaN.

    Attributes:
        missing: names of the samples without a map.
    """

    def __init__(self, dataset: TrainingDataset, maps: DepthMaps) -> None:
        self.dataset = dataset
        self.maps = maps
        names = list(dataset.sample_names())
        self._files = [maps.find(name) for name in names]
        self.missing = tuple(name for name, file in zip(names, self._files, strict=True) if file is None)

    @property
    def source_ids(self) -> tuple[Source, ...]:
        return tuple(self.dataset.source_ids)

    def __len__(self) -> int:
        return len(self.dataset)

    def sample_names(self) -> Iterator[str]:
        return iter(self.dataset.sample_names())

    def __getitem__(self, index: int) -> Sample:
        sample = self.dataset[index]
        return replace(sample, teacher_disparity=self._map(index, (0, 0, 1, 1), *sample.target.shape[-2:]))

    def read_window(self, index: int, window: Window) -> Sample:
        sample = read_window(self.dataset, index, window)
        return replace(sample, teacher_disparity=self._map(index, window.shares(), *window.size))

    def _map(self, index: int, shares: tuple[float, float, float, float], height: int, width: int) -> Tensor:
        file = self._files[index]
        if file is None:
            return torch.full((1, height, width), torch.nan)
        return torch.from_numpy(nearest(self.maps.read(file), shares, height, width))[None]

    def check(self) -> None:
        """Look at the maps before a training does.

        Raises:
            UserError: no sample has a map, one cannot be read, or they are upside down.
        """
        if len(self.missing) == len(self):
            raise UserError(
                f"{self.maps.folder}: holds a map for none of the {len(self)} frames; the first frame is "
                f"{self.missing[0]!r}, its map would be {frame_key(self.missing[0])}.npy, .png, … . Name them so."
            )
        files = [file for file in self._files if file is not None]
        chosen = files[:: max(1, len(files) // CHECKED_MAPS)][:CHECKED_MAPS]
        upside_down = [file for file in chosen if _is_upside_down(self.maps.read(file))]
        if len(upside_down) > UPSIDE_DOWN_SHARE * len(chosen):
            other = {"depth": "inverse-depth", "inverse-depth": "depth"}[self.maps.values]
            raise UserError(
                f"{upside_down[0]}: is nearer at the top than at the bottom, as most maps of {self.maps.folder} that "
                f"were looked at. If they hold {other.replace('-', ' ')}, say --teacher-maps.values {other}; otherwise "
                "turn them."
            )
        if self.missing:
            log.warning(
                "%s: has no map for %d of %d frames (the first: %s); these learn from view synthesis alone.",
                self.maps.folder,
                len(self.missing),
                len(self),
                self.missing[0],
            )


def nearest(values: np.ndarray, shares: tuple[float, float, float, float], height: int, width: int) -> np.ndarray:
    """A part of a map (H, W) at another size, by the nearest value: between front and background lies nothing.

    Args:
        shares: top, left, bottom and right of the part, as shares of the map's height and width.
    """
    top, left, bottom, right = shares
    rows = (top + (np.arange(height) + 0.5) / height * (bottom - top)) * values.shape[0]
    columns = (left + (np.arange(width) + 0.5) / width * (right - left)) * values.shape[1]
    rows, columns = (
        np.clip(places.astype(np.int64), 0, side - 1)
        for places, side in zip((rows, columns), values.shape, strict=True)
    )
    return np.ascontiguousarray(values[rows[:, None], columns])


def _is_upside_down(inverse_depth: np.ndarray) -> bool:
    """The ground at the bottom of a picture is nearer than what is at its top."""
    height = inverse_depth.shape[0]
    top, bottom = inverse_depth[: int(SKY_SHARE * height)], inverse_depth[-int(GROUND_SHARE * height) :]
    return bool(_middle(top) > _middle(bottom))


def _middle(values: np.ndarray) -> float:
    known = values[np.isfinite(values)]
    return float(np.median(known)) if known.size else np.nan
