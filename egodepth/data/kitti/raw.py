"""KITTI raw drives as training data: the layout, the calibration of a date, and samples by a split.

Source: Monodepth2 specification, sections 2.1, 2.6 and 8. Depth and evaluation frames are in `depth`.
"""

import math
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from egodepth.data.camera_checking import check_camera, same_aspect
from egodepth.data.configurations import Sides, Source
from egodepth.data.draws import Window
from egodepth.data.frame_store import DEFAULT_CACHE_BYTES, FrameStore
from egodepth.data.images import image_size
from egodepth.data.kitti.near_misses import DATE, DRIVE
from egodepth.data.samples import NoUsableFrames, Sample
from egodepth.data.splits import Side, SplitLine, Stage, find_split_file, is_one_list, read_split, validates
from egodepth.errors import UserError
from egodepth.files import read_text
from egodepth.geometry.cameras import Camera, pinhole

Intrinsics = Literal["calibrated", "fixed"]

CAMERA_OF_SIDE: dict[Side, str] = {"l": "image_02", "r": "image_03"}
OTHER_SIDE: dict[Side, Side] = {"l": "r", "r": "l"}
STEREO_OFFSET: dict[Side, float] = {"l": -1.0, "r": 1.0}

# By choice before the other where a frame is there twice: who converted PNG to JPEG did it to train faster.
FRAME_SUFFIXES = (".jpg", ".jpeg", ".png")

FIXED_FOCAL = (0.58, 1.92)
FIXED_BASELINE_M = 0.54

UNRECTIFIED = "_extract"
"""How the names of drives end whose frames are as the cameras took them: distorted, and not of the calibrated size."""


# --- layout ----------------------------------------------------------------------------------------------------


