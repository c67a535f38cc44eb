"""Reading video files frame by frame: upright, with square pixels, progressive, of standard range, with their times.
Bags of ROS are read as videos, too.

Everything that reads videos reads them here: training, `data check`, prediction and the benchmark see the same frames.
"""

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.filter import Graph
from av.sidedata.sidedata import Type

from egodepth.data.bags.reading import bag_info, is_bag, read_bag
from egodepth.data.footage.containers import VIDEO_SUFFIXES, is_video, missing_bytes, open_video
from egodepth.data.footage.decoding import Cut, timed_frames
from egodepth.data.footage.hdr import is_hdr, standard_range
from egodepth.data.footage.stretches import Stretch, frames_of_stretch
from egodepth.data.images import resize_image
from egodepth.errors import UserError

__all__ = [
    "VIDEO_SUFFIXES",
    "Cut",
    "Frame",
    "VideoInfo",
    "is_video",
    "read_stretch",
    "read_video",
    "read_video_frames",
    "video_info",
]

PLAUSIBLE_ASPECTS = (Fraction(1, 8), Fraction(8))


@dataclass(frozen=True)
class Frame:
    """One frame as a player shows it.

    Attributes:
        pixels: (H, W, 3) uint8 RGB, upright and with square pixels.
        seconds: since the first frame; they grow from frame to frame.
    """

    pixels: np.ndarray
    seconds: float


@dataclass(frozen=True)
class Orientation:
    """How a recorded picture becomes the upright one: turned counterclockwise, then mirrored left to right.

    Source: the display matrix of ISO 14496-12, 6.2.2, where column and row (p, q) go to (a p + c q, b p + d q).
    """

    quarter_turns: int = 0
    mirrored: bool = False

    @classmethod
    def of_matrix(cls, a: float, b: float, c: float, d: float) -> "Orientation":
        """The nearest one of the eight that leave rows and columns rows and columns."""
        if abs(b) + abs(c) > abs(a) + abs(d):
            # Without a mirror b and c differ in sign: (p, q) to (q, -p) is a quarter turn counterclockwise.
            mirrored = (b > 0) == (c > 0)
            return cls((1 if b < 0 else 3), mirrored)
        mirrored = (a > 0) != (d > 0)
        return cls(2 if d < 0 else 0, mirrored)

    def upright(self, pixels: np.ndarray) -> np.ndarray:
        turned = np.rot90(pixels, self.quarter_turns)
        return np.ascontiguousarray(turned[:, ::-1] if self.mirrored else turned)


@dataclass(frozen=True)
class VideoInfo:
    """What a video says about itself.

    Attributes:
        height, width: of the upright frames with square pixels, of which the first one is looked at.
        frames_per_second: mean rate.
        frames: their number as the file gives it, or an estimate to show progress by; 0 where unknown.
        orientation: from the recorded picture to the upright one.
        pixel_aspect: width of a recorded pixel over its height.
    """

    height: int
    width: int
    frames_per_second: Fraction
    frames: int
    orientation: Orientation = Orientation()
    pixel_aspect: Fraction = Fraction(1)


def video_info(path: Path | str) -> VideoInfo:
    """Size, rate and length of a video; decodes its first frame.

    Raises:
        UserError: the file is missing, empty or no video.
    """
    path = Path(path)
    if is_bag(path):
        height, width, frames, seconds = bag_info(path)
        rate = Fraction((frames - 1) / seconds).limit_denominator(1001) if frames > 1 and seconds > 0 else Fraction(25)
        return VideoInfo(height, width, rate, frames)
    with open_video(path) as (container, stream):
        rate = stream.average_rate or stream.guessed_rate or Fraction(25)
        frames = stream.frames or round((container.duration or 0) / av.time_base * rate)
        first = next((each[0] for each in timed_frames(path, container, stream) if not isinstance(each, Cut)), None)
        if first is None:
            raise UserError(f"{path}: no frame can be decoded. Convert it, for example to H.264 in MP4.")
        orientation, aspect = _orientation(first), _pixel_aspect(stream)
    height, width = first.height, _square_width(first.width, aspect)
    height, width = (width, height) if orientation.quarter_turns % 2 else (height, width)
    return VideoInfo(height, width, Fraction(rate), frames, orientation, aspect)


def read_video(path: Path | str) -> Iterator[Frame | Cut]:
    """The frames of a video in order, and a `Cut` wherever what follows does not continue what came before.

    There are cuts where data are damaged or missing, up to the next key frame; where time is missing or starts anew;
    and where the size changes. Frames that damage has touched are never among those given.

    Raises:
        UserError: the file is missing, empty or no video.
    """
    path = Path(path)
    if is_bag(path):
        yield from _frames_of_bag(path)
        return
    with open_video(path) as (container, stream):
        aspect = _pixel_aspect(stream)
        size: tuple[int, ...] | None = None
        seconds = 0.0
        for each in _progressive(timed_frames(path, container, stream)):
            if isinstance(each, Cut):
                yield each
                continue
            decoded, now = each
            frame = Frame(_shown(decoded, aspect), now)
            if size not in (None, frame.pixels.shape):
                yield Cut(seconds, f"the frames become {frame.pixels.shape[1]}x{frame.pixels.shape[0]}")
            size, seconds = frame.pixels.shape, now
            yield frame
        missing = missing_bytes(path)
        if missing:
            yield Cut(seconds, f"the file is cut short, {missing} of {path.stat().st_size + missing} bytes", lost=True)


