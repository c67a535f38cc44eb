"""Depth of frames as they come, to a window, a file, a folder or standard output."""

import statistics
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO, Protocol

import numpy as np

from egodepth.colour import colour_disparity
from egodepth.errors import UserError
from egodepth.files import replacing
from egodepth.geometry.cameras import Camera
from egodepth.inference.configurations import RawFormat
from egodepth.inference.live import LiveSource
from egodepth.inference.predictor import Predictor
from egodepth.inference.steady import Steady
from egodepth.inference.turns import slow_call
from egodepth.inference.video import SteadyRange, beside, open_depth_video
from egodepth.inference.writers import png16_steps, write_depth

RECENT = 120
"""Frames over which latency and rate are told."""

VIDEO_RATE = Fraction(30)
"""Nominal rate of a video of a stream: each of its frames is shown when it came."""


class Output(Protocol):
    """Where depth goes."""

    def show(self, image: np.ndarray, depth: np.ndarray, seconds: float) -> bool:
        """Take a frame (H, W, 3), its depth (H, W), and its time since the first; False where nobody looks any more."""


@dataclass(frozen=True)
class StreamStatus:
    """How a stream goes.

    Attributes:
        shown, dropped, reconnected: frames whose depth went out, frames that came meanwhile and were left out, and
            times that the source was opened anew.
        frames_per_second: of those shown, lately.
        latency_ms, slowest_ms: from a frame's arrival to its depth, lately: the median, and 95 of 100.
    """

    shown: int
    dropped: int
    reconnected: int
    frames_per_second: float
    latency_ms: float
    slowest_ms: float

    def said(self) -> str:
        """One line for people."""
        again = f", {self.reconnected} times reconnected" if self.reconnected else ""
        return (
            f"{self.shown} frames, {self.frames_per_second:.1f} a second, {self.latency_ms:.0f} ms each "
            f"(95 of 100 within {self.slowest_ms:.0f} ms), {self.dropped} left out{again}"
        )


def stream(
    predictor: Predictor,
    source: LiveSource,
    output: Output,
    camera_of: Callable[[int, int], Camera | None] = lambda height, width: None,
    steady: bool = False,
    most: int | None = None,
    on_status: Callable[[StreamStatus], None] = lambda status: None,
) -> StreamStatus:
    """Predict the depth of a source's newest frame, again and again, until the source ends.

    A model that looks at the frame before is given the one that was taken before; later ones are never waited for.

    Args:
        source: entered already.
        camera_of: the camera of frames of a height and width; None where it is not known.
        steady: join each frame's depth with the one before, see `Steady`.
        most: end after so many frames.
        on_status: called after each frame.

    Raises:
        UserError: the source cannot be opened, or the output cannot be written to.
    """
    taken: deque[float] = deque(maxlen=RECENT)
    latencies: deque[float] = deque(maxlen=RECENT)
    join: Steady | None = None
    before: dict[int, np.ndarray] = {}
    size: tuple[int, int] | None = None
    status = StreamStatus(0, 0, 0, 0.0, 0.0, 0.0)
    first: float | None = None
    while (most is None or status.shown < most) and (frame := source.newest()) is not None:
        if size != frame.pixels.shape[:2]:
            size = frame.pixels.shape[:2]
            fitted, camera, before = predictor.fitted_to(*size), camera_of(*size), {}
            if steady:
                join = Steady.of_camera(camera, predictor.focal)
        joins = None if join is None else [join]
        image = fitted.reduce_image(frame.pixels)
        [enlarged] = fitted.enlargements([image], [size], [before], [camera], joins)
        before = {-1: image}
        first = frame.seconds if first is None else first
        goes_on = output.show(frame.pixels, enlarged(), frame.seconds - first)
        now = time.monotonic()
        taken.append(now)
        latencies.append(1000 * (now - frame.seconds))
        rate = (len(taken) - 1) / (taken[-1] - taken[0]) if len(taken) > 1 else 0.0
        middle = statistics.median(latencies)
        status = StreamStatus(status.shown + 1, source.dropped, source.reconnected, rate, middle, slow_call(latencies))
        on_status(status)
        if not goes_on:
            break
    return status


def open_output(place: str, predictor: Predictor, form: RawFormat, out: BinaryIO) -> AbstractContextManager[Output]:
    """What a user names.

    Args:
        place: `window`; `-` for raw frames on standard output; a file that ends in .mp4; or a folder for 16-bit frames.
        form: of raw frames.
        out: standard output.

    Raises:
        UserError: the model is up to scale, and 16-bit frames are asked for, or there is no display.
    """
    is_folder = place not in ("-", "window") and Path(place).suffix != ".mp4"
    if not predictor.is_metric and (is_folder or (place == "-" and form == "png16")):
        raise UserError("16-bit frames are metres, and the model is up to scale. Give it metres by egodepth scale.")
    if place == "window":
        from egodepth.inference.window import open_window

        return open_window()
    if place == "-":
        return _to_pipe(out, form)
    return _to_folder(Path(place)) if is_folder else _to_video(Path(place))


@contextmanager
def _to_pipe(out: BinaryIO, form: RawFormat) -> Iterator[Output]:
    colours = SteadyRange()

    class Pipe:
        def show(self, image: np.ndarray, depth: np.ndarray, seconds: float) -> bool:
            if form == "png16":
                pixels = png16_steps(depth).astype("<u2")
            else:
                pixels = colour_disparity(1 / depth, *colours.update(1 / depth))
            out.write(pixels.tobytes())
            out.flush()
            return True

    yield Pipe()


@contextmanager
def _to_video(file: Path) -> Iterator[Output]:
    with open_depth_video(file, VIDEO_RATE) as video:

        class Video:
            shape: tuple[int, ...] | None = None

            def show(self, image: np.ndarray, depth: np.ndarray, seconds: float) -> bool:
                self.shape = self.shape or image.shape
                if image.shape != self.shape:
                    raise UserError(
                        f"{file}: the frames become {image.shape[1]}x{image.shape[0]}; a video has one size."
                    )
                video.add(image, depth, seconds)
                return True

        yield Video()


@contextmanager
def _to_folder(folder: Path) -> Iterator[Output]:
    """16-bit pictures, and when each frame came, in `frames.csv`, which is there when the stream has ended."""
    folder.mkdir(parents=True, exist_ok=True)
    with replacing(folder / "frames.csv") as temporary, temporary.open("w", encoding="utf-8") as index:
        index.write("file,seconds\n")
        count = 0

        class Folder:
            def show(self, image: np.ndarray, depth: np.ndarray, seconds: float) -> bool:
                nonlocal count
                write_depth(folder / f"{count:06d}.png", depth, "png16")
                index.write(f"{count:06d}.png,{seconds:.4f}\n")
                index.flush()
                count += 1
                return True

        yield Folder()


def side_by_side(image: np.ndarray, depth: np.ndarray, colours: SteadyRange) -> np.ndarray:
    """A picture with its depth in colours beside it, for looking at."""
    return beside(image, colour_disparity(1 / depth, *colours.update(1 / depth)))
