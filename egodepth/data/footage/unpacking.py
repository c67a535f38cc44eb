"""Footage as lossless frames of the training size, unpacked once."""

import glob
import hashlib
import json
import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path

import numpy as np

from egodepth.checked_json import ListOf, Number, Object, Optional, Text, Whole, read_checked, sealed
from egodepth.data.footage.camera import common_size, image_sizes
from egodepth.data.footage.video import Cut, read_video, video_info
from egodepth.data.images import bit_depth, list_images, read_image, resize_image
from egodepth.data.motion import STANDING, is_flat, motion_between, thumbnail
from egodepth.data.samples import NoUsableFrames
from egodepth.errors import UserError
from egodepth.files import replacing
from egodepth.geometry.lenses import Lens, undistort
from egodepth.png import encode_png
from egodepth.progress import tracked

log = logging.getLogger("egodepth")

INDEX_NAME = "index.json"
MIN_FRAMES = 3

LARGEST_INDEX_BYTES = 256 * 2**20
"""An hour at 30 frames a second takes 8 MB."""

CACHE_VERSION = 3
"""Grows when frames are unpacked in another way, so that what earlier versions left is not used again."""


@dataclass(frozen=True)
class Unpacked:
    """Footage in its cache folder.

    Attributes:
        frames: resized frames in order of time.
        runs: for each frame, the number of the unbroken run that it belongs to. A frame that could not be read ends a
            run, and so does a cut in a video; views are paired only within one.
        reports: what was left behind and why, one line each.
        seconds: for each frame, its time since the first one of the video; None for images, whose times are not known.
        travelled: for each frame, how far half of the picture has moved since the first one, in widths.
    """

    frames: tuple[Path, ...]
    runs: tuple[int, ...]
    reports: tuple[str, ...]
    seconds: tuple[float | None, ...]
    travelled: tuple[float, ...]


def unpack(
    path: Path | str,
    cache_folder: Path | str,
    height: int,
    width: int,
    bits: int | None = None,
    lens: Lens | None = None,
) -> Unpacked:
    """Resize every usable frame into `cache_folder`, or take what an earlier call left there.

    The work is used again as long as names, sizes and times of the source files and the target size are the same, and
    it is said where they are not; an interrupted call leaves nothing behind.

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
    index = _kept_index(folder)
    if index is None:
        source = str(path.absolute())
        before = folder.parent.glob(f"{glob.escape(path.stem)}-{width}x{height}-*/{INDEX_NAME}")
        if any(_kept_source(file) == source for file in before):
            log.warning("%s: has changed since its frames were unpacked, or is read otherwise; unpacked anew.", path)
        with replacing(folder) as temporary:
            temporary.mkdir()
            frames = _folder_frames(path, sources, deep) if path.is_dir() else _video_frames(path)
            index = _Index(source=source)
            for name, pixels in _usable(_straightened(frames, lens), height, width, path, index):
                (temporary / name).write_bytes(encode_png(pixels))
            (temporary / INDEX_NAME).write_text(json.dumps(sealed(asdict(index))), encoding="utf-8")
    return Unpacked(
        frames=tuple(folder / name for name in index.names),
        runs=tuple(index.runs),
        reports=tuple(index.reports),
        seconds=tuple(index.seconds),
        travelled=tuple(index.travelled),
    )


def _kept_index(folder: Path) -> "_Index | None":
    """What an earlier call left in a cache folder; None where it left nothing, or something that is damaged now."""
    file = folder / INDEX_NAME
    if not file.is_file():
        return None
    try:
        entries = read_checked(file, INDEX, "It is unpacked anew.", LARGEST_INDEX_BYTES)
        lengths = {len(entries[name]) for name in ("names", "runs", "seconds", "travelled")}
        if len(lengths) > 1:
            raise UserError(f"{file}: says different things of different frames. It is unpacked anew.")
        missing = next((name for name in entries["names"] if not (folder / name).is_file()), None)
        if missing is not None:
            raise UserError(f"{folder / missing}: is missing. The footage is unpacked anew.")
    except UserError as error:
        log.warning("%s", error)
        return None
    return _Index(**{entry.name: entries[entry.name] for entry in fields(_Index) if entry.name in entries})


def _kept_source(file: Path) -> str | None:
    """Where the footage lay whose frames an index is of; None where it does not say."""
    try:
        return read_checked(file, INDEX, "It is unpacked anew.", LARGEST_INDEX_BYTES).get("source")
    except UserError:
        return None


@dataclass(frozen=True)
class Survey:
    """What `unpack` would make of footage.

    Attributes:
        decoded: frames that can be decoded.
        runs: how many of those that are used stand in each unbroken run.
        reports: see `Unpacked`.
    """

    decoded: int
    runs: tuple[int, ...]
    reports: tuple[str, ...]


def survey(path: Path, height: int, width: int) -> Survey:
    """Decode footage and choose its frames as `unpack` does, without writing any.

    Raises:
        UserError: see `unpack`.
    """
    index = _Index()
    if path.is_dir():
        images = list_images(path)
        frames = _folder_frames(path, images, bit_depth(images))
    else:
        frames = _video_frames(path)
    for _ in _usable(frames, height, width, path, index):
        pass
    return Survey(index.decoded, tuple(Counter(index.runs).values()), tuple(index.reports))


def _fingerprint(sources: Sequence[Path], bits: int | None, lens: Lens | None = None) -> str:
    states = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in sources]
    place = str(sources[0].parent.absolute())
    how = (CACHE_VERSION, place, states) if bits is None else (CACHE_VERSION, place, states, bits)
    how = how if lens is None else (*how, lens)
    return hashlib.sha256(repr(how).encode()).hexdigest()[:12]


@dataclass(frozen=True)
class _Frame:
    """A frame on its way into the cache: its pixels, or the report of why there are none.

    Attributes:
        is_counted: whether it is a frame of its own, and not only a cut between two.
    """

    pixels: np.ndarray | None
    report: str = ""
    seconds: float | None = None
    is_counted: bool = True


@dataclass
class _Index:
    """What the cache's index says; see `Unpacked`."""

    names: list[str] = field(default_factory=list)
    runs: list[int] = field(default_factory=list)
    reports: list[str] = field(default_factory=list)
    seconds: list[float | None] = field(default_factory=list)
    travelled: list[float] = field(default_factory=list)
    decoded: int = 0
    source: str = ""


