"""`egodepth scale` on a simulated drive, with networks that are exact up to one factor: the answer is known."""

import json
import re
import shutil
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from PIL import Image

import egodepth
from egodepth.cli.evaluate import ORIGINS
from egodepth.data.images import read_depth_png, read_image
from egodepth.data.kitti.poses import read_poses
from egodepth.deployment import onnx_file
from egodepth.geometry.cameras import Camera, pinhole
from egodepth.geometry.scale import Origin, Scale
from egodepth.models.released import ReleasedModel
from egodepth.models.rescaling import write_scale
from tests.command_line import SMALL, TINY_NETWORKS, only_line, run
from tests.data.trees import write_frames, write_oxts
from tests.scaling.exact_model import METRES_PER_UNIT, ExactPose, know, write_model

TRUE_HEIGHT_M = 1.65


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    return write_model(tmp_path_factory.mktemp("trained") / "run" / "model").parent


@pytest.fixture
def model(trained, tmp_path) -> Path:
    """A run folder that holds a model."""
    return Path(shutil.copytree(trained, tmp_path / "run"))


@pytest.fixture
def home(drive, monkeypatch) -> Path:
    """The drive that the networks know."""
    home = next(drive.glob("*/*_drive_0001_sync"))
    know(monkeypatch, home)
    return home


def config_of(model: Path) -> dict:
    return json.loads((model / "model" / "config.json").read_text())


def check_scale(model: Path, origin: str, rel: float) -> dict:
    config = config_of(model)
    assert config["metres_per_unit"] == pytest.approx(METRES_PER_UNIT, rel=rel)
    assert (config["metres_from"], config["depth"]) == (origin, "metres")
    assert egodepth.load(model).is_metric
    return config


# --- the sources ---


def test_the_camera_height_gives_metres(home, model, capsys):
    before = config_of(model)
    assert run("scale", model, home, "--camera-height", TRUE_HEIGHT_M) == 0
    config = check_scale(model, "camera height", rel=0.02)
    frames = len(list(home.glob("image_02/data/*.png")))
    assert config["metres_note"] == f"camera height 1.65 m, {frames} of {frames} frames"
    assert 0 < config["metres_error"] < 0.03
    changed = {key for key in config if config[key] != before.get(key)}
    assert changed == {"metres_per_unit", "metres_from", "metres_error", "metres_note", "depth", "focal"}
    assert config["focal"] == pytest.approx(0.58)
    assert "metres from camera height, ± " in capsys.readouterr().out


def test_training_from_video_ends_with_the_scale_that_the_camera_height_gives(home, tmp_path):
    alone = tmp_path / "alone"
    shutil.copytree(home.parent, alone / home.parent.name, ignore=shutil.ignore_patterns("*_drive_0002_sync"))
    options = [*SMALL, *TINY_NETWORKS, "--width", 192, "--camera-height", TRUE_HEIGHT_M]
    assert run("train", "monodepth2", alone, "--out", tmp_path / "run", *options) == 0
    config = check_scale(tmp_path / "run", "camera height", rel=0.02)
    assert config["metres_note"].startswith("camera height 1.65 m, ")
    assert 0 < config["metres_error"] < 0.03


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--camera-height", 1.65, "--mode", "stereo"], "--camera-height: stereo pairs give the scale"),
        (["--camera-height", 1.65, "--speed", "oxts"], "--camera-height, --speed: each gives the scale"),
        (["--speed", "nothing.csv"], "nothing.csv: no such file"),
    ],
)
def test_before_it_starts_training_refuses_what_cannot_give_metres(drive, tmp_path, capsys, options, said):
    assert run("train", "monodepth2", drive, "--out", tmp_path / "run", *SMALL, *options) == 2
    assert said in only_line(capsys.readouterr().err)
    assert not (tmp_path / "run").exists()


