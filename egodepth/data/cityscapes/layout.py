"""The files of a Cityscapes tree: names, cameras, disparities, and the parts of an image that papers use.

Sources: Cordts et al., CVPR 2016; datasets specification, sections 1.1 to 1.5.
"""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from torch import Tensor

from egodepth.checked_json import parsed
from egodepth.data.configurations import Crop
from egodepth.data.draws import Window
from egodepth.data.frame_store import DEFAULT_CACHE_BYTES, FrameStore, channels_first
from egodepth.data.images import cut_image, read_image, read_png16, resize_image
from egodepth.errors import UserError
from egodepth.files import read_text
from egodepth.geometry.cameras import Camera, pinhole

Side = Literal["left", "right"]

SPLITS = ("train", "train_extra", "val", "test")
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg")
NAME_PATTERN = re.compile(r"([A-Za-z][A-Za-z-]*)_(\d{6})_(\d{6})")
FRAME_NUMBERS = 10**6


# --- names and layout ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, order=True)
class FrameName:
    """The name of a frame: city, number of the recording, number of the frame. Its text is `bonn_000000_000019`."""

    city: str
    sequence: int
    frame: int

    def __str__(self) -> str:
        return f"{self.city}_{self.sequence:06d}_{self.frame:06d}"

    @classmethod
    def find(cls, text: str) -> "FrameName | None":
        """The frame that a list's line or a file's name speaks of: `bonn bonn_000000_000019`, or a path."""
        match = NAME_PATTERN.search(text)
        return cls(match[1], int(match[2]), int(match[3])) if match else None

    @property
    def number(self) -> int:
        """One number for both: frames of a recording count on, and no other recording's come between."""
        return self.sequence * FRAME_NUMBERS + self.frame

    def moved(self, frames: int) -> "FrameName":
        return FrameName(self.city, self.sequence, self.frame + frames)


def read_names(file: Path) -> list[FrameName]:
    """The frames that a list names, in its order: `<city> <city>_<recording>_<frame>`, or paths of left images.

    Raises:
        UserError: the list is empty, or a line names no frame.
    """
    names = []
    for number, line in enumerate(read_text(file).splitlines(), 1):
        if not line.strip():
            continue
        name = FrameName.find(line)
        if name is None:
            raise UserError(
                f"{file}, line {number}: `{line.strip()[:60]}` does not name a Cityscapes frame. "
                "Expected lines like `bonn bonn_000000_000019`."
            )
        names.append(name)
    if not names:
        raise UserError(f"{file}: is empty. Expected lines like `bonn bonn_000000_000019`.")
    return names


class CityscapesTree:
    """The files of a Cityscapes tree, `<type>/<split>/<city>/<frame name>_<type>.<suffix>`. Each folder is listed once.

    Args:
        root: the folder that the archives were unpacked into.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._listed: dict[tuple[tuple[str, ...], str], dict[FrameName, Path]] = {}
        self._recordings: dict[str, dict[tuple[str, int], list[FrameName]]] = {}
        self._cameras: dict[Path, CityscapesCamera] = {}

    def files(self, kind: str, split: str) -> dict[FrameName, Path]:
        """The files of one type, such as `rightImg8bit`."""
        return self._list((kind,), split)

    def images(self, side: Side, split: str) -> dict[FrameName, Path]:
        """Single frames and those of sequences together."""
        return self._list((f"{side}Img8bit", f"{side}Img8bit_sequence"), split)

    def disparities(self, split: str) -> dict[FrameName, Path]:
        return self._list(("disparity", "disparity_sequence"), split)

    def camera_files(self, split: str) -> dict[FrameName, Path]:
        """The camera files, which labelled frames have; `camera` may lie in a folder of its archive's name."""
        return self._list(("camera", "camera_trainvaltest/camera", "camera_trainextra/camera"), split)

    def camera_file(self, split: str, name: FrameName) -> Path:
        """The camera file of a frame, or of the nearest frame of its recording: only labelled frames have their own.

        Raises:
            UserError: the recording has none.
        """
        files = self.camera_files(split)
        if name in files:
            return files[name]
        near = self._with_camera(split).get((name.city, name.sequence), [])
        if not near:
            archive = "camera_trainextra.zip" if split == "train_extra" else "camera_trainvaltest.zip"
            raise UserError(
                f"{self.root / 'camera' / split / name.city}: no camera file of {name.city}_{name.sequence:06d}. "
                f"Unpack {archive} here."
            )
        return files[min(near, key=lambda other: (abs(other.frame - name.frame), other.frame))]

    def camera(self, split: str, name: FrameName) -> "CityscapesCamera":
        file = self.camera_file(split, name)
        if file not in self._cameras:
            self._cameras[file] = CityscapesCamera.read(file)
        return self._cameras[file]

    def _with_camera(self, split: str) -> dict[tuple[str, int], list[FrameName]]:
        """The frames of each recording that have a camera file."""
        if split not in self._recordings:
            recordings = self._recordings[split] = {}
            for name in self.camera_files(split):
                recordings.setdefault((name.city, name.sequence), []).append(name)
        return self._recordings[split]

    def _list(self, types: tuple[str, ...], split: str) -> dict[FrameName, Path]:
        if (types, split) not in self._listed:
            found: dict[FrameName, Path] = {}
            for folder in (self.root / kind / split for kind in types):
                for name, path in _list_cities(folder).items():
                    found.setdefault(name, path)
            self._listed[types, split] = dict(sorted(found.items()))
        return self._listed[types, split]


