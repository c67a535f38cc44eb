"""Calibration from boards: a known camera draws them, and is found again."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from egodepth.calibration.boards import Board, calibrate_boards
from egodepth.errors import UserError
from tests.calibration.boards import BROWN, FISHEYE, MATRIX, SIZE, bent_fisheye, write_boards
from tests.command_line import only_line, run

pytest.importorskip("cv2")

CHESSBOARDS = Path(__file__).parents[2].parent / "shared" / "data" / "highway" / "chessboards"


@pytest.fixture(scope="module")
def boards(tmp_path_factory):
    return write_boards(tmp_path_factory.mktemp("boards") / "boards")


def numbers(calibration):
    return calibration.fx, calibration.fy, calibration.cx, calibration.cy


def test_the_camera_that_drew_the_boards_is_found(boards):
    found = calibrate_boards(boards, Board(7, 5))
    assert found.left_out == {}
    assert found.rms_px < 0.15
    assert numbers(found.calibration) == pytest.approx(MATRIX, abs=2)
    assert (found.calibration.height, found.calibration.width) == SIZE
    k1, _, p1, p2, *_ = found.calibration.coefficients
    assert (k1, p1, p2) == pytest.approx((BROWN[0], *BROWN[2:]), abs=0.02)
    assert 8 < found.distances[0] < found.distances[1] < 15


def test_a_fisheye_that_drew_the_boards_is_found(tmp_path):
    found = calibrate_boards(write_boards(tmp_path / "boards", bent=bent_fisheye), Board(7, 5), "fisheye")
    assert found.rms_px < 0.15
    assert numbers(found.calibration) == pytest.approx(MATRIX, abs=3)
    assert found.calibration.coefficients[0] == pytest.approx(FISHEYE[0], abs=0.03)


def test_pictures_without_the_board_of_another_size_or_broken_are_left_out_by_name(boards, tmp_path):
    folder = tmp_path / "boards"
    folder.mkdir()
    for file in boards.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    Image.new("RGB", SIZE[::-1], (90, 90, 90)).save(folder / "20.png")
    Image.open(folder / "1.png").resize((240, 180)).save(folder / "21.png")
    (folder / "22.png").write_bytes(b"no picture")
    found = calibrate_boards(folder, Board(7, 5))
    assert found.left_out["20.png"] == "no board found"
    assert found.left_out["21.png"] == "is 240x180 where most are 480x360"
    assert "not an image" in found.left_out["22.png"]
    assert len(found.errors_px) == 12


def test_a_picture_whose_board_was_bent_is_left_out(boards, tmp_path):
    folder = tmp_path / "boards"
    folder.mkdir()
    for file in boards.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    pixels = np.asarray(Image.open(folder / "0.png"))
    sheared = np.stack([np.roll(row, round(12 * np.sin(place / 40)), axis=0) for place, row in enumerate(pixels)])
    Image.fromarray(sheared).save(folder / "0.png")
    found = calibrate_boards(folder, Board(7, 5))
    assert "blurred or bent?" in found.left_out["0.png"]
    assert found.calibration.fx == pytest.approx(MATRIX[0], abs=3)


@pytest.mark.parametrize("text", ["9", "9x", "9x6x2", "2x9"])
def test_a_board_of_another_form_is_refused(text):
    with pytest.raises(UserError, match=f"--board {text}"):
        Board.parse(text)


def test_the_command_reports_each_picture_and_writes_a_camera_file(boards, tmp_path, capsys):
    out = tmp_path / "new" / "camera.json"
    assert run("calibrate", boards, "--board", "7x5", "--out", out, "--square-m", 0.03) == 0
    printed = capsys.readouterr().out
    assert printed.count(" px\n") == 12
    assert "0.png: 0." in printed
    assert "m away; corners cover" in printed
    assert f"Wrote {out}" in printed
    entries = json.loads(out.read_text())
    assert entries["fx"] == pytest.approx(MATRIX[0], abs=2)
    assert (entries["width"], entries["height"]) == SIZE[::-1]
    assert entries["origin"]["by"] == "chessboard"
    assert entries["origin"]["pictures"] == 12


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["BOARDS", "--out", "camera.json"], "give --board 9x6"),
        (["BOARDS", "--board", "9x6", "--self", "--out", "camera.json"], "give --board 9x6"),
        (["BOARDS", "--board", "9x6", "--out", "camera.txt"], "ends in .json"),
        (["nothing", "--board", "9x6", "--out", "camera.json"], "no such file or folder"),
        (["BOARDS", "--board", "nine", "--out", "camera.json"], "--board nine: expected inner corners"),
        (["BOARDS", "--board", "9x6", "--out", "camera.json"], "is seen in 0 of 12 pictures"),
        (["BOARDS", "--board", "7x5", "--square-m", "0", "--out", "camera.json"], "--square-m 0"),
    ],
)
def test_a_mistake_is_one_line_and_nothing_is_written(boards, tmp_path, words, said, capsys):
    words = [str(boards) if word == "BOARDS" else word for word in words]
    words[words.index("--out") + 1] = str(tmp_path / words[words.index("--out") + 1])
    assert run("calibrate", *words) == 2
    assert said in only_line(capsys.readouterr().err)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.realdata
def test_boards_of_a_real_camera_give_what_opencv_gives():
    if not CHESSBOARDS.is_dir():
        pytest.skip("the sample chessboards are not beside the repository")
    found = calibrate_boards(CHESSBOARDS, Board(9, 6))
    # OpenCV by its own tutorial on the same 15 pictures.
    assert numbers(found.calibration) == pytest.approx((1158.77, 1154.08, 669.64, 388.08), abs=0.5)
    assert found.calibration.coefficients[:5] == pytest.approx((-0.2568, 0.0434, -0.0007, 0.0001, -0.1150), abs=0.01)
    assert found.rms_px == pytest.approx(0.85, abs=0.01)
    assert len(found.errors_px) == 15
    assert found.left_out["calibration15.jpg"] == found.left_out["calibration7.jpg"]
    assert "1281x721" in found.left_out["calibration7.jpg"]