def test_a_training_whose_frames_show_no_road_keeps_its_model_and_says_so(tmp_path, capsys):
    frames = write_frames(tmp_path / "wall", range(8), (64, 96))
    options = [*SMALL, *TINY_NETWORKS, "--fov", 60, "--camera-height", 1.2]
    assert run("train", "monodepth2", frames, "--out", tmp_path / "run", *options) == 2
    assert "shows a road" in (line := only_line(capsys.readouterr().err))
    assert "its depth is up to scale" in line
    assert config_of(tmp_path / "run")["depth"] == "up to scale"
    assert (tmp_path / "run" / "report.html").is_file()


def test_poses_with_one_line_for_each_frame_give_metres(home, model):
    assert run("scale", model, home, "--poses", home / "poses.txt") == 0
    config = check_scale(model, "odometry", rel=0.02)
    assert config["metres_error"] == pytest.approx(0, abs=0.02)
    assert config["metres_note"] == "poses of poses.txt, 11 pairs of frames"


def test_poses_with_times_give_metres(home, model, tmp_path, capsys):
    poses = read_poses(home / "poses.txt")
    lines = [f"{number / 10} {' '.join(map(str, pose[:3, 3]))} 0 0 0 1\n" for number, pose in enumerate(poses)]
    (tmp_path / "tum.txt").write_text("".join(lines))
    assert run("scale", model, home, "--poses", tmp_path / "tum.txt", "--fps", 10) == 0
    check_scale(model, "odometry", rel=0.02)
    assert (
        "Time offset: none was found (too short); the log is taken to begin with the footage."
        in capsys.readouterr().out
    )


def test_ways_are_those_that_depth_says_whatever_the_pose_network_says(home, model, monkeypatch):
    class Half(ExactPose):
        def forward(self, earlier, later):
            turns, ways = super().forward(earlier, later)
            return turns, ways / 2

    monkeypatch.setattr(ReleasedModel, "pose_network", lambda self: Half(home))
    assert run("scale", model, home, "--poses", home / "poses.txt") == 0
    check_scale(model, "odometry", rel=0.02)


def test_a_model_of_stereo_pairs_has_its_metres_checked_without_a_pose_network(home, model):
    file = model / "model" / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "pose": None}))
    assert run("scale", model, home, "--poses", home / "poses.txt") == 0
    check_scale(model, "odometry", rel=0.02)


def test_without_a_camera_ways_are_those_of_the_pose_network(home, model, tmp_path, capsys):
    frames = shutil.copytree(home / "image_02" / "data", tmp_path / "frames")
    assert run("scale", model, frames, "--poses", home / "poses.txt") == 0
    check_scale(model, "odometry", rel=1e-4)
    assert "The camera is not known, so that its ways are what the pose network says." in capsys.readouterr().out


def test_without_a_camera_or_a_pose_network_the_camera_is_asked_for(home, model, tmp_path, capsys):
    file = model / "model" / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "pose": None}))
    frames = shutil.copytree(home / "image_02" / "data", tmp_path / "frames")
    assert run("scale", model, frames, "--poses", home / "poses.txt") == 2
    assert "the camera is not known. Give --intrinsics" in only_line(capsys.readouterr().err)


def test_a_log_of_speeds_gives_metres(home, model, tmp_path):
    (tmp_path / "speed.csv").write_text("".join(["time,speed\n", *speed_lines(home)]))
    assert run("scale", model, home, "--speed", tmp_path / "speed.csv", "--fps", 10) == 0
    check_scale(model, "speed", rel=0.03)


def speed_lines(home: Path, rate: float = 10.0) -> list[str]:
    """Speeds at the frames' times, as a wheel says them."""
    places = read_poses(home / "poses.txt")[:, :3, 3]
    speeds = np.linalg.norm(np.gradient(places, 1 / rate, axis=0), axis=1)
    return [f"{number / rate},{speed}\n" for number, speed in enumerate(speeds)]


