"""Decoded frames that no damage has touched, each with its time.

A frame is decoded from others: after a loss the decoder shows pictures that never were, smeared or grey, and flags only
some of them. So after any sign of damage nothing is passed on until a key frame, and a frame is held back until all
that was decoded before it has come out whole: what is shown first may be made from what is shown later.

The decoder does not go on, either. FFmpeg 8 leaves traces of a picture in which it found damage in later frames,
flushed or not, and with several threads beyond the next key frame: of 60 videos of H.264 without arithmetic coding,
bits of one picture flipped, 9 had such frames.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Self

import av
from av.video.frame import PictureType

from egodepth.data.footage.containers import open_video
from egodepth.data.footage.h264 import ReferenceNumbers

MOST_REORDERED = 16
"""H.264 and HEVC decode at most so many frames ahead of their time."""
MOST_THREADS = 16
"""FFmpeg decodes at most so many frames at once where it chooses their number itself."""

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
class Damage:
    """A place where something could not be decoded."""

    reason: str


def timed_frames(
    path: Path, container: av.container.InputContainer, stream: av.VideoStream
) -> Iterator[tuple[av.VideoFrame, float] | Cut]:
    """The whole frames of a video in order, with their seconds since the first, and the cuts between them.

    Args:
        path, container, stream: of one opened by `open_video`.
    """
    rate = stream.average_rate or stream.guessed_rate or Fraction(25)
    shown = has_display_times(container)
    stamped = (
        each if isinstance(each, Damage) else (each, each.pts if shown else each.dts)
        for each in whole_frames(path, container.demux(stream), stream, shown)
    )
    return _with_gaps(_with_seconds(stamped, stream.time_base or Fraction(1, 1000), float(1 / rate)))


def has_display_times(container: av.container.InputContainer) -> bool:
    """Whether the times of frames are those at which they are shown.

    AVI numbers frames in the order of decoding, and what it gives as times is that number.
    """
    return container.format.name != "avi"


# --- damage ---------------------------------------------------------------------------------------------------------


@dataclass
class _Reordering:
    """Frames on their way from the order of decoding to that of time, which damage may still reach.

    Attributes:
        has_display_times: whether time stamps are those at which frames are shown, and not of the order of decoding.
        sent: time stamp and place in the order of decoding of what has not come out yet.
        held: frames with their place, that wait for what was decoded before them.
        latest: packets with their place, of which some may not have come out yet.
    """

    has_display_times: bool
    sent: dict[int, int] = field(default_factory=dict)
    held: deque[tuple[int, av.VideoFrame]] = field(default_factory=deque)
    latest: deque[tuple[int, av.Packet]] = field(default_factory=lambda: deque(maxlen=MOST_REORDERED + MOST_THREADS))
    places: int = 0
    damaged: bool = False

    def send(self, packet: av.Packet) -> None:
        self.places += 1
        self.latest.append((self.places, packet))
        if packet.pts is not None:
            self.sent[packet.pts] = self.places

    def behind(self, damaged: av.VideoFrame | None) -> list[av.Packet]:
        """What was sent after a damaged frame, from a key frame on.

        Args:
            damaged: the frame; None where it did not come out, and may be any that was sent.
        """
        place = min(self.sent.values(), default=None) if damaged is None else self.sent.get(damaged.pts)
        behind = [packet for each, packet in self.latest if place is not None and each > place]
        first = next((number for number, packet in enumerate(behind) if packet.is_keyframe), len(behind))
        return behind[first:]

    def forget(self) -> None:
        """Nothing that was sent will come out any more."""
        self.sent.clear()
        self.latest.clear()

    def take(self, frame: av.VideoFrame) -> Iterator[av.VideoFrame | Damage]:
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

    def lose(self, reason: str, place: int | None = None) -> Iterator[av.VideoFrame | Damage]:
        """Drop what may be made from a damaged piece, by its place in the order of decoding if that is known."""
        kept = [frame for each, frame in self.held if place is not None and each < place]
        self.held.clear()
        yield from kept
        if not self.damaged:
            yield Damage(reason)
        self.damaged = True

    def release(self) -> Iterator[av.VideoFrame]:
        """Everything is out: nothing can damage what is held."""
        self.sent.clear()
        while self.held:
            yield self.held.popleft()[1]

    def _is_certain(self, place: int) -> bool:
        return all(each > place for each in self.sent.values())


class _Decoder:
    """The decoder of a video, which after damage is a new one."""

    def __init__(self, path: Path, stream: av.VideoStream) -> None:
        self._path = path
        self._context = stream.codec_context
        self._opened = ExitStack()

    def decode(self, packet: av.Packet | None) -> list[av.VideoFrame]:
        return self._context.decode(packet)

    def renew(self) -> None:
        self._opened.close()
        self._context = self._opened.enter_context(open_video(self._path))[1].codec_context

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()


def whole_frames(
    path: Path, packets: Iterator[av.Packet], stream: av.VideoStream, has_display_times: bool
) -> Iterator[av.VideoFrame | Damage]:
    """The frames of packets, in the order of time, that no damage has touched, and where there was any.

    Args:
        packets: of the stream, from a key frame on; the last one is empty.
        has_display_times: whether their times are those at which frames are shown.
    """
    reordering = _Reordering(has_display_times)
    again: deque[av.Packet] = deque()
    until_key = False
    numbers = ReferenceNumbers(stream.codec_context.extradata) if stream.codec_context.name == "h264" else None
    with _Decoder(path, stream) as decoder:
        while True:
            is_sent_again = bool(again)
            try:
                packet = again.popleft() if again else next(packets, None)
            except av.FFmpegError as error:
                yield from reordering.lose(f"cannot be read ({error.strerror})")
                continue
            if packet is None:
                break
            misses_some = numbers is not None and not is_sent_again and numbers.misses_some(bytes(packet))
            if (packet.is_corrupt or misses_some) and not until_key:
                # What lies before it is whole.
                yield from _drained(decoder, reordering)
                yield from reordering.lose("data are missing or damaged")
                decoder.renew()
                reordering.forget()
                until_key = True
            if until_key and packet.size and (packet.is_corrupt or not packet.is_keyframe):
                continue
            until_key = False
            reordering.send(packet)
            try:
                frames = decoder.decode(packet)
            except av.FFmpegError as error:
                again.extendleft(reversed(reordering.behind(None)))
                yield from reordering.lose(f"cannot be decoded ({error.strerror})")
                decoder.renew()
                reordering.forget()
                until_key = True
                continue
            for frame in frames:
                is_first_damage = frame.is_corrupt and not reordering.damaged
                if is_first_damage:
                    again.extendleft(reversed(reordering.behind(frame)))
                yield from reordering.take(frame)
                if is_first_damage:
                    decoder.renew()
                    reordering.forget()
                    until_key = True
                    break
    yield from reordering.release()


def _drained(decoder: _Decoder, reordering: _Reordering) -> Iterator[av.VideoFrame | Damage]:
    try:
        for frame in decoder.decode(None):
            yield from reordering.take(frame)
        yield from reordering.release()
    except av.FFmpegError as error:
        yield from reordering.lose(f"cannot be decoded ({error.strerror})")


# --- time -----------------------------------------------------------------------------------------------------------


def _with_seconds(
    frames: Iterable[tuple[av.VideoFrame, int | None] | Damage], time_base: Fraction, usual_step: float
) -> Iterator[tuple[av.VideoFrame, float] | Cut]:
    """Seconds since the first frame, always growing, and a cut where the time stamps start anew."""
    seconds, step, shift = 0.0, usual_step, None
    for each in frames:
        if isinstance(each, Damage):
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
            if is_gap(step, [other for other in (before, following) if other is not None]):
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


def is_gap(step: float | None, neighbours: Sequence[float]) -> bool:
    """Whether a step in time, by the known ones beside it, is one in which frames are missing."""
    return step is not None and bool(neighbours) and step > max(LEAST_GAP_S, GAP_STEPS * max(neighbours))


def _is_key(frame: av.VideoFrame) -> bool:
    """Whether a frame is made from no other one."""
    return bool(frame.key_frame) and frame.pict_type == PictureType.I
