"""Stretches of a video: decoded apart they give what one go gives, or say that they do not."""

from fractions import Fraction

import av
import numpy as np
import pytest

from egodepth.data.footage.stretches import MOST_STRETCHES, StretchDiffers, stretches_of
from egodepth.data.footage.video import Frame, read_stretch, read_video
from tests.data.test_video_decoding import write
from tests.data.trees import moving_scene

COUNT, KEYS, LEAST = 60, 8, 12
X264 = {"g": str(KEYS), "bf": "2", "threads": "1"}
OPEN_GROUPS = f"open-gop=1:bframes=3:b-adapt=0:keyint={KEYS}:min-keyint={KEYS}:scenecut=0"


def pictures(count=COUNT):
    return [moving_scene(number, 48, 64) for number in range(count)]


def is_same(frame: Frame, other: Frame) -> bool:
    return frame.seconds == other.seconds and np.array_equal(frame.pixels, other.pixels)


def in_one_go(path):
    return [each for each in read_video(path) if isinstance(each, Frame)]


def apart(path, stretches):
    return [frame for stretch in stretches for frame in read_stretch(path, stretch)]


def check_equality(path, stretches):
    one, parts = in_one_go(path), apart(path, stretches)
    assert [stretch.start for stretch in stretches[1:]] == [stretch.stop for stretch in stretches[:-1]]
    assert len(parts) == len(one)
    assert all(map(is_same, parts, one))


@pytest.mark.parametrize(("name", "codec", "options"), [
    ("a.mp4", "libx264", X264),
    ("a.mkv", "libx264", X264),
    ("a.ts", "libx264", X264),
    ("a.mp4", "libx265", {"x265-params": f"keyint={KEYS}:min-keyint={KEYS}:bframes=3:open-gop=0:log-level=0"}),
    ("a.ts", "libx265", {"x265-params": f"keyint={KEYS}:min-keyint={KEYS}:bframes=3:open-gop=0:log-level=0"}),
    ("a.webm", "libvpx-vp9", {"g": str(KEYS), "auto-alt-ref": "1", "lag-in-frames": "16", "cpu-used": "5"}),
], ids=["mp4", "mkv", "ts", "hevc", "hevc-ts", "vp9"])  # fmt: skip
def test_stretches_give_the_frames_and_times_of_one_go(tmp_path, name, codec, options):
    path = write(tmp_path / name, pictures(), codec=codec, options=options)
    stretches = stretches_of(path, LEAST)
    assert len(stretches) == 4
    check_equality(path, stretches)


def test_frames_at_uneven_times_are_split_too(tmp_path):
    steps = np.random.default_rng(0).choice([20, 33, 100, 400], COUNT)
    path = write(tmp_path / "a.mp4", pictures(), stamps=np.cumsum(steps).tolist(), options=X264)
    stretches = stretches_of(path, LEAST)
    assert len(stretches) > 1
    check_equality(path, stretches)


def test_a_video_has_few_stretches_however_long_it_is(tmp_path):
    path = write(tmp_path / "a.mp4", pictures(80), options={"g": "1", "threads": "1"})
    assert len(stretches_of(path, 1)) == MOST_STRETCHES
    assert stretches_of(path, 41) == []


@pytest.mark.parametrize(("name", "codec", "option"), [
    ("a.mkv", "libx264", "x264-params"), ("a.ts", "libx264", "x264-params"), ("a.mp4", "libx265", "x265-params"),
])  # fmt: skip
def test_open_groups_of_pictures_are_not_split(tmp_path, name, codec, option):
    path = write(tmp_path / name, pictures(), codec=codec, options={option: OPEN_GROUPS})
    assert stretches_of(path, LEAST) == []


def test_a_key_frame_that_needs_parameters_from_before_begins_nothing(tmp_path):
    first = write(tmp_path / "first.mp4", pictures(24), options=X264)
    second = write(tmp_path / "second.mp4", pictures(24), options=X264 | {"x264-params": "cabac=0:ref=1", "qp": "20"})
    path = tmp_path / "both.mp4"
    with av.open(str(path), "w") as joined, av.open(str(first)) as one, av.open(str(second)) as other:
        stream = joined.add_stream_from_template(one.streams.video[0])
        for container, shift in ((one, 0), (other, Fraction(24, 10))):
            source = container.streams.video[0]
            parameters = parameter_sets(source.codec_context.extradata) if shift else b""
            for packet in container.demux(source):
                if packet.size:
                    copy = av.Packet(parameters + bytes(packet))
                    ticks = int(shift / source.time_base)
                    copy.pts, copy.dts, copy.time_base = packet.pts + ticks, packet.dts + ticks, source.time_base
                    copy.stream, copy.is_keyframe, parameters = stream, packet.is_keyframe, b""
                    joined.mux(copy)
    assert len(in_one_go(path)) == 48
    stretches = stretches_of(path, KEYS)
    assert [stretch.start for stretch in stretches] == [0, 8, 16, 24]
    check_equality(path, stretches)


def parameter_sets(extradata: bytes) -> bytes:
    """The sequence and picture parameter set of an avcC (ISO 14496-15, 5.3.3.1), as they stand in packets."""
    size = int.from_bytes(extradata[6:8], "big")
    sequence, behind = extradata[8 : 8 + size], 8 + size
    picture = extradata[behind + 3 : behind + 3 + int.from_bytes(extradata[behind + 1 : behind + 3], "big")]
    return b"".join(len(each).to_bytes(4, "big") + each for each in (sequence, picture))


@pytest.mark.parametrize(("name", "codec", "more"), [
    ("a.avi", "mpeg4", {"options": {"g": "8", "bf": "2"}}),
    ("a.mp4", "libx264", {"options": X264, "stamps": [100 * n + 9000 * (n > 30) for n in range(COUNT)]}),
    ("a.mp4", "libx264", {"options": X264 | {"x264-params": "interlaced=1"}}),
], ids=["another codec", "missing time", "interlaced"])  # fmt: skip
def test_what_may_differ_apart_is_read_in_one_go(tmp_path, name, codec, more):
    path = write(tmp_path / name, pictures(), codec=codec, **more)
    assert len(in_one_go(path)) > LEAST
    assert stretches_of(path, LEAST) == []


def test_damage_that_only_decoding_shows_is_said(tmp_path):
    path = write(tmp_path / "a.mp4", pictures(), options=X264)
    content = path.read_bytes()
    said = 0
    for seed in range(12):
        random = np.random.default_rng(seed)
        flipped = bytearray(content)
        begin = content.index(b"mdat") + 8
        for place in random.integers(begin, begin + (len(content) - begin) // 2, 8):
            flipped[place] ^= 1 << random.integers(8)
        path.write_bytes(flipped)
        stretches = stretches_of(path, LEAST)
        try:
            parts = apart(path, stretches)
        except StretchDiffers:
            said += 1
            continue
        if stretches:
            one = in_one_go(path)
            assert len(one) == len(parts)
            assert all(map(is_same, one, parts))
    assert said
