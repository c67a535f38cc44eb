"""Depth videos: the picture with its depth in colours beside it, H.264 in an MP4 file."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import Colorspace

from egodepth.colour import colour_disparity
from egodepth.files import replacing

FOLDER_FRAMES_PER_SECOND = Fraction(10)
"""Frame rate of a video made from a folder of pictures, which have no rate of their own."""

TIME_BASE = Fraction(1, 60_000)
"""Whole numbers of it are the steps of 24, 25, 30 and 60 frames a second, of 30000/1001, and milliseconds."""

CODECS = ("libx264", "mpeg4")
"""In order of preference; the second is in every build of FFmpeg."""

CODEC_OPTIONS = {"libx264": {"crf": "20", "preset": "veryfast"}, "mpeg4": {"qscale": "3"}}


@dataclass
class SteadyRange:
    """The colour range of a video: it follows the scene slowly, so that colours do not flicker.

    The first frame sets the range to its percentiles; every further frame moves it by a small share of the
    way to its own. A share of 0.05 forgets half of a frame after 14 more: half a second to a second and a half.

    Attributes:
        low_percentile, high_percentile: of the inverse depth, painted darkest and brightest.
        share: weight of a new frame, in (0, 1].
    """

    low_percentile: float = 1.0
    high_percentile: float = 97.0
    share: float = 0.05
    _range: np.ndarray | None = None

    def update(self, inverse_depth: np.ndarray) -> tuple[float, float]:
        """Take in one frame's inverse depth (H, W) and return the range (low, high) to paint it with."""
        current = np.nanpercentile(inverse_depth, (self.low_percentile, self.high_percentile))
        self._range = current if self._range is None else self._range + self.share * (current - self._range)
        low, high = self._range
        return float(low), float(high)


class DepthVideo:
    """An open depth video; `add` appends one frame. `open_depth_video` makes it."""

    def __init__(self, container: av.container.OutputContainer, frames_per_second: Fraction) -> None:
        self.container = container
        # Exact for the rates in use (30000/1001 for one); the second codec takes no large denominators.
        self.rate = frames_per_second.limit_denominator(1001)
        self.last_ticks = -1
        self.colour_range = SteadyRange()
        self.stream: av.VideoStream | None = None
        self.frame_count = 0

    def add(self, image: np.ndarray, depth: np.ndarray, seconds: float) -> None:
        """Append a picture (H, W, 3) uint8 RGB and its depth (H, W), shown from so many seconds on.

        All frames have the first one's size.
        """
        inverse_depth = 1 / depth
        colours = colour_disparity(inverse_depth, *self.colour_range.update(inverse_depth))
        pixels = beside(image, colours)
        if self.stream is None:
            self.stream = self._open_stream(*pixels.shape[:2])
        frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
        frame = frame.reformat(format="yuv420p", dst_colorspace=Colorspace.ITU601)
        self.last_ticks = max(self.last_ticks + 1, round(seconds / TIME_BASE))
        frame.pts, frame.time_base = self.last_ticks, TIME_BASE
        self.container.mux(self.stream.encode(frame))
        self.frame_count += 1

    def finish(self) -> None:
        """Write out what the encoder still holds."""
        if self.stream is not None:
            self.container.mux(self.stream.encode())

    def _open_stream(self, height: int, width: int) -> av.VideoStream:
        codec = next(name for name in CODECS if name in av.codecs_available)
        stream = self.container.add_stream(codec, rate=self.rate, options=CODEC_OPTIONS[codec])
        stream.width = width
        stream.height = height
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = TIME_BASE
        # Without the label, players guess the colours' encoding from the height.
        stream.codec_context.colorspace = Colorspace.ITU601
        return stream


@contextmanager
def open_depth_video(path: Path, frames_per_second: Fraction) -> Iterator[DepthVideo]:
    """Open a depth video that appears at `path` when all is written; an interruption leaves none.

    Raises:
        UserError: the disk is full, or the place cannot be written to.
    """
    with (
        replacing(path) as temporary,
        av.open(str(temporary), "w", format="mp4", options={"movflags": "+faststart"}) as container,
    ):
        video = DepthVideo(container, frames_per_second)
        yield video
        video.finish()


def beside(image: np.ndarray, colours: np.ndarray) -> np.ndarray:
    """Put two pictures (H, W, 3) below each other if they are wide, else side by side.

    One more row or column, a copy of the last, makes odd sizes even, which the video's colour format asks for.
    """
    height, width = image.shape[:2]
    both = np.concatenate([image, colours], axis=0 if width > height else 1)
    return np.pad(both, ((0, both.shape[0] % 2), (0, both.shape[1] % 2), (0, 0)), mode="edge")
