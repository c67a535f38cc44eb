"""What a page does with files of unknown origin: it reads what it knows, within limits, and keeps nothing."""

import base64
import io
import struct
import sys
import zlib
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from egodepth.errors import UserError
from egodepth.web.answers import Job, readings_of
from egodepth.web.limits import WebLimits
from egodepth.web.reading import check_video, read_upload, read_uploaded_video, shows_video
from egodepth.web.sessions import Sessions
from egodepth.web.worker import Worker
from tests.command_line import only_line, run
from tests.data.trees import moving_scene, write_video

FEW = WebLimits(megapixels=1, video_seconds=2)


def png_of_size(width: int, height: int) -> bytes:
    """A PNG whose header promises so many pixels, and holds next to none."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")


def written(file: Path, content: bytes) -> Path:
    file.write_bytes(content)
    return file


def picture(file: Path, width: int = 96, height: int = 64) -> Path:
    Image.fromarray(moving_scene(0, height, width)).save(file)
    return file


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("playlist.mp4", b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n"),
        ("concat.avi", b"ffconcat version 1.0\nfile /etc/passwd\n"),
        ("script.jpg", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"),
        ("drawing.png", b"<svg xmlns='http://www.w3.org/2000/svg'><image href='file:///etc/passwd'/></svg>"),
        ("empty.jpg", b""),
    ],
)
def test_what_a_decoder_would_follow_or_run_reaches_none(tmp_path, name, content):
    with pytest.raises(UserError, match=rf"^{name}: is no picture and no video that is read here"):
        shows_video(written(tmp_path / name, content))


def test_a_picture_is_known_by_what_it_holds_whatever_its_name(tmp_path):
    encoded = io.BytesIO()
    Image.fromarray(moving_scene(0, 64, 96)).save(encoded, format="WEBP")
    file = written(tmp_path / "film.mp4", encoded.getvalue())
    assert not shows_video(file)
    assert read_upload(file, FEW).pixels.shape == (64, 96, 3)
    write_video(tmp_path / "film.avi", range(3))
    assert shows_video((tmp_path / "film.avi").rename(tmp_path / "picture.jpg"))


def test_a_picture_beyond_the_limit_is_refused_by_its_header(tmp_path):
    with pytest.raises(UserError, match=r"^large\.png: has more than 1 million pixels\. Shrink it"):
        read_upload(written(tmp_path / "large.png", png_of_size(6000, 6000)), FEW)


def test_a_damaged_picture_is_called_by_its_name_alone(tmp_path):
    with pytest.raises(UserError, match=r"^small\.png: is damaged or cut short") as caught:
        read_upload(written(tmp_path / "small.png", png_of_size(60, 60)), FEW)
    assert str(tmp_path) not in str(caught.value)


def test_a_large_picture_is_made_smaller_and_keeps_its_form(tmp_path):
    upload = read_upload(picture(tmp_path / "large.png", 2400, 1200), WebLimits())
    height, width = upload.pixels.shape[:2]
    assert height * width <= 2_000_000
    assert width / height == pytest.approx(2, rel=1e-2)
    assert upload.full_size == (1200, 2400)


def long_video(file: Path, seconds: int, claimed: int) -> Path:
    with av.open(str(file), "w", format="matroska") as container:
        stream = container.add_stream("mpeg4", rate=Fraction(2))
        stream.width, stream.height, stream.pix_fmt = 64, 32, "yuv420p"
        for number in range(2 * seconds):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(moving_scene(number, 32, 64), format="rgb24")))
        container.mux(stream.encode())
    return file


def test_a_long_video_is_refused_before_and_while_it_is_read(tmp_path):
    file = long_video(tmp_path / "long.mkv", 5, 5)
    with pytest.raises(UserError, match=r"^long\.mkv: is longer than 2 seconds"):
        check_video(file, FEW)
    with pytest.raises(UserError, match=r"^long\.mkv: is longer than 2 seconds"):
        list(read_uploaded_video(file, FEW))
    assert len(list(read_uploaded_video(file, WebLimits()))) == 10


def test_a_limit_of_nothing_is_refused():
    with pytest.raises(UserError, match="--answer-seconds 0: must be above 0"):
        WebLimits(answer_seconds=0)


def test_the_grid_of_distances_has_those_of_the_depth():
    depth = np.linspace(2, 40, 600 * 800, dtype=np.float32).reshape(600, 800)
    depth[:100] = np.nan
    grid = readings_of(depth, is_metric=True)
    steps = np.frombuffer(base64.b64decode(grid["steps"]), "<u2").reshape(grid["rows"], grid["columns"])
    assert steps.size <= 120_000
    assert (steps[0] == 65535).all()
    for row, column in ((0.5, 0.25), (0.99, 0.7)):
        at = steps[int(row * grid["rows"]), int(column * grid["columns"])] * grid["step"]
        assert at == pytest.approx(depth[int(row * 600), int(column * 800)], rel=5e-3)


# --- sessions ---------------------------------------------------------------------------------------------------------


def test_two_visitors_with_the_same_bytes_do_not_take_the_file_from_each_other(tmp_path):
    file = picture(tmp_path / "same.png")
    sessions = Sessions(tmp_path / "answers", 600)
    one, other = sessions.take("one", file), sessions.take("other", file)
    sessions.forget("one")
    file.unlink()
    assert not one.folder.exists()
    assert other.upload.read_bytes()


def test_a_session_goes_when_it_is_left_replaced_or_old(tmp_path):
    now = [0.0]
    sessions = Sessions(tmp_path / "answers", 600, clock=lambda: now[0])
    file = picture(tmp_path / "some.png")
    first = sessions.take("visitor", file)
    sessions.take("visitor", file)
    assert not first.folder.exists()
    now[0] = 599
    sessions.take("later", file)
    now[0] = 601
    sessions.sweep()
    assert len(list((tmp_path / "answers").iterdir())) == 1
    with pytest.raises(UserError, match=r"not here any more\. Upload it again"):
        sessions.find("visitor")
    sessions.forget("later")
    assert not list((tmp_path / "answers").iterdir())


# --- the worker -------------------------------------------------------------------------------------------------------


def test_an_answer_that_takes_too_long_is_stopped_and_the_next_one_is_given(tmp_path):
    worker = Worker("starter", "cpu", WebLimits(answer_seconds=0.3))
    try:
        assert worker.start().is_metric
        video = str(long_video(tmp_path / "slow.mkv", 19, 19))
        with pytest.raises(UserError, match=r"takes longer than 0\.3 seconds"):
            worker.answer(Job(str(tmp_path), video), lambda share: None)
        worker._seconds = 60
        found = worker.answer(Job(str(tmp_path), str(picture(tmp_path / "next.png"))), lambda share: None)
        assert Path(found.npy).is_file()
    finally:
        worker.close()


def test_a_model_that_is_not_there_and_a_missing_extra_are_one_line(tmp_path, capsys, monkeypatch):
    with pytest.raises(UserError, match="no such folder"):
        Worker(str(tmp_path / "none"), "cpu", WebLimits()).start()
    monkeypatch.setitem(sys.modules, "gradio", None)
    assert run("serve", tmp_path) == 2
    assert "egodepth serve needs Gradio: pip install 'egodepth[web]'" in only_line(capsys.readouterr().err)