def test_oxts_give_metres_without_any_offset(home, drive, model, tmp_path, capsys):
    shutil.copytree(drive, tmp_path / "drive")
    copied = tmp_path / "drive" / home.relative_to(drive)
    speeds = [float(line.split(",")[1]) for line in speed_lines(home)]
    write_oxts(copied / "oxts", [(speed, 0, 0) for speed in speeds])
    assert run("scale", model, tmp_path / "drive", "--speed", "oxts") == 0
    check_scale(model, "speed", rel=0.03)
    assert "Time offset" not in capsys.readouterr().out


def write_points(home: Path, file: Path, places: list[tuple[int, int, int]], factor: float = 1.0) -> None:
    lines = ["# frame column row metres\n"]
    for frame, column, row in places:
        picture = f"image_02/data/{frame:010d}.png"
        depth = read_depth_png(home / "proj_depth" / "groundtruth" / "image_02" / Path(picture).name)
        lines.append(f"{picture} {column} {row} {factor * depth[row, column]}\n")
    file.write_text("".join(lines))


def test_measured_points_give_metres_and_a_wrong_one_is_named(home, model, tmp_path, capsys):
    tape = tmp_path / "tape.txt"
    write_points(home, tape, [(0, 60, 60), (0, 100, 50), (3, 120, 55), (5, 90, 62)])
    with tape.open("a") as file:
        file.write("image_02/data/0000000002.png,90,62,77\n")
    assert run("scale", model, home, "--known", tape) == 0
    config = check_scale(model, "known distances", rel=1e-4)
    assert config["metres_note"] == "4 of 5 points of tape.txt"
    said = [line for line in capsys.readouterr().out.splitlines() if "the model says" in line]
    assert len(said) == 5
    assert [("left out" in line) for line in said] == [False] * 4 + [True]
    assert said[-1].startswith("line 6, 0000000002.png at (90, 62): 77 m")


def test_a_single_point_is_taken_with_a_warning_and_without_an_error(home, model, tmp_path, capsys):
    write_points(home, tmp_path / "tape.txt", [(0, 60, 60)])
    assert run("scale", model, home, "--known", tmp_path / "tape.txt") == 0
    assert check_scale(model, "known distances", rel=1e-4)["metres_error"] is None
    assert "Nothing checks a single point" in capsys.readouterr().out


@pytest.mark.parametrize("source", ["--camera-height", "--poses", "--known"])
def test_a_model_of_a_shorter_lens_has_metres_for_that_lens(home, model, tmp_path, source):
    """The drive's lens is twice as long as the training's: units are twice as long there."""
    file = model / "model" / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "focal": 0.29}))
    write_points(home, tmp_path / "tape.txt", [(0, 60, 60), (0, 100, 50), (3, 120, 55)])
    value = {"--camera-height": TRUE_HEIGHT_M, "--poses": home / "poses.txt", "--known": tmp_path / "tape.txt"}[source]
    assert run("scale", model, home, source, value) == 0
    config = config_of(model)
    assert config["focal"] == 0.29
    assert config["metres_per_unit"] == pytest.approx(METRES_PER_UNIT / 2, rel=0.02)
    picture = read_image(home / "image_02" / "data" / "0000000000.png")
    image = torch.from_numpy(picture.copy()).permute(2, 0, 1)[None] / 255
    seen = Camera(pinhole(0.58 * 192, 0.58 * 192, 94.3, 29.4), 64, 192)
    depth = egodepth.load(model).predict_depth(image, camera=seen)[0, 0].numpy()
    truth = read_depth_png(home / "proj_depth" / "groundtruth" / "image_02" / "0000000000.png")
    assert np.median(depth[truth > 0] / truth[truth > 0]) == pytest.approx(1, rel=0.02)


