"""The page in a real browser: Debian's Chromium, driven by Playwright. Skips where one of them or Gradio is missing."""

import asyncio
import http.client
import io
import json
import re
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.data.trees import moving_scene, write_video

pytest.importorskip("gradio", reason="needs the extra `web`")
playwright = pytest.importorskip("playwright.sync_api", reason="needs Playwright")

CHROMIUM = shutil.which("chromium")
FLAGS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]
ANSWERED = "document.querySelector('#said').innerText.includes('pixels')"
WAIT_MS = 30_000

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: apt-get install chromium")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Where the server's temporary files go."""
    return tmp_path_factory.mktemp("served")


@pytest.fixture(scope="module")
def url(folder) -> Iterator[str]:
    """A page of the starter, at a free port; afterwards it has left nothing behind."""
    words = [sys.executable, "-m", "egodepth", "serve", "--port", "0", "--upload-mb", "1", "--video-seconds", "3"]
    log = folder / "log"
    environment = {"TMPDIR": str(folder), "PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    with log.open("wb") as out:
        process = subprocess.Popen(
            words, stdout=out, stderr=subprocess.STDOUT, env=environment, cwd=Path(__file__).parents[2]
        )
    try:
        end = time.monotonic() + 120
        while not (found := re.search(r"Open (http://127\.0\.0\.1:\d+)/", log.read_text())):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < end, log.read_text()
            time.sleep(0.2)
        yield found[1]
    finally:
        process.terminate()
        assert process.wait(30) == 0
    assert not list(folder.glob("egodepth-page-*"))


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield opened
        opened.close()


@pytest.fixture
def open_page(browser, url) -> Iterator[Callable]:
    """Opens the page as another visitor each time."""
    contexts = []

    def opened():
        contexts.append(browser.new_context(viewport={"width": 1200, "height": 900}))
        page = contexts[-1].new_page()
        page.asked = []
        page.on("request", lambda request: page.asked.append(request.url))
        page.goto(url)
        page.wait_for_selector("#examples img", timeout=WAIT_MS)
        return page

    yield opened
    for context in contexts:
        context.close()


def upload(page, name: str, content: bytes) -> None:
    page.locator("#upload input[type=file]").set_input_files({"name": name, "mimeType": "", "buffer": content})


def downloaded(page, button: str) -> bytes:
    with page.expect_download() as download:
        page.locator(f"#{button}").click()
    return Path(download.value.path()).read_bytes()


def png(height: int, width: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(moving_scene(0, height, width)).save(buffer, format="PNG")
    return buffer.getvalue()


def answers_of(folder: Path) -> list[Path]:
    return list(folder.glob("egodepth-page-*/answers/*"))


def test_a_picture_becomes_depth_to_compare_to_measure_to_turn_and_to_take_home(open_page, url, folder):
    page = open_page()
    upload(page, "a street.png", png(120, 200))
    page.wait_for_function(ANSWERED, timeout=WAIT_MS)

    page.wait_for_function("[...document.querySelectorAll('#compare img')].some((each) => each.naturalWidth)")
    page.wait_for_timeout(500)  # the handle moves to the middle of what has come
    handle = page.locator("#compare .inner")
    before = handle.bounding_box()
    page.mouse.move(before["x"] + before["width"] / 2, before["y"] + before["height"] / 2)
    page.mouse.down()
    page.mouse.move(before["x"] - 150, before["y"] + before["height"] / 2)
    page.mouse.up()
    assert handle.bounding_box()["x"] < before["x"] - 100

    depth = np.load(io.BytesIO(downloaded(page, "npy")))
    assert depth.shape == (120, 200)
    steps = np.asarray(Image.open(io.BytesIO(downloaded(page, "png16"))))
    np.testing.assert_allclose(steps / 256, depth, atol=1 / 256)
    assert downloaded(page, "ply").startswith(b"ply\nformat binary_little_endian 1.0\n")

    page.get_by_role("tab", name="Distances").click()
    box = page.locator("#distances img").bounding_box()
    page.mouse.move(box["x"] + 0.25 * box["width"], box["y"] + 0.9 * box["height"])
    said = page.locator("#distances output").inner_text()
    assert said.endswith(" m")
    assert float(said[:-2]) == pytest.approx(depth[108, 50], rel=0.03)

    # Seen through twice the focal length, everything is twice as far away.
    degrees = float(page.locator("#degrees input[type=range]").input_value())
    narrow = round(2 * np.degrees(np.arctan(np.tan(np.radians(degrees / 2)) / 2)))
    number = page.locator("#degrees input[type=number]")
    number.fill(str(narrow))
    number.press("Tab")
    page.wait_for_function(f"document.querySelector('#distances output').innerText !== {said!r}", timeout=WAIT_MS)
    ratio = np.tan(np.radians(degrees / 2)) / np.tan(np.radians(narrow / 2))
    page.wait_for_timeout(500)
    np.testing.assert_allclose(np.load(io.BytesIO(downloaded(page, "npy"))), depth * ratio, rtol=0.02)

    page.get_by_role("tab", name="Points").click()
    page.wait_for_selector("#points canvas", timeout=WAIT_MS)
    outside = [each for each in page.asked if not each.startswith((url, "data:", "blob:"))]
    assert outside == []

    assert len(answers_of(folder)) == 1
    page.close()
    gone_by = time.monotonic() + 20
    while answers_of(folder) and time.monotonic() < gone_by:
        time.sleep(0.2)
    assert answers_of(folder) == []


def test_a_video_becomes_a_video_and_frames_to_look_at(open_page, tmp_path):
    write_video(tmp_path / "drive.mp4", range(12))
    page = open_page()
    upload(page, "drive.mp4", (tmp_path / "drive.mp4").read_bytes())
    page.wait_for_function("document.querySelector('#said').innerText.includes('12 frames')", timeout=WAIT_MS)
    page.wait_for_selector("#video video", timeout=WAIT_MS)
    first = downloaded(page, "npy")
    page.locator("#frame input[type=number]").fill("1")
    page.locator("#frame input[type=number]").press("Tab")
    page.wait_for_function("!document.querySelector('#said').innerText.includes('12 frames')", timeout=WAIT_MS)
    assert downloaded(page, "npy") != first


def test_a_hostile_file_is_one_line_and_the_page_goes_on(open_page, folder):
    page = open_page()
    for name, content in (
        ("passwords.mp4", b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n"),
        ("../../<img src=x onerror=alert(1)>.png", b"\x89PNG\r\n\x1a\n" + b"\0" * 100),
    ):
        upload(page, name, content)
        text = page.locator("[data-testid=toast-text]").inner_text(timeout=WAIT_MS)
        assert "\n" not in text
        assert re.search(r"is no picture and no video|is damaged|is not an image", text), text
        assert str(folder) not in text
        assert page.locator("[data-testid=toast-body] img").count() == 0
        page.locator("[data-testid=toast-close]").click()
        page.locator("[data-testid=toast-text]").wait_for(state="detached")
        page.locator("#upload button[aria-label=Clear]").click()
    page.locator("#examples button img").nth(1).click()
    page.wait_for_function(ANSWERED, timeout=WAIT_MS)


def test_two_visitors_at_once_get_each_their_own(open_page):
    pages = [open_page(), open_page()]
    sizes = [(96, 160), (160, 96)]
    for page, size in zip(pages, sizes, strict=True):
        upload(page, "mine.png", png(*size))
    for page, size in zip(pages, sizes, strict=True):
        page.wait_for_function(ANSWERED, timeout=WAIT_MS)
        assert np.load(io.BytesIO(downloaded(page, "npy"))).shape == size


# --- requests that no browser makes -----------------------------------------------------------------------------------


def asked(url: str, body: bytes | None = None, **headers: str) -> tuple[int, str]:
    """Status and text of an answer."""
    request = urllib.request.Request(url, body, {name.replace("_", "-"): text for name, text in headers.items()})
    try:
        with urllib.request.urlopen(request, timeout=20) as response:
            return response.status, response.read().decode(errors="replace")
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode(errors="replace")


@pytest.mark.parametrize("path", ["/etc/passwd", "../../../../etc/passwd", "pyproject.toml", "https://127.0.0.1/x"])
def test_no_path_of_a_request_reaches_a_file_outside(url, path):
    status, text = asked(f"{url}/gradio_api/file={path}")
    assert status in (403, 404)
    assert "root:" not in text


def test_an_upload_that_was_none_is_not_taken(url, folder):
    """The event of an upload, told of a file of this machine, and of one elsewhere."""
    config = json.loads(asked(f"{url}/config")[1])
    [event] = [each for each in config["dependencies"] if each["targets"][0][1] == "upload"]
    before = answers_of(folder)
    for path in ("/etc/passwd", "http://127.0.0.1:9/x.png"):
        data = [{"path": path, "url": path, "meta": {"_type": "gradio.FileData"}}]
        body = json.dumps({"data": data, "fn_index": event["id"], "session_hash": "abcdef"}).encode()
        for route in ("run/predict", "queue/join"):
            asked(f"{url}/gradio_api/{route}", body, Content_Type="application/json")
    time.sleep(1)
    # Answers of pages that have just been closed may go meanwhile.
    assert set(answers_of(folder)) <= set(before)


def test_an_address_in_place_of_an_upload_is_not_fetched():
    import gradio

    from egodepth.web.page import refusing_addresses

    def taken():
        asyncio.run(refusing_addresses(gradio.File()).async_move_resource_to_block_cache("https://8.8.8.8/x.png"))

    # In another thread: Playwright has an event loop running in this one.
    with ThreadPoolExecutor(1) as pool, pytest.raises(gradio.Error, match="Upload the file itself"):
        pool.submit(taken).result()


def test_an_upload_beyond_the_limit_and_a_foreign_name_of_this_machine_are_refused(url):
    edge = "----edge"
    head = f'--{edge}\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\n'.encode()
    kind = f"multipart/form-data; boundary={edge}"
    body = head + b"\0" * 1_200_000 + f"\r\n--{edge}--\r\n".encode()
    assert asked(f"{url}/gradio_api/upload", body, Content_Type=kind)[0] == 413
    # Several files that are small each: refused by their length, before any of it is sent.
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=20)
    connection.putrequest("POST", "/gradio_api/upload")
    connection.putheader("Content-Type", kind)
    connection.putheader("Content-Length", str(3 * 900_000))
    connection.endheaders()
    assert connection.getresponse().status == 413
    connection.close()
    assert asked(url, Host="somewhere.example")[0] == 400
    assert asked(url)[0] == 200
