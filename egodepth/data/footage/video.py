"""Reading video files frame by frame."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from egodepth.errors import UserError

VIDEO_SUFFIXES = frozenset({".mp4", ".mov", ".mkv", ".avi", ".webm", ".m4v", ".mpg", ".mpeg", ".ts", ".wmv"})


@dataclass(frozen=True)
class VideoInfo:
    """What a video says about itself.

    Attributes:
        height, width: of the upright frames, in pixels.
        frames_per_second: mean rate.
        frames: their number, estimated from the duration where the file does not say; 0 where unknown.
        quarter_turns: by which the recorded picture is turned to be upright, counterclockwise.
        pixel_aspect: width of a pixel over its height.
    """

    height: int
    width: int
    frames_per_second: Fraction
    frames: int
    quarter_turns: int = 0
    pixel_aspect: Fraction = Fraction(1)


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
        turns = _quarter_turns(first)
        height, width = (first.width, first.height) if turns % 2 else (first.height, first.width)
        aspect = Fraction(stream.sample_aspect_ratio or 1)
    return VideoInfo(height, width, Fraction(rate), frames, turns, 1 / aspect if turns % 2 else aspect)


def read_video_frames(path: Path | str) -> Iterator[np.ndarray]:
    """The upright frames of a video, one at a time, as (H, W, 3) uint8 RGB; what cannot be decoded is passed over.

    Raises:
        UserError: the file is missing, empty or no video.
    """
    return (frame for frame in decode_video(Path(path)) if frame is not None)


def decode_video(path: Path) -> Iterator[np.ndarray | None]:
    """As `read_video_frames`, with None where a piece of the file cannot be decoded."""
    with _open_video(path) as (container, stream):
        yield from (None if frame is None else _upright(frame) for frame in _decode(container, stream))


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


def _decode(container: av.container.InputContainer, stream: av.VideoStream) -> Iterator[av.VideoFrame | None]:
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
        yield from frames


def _upright(frame: av.VideoFrame) -> np.ndarray:
    """RGB pixels, turned as the video's display matrix says (phones record portrait video lying down)."""
    pixels = frame.to_ndarray(format="rgb24")
    return np.ascontiguousarray(np.rot90(pixels, _quarter_turns(frame)))


def _quarter_turns(frame: av.VideoFrame) -> int:
    return round(frame.rotation / 90) % 4