def test_points_in_pictures_of_no_known_camera_say_so(home, model, tmp_path, capsys):
    file = model / "model" / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "focal": 0.29}))
    write_points(home, tmp_path / "tape.txt", [(0, 60, 60), (0, 100, 50)])
    frames = shutil.copytree(home / "image_02" / "data", tmp_path / "image_02" / "data")
    assert run("scale", model, frames, "--known", tmp_path / "tape.txt", "--dry-run") == 0
    assert "0000000000.png: the camera is not known, so that metres are right" in capsys.readouterr().out
    assert run("scale", model, home, "--known", tmp_path / "tape.txt", "--dry-run") == 0
    assert "the camera is not known" not in capsys.readouterr().out


def test_a_model_that_keeps_the_form_of_pictures_sees_them_so(home, model):
    """The networks know the frames as they are, 192x64, and no others."""
    file = model / "model" / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "height": 96, "width": 128, "keep_aspect": True}))
    assert run("scale", model, home, "--camera-height", TRUE_HEIGHT_M) == 0
    check_scale(model, "camera height", rel=0.02)
    assert run("scale", model, home, "--poses", home / "poses.txt") == 0
    check_scale(model, "odometry", rel=0.02)


# --- what is written ---


def test_a_dry_run_writes_nothing(home, model, capsys):
    before = (model / "model" / "config.json").read_bytes()
    assert run("scale", model, home, "--camera-height", TRUE_HEIGHT_M, "--dry-run") == 0
    assert (model / "model" / "config.json").read_bytes() == before
    assert "Wrote" not in capsys.readouterr().out


def test_a_copy_leaves_the_model_alone(home, model, tmp_path):
    before = (model / "model" / "config.json").read_bytes()
    options = ["--poses", home / "poses.txt", "--out", tmp_path / "copy"]
    assert run("scale", model, home, *options) == 0
    assert (model / "model" / "config.json").read_bytes() == before
    assert egodepth.load(tmp_path / "copy").metres_per_unit == pytest.approx(METRES_PER_UNIT, rel=0.02)
    assert run("scale", model, home, *options) == 2


def test_a_scale_is_replaced_and_the_one_before_is_told(home, model, capsys):
    assert run("scale", model, home, "--poses", home / "poses.txt") == 0
    capsys.readouterr()
    assert run("scale", model, home, "--camera-height", 2 * TRUE_HEIGHT_M) == 0
    assert re.search(r"Before it was 3[12]\.\d+ m \(metres from odometry", capsys.readouterr().out)
    assert config_of(model)["metres_per_unit"] == pytest.approx(2 * METRES_PER_UNIT, rel=0.02)


def test_predict_says_where_its_metres_are_from(home, model, tmp_path, capsys):
    predict = ["predict", model, home / "image_02" / "data" / "0000000000.png", "--format", "npy", "--runtime", "torch"]
    assert run(*predict, "--out", tmp_path / "before") == 0
    assert "(depth up to scale)" in capsys.readouterr().out
    assert run("scale", model, home, "--camera-height", TRUE_HEIGHT_M) == 0
    capsys.readouterr()
    assert run(*predict, "--out", tmp_path / "after") == 0
    assert "(depth metres from camera height, ± " in capsys.readouterr().out
    truth = read_depth_png(home / "proj_depth" / "groundtruth" / "image_02" / "0000000000.png")
    depth = np.load(tmp_path / "after" / "0000000000.npy")
    assert np.median(depth[truth > 0] / truth[truth > 0]) == pytest.approx(1, rel=0.02)
    assert run(*predict, "--out", tmp_path / "given", "--scale", "3") == 0
    assert "(depth metres by --scale)" in capsys.readouterr().out


def test_an_evaluation_has_words_for_every_origin():
    assert set(ORIGINS) == {*get_args(Origin), None}


def test_an_evaluation_says_where_the_metres_are_from(drive, model, tmp_path, capsys):
    write_scale(ReleasedModel.open(model), Scale(2.0, "speed", error=0.041))
    evaluated = ["evaluate", model, drive, "--protocol", "simulated", "--json", tmp_path / "figures.json"]
    assert run(*evaluated) == 0
    assert "The model's depth is in metres, by the camera's speed, ± 4.1 %." in capsys.readouterr().out
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert (figures["metres_from"], figures["metres_error"]) == ("speed", 0.041)


