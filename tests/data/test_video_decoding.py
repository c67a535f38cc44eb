"""One decoded frame: its pixels, its time, its orientation, its pixels' shape, and what damage leaves of a video."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.frame import PictureType
from PIL import Image, ImageDraw

from egodepth.data.checking import check_data
from egodepth.data.footage.camera import footage_camera
from egodepth.data.footage.containers import is_video
from egodepth.data.footage.hdr import hlg_scene_light, pq_nits, pq_signal
from egodepth.data.footage.unpacking import survey, unpack
from egodepth.data.footage.video import Cut, Frame, Orientation, read_video, video_info
from egodepth.errors import UserError
from tests.data.trees import FRAME_SIZE, moving_scene, set_display_matrix

HEIGHT, WIDTH = FRAME_SIZE
TICKS = Fraction(1, 1000)

FIXED_GOPS = {"g": "8", "bf": "2", "crf": "8", "threads": "1"}
OLDER_CODECS = {"g": "8", "bf": "2", "b": "4M", "threads": "1"}
"""Of one thread: with several the bytes that damage hits would differ from machine to machine."""


def write(
    path, pictures, codec="libx264", stamps=None, pixel_format="yuv420p", options=FIXED_GOPS, aspect=None, **more
):
    """A video of the pictures (H, W, 3), shown at the given milliseconds, or ten a second."""
    form = "mpegts" if path.suffix.lower() in (".ts", ".mts") else more.get("form")
    with av.open(str(path), "w", format=form) as container:
        stream = container.add_stream(codec, rate=10, options=dict(options))
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = pixel_format
        if stamps:
            stream.codec_context.time_base = TICKS
        if aspect:
            stream.codec_context.sample_aspect_ratio = aspect
        for name, value in more.get("colour", {}).items():
            setattr(stream.codec_context, name, value)
        for number, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb48le" if picture.dtype == np.uint16 else "rgb24")
            frame.pts = stamps[number] if stamps else 100 * number
            frame.time_base = TICKS
            if number in more.get("keys", ()):
                frame.pict_type = PictureType.I
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def scenes(count, size=FRAME_SIZE):
    return [moving_scene(number, *size) for number in range(count)]


def frames_of(path):
    return [each for each in read_video(path) if isinstance(each, Frame)]


def cuts_of(path):
    return [each for each in read_video(path) if isinstance(each, Cut)]


def distance(pixels, other):
    return np.abs(pixels.astype(int) - other).mean()


# --- orientation ---


@pytest.mark.parametrize("matrix", [(a, 0, 0, d) for a in (1, -1) for d in (1, -1)] + [
    (0, b, c, 0) for b in (1, -1) for c in (1, -1)
])  # fmt: skip
def test_every_pixel_goes_where_the_display_matrix_sends_it(matrix):
    a, b, c, d = matrix
    rows, columns = 2, 3
    pixels = np.arange(rows * columns * 3, dtype=np.uint8).reshape(rows, columns, 3)
    shown = Orientation.of_matrix(a, b, c, d).upright(pixels)
    places = {(a * p + c * q, b * p + d * q): pixels[q, p] for q in range(rows) for p in range(columns)}
    left, top = min(x for x, _ in places), min(y for _, y in places)
    for (x, y), value in places.items():
        assert np.array_equal(shown[y - top, x - left], value)


@pytest.mark.parametrize(("matrix", "shown"), [
    ((-1, 0, 0, 1), lambda picture: picture[:, ::-1]),
    ((1, 0, 0, -1), lambda picture: picture[::-1]),
    ((0, 1, 1, 0), lambda picture: picture.swapaxes(0, 1)),
    ((0, 1, -1, 0), lambda picture: np.rot90(picture, -1)),
])  # fmt: skip
def test_mirrored_and_turned_videos_are_shown_upright(tmp_path, matrix, shown):
    path = set_display_matrix(write(tmp_path / "a.mp4", scenes(3)), matrix)
    info, frames = video_info(path), frames_of(path)
    expected = shown(moving_scene(1))
    assert frames[1].pixels.shape == expected.shape == (info.height, info.width, 3)
    assert distance(frames[1].pixels, expected) < 8 < distance(frames[1].pixels[::-1, ::-1], expected)


# --- pixel aspect ---


@pytest.mark.parametrize(("aspect", "squeezed"), [(Fraction(4, 3), 144), (Fraction(8, 9), 216)])
def test_a_disc_stays_round_whatever_the_shape_of_the_pixels(tmp_path, aspect, squeezed):
    world = Image.new("RGB", (192, 108))
    ImageDraw.Draw(world).ellipse((66, 24, 125, 83), fill=(255, 255, 255))
    stored = np.asarray(world.resize((squeezed, 108)))
    path = write(tmp_path / "a.mp4", [stored] * 2, aspect=aspect)
    pixels = frames_of(path)[0].pixels
    rows, columns = np.nonzero(pixels.min(axis=2) > 127)
    assert pixels.shape == (108, 192, 3)
    assert abs(np.ptp(rows) - 59) <= 1
    assert abs(np.ptp(columns) - 59) <= 1
    camera = footage_camera(path, "117,117,96,54")
    assert (camera.height, camera.width, float(camera.intrinsics[0, 2])) == (108, 192, 96.0)


def test_pixels_are_made_square_before_a_picture_is_turned(tmp_path):
    path = set_display_matrix(write(tmp_path / "a.mp4", scenes(2), aspect=Fraction(4, 3)), 3)
    assert frames_of(path)[0].pixels.shape == (WIDTH * 4 // 3, HEIGHT, 3)


# --- time ---


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_frames_carry_the_times_at_which_they_are_shown(tmp_path, name):
    stamps = [0, 33, 67, 100, 300, 500, 700, 733, 767]
    path = write(tmp_path / name, scenes(9), stamps=stamps)
    assert [round(1000 * frame.seconds) for frame in frames_of(path)] == stamps
    assert cuts_of(path) == []  # another rate is no gap
    unpacked = unpack(path, tmp_path / "cache", HEIGHT, WIDTH)
    assert [round(1000 * seconds) for seconds in unpacked.seconds] == stamps


def test_an_avi_with_reordered_frames_has_even_times(tmp_path):
    path = write(tmp_path / "a.avi", scenes(20), codec="mpeg4", options=OLDER_CODECS)
    assert np.ptp(np.diff([frame.seconds for frame in frames_of(path)])) < 1e-6


def test_time_that_is_missing_cuts_the_sequence_and_it_goes_on_at_a_key_frame(tmp_path):
    stamps = [100 * number + (1500 if number >= 10 else 0) for number in range(24)]
    path = write(tmp_path / "a.mp4", scenes(24), stamps=stamps)
    frames = frames_of(path)
    assert [round(frame.seconds, 1) for frame in frames[:10]] == [number / 10 for number in range(10)]
    assert round(frames[10].seconds, 1) == 3.1  # frame 16, the next key frame
    assert ["no frames for 1.60 s" in cut.reason for cut in cuts_of(path)] == [True]
    assert sorted(set(unpack(path, tmp_path / "cache", HEIGHT, WIDTH).runs)) == [0, 1]


def test_times_that_start_anew_cut_the_sequence_and_still_grow(tmp_path):
    half = write(tmp_path / "a.ts", scenes(12), codec="mpeg2video", options=OLDER_CODECS | {"bf": "0"})
    both = tmp_path / "b.ts"
    both.write_bytes(half.read_bytes() * 2)
    seconds = [frame.seconds for frame in frames_of(both)]
    assert (np.diff(seconds) > 0).all()
    assert len(cuts_of(both)) >= 1


# --- sizes ---


def test_a_size_that_changes_cuts_the_sequence_and_training_keeps_the_first(tmp_path):
    first, second = write(tmp_path / "a.ts", scenes(12)), write(tmp_path / "b.ts", scenes(12, (64, 128)))
    path = tmp_path / "zoom.ts"
    path.write_bytes(first.read_bytes() + second.read_bytes())
    sizes = [frame.pixels.shape[:2] for frame in frames_of(path)]
    assert sizes == sorted(sizes)
    assert set(sizes) == {FRAME_SIZE, (64, 128)}
    assert any("128x64" in cut.reason for cut in cuts_of(path))
    unpacked = unpack(path, tmp_path / "cache", HEIGHT, WIDTH)
    assert len(unpacked.frames) == sizes.count(FRAME_SIZE)
    assert any("12 frames of 128x64 are left out" in report for report in unpacked.reports)


# --- damage ---

DAMAGE = {
    "zeros": lambda content: content[: len(content) // 2] + bytes(2000) + content[len(content) // 2 + 2000 :],
    "noise": lambda content: (
        content[: len(content) // 2]
        + np.random.default_rng(0).integers(0, 256, 2000, dtype=np.uint8).tobytes()
        + content[len(content) // 2 + 2000 :]
    ),
    "hole": lambda content: content[: len(content) // 2] + content[len(content) // 2 + 1880 :],
    "end": lambda content: content[: len(content) * 6 // 10],
}


@pytest.mark.parametrize(("name", "codec", "options"), [
    ("a.mkv", "libx264", FIXED_GOPS),
    ("a.ts", "libx264", FIXED_GOPS),
    ("a.mkv", "mpeg2video", OLDER_CODECS),
    ("a.avi", "mpeg4", OLDER_CODECS),
])  # fmt: skip
@pytest.mark.parametrize("damage", DAMAGE)
def test_no_frame_of_a_damaged_video_differs_from_the_true_ones(tmp_path, name, codec, options, damage):
    path = write(tmp_path / name, scenes(48), codec=codec, options=options)
    whole = [frame.pixels for frame in frames_of(path)]
    assert len(whole) == 48
    path.write_bytes(DAMAGE[damage](path.read_bytes()))
    left = [frame.pixels for frame in frames_of(path)]
    assert 15 < len(left) < 48
    # Damage within a picture's own data may look whole to the decoder: in one frame at most.
    off = [min(distance(pixels, true) for true in whole) for pixels in left]
    assert sum(each >= 0.5 for each in off) <= 1
    cuts = cuts_of(path)
    assert cuts or (damage, path.suffix) == ("end", ".ts")  # which does not say how long it should be
    assert all(cut.lost for cut in cuts)


def test_behind_a_picture_that_the_decoder_made_up_every_frame_is_true(tmp_path):
    """Bits that flip within one picture's data, one to twenty of them."""
    path = write(tmp_path / "a.mp4", scenes(60), options={"crf": "18", "preset": "ultrafast", "g": "12"})
    whole = [frame.pixels for frame in frames_of(path)]
    with av.open(str(path)) as container:
        packets = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    content, noticed = path.read_bytes(), 0
    for seed in range(10):
        random = np.random.default_rng(seed)
        start, size = packets[random.integers(10, 50)]
        flipped = bytearray(content)
        for place in random.integers(start + 12, start + size, random.choice([1, 3, 20])):
            flipped[place] ^= 1 << random.integers(8)
        path.write_bytes(flipped)
        shown = list(read_video(path))
        cuts = [place for place, each in enumerate(shown) if isinstance(each, Cut)]
        noticed += bool(cuts)
        for each in shown[cuts[0] :] if cuts else ():
            if isinstance(each, Frame):
                assert np.array_equal(each.pixels, whole[round(10 * each.seconds)]), (seed, each.seconds)
    assert noticed >= 5, "others decode to something, and no decoder can know"


