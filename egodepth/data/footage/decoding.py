"""Decoded frames that no damage has touched, each with its time.

A frame is decoded from others: after a loss the decoder shows pictures that never were, smeared or grey, and flags only
some of them. So after any sign of damage nothing is passed on until a key frame, and a frame is held back until all
that was decoded before it has come out whole: what is shown first may be made from what is shown later.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import chain

import av
from av.video.frame import PictureType

from egodepth.data.footage.h264 import ReferenceNumbers

MOST_REORDERED = 16
"""H.264 and HEVC decode at most so many frames ahead of their time."""

GAP_STEPS = 4.0
"""A step in time this much longer than both its neighbours is a gap; a change of rate is none."""
LEAST_GAP_S = 0.5
JUMP_BACK_S = 0.5
"""Time stamps that go back by less are taken for jitter."""


@dataclass(frozen=True)
class Cut:
    """A place at which frames that follow each other in a video do not do so in time, or in the camera.

    Attributes:
        seconds: of the last frame before it, since the first one.
        reason: what was found there.
        lost: whether something could not be decoded there.
    """

    seconds: float
    reason: str
    lost: bool = False


@dataclass
class _Damage:
    reason: str


def timed_frames(
    container: av.container.InputContainer, stream: av.VideoStream
) -> Iterator[tuple[av.VideoFrame, float] | Cut]:
    """The whole frames of a video in order, with their seconds since the first, and the cuts between them."""
    rate = stream.average_rate or stream.guessed_rate or Fraction(25)
    shown = _has_display_times(container)
    stamped = (
        each if isinstance(each, _Damage) else (each, each.pts if shown else each.dts)
        for each in _whole_frames(container, stream)
    )
    return _with_gaps(_with_seconds(stamped, stream.time_base or Fraction(1, 1000), float(1 / rate)))


def _has_display_times(container: av.container.InputContainer) -> bool:
    """AVI numbers frames in the order of decoding, and what it gives as times is that number."""
    return container.format.name != "avi"


# --- damage ---------------------------------------------------------------------------------------------------------


@dataclass
class _Reordering:
    """Frames on their way from the order of decoding to that of time, which damage may still reach.

    Attributes:
        has_display_times: whether time stamps are those at which frames are shown, and not of the order of decoding.
        sent: time stamp and place in the order of decoding of what has not come out yet.
        held: frames with their place, that wait for what was decoded before them.
    """

    has_display_times: bool
    sent: dict[int, int] = field(default_factory=dict)
    held: deque[tuple[int, av.VideoFrame]] = field(default_factory=deque)
    places: int = 0
    damaged: bool = False

    def send(self, packet: av.Packet) -> None:
        self.places += 1
        if packet.pts is not None:
            self.sent[packet.pts] = self.places

    def take(self, frame: av.VideoFrame) -> Iterator[av.VideoFrame | _Damage]:
        """Take in a decoded frame, and pass on what is certain by now."""
        place = 0 if frame.pts is None else self.sent.pop(frame.pts, 0)
        if frame.pts is not None and self.has_display_times:
            # What is earlier in time and has not come out never will.
            self.sent = {pts: each for pts, each in self.sent.items() if pts > frame.pts}
        if frame.is_corrupt:
            yield from self.lose("decoded from damaged data", place or None)
        elif not self.damaged or _is_key(frame):
            self.damaged = False
            self.held.append((place, frame))
        while self.held and (len(self.held) > MOST_REORDERED or self._is_certain(self.held[0][0])):
            yield self.held.popleft()[1]

    def lose(self, reason: str, place: int | None = None) -> Iterator[av.VideoFrame | _Damage]:
        """Drop what may be made from a damaged piece, by its place in the order of decoding if that is known."""
        kept = [frame for each, frame in self.held if place is not None and each < place]
        self.held.clear()
        yield from kept
        if not self.damaged:
            yield _Damage(reason)
        self.damaged = True

    def release(self) -> Iterator[av.VideoFrame]:
        """Everything is out: nothing can damage what is held."""
        self.sent.clear()
        while self.held:
            yield self.held.popleft()[1]

    def _is_certain(self, place: int) -> bool:
        return all(each > place for each in self.sent.values())


def _whole_frames(container: av.container.InputContainer, stream: av.VideoStream) -> Iterator[av.VideoFrame | _Damage]:
    reordering = _Reordering(_has_display_times(container))
    packets = container.demux(stream)
    lost_packets = False
    numbers = ReferenceNumbers(stream.codec_context.extradata) if stream.codec_context.name == "h264" else None
    while True:
        try:
            packet = next(packets, None)
        except av.FFmpegError as error:
            yield from reordering.lose(f"cannot be read ({error.strerror})")
            continue
        if packet is None:
            break
        is_lost = packet.is_corrupt or (numbers is not None and numbers.misses_some(bytes(packet)))
        if is_lost and not lost_packets:
            # What lies before it is whole; afterwards the decoder starts anew, so that no old frame enters new ones.
            yield from _drained(stream, reordering)
            yield from reordering.lose("data are missing or damaged")
            lost_packets = True
        if lost_packets and packet.size and (packet.is_corrupt or not packet.is_keyframe):
            continue
        lost_packets = False
        reordering.send(packet)
        try:
            frames = packet.decode()
        except av.FFmpegError as error:
            yield from reordering.lose(f"cannot be decoded ({error.strerror})")
            continue
        for frame in frames:
            yield from reordering.take(frame)
    yield from reordering.release()


def _drained(stream: av.VideoStream, reordering: _Reordering) -> Iterator[av.VideoFrame | _Damage]:
    try:
        for frame in stream.codec_context.decode(None):
            yield from reordering.take(frame)
        yield from reordering.release()
    except av.FFmpegError as error:
        yield from reordering.lose(f"cannot be decoded ({error.strerror})")
    stream.codec_context.flush_buffers()


# --- time -----------------------------------------------------------------------------------------------------------


def _with_seconds(
    frames: Iterable[tuple[av.VideoFrame, int | None] | _Damage], time_base: Fraction, usual_step: float
) -> Iterator[tuple[av.VideoFrame, float] | Cut]:
    """Seconds since the first frame, always growing, and a cut where the time stamps start anew."""
    seconds, step, shift = 0.0, usual_step, None
    for each in frames:
        if isinstance(each, _Damage):
            yield Cut(seconds, each.reason, lost=True)
            continue
        frame, ticks = each
        stamp = seconds + step - (shift or 0.0) if ticks is None else float(ticks * time_base)
        if shift is None:
            shift = -stamp
        elif stamp + shift > seconds:
            step = stamp + shift - seconds
        else:
            if stamp + shift < seconds - JUMP_BACK_S:
                yield Cut(seconds, f"the time stamps go back by {seconds - stamp - shift:.1f} s")
            shift = seconds + step - stamp
        seconds = stamp + shift
        yield frame, seconds


def _with_gaps(
    frames: Iterable[tuple[av.VideoFrame, float] | Cut],
) -> Iterator[tuple[av.VideoFrame, float] | Cut]:
    """The same with cuts where time is missing, which the step before and the one after must tell: one frame late.

    Demuxers that find their way again after damage do not say that they skipped any; so a gap ends at a key frame.
    """
    waiting: tuple[av.VideoFrame, float] | None = None
    before: float | None = None
    step: float | None = None
    lost = False
    for each in chain(frames, [None]):
        if waiting is not None:
            following = each[1] - waiting[1] if isinstance(each, tuple) else None
            if _is_gap(step, [other for other in (before, following) if other is not None]):
                yield Cut(waiting[1] - step, f"no frames for {step:.2f} s", lost=True)
                lost = True
            lost = lost and not _is_key(waiting[0])
            if not lost:
                yield waiting
            before, step = step, following
        if isinstance(each, Cut):
            yield each
            before = step = None
        waiting = each if isinstance(each, tuple) else None


def _is_gap(step: float | None, neighbours: Sequence[float]) -> bool:
    return step is not None and bool(neighbours) and step > max(LEAST_GAP_S, GAP_STEPS * max(neighbours))


def _is_key(frame: av.VideoFrame) -> bool:
    """Whether a frame is made from no other one."""
    return bool(frame.key_frame) and frame.pict_type == PictureType.I
