"""What `pip install egodepth` alone can do: use a model, without PyTorch and all else that training needs."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import egodepth
from tests.packaging.light_install import Installation

HEAVY = {"torch", "torchvision", "timm", "lightning", "torchmetrics", "matplotlib", "opencv-python-headless", "onnx"}


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Installation:
    return Installation(tmp_path_factory.mktemp("installed"))


@pytest.fixture
def picture(tmp_path) -> Path:
    """A picture of another form and size than the starter's own."""
    rows, columns = np.mgrid[0:120, 0:300]
    pixels = np.stack([rows * 2, columns * 0.8, (rows + columns) % 256], axis=2).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "street.png")
    return tmp_path / "street.png"


def test_it_brings_nothing_that_trains(installed):
    assert not HEAVY & set(installed.distributions)


def test_a_picture_becomes_depth_as_it_does_where_pytorch_is(installed, picture, tmp_path):
    result = installed.egodepth("predict", picture, "--format", "npy", "--fov", "70", "--out", "depth", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    image = np.asarray(Image.open(picture))
    model = egodepth.load("starter").fitted_to(*image.shape[:2])
    camera = egodepth.Camera.of_field_of_view(70, *image.shape[:2])
    [expected] = model.predict_images([image], [camera])
    np.testing.assert_allclose(np.load(tmp_path / "depth" / "street.npy"), expected, rtol=1e-3)


def test_points_are_joined_by_poses_and_the_viewer_needs_its_own_extra_alone(installed, picture, tmp_path):
    (tmp_path / "poses.txt").write_text("1 0 0 0 0 1 0 0 0 0 1 0\n")
    words = ["street.png", "--fov", "70"]
    fused = installed.egodepth("fuse", "starter", *words, "--poses", "poses.txt", "--out", "all.ply", cwd=tmp_path)
    assert fused.returncode == 0, fused.stderr
    assert (tmp_path / "all.ply").read_bytes().startswith(b"ply")
    viewed = installed.egodepth("view", "starter", *words, cwd=tmp_path)
    assert viewed.returncode == 2
    assert "egodepth view needs Rerun: pip install 'egodepth[view]'" in viewed.stderr


def test_every_format_is_written(installed, picture, tmp_path):
    for name in ("png16", "color", "ply", "video"):
        result = installed.egodepth("predict", picture, "--format", name, "--fov", "70", "--out", name, cwd=tmp_path)
        assert result.returncode == 0, result.stderr
        assert any((tmp_path / name).iterdir())


def test_the_same_face_is_there_in_python(installed, tmp_path):
    code = """
import sys, numpy, egodepth
model = egodepth.load("starter")
image = numpy.random.default_rng(0).random((2, 3, 96, 320), numpy.float32)
depth = model.predict_depth(image)
assert depth.shape == (2, 1, 96, 320) and depth.dtype == numpy.float32 and model.is_metric
assert "torch" not in sys.modules
"""
    result = installed.python("-c", code, cwd=tmp_path)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize(
    "command",
    [
        ("train", "video", "DATA", "--out", "RUN"),
        ("evaluate", "starter", "DATA", "--protocol", "kitti-2015"),
        ("data", "check", "DATA"),
        ("teach", "starter", "DATA", "--out", "MAPS"),
    ],
    ids=lambda command: command[0],
)
def test_what_trains_says_in_one_line_what_it_needs(installed, tmp_path, command):
    result = installed.egodepth(*command, cwd=tmp_path)
    assert result.returncode == 2
    [line] = result.stderr.splitlines()
    assert "pip install 'egodepth[train]'" in line


@pytest.mark.parametrize(
    ("command", "extra"),
    [
        (("predict", "street.png", "--engine", "ray"), "ray"),
        (("submit", "--cluster", "local", "predict", "street.png"), "slurm"),
    ],
    ids=["ray", "slurm"],
)
def test_what_needs_several_machines_says_in_one_line_what_it_needs(installed, picture, tmp_path, command, extra):
    result = installed.egodepth(*command, cwd=tmp_path)
    assert result.returncode == 2
    [line] = result.stderr.splitlines()
    assert f"pip install 'egodepth[{extra}]'" in line


def test_a_model_of_weights_alone_says_what_it_needs(installed, picture, tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    starter = Path(egodepth.__file__).parent / "starter"
    for name in ("config.json", "model.safetensors"):
        (folder / name).write_bytes((starter / name).read_bytes())
    result = installed.egodepth("predict", folder, picture, "--out", "depth", cwd=tmp_path)
    assert result.returncode == 2
    assert "egodepth[train]" in result.stderr
    assert "egodepth export" in result.stderr
    assert json.loads((folder / "config.json").read_text())["recipe"] == "video"


def test_metres_are_set_by_a_tape_measure(installed, picture, tmp_path):
    """The starter's copy gets another scale, and its depth follows, all without PyTorch."""
    predict = ("--format", "npy", "--fov", "70")
    assert installed.egodepth("predict", picture, *predict, "--out", "before", cwd=tmp_path).returncode == 0
    before = np.load(tmp_path / "before" / "street.npy")
    points = [(150, 60), (40, 100), (250, 90)]
    lines = [f"street.png, {column}, {row}, {2 * before[row, column]}" for column, row in points]
    (tmp_path / "points.txt").write_text("\n".join(lines) + "\n")
    scale = ("scale", "starter", tmp_path, "--known", "points.txt", "--fov", "70", "--out", "mine")
    result = installed.egodepth(*scale, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert installed.egodepth("predict", "mine", picture, *predict, "--out", "after", cwd=tmp_path).returncode == 0
    np.testing.assert_allclose(np.load(tmp_path / "after" / "street.npy"), 2 * before, rtol=1e-3)


def test_exported_models_are_measured_against_each_other(installed, tmp_path):
    starter = Path(egodepth.__file__).parent / "starter" / "model.onnx"
    for name in ("one.onnx", "other.onnx"):
        (tmp_path / name).write_bytes(starter.read_bytes())
    command = ("benchmark", "one.onnx", "--baseline", "other.onnx", "--rounds", "2", "--json", "speed.json")
    result = installed.egodepth(*command, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    rows = json.loads((tmp_path / "speed.json").read_text())["rows"]
    assert [row["model"] for row in rows] == ["other.onnx", "one.onnx"]
    assert all(row["latency_ms"] > 0 and row["engine"] == "onnx" for row in rows)