def test_an_export_hands_on_the_scale(model, tmp_path, monkeypatch):
    """What becomes of it is tested with the files, in tests/inference."""
    handed: list = []
    monkeypatch.setattr(onnx_file, "export_onnx", lambda *arguments: handed.append(arguments[-1]))
    assert run("export", model, tmp_path / "model.onnx") == 0
    write_scale(ReleasedModel.open(model), Scale(2.0, "camera height", error=0.04, note="9 of 9 frames"))
    assert run("export", model, tmp_path / "model.onnx") == 0
    said = {
        "metres_per_unit": "2",
        "metres_from": "camera height",
        "metres_error": "0.04",
        "metres_note": "9 of 9 frames",
    }
    assert handed == [None, said]


# --- what cannot be used ---


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], "give one of --camera-height M, --speed FILE, --poses FILE and --known FILE"),
        (["--camera-height", 1.65, "--speed", "oxts"], "give one of"),
        (["--camera-height", -1], "--camera-height -1: expected"),
        (["--camera-height", 1.65, "--fov", 60], "comes with the data"),
        (["--camera-height", 1.65, "--intrinsics", "learned"], "is for training"),
        (["--speed", "oxts"], "no drive with an oxts folder"),
        (["--speed", "nothing.csv"], "nothing.csv: no such file"),
        (["--known", "nothing.txt"], "nothing.txt: no such file"),
        (["--poses", "nothing.txt"], "nothing.txt: no such file"),
        (["--poses", "poses.txt", "--fps", 0], "--fps 0: expected"),
    ],
)
def test_what_cannot_be_used_is_one_line(home, model, capsys, monkeypatch, tmp_path, options, said):
    monkeypatch.chdir(tmp_path)
    assert run("scale", model, home, *options) == 2
    assert said in only_line(capsys.readouterr().err)
    assert config_of(model)["metres_per_unit"] is None


def test_a_log_of_one_drive_is_not_held_against_two(drive, home, model, capsys):
    assert run("scale", model, drive, "--poses", home / "poses.txt") == 2
    assert "holds several sequences" in only_line(capsys.readouterr().err)


def test_poses_of_another_number_are_refused(home, model, tmp_path, capsys):
    lines = (home / "poses.txt").read_text().splitlines(keepends=True)
    (tmp_path / "poses.txt").write_text("".join(lines[:-1]))
    assert run("scale", model, home, "--poses", tmp_path / "poses.txt") == 2
    assert "has 11 poses without times, but" in only_line(capsys.readouterr().err)


def test_frames_without_times_are_not_guessed(home, model, tmp_path, capsys):
    (tmp_path / "speed.csv").write_text("time,speed\n0,10\n1,10\n")
    assert run("scale", model, home, "--speed", tmp_path / "speed.csv") == 2
    assert "Give --fps" in only_line(capsys.readouterr().err)


def test_a_log_of_another_time_says_so(home, model, tmp_path, capsys):
    (tmp_path / "speed.csv").write_text("time,speed\n50,10\n51,10\n")
    assert run("scale", model, home, "--speed", tmp_path / "speed.csv", "--fps", 10) == 2
    assert "says of no two frames that the camera moved" in only_line(capsys.readouterr().err)


def test_pictures_without_a_road_or_a_camera_give_no_height(model, tmp_path, capsys):
    frames = write_frames(tmp_path / "frames", range(8))
    assert run("scale", model, frames, "--camera-height", 1.5) == 2
    assert "the camera is not known" in only_line(capsys.readouterr().err)
    Image.new("RGB", (64, 48), (20, 20, 20)).save(tmp_path / "grey.png")
    (tmp_path / "tape.txt").write_text("grey.png 70 10 3\n")
    assert run("scale", model, frames, "--known", tmp_path / "tape.txt") == 2
    assert "lies outside the 64x48 picture" in only_line(capsys.readouterr().err)
