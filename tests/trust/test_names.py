"""Names of files that are no text: not UTF-8, markup of pages and of terminals. Each is a name and nothing else."""

import json
import os
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from egodepth.data.samples import EvaluationFrame
from egodepth.evaluation.evaluate import FrameResult, ImageRow
from egodepth.evaluation.report import MetricsTable, PictureRow, per_image_figures, write_report
from egodepth.training.starting import run_options
from tests.command_line import SMALL, TINY_NETWORKS, run

LATIN = os.fsdecode(b"stra\xdfe <script>[red]$\\frac$")
"""As a camera or an archive of another system left it; Linux takes any bytes."""

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="other systems take UTF-8 alone")


@pytest.fixture
def frames(drive, tmp_path) -> Path:
    folder = tmp_path / LATIN
    folder.mkdir()
    for file in sorted(drive.glob("*/*_0001_sync/image_02/data/*.png")):
        shutil.copy(file, folder / f"{LATIN}{file.stem}.png")
    return folder


def test_names_that_are_no_utf8_are_predicted_and_checked(frames, tmp_path, capsys):
    assert run("predict", "starter", frames, "--out", tmp_path / LATIN / "out", "--format", "npy") == 0
    assert len(list((tmp_path / LATIN / "out").iterdir())) == len(list(frames.glob("*.png")))
    assert run("data", "check", frames) == 0
    assert r"stra\udcdfe <script>[red]" in capsys.readouterr().out


def test_names_that_are_no_utf8_are_packed_and_trained_on(frames, tmp_path):
    options = [*SMALL, *TINY_NETWORKS, "--steps", 1, "--fov", 80]
    assert run("data", "pack", "monodepth2", frames, "--out", tmp_path / "pack", *SMALL[:4], "--fov", 80) == 0
    assert json.loads((tmp_path / "pack" / "pack.json").read_text())["complete"]
    assert run("train", "monodepth2", frames, "--out", tmp_path / "run", *options) == 0
    assert run_options(tmp_path / "run")["samples"] > 0


def test_a_report_shows_every_text_as_text(tmp_path):
    picture = np.zeros((4, 4, 3), np.uint8)
    write_report(
        tmp_path / "report.html",
        LATIN,
        summary=[(LATIN, LATIN)],
        tables=[MetricsTable(LATIN, {LATIN: {LATIN: 1.0}}, LATIN)],
        curves={LATIN: [(number, 1.0) for number in range(6)]},
        panels=[PictureRow(LATIN, [(LATIN, picture)])],
        notes=[LATIN],
    )
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "<script" not in page
    assert page.count(r"stra\udcdfe &lt;script&gt;[red]") >= 13


def test_a_picture_of_a_frame_is_written_whatever_its_name(tmp_path):
    depth = np.ones((20, 20), np.float32)
    frame = EvaluationFrame(LATIN, np.zeros((20, 20, 3), np.uint8), depth)
    per_image_figures(tmp_path)(FrameResult(0, frame, depth, depth > 0, ImageRow(LATIN, {"abs_rel": 0.0}, 1.0)))
    [name] = [file.name for file in tmp_path.iterdir()]
    assert re.fullmatch(r"0000_stra[a-z_]+\.png", name)