@pytest.mark.parametrize("reordered", ["0", "3"])
@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_frames_made_from_references_that_are_missing_are_left_out(tmp_path, name, reordered):
    """Packets that were lost before the file was written: nothing in it is broken, and no decoder complains."""
    path = write(tmp_path / name, scenes(36), options=FIXED_GOPS | {"g": "12", "bf": reordered})
    whole = [frame.pixels for frame in frames_of(path)]
    assert (len(whole), cuts_of(path)) == (36, [])
    lossy = tmp_path / f"lossy{path.suffix}"
    with av.open(str(path)) as source, av.open(str(lossy), "w") as copy:
        stream = copy.add_stream_from_template(source.streams.video[0])
        for number, packet in enumerate(source.demux(video=0)):
            if packet.size and number not in (16, 17):
                packet.stream = stream
                copy.mux(packet)
    left = [frame.pixels for frame in frames_of(lossy)]
    assert 24 < len(left) < 34
    assert max(min(distance(pixels, true) for true in whole) for pixels in left) < 0.5
    assert [cut.reason for cut in cuts_of(lossy)] == ["data are missing or damaged"]


def test_what_check_promises_of_a_damaged_video_training_does(tmp_path):
    path = write(tmp_path / "a.mkv", scenes(48))
    path.write_bytes(DAMAGE["zeros"](path.read_bytes()))
    surveyed, unpacked = survey(path, HEIGHT, WIDTH), unpack(path, tmp_path / "cache", HEIGHT, WIDTH)
    report = check_data(path)
    samples = sum(max(0, unpacked.runs.count(run) - 2) for run in set(unpacked.runs))
    assert sum(surveyed.runs) == len(unpacked.frames)
    assert surveyed.reports == unpacked.reports
    assert report.counts["samples of mode mono, at most"] == samples < len(unpacked.frames) - 2
    assert any("damaged" in note for note in report.notes)


