"""A folder of frames or a video file as a monocular sequence: what a user brings.

Footage is unpacked once: every usable frame is resized to the training size and kept as a lossless PNG in a cache
folder, because reading single frames at random from H.264, or from 4K photographs, is far slower than a training
step. Frames that cannot teach anything (a standing camera) or cannot be read stay behind, and are reported.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import torch
from PIL import Image
from rich.console import Console
from rich.progress import track

from egodepth.data.images import FrameStore, image_size, list_images, read_image, resize_image
from egodepth.data.samples import Sample, Source
from egodepth.data.splits import Stage, validates
from egodepth.errors import UserError
from egodepth.files import replacing
from egodepth.geometry import Camera, pinhole

VIDEO_SUFFIXES = frozenset({".mp4", ".mov", ".mkv", ".avi", ".webm", ".m4v", ".mpg", ".mpeg", ".ts", ".wmv"})

MIN_FRAMES = 3
INDEX_NAME = "index.json"
DEFAULT_CACHE_BYTES = 2 * 2**30

# Frames are compared as small grey thumbnails, where sensor noise averages out: noise of 3 grey levels a pixel leaves
# 0.3 between two thumbnails, while KITTI's drives at 10 frames a second change by 8 at least. The comparison is
# with the last frame kept, so that slow motion or a high frame rate thins a sequence out instead of emptying it.
STATIC_THUMBNAIL_SIZE = (96, 32)
STATIC_GREY_LEVELS = 1.0


# --- video -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class VideoInfo:
    """What a video says about itself.

    Attributes:
        height, width: of the upright frames, in pixels.
        frames_per_second: mean rate.
        frames: their number, estimated from the duration where the file does not say; 0 where unknown.
    """

    height: int
    width: int
    frames_per_second: Fraction
    frames: int


def video_info(path: Path | str) -> VideoInfo:
    """Size, rate and length of a video; decodes its first frame.

    Raises:
        UserError: the file is missing, empty or no video.
    """
    with _open_video(Path(path)) as (container, stream):
        rate = stream.average_rate or stream.guessed_rate or Fraction(25)
        seconds = (container.duration or 0) / av.time_base
        frames = stream.frames or round(seconds * rate)
        first = next((frame for frame in _decode(container, stream) if frame is not None), None)
    if first is None:
        raise UserError(f"{path}: no frame can be decoded. Convert it, for example to H.264 in MP4.")
    return VideoInfo(*first.shape[:2], Fraction(rate), frames)


def read_video_frames(path: Path | str) -> Iterator[np.ndarray]:
    """The upright frames of a video, one at a time, as (H, W, 3) uint8 RGB; what cannot be decoded is passed over.

    Raises:
        UserError: the file is missing, empty or no video.
    """
    return (frame for frame in _video_frames(Path(path)) if frame is not None)


def _video_frames(path: Path) -> Iterator[np.ndarray | None]:
    with _open_video(path) as (container, stream):
        yield from _decode(container, stream)


@contextmanager
def _open_video(path: Path) -> Iterator[tuple[av.container.InputContainer, av.VideoStream]]:
    if not path.is_file():
        raise UserError(f"{path}: no such file. Check the path.")
    if path.stat().st_size == 0:
        raise UserError(f"{path}: is empty (0 bytes). Copy or record it again.")
    try:
        container = av.open(str(path))
    except av.FFmpegError as error:
        raise UserError(f"{path}: is not a video that can be decoded ({error.strerror}). Convert it to MP4.") from error
    with container:
        if not container.streams.video:
            raise UserError(f"{path}: has no video stream. Give a video file.")
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        yield container, stream


def _decode(container: av.container.InputContainer, stream: av.VideoStream) -> Iterator[np.ndarray | None]:
    """Decoded frames in order; None stands where a piece of the file is broken."""
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
            frames = [] if packet is None else packet.decode()
        except av.FFmpegError:
            yield None
            continue
        if packet is None:
            return
        for frame in frames:
            yield _upright(frame)


def _upright(frame: av.VideoFrame) -> np.ndarray:
    """RGB pixels, turned as the video's display matrix says (phones record portrait video lying down)."""
    pixels = frame.to_ndarray(format="rgb24")
    return np.ascontiguousarray(np.rot90(pixels, round(frame.rotation / 90) % 4))


# --- camera ----------------------------------------------------------------------------------------------------


def parse_intrinsics(text: str) -> tuple[float, float, float, float]:
    """Read `fx,fy,cx,cy` in pixels.

    Raises:
        UserError: there are not four numbers, or a focal length is not positive.
    """
    try:
        fx, fy, cx, cy = (float(piece) for piece in text.split(","))
    except ValueError:
        raise UserError(f"--intrinsics {text}: expected four numbers fx,fy,cx,cy in pixels.") from None
    if not (0 < fx < np.inf and 0 < fy < np.inf and np.isfinite([cx, cy]).all()):
        raise UserError(f"--intrinsics {text}: focal lengths must be positive and all four numbers finite.")
    return fx, fy, cx, cy


