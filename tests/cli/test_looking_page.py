"""The commands of the page about looking at depth, run from the page itself; those of the browser are in tests/web."""

import re
import shlex
from pathlib import Path

import pytest
from PIL import Image

from tests.command_line import run
from tests.data.trees import moving_scene, write_frames, write_video

PAGE = Path(__file__).parents[2] / "docs" / "looking.md"


def test_the_page_about_looking_does_what_it_says(tmp_path, monkeypatch, capsys):
    pytest.importorskip("rerun", reason="needs the extra `view`")
    pytest.importorskip("rosbags", reason="needs the extra `ros`")
    from tests.ros.messages import write_bag

    write_video(tmp_path / "drive.mp4", range(4))
    write_frames(tmp_path / "frames", range(3))
    poses = [f"1 0 0 0 0 1 0 0 0 0 1 {number}\n" for number in range(3)]
    (tmp_path / "poses.txt").write_text("".join(poses))
    Image.fromarray(moving_scene(0, 48, 96)).save(tmp_path / "street.jpg")
    next(write_bag(tmp_path / "bag").glob("*.mcap")).rename(tmp_path / "drive.mcap")
    monkeypatch.chdir(tmp_path)
    text = PAGE.read_text()
    commands = [*re.findall(r"(?m)^    egodepth (.*)$", text), *re.findall(r"`egodepth (predict [^`]* .*?)`", text)]
    ran = set()
    for command in commands:
        words = shlex.split(command)
        if words[0] == "serve":
            continue
        if words[0] == "predict":
            words += ["--runtime", "torch"]  # the default one first spends seconds on an export
        if words[0] == "simulate":
            words += ["--height", "64", "--width", "192"]
            words[words.index("--frames") + 1] = "8"
        assert run(*words) == 0, f"{command}: {capsys.readouterr().err}"
        ran.add(words[0])
    assert ran == {"view", "fuse", "predict", "simulate"}
    for file in ("drive.rrd", "street.rrd", "drive.ply", "depth/street.ply", "depth/drive/000003.npy"):
        assert (tmp_path / file).is_file(), file
