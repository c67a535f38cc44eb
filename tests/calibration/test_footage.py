"""Calibration from footage alone: how frames are chosen, and what runs that differ are worth."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

from egodepth.calibration import footage
from egodepth.calibration.footage import MappedRun, calibrate_footage, joined, spread_runs
from egodepth.calibration.writing import write_footage_calibration
from egodepth.errors import UserError
from tests.command_line import only_line, run
from tests.data.trees import write_frames

DRIVE = Path("kitti", "2011_09_26", "2011_09_26_drive_0005_sync", "image_02", "data")


def mapped(focal, k1=0.0, deviations=(5.0, 0.005), correlation=0.0, registered=20, error=0.5):
    covariance = np.outer(deviations, deviations) * np.array([[1, correlation], [correlation, 1]])
    return MappedRun(focal, k1, covariance, registered, 20, error)


def together(*runs, frames=60):
    return joined(Path("a.mp4"), runs, frames, 375, 1242)


def test_runs_are_spread_from_the_first_frame_to_the_last():
    runs = spread_runs(1000, 3, 80)
    assert [len(each) for each in runs] == [20] * 4
    assert runs[0][:3] == [0, 3, 6]
    assert runs[-1][-1] == 999
    assert spread_runs(15, 1, 80) == [list(range(15))]
    with pytest.raises(UserError, match="7 frames are too few"):
        spread_runs(7, 1, 80)


def test_runs_that_agree_are_averaged_and_one_that_is_sure_of_something_else_counts_little():
    found = together(mapped(720), mapped(724), mapped(900), frames=60)
    assert found.calibration.fx == pytest.approx(722, abs=8)
    assert (found.calibration.cx, found.calibration.cy) == (620.5, 187)
    assert found.registered == 60
    assert found.doubts == []


def test_a_short_focal_length_does_not_outweigh_the_runs_that_agree():
    """What four runs of a winding street of 1,319 px said: the shortest, sure of itself, once won over all others."""
    runs = [mapped(focal, deviations=(0.008 * focal, 0.004)) for focal in (1325, 1329, 1417, 653)]
    found = together(*runs, frames=80)
    assert found.calibration.fx == pytest.approx(1330, rel=0.02)
    assert found.apart_px == (1417, 653)
    assert found.doubts == ["2 of its 4 runs of frames say otherwise (1417, 653 px)"]


def test_runs_that_know_only_how_distortion_follows_from_focal_length_settle_both_together():
    """Two lines in the plane of focal length and distortion, with the truth where they cross."""
    far = mapped(1100, -0.3, (400.0, 0.2), -0.9999)
    near = mapped(1100, -0.2, (400.0, 0.2), 0.9999)
    alone, both = together(far, frames=20), together(far, near, frames=40)
    assert alone.deviation > 0.3
    assert "known to 36% only" in alone.doubts[-1]
    assert both.deviation < 0.07
    assert both.calibration.fx == pytest.approx(1000, abs=5)
    assert both.calibration.coefficients[0] == pytest.approx(-0.25, abs=0.01)


def test_runs_that_lost_their_way_do_not_count():
    lost = [mapped(100), mapped(1500, registered=3), MappedRun(900, 0, None, 20, 20, 0.5)]
    found = together(mapped(720), mapped(725), *lost, frames=60)
    assert found.calibration.fx == pytest.approx(722.5, abs=1)
    assert len(found.runs) == 2
    assert found.doubts == []
    with pytest.raises(UserError, match=r"a\.mp4: no run of its frames gives a camera"):
        together(*lost)


def test_a_single_run_or_few_frames_or_large_errors_are_doubts(tmp_path):
    found = together(mapped(720, error=2), frames=80)
    assert [doubt.split()[0] for doubt in found.doubts] == ["only", "the", "a"]
    write_footage_calibration(tmp_path / "camera.json", Path("a.mp4"), found)
    origin = json.loads((tmp_path / "camera.json").read_text())["origin"]
    assert origin["by"] == "footage alone"
    assert origin["focal_px_of_runs"] == [720]
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
@pytest.mark.timeout(900)
@pytest.mark.skipif(importlib.util.find_spec("pycolmap") is None, reason="pycolmap is not installed")
def test_a_drive_gives_its_focal_length():
    frames = Path(__file__).parents[2].parent / "shared" / "data" / DRIVE
    if not frames.is_dir():
        pytest.skip("the KITTI sample is not beside the repository")
    found = calibrate_footage(frames, 40)
    assert found.calibration.fx == pytest.approx(721.54, rel=0.04)
