"""DATA as sequences of frames at a network's size, with their camera and their times: drives of KITTI, and footage."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from egodepth.data.configurations import FOOTAGE, LEARNED_WAYS
from egodepth.data.footage.camera import CameraUnknown, camera_and_lens, footage_size
from egodepth.data.footage.clips import clips
from egodepth.data.footage.masking import footage_mask
from egodepth.data.footage.unpacking import unpack
from egodepth.data.images import image_size, list_images, read_resized_image
from egodepth.data.kitti.near_misses import DRIVE
from egodepth.data.kitti.raw import CAMERA_OF_SIDE, OTHER_SIDE, KittiTree
from egodepth.data.motion import neighbours_by_motion
from egodepth.data.motion_logs.oxts import read_oxts, read_timestamps
from egodepth.data.motion_logs.track import CLOCK_S
from egodepth.data.recognise import kind_of
from egodepth.data.splits import Side
from egodepth.errors import UserError
from egodepth.geometry.lenses import Lens
from egodepth.scaling.estimate import unit_ratio

NANOSECONDS = 1e9

DRIVES = ("kitti-raw", "simulated")

SizeOf = Callable[[tuple[int, int]], tuple[int, int]]
"""From the height and width of native frames to those at which a network sees them."""


@dataclass(frozen=True)
class FrameSequence:
    """Frames of one camera in order of time.

    Attributes:
        name: for messages.
        frames: picture files, read at the network's size.
        height, width: of the pictures that the network sees.
        native: height and width of the frames in DATA.
        numbers: of the frames in DATA, from 0.
        pairs: positions of two frames between which the picture moved as between those that training pairs.
        seconds: (N,) of the frames; None where nothing says them.
        intrinsics: (3, 3), normalised; None where nothing says them.
        mask: (H, W) bool, the pixels that show the scene; None where all do.
        count: of the frames that DATA has, used or not; None where nobody counted.
        oxts: folder of a drive's measurements, where there is one.
    """

    name: str
    frames: tuple[Path, ...]
    height: int
    width: int
    native: tuple[int, int]
    numbers: tuple[int, ...]
    pairs: tuple[tuple[int, int], ...]
    seconds: np.ndarray | None
    intrinsics: np.ndarray | None = None
    mask: np.ndarray | None = None
    count: int | None = None
    oxts: Path | None = None

    @property
    def focal(self) -> float | None:
        """Focal length in widths of the picture; None where the camera is not known."""
        return None if self.intrinsics is None else float(self.intrinsics[0, 0])

    def unit_ratio(self, focal: float | None) -> float:
        """See `unit_ratio`."""
        return unit_ratio(self.focal, focal)

    def read(self, position: int) -> np.ndarray:
        """A frame as the network sees it, (H, W, 3) uint8."""
        return read_resized_image(self.frames[position], self.height, self.width)

    def neighbours(self, position: int, time_offsets: Sequence[int]) -> dict[int, np.ndarray]:
        """The frames at time offsets from one, those that there are."""
        after, before = dict(self.pairs), {later: earlier for earlier, later in self.pairs}
        found = {}
        for offset in time_offsets:
            place: int | None = position
            for _ in range(abs(offset)):
                place = None if place is None else (after if offset > 0 else before).get(place)
            if place is not None:
                found[offset] = self.read(place)
        return found


def check_sequences(data: Path) -> str:
    """The kind of DATA, of which there are sequences.

    Raises:
        UserError: it is of another kind.
    """
    kind = kind_of(data).name
    if kind not in (*FOOTAGE, *DRIVES):
        raise UserError(f"{data}: is {kind} data. Give KITTI drives, a video or a folder of frames.")
    return kind


def open_sequences(
    data: Path, size_of: SizeOf, cache_folder: Path, intrinsics: str, frames_per_second: float | None
) -> list[FrameSequence]:
    """The sequences of DATA: each drive of a KITTI tree, one drive, a video, each video of a folder, or frames.

    Args:
        size_of: see `SizeOf`.
        cache_folder: for frames of footage, see `unpack`.
        intrinsics: `calibrated`, or as `footage_camera`.
        frames_per_second: of data that say nothing of their times.

    Raises:
        UserError: the data are of another kind, or cannot be read.
    """
    if intrinsics in LEARNED_WAYS:
        raise UserError(
            f"--intrinsics {intrinsics}: is for training. Leave it out: a camera that the model has learnt is known "
            "from it."
        )
    if data.is_dir() and DRIVE.fullmatch(data.name):
        root, drives = data.parent.parent, [f"{data.parent.name}/{data.name}"]
    else:
        kind = check_sequences(data)
        if kind in FOOTAGE:
            pieces = clips(data) if kind == "videos" else [data]
            return [_of_footage(each, size_of, cache_folder, intrinsics, frames_per_second) for each in pieces]
        root, drives = data, KittiTree(data).drives()
    if intrinsics != "calibrated":
        raise UserError(
            f"{data}: the calibration of KITTI drives comes with the data. Leave --intrinsics and --fov out."
        )
    tree = KittiTree(root)
    filled = [each for each in drives if any(tree.frames(each, side) for side in CAMERA_OF_SIDE)]
    if not filled:
        raise UserError(f"{data}: holds no frames in image_02/data. Check the path.")
    return [_of_drive(tree, each, size_of, frames_per_second) for each in filled]


# --- drives ----------------------------------------------------------------------------------------------------------


def _of_drive(tree: KittiTree, drive: str, size_of: SizeOf, frames_per_second: float | None) -> FrameSequence:
    side: Side = "l" if tree.frames(drive, "l") else OTHER_SIDE["l"]
    frames = dict(sorted(tree.frames(drive, side).items()))
    numbers = tuple(frames)
    oxts = tree.root / drive / "oxts"
    times = tree.root / drive / CAMERA_OF_SIDE[side] / "timestamps.txt"
    seconds: np.ndarray | None = None
    if times.is_file():
        known = read_timestamps(times)
        if numbers[-1] >= len(known):
            raise UserError(f"{times}: has {len(known)} times, but there is a frame {numbers[-1]}. Copy it again.")
        seconds = np.array([known[number] for number in numbers])
    elif frames_per_second is not None:
        seconds = np.array(numbers) / frames_per_second
    elif oxts.is_dir():
        measured = read_oxts(oxts)[1]
        if all(number in measured for number in numbers):
            seconds = np.array([measured[number] for number in numbers])
    first = frames[numbers[0]]
    tree.check_camera(drive, side, first)
    native = image_size(first)
    height, width = size_of(native)
    return FrameSequence(
        name=Path(drive).name,
        frames=tuple(frames.values()),
        height=height,
        width=width,
        native=native,
        numbers=numbers,
        pairs=tuple(
            (place, place + 1) for place in range(len(numbers) - 1) if numbers[place + 1] == numbers[place] + 1
        ),
        seconds=seconds,
        intrinsics=tree.calibration(drive).camera(side).normalised(),
        count=len(frames),
        oxts=oxts if oxts.is_dir() else None,
    )


# --- footage ---------------------------------------------------------------------------------------------------------


def _of_footage(
    path: Path, size_of: SizeOf, cache_folder: Path, intrinsics: str, frames_per_second: float | None
) -> FrameSequence:
    camera, lens = _camera_if_known(path, None if intrinsics == "calibrated" else intrinsics)
    native = footage_size(path)
    height, width = size_of(native)
    unpacked = unpack(path, cache_folder, height, width, lens=lens)
    mask = footage_mask("auto", unpacked.frames, native, (height, width))
    numbers = tuple(int(frame.stem) for frame in unpacked.frames)
    neighbours = neighbours_by_motion(unpacked.travelled, unpacked.runs, (1,))
    if None not in unpacked.seconds:
        seconds = np.array(unpacked.seconds, dtype=np.float64)
    elif frames_per_second is not None:
        seconds = np.array(numbers) / frames_per_second
    else:
        seconds = _times_in_names(list_images(path), numbers)
    return FrameSequence(
        name=path.name,
        frames=unpacked.frames,
        height=height,
        width=width,
        native=native,
        numbers=numbers,
        pairs=tuple((place, each[0]) for place, each in enumerate(neighbours) if each is not None),
        seconds=seconds,
        intrinsics=camera,
        mask=None if mask is None else mask[0].numpy(),
        count=len(list_images(path)) if path.is_dir() else None,
    )


def _camera_if_known(path: Path, intrinsics: str | None) -> tuple[np.ndarray | None, Lens | None]:
    try:
        camera, lens = camera_and_lens(path, intrinsics)
    except CameraUnknown:
        return None, None
    return camera.normalised(), lens


def _times_in_names(images: Sequence[Path], numbers: Sequence[int]) -> np.ndarray | None:
    """Times of frames whose names are clock times, as TUM (seconds) and EuRoC (nanoseconds) name theirs."""
    stems = [images[number].stem for number in numbers]
    if not all(re.fullmatch(r"\d+(\.\d+)?", stem) for stem in stems):
        return None
    seconds = np.array(stems, dtype=np.float64)
    if (seconds > CLOCK_S * NANOSECONDS).all():
        seconds = seconds / NANOSECONDS
    return seconds if (seconds > CLOCK_S).all() else None