# --- interlaced, deep and of high dynamic range ---


def test_interlaced_footage_is_made_of_whole_lines(tmp_path):
    """A bar that moves leaves a comb between the two fields of a frame."""

    def bar(time):
        picture = np.full((96, 160, 3), 30, dtype=np.uint8)
        picture[:, 20 + 6 * time : 60 + 6 * time] = 220
        return picture

    woven = [bar(2 * number) for number in range(8)]
    for number, picture in enumerate(woven):
        picture[1::2] = bar(2 * number + 1)[1::2]
    options = {"flags": "+ildct+ilme", "field_order": "tt", "b": "8M", "g": "4"}
    path = write(tmp_path / "a.mkv", woven, codec="mpeg2video", options=options)
    with av.open(str(path)) as container:
        assert next(container.decode(video=0)).interlaced_frame
    frames = frames_of(path)
    comb = [np.abs(np.diff(each.pixels[8:-8].astype(int), axis=0)).mean() for each in frames]
    assert np.abs(np.diff(woven[3].astype(int), axis=0)).mean() > 10
    assert max(comb) < 3
    assert [round(frame.seconds, 3) for frame in frames] == [number / 10 for number in range(8)]


def test_ten_bits_are_read_as_the_same_picture(tmp_path):
    path = write(tmp_path / "a.mkv", scenes(3), pixel_format="yuv420p10le")
    assert distance(frames_of(path)[1].pixels, moving_scene(1)) < 8