class KittiTree:
    """The frames and the calibration of a KITTI raw tree. Each folder is listed once, not asked once per frame."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._frames: dict[tuple[str, Side], dict[int, Path]] = {}
        self._calibrations: dict[Path, Calibration] = {}

    def frames(self, folder: str, side: Side) -> dict[int, Path]:
        """Frame number to image file of one camera of a drive; empty where the camera is missing."""
        if (folder, side) not in self._frames:
            self._frames[folder, side] = _list_frames(self.root / folder / CAMERA_OF_SIDE[side] / "data")
        return self._frames[folder, side]

    def find(self, folder: str, side: Side, frame: int) -> Path | None:
        return self.frames(folder, side).get(frame)

    def require(self, line: SplitLine) -> Path:
        """The image file that a split line names.

        Raises:
            UserError: it is missing; the message says whether the drive, the camera or only the frame is.
        """
        if path := self.find(line.folder, line.side, line.frame):
            return path
        drive = self.root / line.folder
        camera = drive / CAMERA_OF_SIDE[line.side] / "data"
        if not drive.is_dir():
            problem = f"there is no drive {drive}"
        elif not camera.is_dir():
            problem = f"the drive has no {CAMERA_OF_SIDE[line.side]}"
        else:
            problem = f"there is no {line.frame:010d}.jpg or .png in {camera}"
        raise UserError(f"{line.origin or self.root}: `{line}`: {problem}. Add the data or take the line out.")

    def calibration(self, folder: str) -> "Calibration":
        """The calibration of the date that a drive belongs to."""
        file = (self.root / folder).parent / "calib_cam_to_cam.txt"
        if file not in self._calibrations:
            self._calibrations[file] = Calibration.read(file)
        return self._calibrations[file]

    def drives(self) -> list[str]:
        """All rectified drives, as split lines name them."""
        return [drive for drive in self._all_drives() if not drive.endswith(UNRECTIFIED)]

    def unrectified_drives(self) -> list[str]:
        """The drives of `_extract` archives, which only a split list that names them uses."""
        return [drive for drive in self._all_drives() if drive.endswith(UNRECTIFIED)]

    def check_camera(self, folder: str, side: Side, image: Path) -> None:
        """Hold the calibration of a drive's camera against one of its frames.

        Raises:
            UserError: the frame has another form than the calibration, or the camera cannot be that of the frames.
                A tree that was made smaller keeps its form, and its calibration with it.
        """
        calibration = self.calibration(folder)
        file = (self.root / folder).parent / "calib_cam_to_cam.txt"
        number = CAMERA_OF_SIDE[side][-2:]
        size = image_size(image)
        if not same_aspect(size, calibration.size):
            raise UserError(
                f"{image}: is {size[1]}x{size[0]}, but by S_rect_02 in {file} frames are "
                f"{calibration.size[1]}x{calibration.size[0]}, of another form. Give the rectified "
                f"frames (_sync archives), whole, or write the calibration of {size[1]}x{size[0]} frames."
            )
        check_camera(f"{file}: P_rect_{number}", calibration.camera(side), "Copy the date's calibration again.")

    def _all_drives(self) -> list[str]:
        if not self.root.is_dir():
            raise UserError(f"{self.root}: no such folder. Check the path.")
        dates = sorted(path for path in self.root.iterdir() if path.is_dir() and DATE.fullmatch(path.name))
        return [
            f"{date.name}/{drive.name}"
            for date in dates
            for drive in sorted(date.iterdir())
            if drive.is_dir() and DRIVE.fullmatch(drive.name)
        ]


def _list_frames(folder: Path) -> dict[int, Path]:
    if not folder.is_dir():
        return {}
    found: dict[int, Path] = {}
    with os.scandir(folder) as entries:
        for entry in entries:
            stem, suffix = os.path.splitext(entry.name)  # noqa: PTH122 - a Path for each of 90,000 names is slow
            if not stem.isdecimal() or suffix.lower() not in FRAME_SUFFIXES:
                continue
            known = found.get(int(stem))
            if known is None or _preference(suffix) < _preference(known.suffix):
                found[int(stem)] = Path(entry.path)
    return found


def _can_be_read(image: Path) -> bool:
    try:
        image_size(image)
    except UserError:
        return False
    return True


def _preference(suffix: str) -> int:
    return FRAME_SUFFIXES.index(suffix.lower())


# --- calibration -----------------------------------------------------------------------------------------------


LARGEST_NUMBER = 1e9
"""In a calibration; what is beyond, or no number, is damage."""


def read_calibration(file: Path | str) -> dict[str, np.ndarray]:
    """Read a calibration file of `key: numbers` lines; lines without numbers (dates) are left out.

    Raises:
        UserError: the file is missing, holds no such line, or a number that is not finite.
    """
    file = Path(file)
    if not file.is_file():
        raise UserError(f"{file}: no such calibration file. Copy it from KITTI's calibration archive of that date.")
    values = {}
    for line in read_text(file).splitlines():
        key, _, numbers = line.partition(":")
        try:
            row = np.array(numbers.split(), dtype=np.float64)
        except ValueError:
            continue
        if not (np.abs(row) < LARGEST_NUMBER).all():
            raise UserError(f"{file}: {key.strip()} holds a number that is not finite. Copy it again.")
        if row.size:
            values[key.strip()] = row
    if not values:
        raise UserError(f"{file}: holds no calibration (`key: numbers` lines). Copy it again.")
    return values


@dataclass(frozen=True)
class Calibration:
    """The rectified colour cameras of one date.

    Attributes:
        file: where they stand, for messages.
        projections: (3, 4) by side, in pixels and, in the last column, pixels times metres. The right one may be
            missing where there is one camera.
        rectification: (3, 3), of camera 0.
        size: height and width in pixels; camera 2's, also where camera 3's differs.
    """

    file: Path
    projections: dict[Side, np.ndarray]
    rectification: np.ndarray
    size: tuple[int, int]

    @classmethod
    def read(cls, file: Path) -> "Calibration":
        values = read_calibration(file)
        wanted = {"P_rect_02": 12, "P_rect_03": 12, "S_rect_02": 2, "R_rect_00": 9}
        if "P_rect_03" not in values:
            del wanted["P_rect_03"]
        for key, count in wanted.items():
            if key not in values or values[key].size != count:
                raise UserError(f"{file}: has no {key} of {count} numbers. Copy the date's calibration again.")
        width, height = values["S_rect_02"]
        focals = [values[key][place] for key in wanted if key.startswith("P") for place in (0, 5)]
        if min(width, height, *focals) <= 0:
            raise UserError(f"{file}: a size or a focal length is not positive. Copy the date's calibration again.")
        return cls(
            file,
            projections={
                side: values[f"P_rect_{number}"].reshape(3, 4)
                for side, number in (("l", "02"), ("r", "03"))
                if f"P_rect_{number}" in wanted
            },
            rectification=values["R_rect_00"].reshape(3, 3),
            size=(int(height), int(width)),
        )

    @property
    def baseline_m(self) -> float:
        """The distance of the two cameras in metres; NaN where there is one, or both lie in one place."""
        if "r" not in self.projections:
            return math.nan
        left, right = self.projections["l"], self.projections["r"]
        return float(abs(left[0, 3] - right[0, 3]) / left[0, 0]) or math.nan

    def projection(self, side: Side) -> np.ndarray:
        """Raises UserError: the file does not have this camera."""
        if side not in self.projections:
            raise UserError(f"{self.file}: has no P_rect_03, but there are frames of image_03. Add its line.")
        return self.projections[side]

    def camera(self, side: Side) -> Camera:
        return Camera(self.projection(side)[:, :3].astype(np.float32), *self.size)

    def require_pair(self) -> None:
        """Raises UserError: no distance of two cameras is known, without which pairs teach nothing."""
        if math.isnan(self.baseline_m):
            found = "has no P_rect_03" if "r" not in self.projections else "P_rect_02 and P_rect_03 are equal"
            raise UserError(
                f"{self.file}: {found}, so the pair has no baseline. Correct it, or train with --mode mono."
            )


def fixed_intrinsics(height: int, width: int) -> torch.Tensor:
    """Monodepth2's one camera for all of KITTI, normalised (3, 3): in pixels 0.58 W, 1.92 H, W / 2, H / 2.

    The centre lies at W / 2 although pixels are counted from zero, half a pixel off; it is kept for parity.
    """
    horizontal, vertical = FIXED_FOCAL
    camera = Camera(pinhole(horizontal * width, vertical * height, width / 2, height / 2), height, width)
    return torch.from_numpy(camera.normalised())


# --- which frames ----------------------------------------------------------------------------------------------


def training_lines(
    root: Path | str, split: str | None, stage: Stage, source_ids: Sequence[Source], sides: Sides = "both"
) -> list[SplitLine]:
    """The frames that train or validate.

    Args:
        split: see `find_split_file`. Where the root has no split at all, every drive is used, and the last 10 frames
            of each 100 validate. A path to a single file trains on it; nothing validates then.
        source_ids: with `stereo` among them the list `train_stereo_files.txt` goes before `train_files.txt`.
        sides: `left` leaves out the lines of right images.

    Raises:
        UserError: the split is missing, or the root has no drives.
        NoUsableFrames: all lines are of right images, and left ones are asked for.
    """
    root = Path(root)
    if stage == "val" and is_one_list(split):
        return []
    stereo = [f"{stage}_stereo_files.txt"] if "stereo" in source_ids else []
    file = find_split_file(root, split, [*stereo, f"{stage}_files.txt"])
    lines = read_split(file) if file else _lines_of_all_drives(root, stage)
    if sides == "both":
        return lines
    left = [line for line in lines if line.side == "l"]
    if not left:
        raise NoUsableFrames(f"{file or root}: names no left image. Add some, or train with --data.sides both.")
    return left


def evaluation_lines(root: Path | str, split: str | None, ground_truth: str) -> list[SplitLine]:
    """The frames of `test_<ground_truth>_files.txt` (`improved`, `raw`) where a split has it, else `test_files.txt`.

    Raises:
        UserError: there is no such list.
    """
    root = Path(root)
    file = find_split_file(root, split, [f"test_{ground_truth}_files.txt", "test_files.txt"])
    if file is None:
        raise UserError(f"{root / 'splits'}: no split with test_files.txt. Add one or give --data.split FILE.")
    return read_split(file)


def _lines_of_all_drives(root: Path, stage: Stage) -> list[SplitLine]:
    tree = KittiTree(root)
    sides: tuple[Side, ...] = ("l", "r")
    lines = []
    for drive in tree.drives():
        numbers = sorted(set().union(*(tree.frames(drive, side) for side in sides)))
        for position, number in enumerate(numbers):
            if validates(position, len(numbers)) == (stage == "val"):
                lines += [SplitLine(drive, number, side) for side in sides if tree.find(drive, side, number)]
    if not lines and (unrectified := tree.unrectified_drives()):
        raise UserError(_are_unrectified(root, unrectified))
    if not lines:
        raise UserError(f"{root}: found no frames. Expected <date>/<date>_drive_NNNN_sync/image_02/data/*.jpg or .png.")
    return lines


def _are_unrectified(root: Path, drives: Sequence[str]) -> str:
    return (
        f"{root}: {drives[0]} holds unrectified frames (_extract), which the calibration does not describe. Unpack the "
        "_sync archives; to use these as they are, name them in a split list and take --intrinsics fixed."
    )


# --- samples ---------------------------------------------------------------------------------------------------


class KittiRaw:
    """Training samples from KITTI raw drives (a `NativeDataset`).

    Frames that a line names must exist; a line whose neighbours do not (the ends of a drive) is left out and
    listed in `left_out`.

    Args:
        root: the folder that holds the dates.
        lines: the targets, for example from `training_lines`.
        source_ids: time offsets and `stereo`, in the order of `Sample.sources`.
        height, width: training size in pixels.
        intrinsics: `calibrated` reads the date's calibration file; `fixed` is Monodepth2's one camera for all.
        cache_bytes: see `FrameStore`.

    Attributes:
        left_out: one message per line that was left out.

    Raises:
        UserError: a named frame is missing, a drive has only one camera while `stereo` is asked for, or no line
            is left.
    """

    def __init__(
        self,
        root: Path | str,
        lines: Sequence[SplitLine],
        source_ids: Sequence[Source],
        height: int,
        width: int,
        intrinsics: Intrinsics = "calibrated",
        cache_bytes: int = DEFAULT_CACHE_BYTES,
    ) -> None:
        self.source_ids = tuple(source_ids)
        self.left_out: list[str] = []
        self._tree = KittiTree(Path(root))
        self._fixed = fixed_intrinsics(height, width) if intrinsics == "fixed" else None
        self._lines: list[SplitLine] = []
        views: list[list[Path]] = []
        for line in lines:
            paths = self._views(line)
            if paths is not None:
                self._lines.append(line)
                views.append(paths)
        if not self._lines:
            reason = f" ({self.left_out[0]})" if self.left_out else ""
            raise NoUsableFrames(f"{root}: no frame has all the neighbours that training needs{reason}. Add frames.")
        number_of: dict[Path, int] = {}
        self._views_of_line = [[number_of.setdefault(path, len(number_of)) for path in paths] for paths in views]
        self._frames = FrameStore(list(number_of), height, width, cache_bytes)
        first_lines: dict[tuple[str, Side], SplitLine] = {}
        for line in self._lines:
            first_lines.setdefault((line.folder, line.side), line)
        self._cameras = {place: self._camera(line) for place, line in first_lines.items()}

    def __len__(self) -> int:
        return len(self._lines)

    def sample_names(self) -> Iterator[str]:
        return map(str, self._lines)

    def __getitem__(self, index: int) -> Sample:
        return self._sample(index, self._frames.__getitem__)

    def read_window(self, index: int, window: Window) -> Sample:
        return self._sample(index, lambda number: self._frames.cut(number, window))

    def _sample(self, index: int, read: Callable[[int], Tensor]) -> Sample:
        line = self._lines[index]
        target, *sources = (read(number) for number in self._views_of_line[index])
        intrinsics, baseline_m = self._cameras[line.folder, line.side]
        return Sample(
            name=str(line),
            target=target,
            sources=torch.stack(sources),
            intrinsics=intrinsics,
            stereo_offset=STEREO_OFFSET[line.side],
            baseline_m=baseline_m,
            centred=self._fixed is not None,
        )

    def _views(self, line: SplitLine) -> list[Path] | None:
        """The files of the target and its sources, or None with a message in `left_out`."""
        views = [self._tree.require(line)]
        for source in self.source_ids:
            side, frame = (
                (OTHER_SIDE[line.side], line.frame) if source == "stereo" else (line.side, line.frame + source)
            )
            if source == "stereo":
                self._require_camera(line, side)
            path = self._tree.find(line.folder, side, frame)
            if path is None:
                self.left_out.append(f"{line}: has no frame {frame} {side}")
                return None
            views.append(path)
        return views

    def _require_camera(self, line: SplitLine, side: Side) -> None:
        if not self._tree.frames(line.folder, side):
            raise UserError(
                f"{line.origin or self._tree.root}: drive {line.folder} has no {CAMERA_OF_SIDE[side]}, which stereo "
                "training needs. Train with --mode mono, or with a split of stereo drives alone "
                "(train_stereo_files.txt)."
            )

    def _camera(self, line: SplitLine) -> tuple[torch.Tensor, float]:
        if self._fixed is not None:
            return self._fixed, FIXED_BASELINE_M
        image = self._tree.require(line)
        if _can_be_read(image):  # a broken frame is the loader's to report
            self._tree.check_camera(line.folder, line.side, image)
        calibration = self._tree.calibration(line.folder)
        if "stereo" in self.source_ids:
            calibration.require_pair()
        return torch.from_numpy(calibration.camera(line.side).normalised()), calibration.baseline_m