def footage_camera(path: Path | str, intrinsics: str | None = None) -> Camera:
    """The camera of a piece of footage at its native size.

    Args:
        path: video file or folder of frames.
        intrinsics: `fx,fy,cx,cy` in pixels of the native frames. Without it `camera.json` is read, in the folder or
            beside the video (also as `<name of the video>.json`): an object of fx, fy, cx and cy, and width and
            height where it was calibrated at another size.

    Raises:
        UserError: neither is there, or one has another form.
    """
    path = Path(path)
    height, width = footage_size(path)
    if intrinsics is not None:
        return Camera(pinhole(*parse_intrinsics(intrinsics)), height, width)
    places = [path / "camera.json"] if path.is_dir() else [path.with_suffix(".json"), path.with_name("camera.json")]
    file = next((place for place in places if place.is_file()), None)
    if file is None:
        raise UserError(
            f"{path}: the camera is not known. Give --intrinsics fx,fy,cx,cy in pixels of its {width}x{height} frames, "
            f'or write {places[0]}: {{"fx": …, "fy": …, "cx": …, "cy": …}}.'
        )
    return _read_camera(file, height, width)


def footage_size(path: Path | str) -> tuple[int, int]:
    """Native height and width of a video, or the most common ones in a folder of frames."""
    path = Path(path)
    if path.is_dir():
        return _common_size(_sizes(list_images(path)), path)
    info = video_info(path)
    return info.height, info.width


def _read_camera(file: Path, height: int, width: int) -> Camera:
    try:
        entries = json.loads(file.read_text(encoding="utf-8"))
        fx, fy, cx, cy = (float(entries[key]) for key in ("fx", "fy", "cx", "cy"))
        size = int(entries.get("height", height)), int(entries.get("width", width))
        if min(fx, fy, *size) <= 0:
            raise ValueError
    except (ValueError, TypeError, KeyError, AttributeError):
        raise UserError(
            f"{file}: expected an object with the numbers fx, fy, cx and cy in pixels, and width and height where they "
            "belong to another size than the frames'. Correct it."
        ) from None
    return Camera(pinhole(fx, fy, cx, cy), *size).resize(height, width)


def _sizes(images: Sequence[Path]) -> dict[Path, tuple[int, int] | UserError]:
    """Height and width of each image, or why it cannot be read."""
    sizes: dict[Path, tuple[int, int] | UserError] = {}
    for path in images:
        try:
            sizes[path] = image_size(path)
        except UserError as error:
            sizes[path] = error
    return sizes


def _common_size(sizes: dict[Path, tuple[int, int] | UserError], folder: Path) -> tuple[int, int]:
    counts = Counter(size for size in sizes.values() if not isinstance(size, UserError))
    if not counts:
        raise UserError(f"{folder}: none of its {len(sizes)} images can be read. Check the files.")
    return counts.most_common(1)[0][0]


# --- unpacking -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Unpacked:
    """Footage in its cache folder.

    Attributes:
        frames: resized frames in order of time.
        runs: for each frame, the number of the unbroken run that it belongs to. A frame that could not be read ends a
            run; views are paired only within one.
        reports: what was left behind and why, one line each.
    """

    frames: tuple[Path, ...]
    runs: tuple[int, ...]
    reports: tuple[str, ...]


def unpack(path: Path | str, cache_folder: Path | str, height: int, width: int) -> Unpacked:
    """Resize every usable frame into `cache_folder`, or take what an earlier call left there.

    The work is used again as long as names, sizes and times of the source files and the target size are the same;
    an interrupted call leaves nothing behind.

    Raises:
        UserError: fewer than three frames can be used, or the source cannot be read.
    """
    path = Path(path)
    sources = list_images(path) if path.is_dir() else [path]
    folder = Path(cache_folder) / f"{path.stem}-{width}x{height}-{_fingerprint(sources)}"
    if not (folder / INDEX_NAME).is_file():
        with replacing(folder) as temporary:
            temporary.mkdir()
            frames = _folder_frames(path, sources) if path.is_dir() else _named_video_frames(path)
            index = _write_frames(frames, temporary, height, width, path)
            (temporary / INDEX_NAME).write_text(json.dumps(index), encoding="utf-8")
    index = json.loads((folder / INDEX_NAME).read_text(encoding="utf-8"))
    return Unpacked(tuple(folder / name for name in index["names"]), tuple(index["runs"]), tuple(index["reports"]))


def _fingerprint(sources: Sequence[Path]) -> str:
    states = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in sources]
    place = str(sources[0].parent.resolve())
    return hashlib.sha256(repr((place, states)).encode()).hexdigest()[:12]


@dataclass(frozen=True)
class _Frame:
    """A frame on its way into the cache: its pixels, or the report of why there are none."""

    pixels: np.ndarray | None
    report: str = ""


