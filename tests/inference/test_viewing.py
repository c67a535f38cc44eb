"""What the viewer is given to show, read from its own files by its own program."""

import re
import subprocess
import sys

import pytest

from tests.command_line import only_line, run
from tests.data.trees import write_video


def rows_of(file, home):
    """How many rows a recording has of each entity."""
    words = [sys.executable, "-m", "rerun", "rrd", "print", file]
    environment = {"HOME": str(home), "PATH": "/usr/bin:/bin"}
    printed = subprocess.run(words, capture_output=True, text=True, check=True, env=environment).stdout
    rows: dict[str, int] = {}
    for count, entity in re.findall(r"Chunk\(\w+\) with (\d+) rows .* - (/\S+) - ", printed):
        rows[entity] = rows.get(entity, 0) + int(count)
    return rows


def test_evaluation_data_are_shown_with_points_path_truth_and_error(drive, tmp_path):
    pytest.importorskip("rerun", reason="needs the extra `view`")
    file = tmp_path / "drive.rrd"
    assert run("view", "starter", drive, "--out", file) == 0
    rows = rows_of(file, tmp_path)
    each = "/name", "/picture", "/depth/colours", "/depth/distances", "/truth", "/error", "/figures/abs_rel"
    for entity in (*each, "/world/points", "/world/path"):
        assert rows[entity] == 2, entity


def test_a_video_without_a_display_is_written_to_a_file_and_needs_no_camera(tmp_path, monkeypatch, capsys):
    pytest.importorskip("rerun", reason="needs the extra `view`")
    write_video(tmp_path / "drive.mp4", range(4))
    monkeypatch.chdir(tmp_path)
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    assert run("view", "starter", "drive.mp4", "--frames", 3) == 0
    assert "Look at them with: rerun view.rrd" in capsys.readouterr().out
    rows = rows_of(tmp_path / "view.rrd", tmp_path)
    assert rows["/picture"] == 3
    assert not {"/truth", "/world/points", "/world/path"} & set(rows)


def test_viewing_without_its_extra_and_with_options_that_do_not_fit_is_one_line(drive, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "rerun", None)
    assert run("view", "starter", drive) == 2
    assert "egodepth view needs Rerun: pip install 'egodepth[view]'" in only_line(capsys.readouterr().err)
    assert run("view", "starter", drive, "--out", tmp_path / "drive.mp4") == 2
    assert "End its name in .rrd" in only_line(capsys.readouterr().err)