def test_the_curves_of_high_dynamic_range_are_those_of_bt2100():
    # BT.2408, table 1: diffuse white of 203 nits is at 58 % of PQ and at 75 % of HLG.
    assert pq_signal(np.array(203.0)) == pytest.approx(0.58, abs=0.002)
    assert pq_signal(np.array(10_000.0)) == pytest.approx(1)
    assert pq_nits(pq_signal(np.array([0.1, 100.0, 1000.0]))) == pytest.approx([0.1, 100.0, 1000.0], rel=1e-6)
    assert 1000 * hlg_scene_light(np.array(0.75)) ** 1.2 == pytest.approx(203, rel=0.01)
    assert hlg_scene_light(np.array([0.5, 1.0])) == pytest.approx([1 / 12, 1.0], abs=1e-6)


@pytest.mark.parametrize(("transfer", "signals"), [(16, (0.0, 0.33, 0.495, 0.76)), (18, (0.0, 0.25, 0.58, 1.0))])
def test_high_dynamic_range_becomes_a_picture_of_standard_range(tmp_path, transfer, signals):
    """Grey patches: black stays black, light under the knee keeps its place below white, the brightest is white."""
    patches = np.repeat(np.array(signals) * 65535, 24).astype(np.uint16)
    picture = np.broadcast_to(patches[None, :, None], (48, 96, 3)).copy()
    colour = {"color_trc": transfer, "color_primaries": 9, "colorspace": 9}
    path = write(tmp_path / "a.mkv", [picture] * 2, pixel_format="yuv420p10le", colour=colour)
    shown = frames_of(path)[0].pixels[24, 12::24].astype(int)
    nits = (pq_nits if transfer == 16 else lambda signal: 1000 * hlg_scene_light(signal) ** 1.2)(np.array(signals))
    assert np.ptp(shown, axis=1).max() <= 6  # grey stays grey
    expected = 255 * (nits / 203) ** (1 / 2.4)
    assert shown[:2, 0] == pytest.approx(expected[:2], abs=6)
    assert shown[2, 0] <= expected[2] + 6
    assert shown[3, 0] > 245
    assert (np.diff(shown[:, 0]) > 10).all()


# --- what is a video ---


@pytest.mark.parametrize("name", ["00001.MTS", "clip", "2024-01-01T10:20:30.mp4"])
def test_the_content_decides_what_is_a_video_and_a_name_is_no_address(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    path = Path(name)
    form = "mpegts" if name.endswith("MTS") else "mp4"
    write(tmp_path / "source.x", scenes(4), form=form).rename(tmp_path / name)
    assert is_video(path)
    assert len(frames_of(path)) == 4
    assert check_data(path).kind == "video"


def test_text_pictures_and_playlists_are_no_videos(tmp_path):
    video = write(tmp_path / "video.mp4", scenes(4))
    (tmp_path / "notes").write_text("drive 1: fine\n" * 200)
    (tmp_path / "list").write_text(f"ffconcat version 1.0\nfile '{video}'\n")
    (tmp_path / "hls").write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{video}\n#EXT-X-ENDLIST\n")
    (tmp_path / "script.ts").write_text("export const video = 1;\n" * 50)
    (tmp_path / "table").write_bytes(b"\x93NUMPY" + bytes(3000))
    for form in ("png", "jpeg", "bmp", "gif", "webp"):
        Image.fromarray(moving_scene(0)).save(tmp_path / f"picture_{form}", format=form)
    taken = [path.name for path in sorted(tmp_path.iterdir()) if is_video(path)]
    assert taken == ["video.mp4"]


@pytest.mark.parametrize("text", ["ffconcat version 1.0\nfile 'video.mp4'\n", "#EXTM3U\n#EXTINF:1,\nvideo.mp4\n"])
def test_a_playlist_that_is_named_as_a_video_opens_no_other_file(tmp_path, text):
    write(tmp_path / "video.mp4", scenes(4))
    (tmp_path / "list.mp4").write_text(text)
    with pytest.raises(UserError, match=r"list\.mp4: is not a video"):
        frames_of(tmp_path / "list.mp4")
