"""Live depth: the newest frame counts, late ones are dropped, a source that breaks is opened again."""

import http.server
import io
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from egodepth.errors import UserError
from egodepth.inference import live
from egodepth.inference.live import LiveSource, open_source, raw_frames
from tests.command_line import run
from tests.data.trees import write_video

HEIGHT, WIDTH = 48, 96


def picture(level: int) -> np.ndarray:
    return np.full((HEIGHT, WIDTH, 3), level, np.uint8)


def jpeg(level: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture(level)).save(buffer, "JPEG")
    return buffer.getvalue()


def test_who_is_slow_gets_the_newest_frame_and_the_others_are_counted():
    gate = threading.Event()

    def frames() -> Iterator[np.ndarray]:
        yield picture(0)
        gate.wait(5)
        for level in range(1, 6):
            yield picture(level)

    with LiveSource("test", frames) as source:
        assert source.newest().pixels[0, 0, 0] == 0
        gate.set()
        while source.received < 6:
            time.sleep(0.01)
        newest = source.newest()
        assert newest.pixels[0, 0, 0] == 5
        assert newest.number == 5
        assert source.dropped == 4
        assert source.newest() is None


def test_a_source_that_breaks_is_opened_again(monkeypatch):
    monkeypatch.setattr(live, "FIRST_WAIT_S", 0.01)
    opened: list[int] = []

    def frames() -> Iterator[np.ndarray]:
        opened.append(len(opened))
        yield picture(10 * len(opened))
        if len(opened) < 3:
            raise OSError("connection reset")
        time.sleep(30)

    with LiveSource("camera", frames, reconnects=True) as source:
        levels = [source.newest().pixels[0, 0, 0] for _ in range(3)]
        assert levels == [10, 20, 30]
        assert source.reconnected == 2


def test_a_source_that_cannot_be_reached_is_one_line():
    source = LiveSource("rtsp://nowhere", lambda: iter_of(OSError("no route")), reconnects=True)
    with source, pytest.raises(UserError, match="rtsp://nowhere: no route"):
        source.newest()


def iter_of(error: Exception) -> Iterator[np.ndarray]:
    raise error
    yield


def test_raw_frames_end_with_the_last_whole_one():
    stream = io.BytesIO(picture(1).tobytes() + picture(2).tobytes() + b"rest")
    assert [int(each[0, 0, 0]) for each in raw_frames(stream, HEIGHT, WIDTH)] == [1, 2]


@pytest.mark.parametrize(
    ("source", "message"), [("nowhere.mp4", "no such"), ("97", "no such camera"), ("text.mp4", "text.mp4")]
)
def test_what_is_no_source_is_refused(tmp_path, monkeypatch, source, message):
    monkeypatch.chdir(tmp_path)
    Path("text.mp4").write_text("no video")
    with pytest.raises(UserError, match=message):
        open_source(source)


@pytest.fixture
def camera() -> Iterator[str]:
    """The address of a network camera that sends JPEG pictures without end, as most do."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
            self.end_headers()
            try:
                for number in range(2000):
                    body = jpeg(number % 200)
                    head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(body)}\r\n\r\n"
                    self.wfile.write(head.encode() + body + b"\r\n")
                    time.sleep(0.01)
            except OSError:
                return

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/camera.mjpg"
    server.shutdown()
    server.server_close()


def test_a_network_camera_becomes_numbered_depth(camera, tmp_path, capsys):
    assert run("stream", "starter", camera, "--to", tmp_path / "depth", "--frames", "5", "--fov", "70") == 0
    files = sorted((tmp_path / "depth").glob("*.png"))
    assert [file.name for file in files] == [f"{number:06d}.png" for number in range(5)]
    assert Image.open(files[0]).size == (WIDTH, HEIGHT)
    index = (tmp_path / "depth" / "frames.csv").read_text().splitlines()
    assert index[0] == "file,seconds"
    assert len(index) == 6
    assert "5 frames" in capsys.readouterr().err


def test_frames_on_standard_input_become_frames_on_standard_output():
    command = [sys.executable, "-m", "egodepth", "stream", "starter", "-", "--to", "-", "--raw", f"{WIDTH}x{HEIGHT}"]
    frames = b"".join(picture(40 * number).tobytes() for number in range(3))
    result = subprocess.run([*command, "--format", "png16"], input=frames, capture_output=True, check=False)
    assert result.returncode == 0, result.stderr
    assert len(result.stdout) > 0
    assert len(result.stdout) % (2 * HEIGHT * WIDTH) == 0


def test_a_video_is_played_in_real_time_into_a_video(tmp_path):
    write_video(tmp_path / "drive.mp4", range(10), (HEIGHT, WIDTH))
    start = time.monotonic()
    assert run("stream", "starter", tmp_path / "drive.mp4", "--to", tmp_path / "depth.mp4", "--steady") == 0
    assert time.monotonic() - start > 0.5
    assert (tmp_path / "depth.mp4").stat().st_size > 0


def test_without_a_display_other_places_are_named(tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("DISPLAY", raising=False)
    write_video(tmp_path / "drive.mp4", range(3), (HEIGHT, WIDTH))
    assert run("stream", "starter", tmp_path / "drive.mp4") == 2
    assert "--to FILE.mp4" in capsys.readouterr().err
