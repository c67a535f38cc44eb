"""Stretches of a video that can be decoded apart from the rest, frame for frame as in one go.

A stretch begins where a decoder needs nothing from before: at a key frame before which all earlier frames are decoded
and shown, and after which all later ones are. Of H.264 that is an IDR picture; other key frames have pictures after
them that are made from pictures before (open groups of pictures), or parameters that came earlier.

What is decoded cannot be known from packets alone: some carry no picture, and damage shows itself late. So the frames
of a stretch are held against the times of its packets as they come, and one that differs says that the video has to be
read in one go.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import chain, islice, pairwise
from math import ceil
from pathlib import Path

import av
import numpy as np

from egodepth.data.bags.reading import is_bag
from egodepth.data.footage.containers import missing_bytes, open_video
from egodepth.data.footage.decoding import Cut, Damage, has_display_times, is_gap, timed_frames, whole_frames
from egodepth.data.footage.h264 import IDR, ReferenceNumbers, units

MOST_STRETCHES = 16
"""Largest number for one video: whoever reads a stretch fetches the whole file, and reads past what lies before."""

CODECS = ("h264", "hevc", "vp9", "av1")
"""Codecs whose key frames are known to need nothing that came before."""


@dataclass(frozen=True)
class Stretch:
    """Frames of a video by their numbers, which are those of their packets too: from `start` to before `stop`."""

    start: int
    stop: int


class StretchDiffers(Exception):
    """A stretch does not give the frames that its packets promise, so that in one go others would come out."""


def stretches_of(path: Path, least_frames: int) -> list[Stretch]:
    """A long video as stretches of so many frames, or more: up to the next place where one can begin, and so that there
    are no more than `MOST_STRETCHES`.

    Returns:
        none where the video is to be read in one go: it is too short, has no such places, is a bag of ROS, or holds
        anything by which decoding apart might differ, such as damage, missing time, edits or interlaced frames.

    Raises:
        UserError: the file is missing, empty or no video.
    """
    if is_bag(path) or missing_bytes(path):
        return []
    with open_video(path) as (container, stream):
        if 0 < stream.frames < 2 * least_frames or stream.codec_context.codec.canonical_name not in CODECS:
            return []
        if not has_display_times(container) or _is_interlaced(path):
            return []
        found = _clean_starts(container, stream)
    if found is None:
        return []
    starts, frames = found
    least = max(least_frames, ceil(frames / MOST_STRETCHES))
    chosen = [0]
    for start in starts:
        if start - chosen[-1] >= least and frames - start >= least:
            chosen.append(start)
    return [Stretch(*ends) for ends in pairwise([*chosen, frames])] if len(chosen) > 1 else []


def frames_of_stretch(
    path: Path, container: av.container.InputContainer, stream: av.VideoStream, stretch: Stretch
) -> Iterator[tuple[av.VideoFrame, float]]:
    """The frames of a stretch in order, with their seconds since the first one of the video.

    Packets before it are read and not decoded: to seek, by the time of a packet, is exact in few containers.

    Raises:
        StretchDiffers: in one go other frames would come out.
    """
    packets = (packet for packet in container.demux(stream) if not _is_last(packet))
    first = min((packet.pts for packet in islice(packets, stretch.start)), default=None)
    waiting: list[int] = []

    def sent() -> Iterator[av.Packet]:
        for packet in islice(packets, stretch.stop - stretch.start):
            heappush(waiting, packet.pts)
            yield packet
        yield av.Packet()  # lets the decoder give what it holds back

    count = 0
    for frame in whole_frames(path, sent(), stream, has_display_times=True):
        if isinstance(frame, Damage) or not waiting or frame.pts != heappop(waiting) or frame.interlaced_frame:
            raise StretchDiffers
        first = frame.pts if first is None else first
        yield frame, float(frame.pts * stream.time_base) - float(first * stream.time_base)
        count += 1
    if count != stretch.stop - stretch.start:
        raise StretchDiffers


def _is_last(packet: av.Packet) -> bool:
    """Whether a packet only says that no more come."""
    return packet.size == 0 and packet.dts is None


def _is_interlaced(path: Path) -> bool:
    with open_video(path) as (container, stream):
        first = next((each for each in timed_frames(path, container, stream) if not isinstance(each, Cut)), None)
        return first is None or first[0].interlaced_frame


def _clean_starts(container: av.container.InputContainer, stream: av.VideoStream) -> tuple[list[int], int] | None:
    """The numbers of the packets at which a stretch can begin, and of all; None where the video is not plain."""
    name, extradata = stream.codec_context.name, stream.codec_context.extradata
    numbers = ReferenceNumbers(extradata) if name == "h264" else None
    contents = _Units(name, extradata)
    stamps: list[int] = []
    keys: list[int] = []
    try:
        for packet in container.demux(stream):
            if _is_last(packet):
                continue
            is_plain = packet.pts is not None and not packet.is_corrupt and not packet.is_discard
            if not is_plain or packet.has_sidedata("new_extradata"):
                return None
            content = bytes(packet)
            if numbers is not None and numbers.misses_some(content):
                return None
            if contents.begins_anew(content) and packet.is_keyframe:
                keys.append(len(stamps))
            stamps.append(packet.pts)
    except av.FFmpegError:
        return None
    if not stamps or _has_gaps(np.sort(stamps) * float(stream.time_base)):
        return None
    latest_before = np.maximum.accumulate([stamps[0] - 1, *stamps[:-1]])
    earliest_after = np.minimum.accumulate([stamps[-1] + 1, *stamps[:0:-1]])[::-1]
    return [key for key in keys if latest_before[key] < stamps[key] < earliest_after[key]], len(stamps)


class _Units:
    """What the packets of H.264 and HEVC hold, in their order; packets of others are taken to stand alone."""

    def __init__(self, name: str, extradata: bytes | None) -> None:
        self._name = name
        place = {"h264": 4, "hevc": 21}.get(name, 0)
        extradata = extradata or b""
        self._length_bytes = 1 + (extradata[place] & 3) if extradata[:1] == b"\1" and len(extradata) > place else 0
        self._has_parameters = False

    def begins_anew(self, packet: bytes) -> bool:
        """Whether a packet, if it is a key frame, refers to no picture and no parameters of packets before it."""
        if self._name not in ("h264", "hevc"):
            return True
        is_h264 = self._name == "h264"
        kinds = {unit[0] & 31 if is_h264 else unit[0] >> 1 & 63 for unit in units(packet, self._length_bytes) if unit}
        brings = bool(kinds & ({7, 8} if is_h264 else {32, 33, 34}))
        begins = (brings or not self._has_parameters) and (not is_h264 or IDR in kinds)
        self._has_parameters |= brings
        return begins


def _has_gaps(seconds: np.ndarray) -> bool:
    """Whether time is missing or stands still, see `egodepth.data.footage.decoding`."""
    steps = np.diff(seconds)
    return bool((steps <= 0).any()) or any(
        is_gap(step, [each for each in around if each is not None])
        for step, *around in zip(steps, chain([None], steps[:-1]), chain(steps[1:], [None]), strict=True)
    )
