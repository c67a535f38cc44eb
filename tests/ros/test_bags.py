"""Bags of ROS as footage: their pictures, times and camera, and what is said of those that cannot be read."""

import io
import sys

import numpy as np
import pytest
from PIL import Image

from egodepth.data.bags.messages import picture_of
from egodepth.data.footage.camera import footage_camera, footage_lens
from egodepth.data.footage.video import Frame, read_video, video_info
from egodepth.errors import UserError
from tests.command_line import only_line, run
from tests.data.trees import moving_scene
from tests.ros import messages
from tests.ros.messages import HEIGHT, STORE, WIDTH, header, image, write_bag, write_ros_1_bag


@pytest.fixture(scope="module")
def bag(tmp_path_factory):
    return write_bag(tmp_path_factory.mktemp("bags") / "drive")


def test_the_encodings_of_ros_become_the_same_picture():
    scene = moving_scene(0, HEIGHT, WIDTH)
    alpha = np.full((HEIGHT, WIDTH, 1), 255, np.uint8)
    swapped = scene[..., ::-1].copy()
    same = {"bgr8": swapped, "rgba8": np.concatenate([scene, alpha], 2), "bgra8": np.concatenate([swapped, alpha], 2)}
    for encoding, pixels in {"rgb8": scene, **same}.items():
        assert np.array_equal(picture_of(image(pixels, encoding, padding=5)), scene), encoding
    grey = scene[..., :1].copy()
    assert np.array_equal(picture_of(image(grey, "mono8")), grey.repeat(3, 2))
    assert np.array_equal(picture_of(image(grey[..., 0].astype("<u2") * 256, "mono16")), grey.repeat(3, 2))


@pytest.mark.parametrize("pattern", ["rggb", "bggr", "gbrg", "grbg"])
def test_a_bayer_pattern_gives_the_colour_that_it_was_taken_of(pattern):
    colour = {"r": 200, "g": 120, "b": 40}
    mosaic = np.empty((HEIGHT, WIDTH), np.uint8)
    for place, letter in enumerate(pattern):
        mosaic[place // 2 :: 2, place % 2 :: 2] = colour[letter]
    found = picture_of(image(mosaic, f"bayer_{pattern}8"))
    assert found[HEIGHT // 2, WIDTH // 2].tolist() == [200, 120, 40]


def test_pictures_that_are_not_what_they_say_are_refused():
    scene = moving_scene(0, HEIGHT, WIDTH)
    with pytest.raises(UserError, match="has the encoding '32FC1'; known are rgb8"):
        picture_of(image(np.zeros((4, 4), np.float32), "32FC1"))
    short = image(scene)
    short.data = short.data[:100]
    with pytest.raises(UserError, match=r"says 96x64 pixels of rgb8 in rows of 288 bytes, but has 100 bytes"):
        picture_of(short)
    compressed = STORE.types["sensor_msgs/msg/CompressedImage"]
    encoded = io.BytesIO()
    Image.fromarray(scene).save(encoded, "PNG")
    held = np.frombuffer(encoded.getvalue(), np.uint8)
    assert np.array_equal(picture_of(compressed(header(0), "rgb8; png compressed", held)), scene)
    for data in (held[:200], np.frombuffer(b"%!PS-Adobe-3.0 EPSF-3.0\n", np.uint8)):
        with pytest.raises(UserError, match="cannot be decoded"):
            picture_of(compressed(header(0), "png", data))


def test_a_bag_of_each_kind_is_read_as_a_video_with_its_camera(bag, tmp_path):
    kinds = [
        bag,
        next(bag.glob("*.mcap")),
        write_bag(tmp_path / "database", storage="SQLITE3"),
        write_ros_1_bag(tmp_path / "old.bag"),
    ]
    for path in kinds:
        frames = [frame for frame in read_video(path) if isinstance(frame, Frame)]
        for number, frame in enumerate(frames):
            assert np.array_equal(frame.pixels, moving_scene(number, HEIGHT, WIDTH)), path
            assert frame.seconds == pytest.approx(number / 10)
        info = video_info(path)
        assert (info.height, info.width, info.frames) == (HEIGHT, WIDTH, len(frames))
        assert len(frames) >= 3
        assert float(info.frames_per_second) == pytest.approx(10, rel=0.01)
        assert footage_camera(path).intrinsics[0, 0].item() == pytest.approx(80)


def test_the_lens_of_a_bag_is_undone_but_not_that_of_rectified_pictures(tmp_path, monkeypatch):
    bent = {"d": (-0.2, 0.03, 0, 0, 0)}
    plain = messages.camera
    monkeypatch.setattr(messages, "camera", lambda *words, **named: plain(*words, **named, **bent))
    raw = write_bag(tmp_path / "raw")
    assert footage_lens(raw).coefficients[:2] == pytest.approx((-0.2, 0.03))
    rectified = write_bag(tmp_path / "rectified", topic="/cam/image_rect_color")
    assert footage_lens(rectified) is None
    assert footage_camera(rectified).intrinsics[0, 0].item() == pytest.approx(40)


def test_predict_takes_a_bag_and_its_camera(bag, tmp_path, capsys):
    words = "predict", "starter", bag, "--format", "npy", "--runtime", "torch", "--out", tmp_path / "depth"
    assert run(*words) == 0
    assert "Metres are for the inputs' own camera" in capsys.readouterr().out
    assert [file.name for file in sorted((tmp_path / "depth" / "drive").iterdir())] == [
        f"{number:06d}.npy" for number in range(4)
    ]


def test_a_bag_that_cannot_be_read_is_one_line(bag, tmp_path, capsys, monkeypatch):
    (tmp_path / "broken.mcap").write_bytes(next(bag.glob("*.mcap")).read_bytes()[:300])
    assert run("predict", "starter", tmp_path / "broken.mcap", "--runtime", "torch", "--out", tmp_path / "out") == 2
    assert "broken.mcap: is not a bag that can be read" in only_line(capsys.readouterr().err)
    monkeypatch.setitem(sys.modules, "rosbags", None)
    monkeypatch.setitem(sys.modules, "rosbags.highlevel", None)
    assert run("predict", "starter", bag, "--runtime", "torch", "--out", tmp_path / "out") == 2
    assert "bags of ROS need rosbags: pip install 'egodepth[ros]'" in only_line(capsys.readouterr().err)