def _folder_frames(folder: Path, images: Sequence[Path]) -> Iterator[_Frame]:
    sizes = _sizes(images)
    height, width = _common_size(sizes, folder)
    for path in track(images, f"Reading {folder.name}", console=Console(stderr=True), transient=True):
        size = sizes[path]
        if isinstance(size, UserError):
            yield _Frame(None, str(size))
        elif size != (height, width):
            yield _Frame(None, f"{path}: is {size[1]}x{size[0]} where most frames are {width}x{height}; left out.")
        else:
            try:
                yield _Frame(read_image(path))
            except UserError as error:
                yield _Frame(None, str(error))


def _named_video_frames(path: Path) -> Iterator[_Frame]:
    total = video_info(path).frames or None
    console = Console(stderr=True)
    frames = track(_video_frames(path), f"Unpacking {path.name}", total=total, console=console, transient=True)
    for number, pixels in enumerate(frames):
        yield _Frame(pixels, "" if pixels is not None else f"{path}: cannot be decoded at about frame {number}.")


def _write_frames(frames: Iterator[_Frame], folder: Path, height: int, width: int, path: Path) -> dict[str, list]:
    names: list[str] = []
    runs: list[int] = []
    reports: list[str] = []
    standing = 0
    run = 0
    kept_thumbnail = None
    for number, frame in enumerate(frames):
        if frame.pixels is None:
            reports.append(frame.report)
            run += 1
            continue
        resized = resize_image(frame.pixels, height, width)
        thumbnail = _thumbnail(resized)
        if kept_thumbnail is not None and np.abs(thumbnail - kept_thumbnail).mean() < STATIC_GREY_LEVELS:
            standing += 1
            continue
        kept_thumbnail = thumbnail
        names.append(f"{number:06d}.png")
        runs.append(run)
        Image.fromarray(resized).save(folder / names[-1], compress_level=1)
    if standing:
        reports.append(f"{path}: {standing} frames in which the camera stands still are left out.")
    if len(names) < MIN_FRAMES:
        reason = f" {reports[0]}" if reports else ""
        raise UserError(
            f"{path}: only {len(names)} usable frames, training needs {MIN_FRAMES} at least.{reason} "
            "Give longer footage."
        )
    return {"names": names, "runs": runs, "reports": reports}


def _thumbnail(pixels: np.ndarray) -> np.ndarray:
    grey = Image.fromarray(pixels).convert("L").resize(STATIC_THUMBNAIL_SIZE, Image.Resampling.BOX)
    return np.asarray(grey, dtype=np.float32)


# --- samples ---------------------------------------------------------------------------------------------------


class Footage:
    """Training samples from a video or a folder of frames (a `TrainingDataset`).

    Args:
        path: video file or folder of frames.
        source_ids: time offsets, for example (-1, 1).
        height, width: training size in pixels.
        camera: of the native frames, for example from `footage_camera`.
        cache_folder: where unpacked frames are kept; see `unpack`.
        stage: `train`, or `val` for the last 10 frames of each 100.
        stride: how many frames apart the views are that an offset of 1 means; for footage of a high frame rate.
        cache_bytes: see `FrameStore`.

    Attributes:
        left_out: one message per frame that was left out and one for all static frames.

    Raises:
        UserError: `stereo` is asked for, or too few frames can be used.
    """

    def __init__(
        self,
        path: Path | str,
        source_ids: Sequence[Source],
        height: int,
        width: int,
        camera: Camera,
        cache_folder: Path | str,
        stage: Stage = "train",
        stride: int = 1,
        cache_bytes: int = DEFAULT_CACHE_BYTES,
    ) -> None:
        if "stereo" in source_ids:
            raise UserError(f"{path}: footage has one camera, so it cannot train with stereo. Use --mode mono.")
        self.source_ids = tuple(source_ids)
        unpacked = unpack(path, cache_folder, height, width)
        self.left_out = list(unpacked.reports)
        self._name = Path(path).name
        self._offsets = [stride * source for source in source_ids]
        self._targets = self._find_targets(unpacked.runs, stage)
        if not self._targets and stage == "train":
            raise UserError(
                f"{path}: none of its {len(unpacked.frames)} usable frames has the neighbours that training "
                "needs. Give longer footage or a smaller --data.stride."
            )
        self._frames = FrameStore(unpacked.frames, height, width, cache_bytes)
        self._intrinsics = camera.normalised()

    def __len__(self) -> int:
        return len(self._targets)

    def __getitem__(self, index: int) -> Sample:
        position = self._targets[index]
        return Sample(
            name=f"{self._name} {self._frames.paths[position].stem}",
            target=self._frames[position],
            sources=torch.stack([self._frames[position + offset] for offset in self._offsets]),
            intrinsics=self._intrinsics,
        )

    def _find_targets(self, runs: Sequence[int], stage: Stage) -> list[int]:
        count = len(runs)
        paired = [
            position
            for position in range(count)
            if all(
                0 <= position + offset < count and runs[position + offset] == runs[position] for offset in self._offsets
            )
        ]
        return [position for order, position in enumerate(paired) if validates(order, len(paired)) == (stage == "val")]
