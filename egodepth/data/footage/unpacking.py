"""Footage as lossless frames of the training size, unpacked once."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from rich.console import Console
from rich.progress import track

from egodepth.data.footage.camera import common_size, image_sizes
from egodepth.data.footage.video import decode_video, video_info
from egodepth.data.images import bit_depth, list_images, read_image, resize_image
from egodepth.errors import UserError
from egodepth.files import replacing
from egodepth.geometry.lenses import Lens, undistort

INDEX_NAME = "index.json"
MIN_FRAMES = 3

# Frames are compared as small grey thumbnails, where sensor noise averages out: noise of 3 grey levels a pixel leaves
# 0.3 between two thumbnails, while KITTI's drives at 10 frames a second change by 8 at least. The comparison is
# with the last frame kept, so that slow motion or a high frame rate thins a sequence out instead of emptying it.
STATIC_THUMBNAIL_SIZE = (96, 32)
STATIC_GREY_LEVELS = 1.0

# Below this spread of grey levels two thumbnails are alike whatever the camera does: fog, a covered lens, 12 bits read
# as 16.
LEAST_CONTRAST = 4.0


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


def unpack(
    path: Path | str,
    cache_folder: Path | str,
    height: int,
    width: int,
    bits: int | None = None,
    lens: Lens | None = None,
) -> Unpacked:
    """Resize every usable frame into `cache_folder`, or take what an earlier call left there.

    The work is used again as long as names, sizes and times of the source files and the target size are the same;
    an interrupted call leaves nothing behind.

    Args:
        bits: that images of more than 8 bits use; none finds out from the sequence.
        lens: by which each frame is undistorted first.

    Raises:
        UserError: fewer than three frames can be used, or the source cannot be read.
    """
    path = Path(path)
    sources = list_images(path) if path.is_dir() else [path]
    deep = bits or bit_depth(sources) if path.is_dir() else None
    folder = Path(cache_folder) / f"{path.stem}-{width}x{height}-{_fingerprint(sources, deep, lens)}"
    if not (folder / INDEX_NAME).is_file():
        with replacing(folder) as temporary:
            temporary.mkdir()
            frames = _folder_frames(path, sources, deep) if path.is_dir() else _named_video_frames(path)
            index = _write_frames(_straightened(frames, lens), temporary, height, width, path)
            (temporary / INDEX_NAME).write_text(json.dumps(index), encoding="utf-8")
    index = json.loads((folder / INDEX_NAME).read_text(encoding="utf-8"))
    return Unpacked(tuple(folder / name for name in index["names"]), tuple(index["runs"]), tuple(index["reports"]))


def _fingerprint(sources: Sequence[Path], bits: int | None, lens: Lens | None = None) -> str:
    states = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in sources]
    place = str(sources[0].parent.absolute())
    how = (place, states) if bits is None else (place, states, bits)
    how = how if lens is None else (*how, lens)
    return hashlib.sha256(repr(how).encode()).hexdigest()[:12]


@dataclass(frozen=True)
class _Frame:
    """A frame on its way into the cache: its pixels, or the report of why there are none."""

    pixels: np.ndarray | None
    report: str = ""


def _straightened(frames: Iterator[_Frame], lens: Lens | None) -> Iterator[_Frame]:
    """Frames undistorted by their lens."""
    for number, frame in enumerate(frames):
        if lens is None or frame.pixels is None:
            yield frame
        elif frame.pixels.shape[:2] == (lens.height, lens.width):
            yield _Frame(undistort(frame.pixels, lens))
        else:
            height, width = frame.pixels.shape[:2]
            yield _Frame(None, f"frame {number} is {width}x{height}, not {lens.width}x{lens.height}; left out.")


def _folder_frames(folder: Path, images: Sequence[Path], bits: int | None) -> Iterator[_Frame]:
    sizes = image_sizes(images)
    height, width = common_size(sizes, folder)
    for path in track(images, f"Reading {folder.name}", console=Console(stderr=True), transient=True):
        size = sizes[path]
        if isinstance(size, UserError):
            yield _Frame(None, str(size))
        elif size != (height, width):
            yield _Frame(None, f"{path}: is {size[1]}x{size[0]} where most frames are {width}x{height}; left out.")
        else:
            try:
                yield _Frame(read_image(path, bits))
            except UserError as error:
                yield _Frame(None, str(error))


def _named_video_frames(path: Path) -> Iterator[_Frame]:
    total = video_info(path).frames or None
    console = Console(stderr=True)
    frames = track(decode_video(path), f"Unpacking {path.name}", total=total, console=console, transient=True)
    for number, pixels in enumerate(frames):
        yield _Frame(pixels, "" if pixels is not None else f"{path}: cannot be decoded at about frame {number}.")


def _write_frames(frames: Iterator[_Frame], folder: Path, height: int, width: int, path: Path) -> dict[str, list]:
    names: list[str] = []
    runs: list[int] = []
    reports: list[str] = []
    standing = flat = 0
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
            if min(thumbnail.std(), kept_thumbnail.std()) < LEAST_CONTRAST:
                flat += 1
            else:
                standing += 1
            continue
        kept_thumbnail = thumbnail
        names.append(f"{number:06d}.png")
        runs.append(run)
        Image.fromarray(resized).save(folder / names[-1], compress_level=1)
    if standing:
        reports.append(f"{path}: {standing} frames in which the camera stands still are left out.")
    if flat:
        reports.append(
            f"{path}: {flat} frames with so little contrast that no motion can be seen are left out. Check the "
            "exposure, and for images of more than 8 bits --data.bits."
        )
    if len(names) < MIN_FRAMES:
        reason = f" {reports[0]}" if reports else ""
        raise UserError(
            f"{path}: only {len(names)} usable frames, training needs at least {MIN_FRAMES}.{reason} "
            "Give longer footage."
        )
    return {"names": names, "runs": runs, "reports": reports}


def _thumbnail(pixels: np.ndarray) -> np.ndarray:
    grey = Image.fromarray(pixels).convert("L").resize(STATIC_THUMBNAIL_SIZE, Image.Resampling.BOX)
    return np.asarray(grey, dtype=np.float32)