def _list_cities(folder: Path) -> dict[FrameName, Path]:
    found: dict[FrameName, Path] = {}
    if not folder.is_dir():
        return found
    for city in sorted(path for path in folder.iterdir() if path.is_dir()):
        with os.scandir(city) as entries:
            for entry in entries:
                name = None if entry.name.startswith(".") else FrameName.find(entry.name)
                suffix = os.path.splitext(entry.name)[1].lower()  # noqa: PTH122 - a Path for 150,000 names is slow
                if name is None or suffix not in (*IMAGE_SUFFIXES, ".json"):
                    continue
                if name not in found or suffix == ".png":
                    found[name] = Path(entry.path)
    return found


# --- calibration and depth -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class CityscapesCamera:
    """A camera file: intrinsics in pixels of the native image, and the distance of the two cameras in metres."""

    fx: float
    fy: float
    cx: float
    cy: float
    baseline_m: float

    @classmethod
    def read(cls, file: Path) -> "CityscapesCamera":
        """Read a `_camera.json`; what is in it besides is passed over.

        Raises:
            UserError: the file is cut short, or lacks a number that depth needs.
        """
        try:
            entries = parsed(file)
            intrinsic = entries["intrinsic"]
            fx, fy, cx, cy = (float(intrinsic[key]) for key in ("fx", "fy", "u0", "v0"))
            baseline_m = float(entries["extrinsic"]["baseline"])
        except (OSError, ValueError, KeyError, TypeError, OverflowError):
            raise UserError(
                f"{file}: expected intrinsic fx, fy, u0, v0 and extrinsic baseline. Unpack the camera archive again."
            ) from None
        if not (fx > 0 and fy > 0 and baseline_m > 0 and np.isfinite([fx, fy, cx, cy, baseline_m]).all()):
            raise UserError(
                f"{file}: focal lengths and baseline must be positive, found fx {fx:g}, fy {fy:g}, baseline "
                f"{baseline_m:g}. Unpack the camera archive again."
            )
        return cls(fx, fy, cx, cy, baseline_m)

    def camera(self, height: int, width: int) -> Camera:
        return Camera(pinhole(self.fx, self.fy, self.cx, self.cy), height, width)

    def depth(self, disparity_steps: np.ndarray) -> np.ndarray:
        """Depth (H, W) float32 in metres from the stored values p: fx baseline / d, with d = (p - 1) / 256 pixels.

        0 where p is 0 (unknown), and where it is 1, which is infinitely far.
        """
        steps = disparity_steps.astype(np.float64) - 1
        depth = np.zeros(steps.shape)
        np.divide(256 * self.fx * self.baseline_m, steps, out=depth, where=steps > 0)
        return depth.astype(np.float32)


def read_disparity_steps(file: Path) -> np.ndarray:
    """The stored values (H, W) of a disparity map.

    Raises:
        UserError: the file cannot be read, or was converted to 8 bits.
    """
    steps = read_png16(file)
    if 0 < steps.max() < 256:
        raise UserError(
            f"{file}: no value above {steps.max():.0f}, so the 16-bit disparities were converted to 8 bits. "
            "Unpack the disparity archive again."
        )
    return steps


# --- crops -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class CropWindow:
    """A part of an image, in fractions of its height and width."""

    top: float = 0.0
    left: float = 0.0
    bottom: float = 1.0
    right: float = 1.0

    def pixels(self, height: int, width: int) -> tuple[slice, slice]:
        """Rows and columns; bounds are truncated."""
        rows = slice(int(self.top * height), int(self.bottom * height))
        return rows, slice(int(self.left * width), int(self.right * width))

    def camera(self, camera: Camera) -> Camera:
        rows, columns = self.pixels(camera.height, camera.width)
        return camera.crop(rows.start, columns.start, rows.stop - rows.start, columns.stop - columns.start)


# The bonnet fills the lower quarter; the left 64 columns have no partner in the right image.
CROPS: dict[Crop, CropWindow] = {
    "manydepth": CropWindow(bottom=0.75),
    "monodepth": CropWindow(bottom=0.8),
    "sdfa": CropWindow(64 / 1024, 64 / 2048, 704 / 1024, 1.0),
}


class CroppedFrames(FrameStore):
    """A `FrameStore` of one part of each image."""

    def __init__(
        self,
        paths: Sequence[Path],
        crop: CropWindow,
        height: int,
        width: int,
        cache_bytes: int = DEFAULT_CACHE_BYTES,
    ) -> None:
        super().__init__(paths, height, width, cache_bytes)
        self.crop = crop

    def cut(self, number: int, window: Window) -> Tensor:
        return channels_first(cut_image(self._native(number), window.shares(), *window.size))

    def _read(self, number: int) -> Tensor:
        return channels_first(resize_image(self._native(number), self.height, self.width))

    def _native(self, number: int) -> np.ndarray:
        image = read_image(self.paths[number])
        return image[self.crop.pixels(*image.shape[:2])]
