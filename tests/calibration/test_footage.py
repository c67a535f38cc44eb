"""Calibration from footage alone: how frames are chosen, and what runs that differ are worth."""

import importlib.util
import json
from pathlib import Path

import pytest

from egodepth.calibration import footage
from egodepth.calibration.footage import MappedRun, calibrate_footage, joined, spread_runs
from egodepth.calibration.writing import write_footage_calibration
from egodepth.data.calibrations.calibration import Calibration
from egodepth.errors import UserError
from tests.command_line import only_line, run
from tests.data.trees import write_frames

DRIVE = Path("kitti", "2011_09_26", "2011_09_26_drive_0005_sync", "image_02", "data")


def mapped(focal, registered=20, observations=1000, error=0.5):
    return MappedRun(Calibration(focal, focal, 620.5, 187, 375, 1242), registered, 20, error, observations)


def test_runs_are_spread_from_the_first_frame_to_the_last():
    runs = spread_runs(1000, 3, 80)
    assert [len(each) for each in runs] == [20] * 4
    assert runs[0][:3] == [0, 3, 6]
    assert runs[-1][-1] == 999
    assert spread_runs(15, 1, 80) == [list(range(15))]
    with pytest.raises(UserError, match="7 frames are too few"):
        spread_runs(7, 1, 80)


def test_runs_agree_on_their_weighted_median():
    found = joined(Path("a.mp4"), [mapped(720), mapped(724), mapped(900, observations=500)], 60)
    assert found.calibration.fx == 724
    assert found.registered == 60
    # Two fifths are off by 0.55 %, a fifth by 24.3 %.
    assert found.spread == pytest.approx(0.109, abs=1e-3)
    assert found.doubts == ["the runs' focal lengths differ by 11%"]


def test_runs_that_lost_their_way_do_not_count():
    found = joined(Path("a.mp4"), [mapped(720), mapped(725), mapped(100), mapped(1500, registered=3)], 60)
    assert found.calibration.fx in (720, 725)
    assert found.doubts == []
    with pytest.raises(UserError, match=r"a\.mp4: no run of its frames gives a camera"):
        joined(Path("a.mp4"), [mapped(100), mapped(720, registered=3)], 60)


def test_a_single_run_or_few_frames_or_large_errors_are_doubts(tmp_path):
    found = joined(Path("a.mp4"), [mapped(720, error=2)], 80)
    assert [doubt.split()[0] for doubt in found.doubts] == ["only", "the", "a"]
    write_footage_calibration(tmp_path / "camera.json", Path("a.mp4"), found)
    origin = json.loads((tmp_path / "camera.json").read_text())["origin"]
    assert origin["by"] == "footage alone"
    assert origin["focal_spread"] is None
    assert len(origin["doubts"]) == 3


def test_without_pycolmap_one_line_says_how_to_install_it(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(footage, "find_spec", lambda name: None)
    folder = write_frames(tmp_path / "drive")
    assert run("calibrate", folder, "--self", "--out", tmp_path / "camera.json") == 2
    assert "pip install 'egodepth[calibrate]'" in only_line(capsys.readouterr().err)


@pytest.mark.skipif(importlib.util.find_spec("pycolmap") is None, reason="pycolmap is not installed")
def test_footage_without_texture_is_refused_and_writes_nothing(tmp_path, capsys):
    folder = write_frames(tmp_path / "drive")
    out = tmp_path / "camera.json"
    assert run("calibrate", folder, "--self", "--out", out) == 2
    assert "--board" in only_line(capsys.readouterr().err)
    assert not out.exists()


@pytest.mark.realdata
@pytest.mark.skipif(importlib.util.find_spec("pycolmap") is None, reason="pycolmap is not installed")
def test_a_drive_gives_its_focal_length():
    frames = Path(__file__).parents[2].parent / "shared" / "data" / DRIVE
    if not frames.is_dir():
        pytest.skip("the KITTI sample is not beside the repository")
    found = calibrate_footage(frames, 80)
    assert found.calibration.fx == pytest.approx(721.54, rel=0.08)