def read_stretch(path: Path, stretch: Stretch) -> Iterator[Frame]:
    """The frames of a stretch, see `stretches_of`, as `read_video` gives them.

    Raises:
        StretchDiffers: `read_video` would give others.
        UserError: the file is missing, empty or no video.
    """
    with open_video(path) as (container, stream):
        aspect = _pixel_aspect(stream)
        for decoded, seconds in frames_of_stretch(path, container, stream, stretch):
            yield Frame(_shown(decoded, aspect), seconds)


def read_video_frames(path: Path | str) -> Iterator[np.ndarray]:
    """The pixels alone of `read_video`: (H, W, 3) uint8 RGB."""
    return (each.pixels for each in read_video(path) if isinstance(each, Frame))


def _frames_of_bag(path: Path) -> Iterator[Frame | Cut]:
    size: tuple[int, ...] | None = None
    for pixels, seconds in read_bag(path):
        if size not in (None, pixels.shape):
            yield Cut(seconds, f"the frames become {pixels.shape[1]}x{pixels.shape[0]}")
        size = pixels.shape
        yield Frame(pixels, seconds)


def _shown(frame: av.VideoFrame, aspect: Fraction) -> np.ndarray:
    pixels = standard_range(frame) if is_hdr(frame) else frame.to_ndarray(format="rgb24")
    if aspect != 1:
        pixels = resize_image(pixels, frame.height, _square_width(frame.width, aspect))
    return _orientation(frame).upright(pixels)


def _pixel_aspect(stream: av.VideoStream) -> Fraction:
    aspect = Fraction(stream.sample_aspect_ratio or 1)
    least, most = PLAUSIBLE_ASPECTS
    return aspect if least <= aspect <= most else Fraction(1)


def _square_width(width: int, aspect: Fraction) -> int:
    """Players keep the height and scale the width."""
    return max(1, round(width * aspect))


def _orientation(frame: av.VideoFrame) -> Orientation:
    data = frame.side_data.get(Type.DISPLAYMATRIX)
    if data is None:
        return Orientation()
    a, b, _, c, d = struct.unpack("=9i", bytes(data))[:5]
    return Orientation.of_matrix(a, b, c, d)


# --- interlaced footage ---------------------------------------------------------------------------------------------


def _progressive(
    frames: Iterable[tuple[av.VideoFrame, float] | Cut],
) -> Iterator[tuple[av.VideoFrame, float] | Cut]:
    """The same frames, those that say that they are interlaced made of whole lines; a cut ends what is woven."""
    weaver: _Deinterlacer | None = None
    for each in frames:
        if isinstance(each, Cut) or (weaver is not None and not weaver.takes(each[0])):
            yield from weaver.finish() if weaver else ()
            weaver = None
        if isinstance(each, Cut):
            yield each
            continue
        if weaver is None and each[0].interlaced_frame:
            weaver = _Deinterlacer(each[0])
        yield from [each] if weaver is None else weaver.add(*each)
    yield from weaver.finish() if weaver else ()


class _Deinterlacer:
    """A filter that looks at the frames around one: what is put in comes out a frame later."""

    def __init__(self, frame: av.VideoFrame) -> None:
        self._form = (frame.width, frame.height, frame.format.name)
        self._seconds: list[float] = []
        self._count = 0
        self._graph = Graph()
        source = self._graph.add_buffer(
            width=frame.width, height=frame.height, format=frame.format, time_base=Fraction(1, 1000)
        )
        # One frame out for each in; frames of such footage that are not interlaced pass unchanged.
        bob = self._graph.add("bwdif", "mode=send_frame:deint=interlaced")
        source.link_to(bob)
        bob.link_to(self._graph.add("buffersink"))
        self._graph.configure()

    def takes(self, frame: av.VideoFrame) -> bool:
        return self._form == (frame.width, frame.height, frame.format.name)

    def add(self, frame: av.VideoFrame, seconds: float) -> Iterator[tuple[av.VideoFrame, float]]:
        frame.pts, frame.time_base = self._count, Fraction(1, 1000)
        self._count += 1
        self._seconds.append(seconds)
        self._graph.push(frame)
        return self._pulled()

    def finish(self) -> Iterator[tuple[av.VideoFrame, float]]:
        self._graph.push(None)
        return self._pulled()

    def _pulled(self) -> Iterator[tuple[av.VideoFrame, float]]:
        while self._seconds:
            try:
                frame = self._graph.pull()
            except (BlockingIOError, EOFError):
                return
            yield frame, self._seconds.pop(0)
