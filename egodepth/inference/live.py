"""Frames as they come: a camera, a network stream, standard input, or a file played in real time.

Frames are read by a thread of their own, and only the newest is kept: whoever is slower than the source gets fewer
frames, never older ones, in a bounded memory.
"""

import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import av
import numpy as np

from egodepth.data.footage.video import Cut, read_video, video_info
from egodepth.errors import UserError, first_line

log = logging.getLogger("egodepth")

FIRST_WAIT_S, LONGEST_WAIT_S = 0.5, 8.0
"""Between attempts to reach a source again; each waits twice as long as the one before."""

PATIENCE_S = 60.0
"""A source that gives no frame for so long has ended."""

OPEN_TIMEOUT_S, READ_TIMEOUT_S = 10.0, 5.0

LARGEST_FRAME_BYTES = 3 * 8192 * 8192

Frames = Iterator[np.ndarray]


@dataclass(frozen=True)
class LiveFrame:
    """A frame and when it came.

    Attributes:
        pixels: (H, W, 3) uint8 RGB.
        seconds: when it was there, by `time.monotonic`.
        number: of all the frames that the source gave, from 0.
    """

    pixels: np.ndarray
    seconds: float
    number: int


class LiveSource:
    """The newest frame of a source, wherever its reading is. Use it in a `with` block.

    Args:
        name: for messages.
        open_frames: opens the source; its frames end where the source does.
        reconnects: a source that ends or breaks is opened again, until it gives no frame for `PATIENCE_S`.

    Attributes:
        received, dropped, reconnected: frames that came, frames that nobody took, and times that the source was opened
            anew.
    """

    def __init__(self, name: str, open_frames: Callable[[], Frames], reconnects: bool = False) -> None:
        self.name = name
        self.received = self.dropped = self.reconnected = 0
        self._open_frames = open_frames
        self._reconnects = reconnects
        self._newest: LiveFrame | None = None
        self._ended = False
        self._error: Exception | None = None
        self._changed = threading.Condition()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._read, name="frames", daemon=True)

    def __enter__(self) -> "LiveSource":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join(timeout=READ_TIMEOUT_S)

    def newest(self) -> LiveFrame | None:
        """The newest frame that was not taken yet, as soon as there is one; None at the end of the source.

        Raises:
            UserError: the source cannot be opened, or breaks before its first frame.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._newest is not None or self._ended)
            frame, self._newest = self._newest, None
        if frame is None and self._error is not None:
            raise UserError(f"{self.name}: {first_line(self._error)}") from self._error
        return frame

    def _read(self) -> None:
        wait, last = FIRST_WAIT_S, time.monotonic()
        while not self._stopped.is_set():
            reason = "it ended"
            try:
                with closing(self._open_frames()) as frames:
                    for pixels in frames:
                        self._put(pixels)
                        wait, last = FIRST_WAIT_S, time.monotonic()
                        if self._stopped.is_set():
                            return
            except (av.FFmpegError, OSError, UserError, ValueError) as error:
                reason = first_line(error)
                self._error = None if self.received else error
            if not self._reconnects or self._error or time.monotonic() - last > PATIENCE_S:
                break
            self.reconnected += 1
            log.warning("%s: %s; trying again in %g s.", self.name, reason, wait)
            self._stopped.wait(wait)
            wait = min(2 * wait, LONGEST_WAIT_S)
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def _put(self, pixels: np.ndarray) -> None:
        with self._changed:
            self.dropped += self._newest is not None
            self._newest = LiveFrame(pixels, time.monotonic(), self.received)
            self.received += 1
            self._changed.notify_all()


def open_source(source: str, raw: tuple[int, int] | None = None) -> LiveSource:
    """What a user names.

    Args:
        source: the number of a camera; an address (`rtsp://`, `http://`, `udp://`); `-` for standard input, a stream of
            JPEG pictures or of raw frames; or a video file, which is played in real time.
        raw: height and width of raw RGB frames on standard input.

    Raises:
        UserError: there is no such camera or file.
    """
    if raw is not None and source != "-":
        raise UserError(f"--raw: is for frames on standard input (-), not for {source}. Leave it out.")
    if source == "-":
        stream = sys.stdin.buffer
        return LiveSource("standard input", lambda: raw_frames(stream, *raw) if raw else _decoded(stream, "mjpeg"))
    if source.isdecimal():
        device = Path(f"/dev/video{source}")
        if sys.platform.startswith("linux") and not device.exists():
            known = ", ".join(path.name.removeprefix("video") for path in sorted(Path("/dev").glob("video*"))) or "none"
            raise UserError(f"{source}: there is no such camera; there is {known}. Give another number.")
        return LiveSource(f"camera {source}", lambda: _decoded(*_camera_input(source)), reconnects=True)
    if "://" in source:
        return LiveSource(source, lambda: _decoded(source, None), reconnects=True)
    video_info(source)  # a file that is none is the user's to correct, not a stream's that may come back
    return LiveSource(source, lambda: _in_real_time(Path(source)))


def raw_frames(stream: BinaryIO, height: int, width: int) -> Frames:
    """RGB frames that follow each other without anything between; a last one that is not whole is left out."""
    size = height * width * 3
    if not 0 < size <= LARGEST_FRAME_BYTES:
        raise UserError(f"--raw {width}x{height}: is no size of frames. Give WIDTHxHEIGHT in pixels.")
    while len(frame := stream.read(size)) == size:
        yield np.frombuffer(frame, np.uint8).reshape(height, width, 3)


def _camera_input(number: str) -> tuple[str, str]:
    """What FFmpeg calls a camera of this system, and by which it reads it."""
    if sys.platform == "darwin":
        return number, "avfoundation"
    if sys.platform == "win32":
        return f"video={number}", "dshow"
    return f"/dev/video{number}", "v4l2"


def _decoded(source: str | BinaryIO, form: str | None) -> Frames:
    """The frames of anything that FFmpeg opens, as soon as each is there."""
    options = {"fflags": "nobuffer", "flags": "low_delay"}
    if isinstance(source, str) and source.startswith("rtsp"):
        options["rtsp_transport"] = "tcp"
    with av.open(source, format=form, options=options, timeout=(OPEN_TIMEOUT_S, READ_TIMEOUT_S)) as container:
        for frame in container.decode(video=0):
            yield frame.to_ndarray(format="rgb24")


def _in_real_time(file: Path) -> Frames:
    """The frames of a file, each when a player would show it."""
    start = time.monotonic()
    for frame in read_video(file):
        if isinstance(frame, Cut):
            continue
        early = start + frame.seconds - time.monotonic()
        if early > 0:
            time.sleep(early)
        yield frame.pixels