INDEX = Object(
    {
        "names": ListOf(Text(pattern=r"\d{6,9}\.png"), least=MIN_FRAMES),
        "runs": ListOf(Whole()),
        "reports": ListOf(Text(longest=LARGEST_INDEX_BYTES)),
        "seconds": ListOf(Optional(Number())),
        "travelled": ListOf(Number()),
        "decoded": Whole(),
        "source": Text(),
    },
    required=("names", "runs", "reports", "seconds", "travelled"),
    closed=True,
)


def _straightened(frames: Iterator[_Frame], lens: Lens | None) -> Iterator[_Frame]:
    """Frames undistorted by their lens."""
    for number, frame in enumerate(frames):
        if lens is None or frame.pixels is None:
            yield frame
        elif frame.pixels.shape[:2] == (lens.height, lens.width):
            yield replace(frame, pixels=undistort(frame.pixels, lens))
        else:
            height, width = frame.pixels.shape[:2]
            yield _Frame(None, f"frame {number} is {width}x{height}, not {lens.width}x{lens.height}; left out.")


def _folder_frames(folder: Path, images: Sequence[Path], bits: int | None) -> Iterator[_Frame]:
    sizes = image_sizes(images)
    height, width = common_size(sizes, folder)
    for path in tracked(images, f"Reading {folder.name}"):
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


def _video_frames(path: Path) -> Iterator[_Frame]:
    """The frames of a video that have its first one's size, for which its camera stands."""
    info = video_info(path)
    frames = tracked(read_video(path), f"Decoding {path.name}", info.frames or None)
    other_sizes: Counter[tuple[int, int]] = Counter()
    for each in frames:
        if isinstance(each, Cut):
            yield _Frame(None, f"{path}: cut at {each.seconds:.2f} s: {each.reason}.", is_counted=False)
        elif each.pixels.shape[:2] != (info.height, info.width):
            other_sizes[each.pixels.shape[:2]] += 1
        else:
            yield _Frame(each.pixels, seconds=round(each.seconds, 6))
    for (height, width), count in other_sizes.items():
        report = f"{path}: {count} frames of {width}x{height} are left out; the video begins with "
        yield _Frame(None, f"{report}{info.width}x{info.height}.", is_counted=False)


def _usable(
    frames: Iterator[_Frame], height: int, width: int, path: Path, index: _Index
) -> Iterator[tuple[str, np.ndarray]]:
    """Names and resized pixels of the frames that can be trained on; `index` is filled on the way.

    Raises:
        UserError: they are too few, which is known at the end.
    """
    standing = flat = scenes = number = run = 0
    way, kept = 0.0, None
    for frame in frames:
        number += frame.is_counted
        if frame.pixels is None:
            index.reports.append(frame.report)
            run += 1
            continue
        index.decoded += 1
        resized = resize_image(frame.pixels, height, width)
        seen = thumbnail(resized)
        if is_flat(seen):
            flat += 1
            continue
        if kept is not None:
            # With the last frame kept, so that slow motion thins a sequence out instead of emptying it.
            motion = motion_between(kept, seen)
            if motion.is_cut:
                scenes += 1
                run += 1
            elif motion.shift < STANDING:
                standing += 1
                continue
            else:
                way += motion.shift
        kept = seen
        index.names.append(f"{number - 1:06d}.png")
        index.runs.append(run)
        index.seconds.append(frame.seconds)
        index.travelled.append(round(way, 6))
        yield index.names[-1], resized
    if standing:
        index.reports.append(f"{path}: {standing} frames in which the camera stands still are left out.")
    if scenes:
        index.reports.append(
            f"{path}: cut {scenes} times where the picture changes as a whole: another scene, or a jump in time."
        )
    if flat:
        index.reports.append(
            f"{path}: {flat} frames with so little contrast that no motion can be seen are left out. Check the "
            "exposure, and for images of more than 8 bits --data.bits."
        )
    if len(index.names) < MIN_FRAMES:
        reason = f" {index.reports[0]}" if index.reports else ""
        raise NoUsableFrames(
            f"{path}: only {len(index.names)} usable frames, training needs at least {MIN_FRAMES}.{reason} "
            "Give longer footage."
        )
