"""Points from depth: where they lie, which there are, and what a PLY file holds of them."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch import nn

from egodepth.data.footage.camera import footage_lens
from egodepth.errors import UserError
from egodepth.inference.network_predictor import NetworkPredictor
from egodepth.inference.points import POINT, points_of
from egodepth.inference.predict import predict
from egodepth.inference.predictor import ModelFacts
from tests.command_line import run
from tests.data.trees import moving_scene

HEIGHT, WIDTH = 32, 64


def pinhole_rays(height=HEIGHT, width=WIDTH, focal=40.0):
    columns, rows = np.meshgrid(np.arange(width), np.arange(height))
    return np.stack([(columns - (width - 1) / 2) / focal, (rows - (height - 1) / 2) / focal], axis=-1)


def wall(depth=5.0):
    return np.full((HEIGHT, WIDTH), depth, np.float32)


def read_ply(file):
    header, _, body = file.read_bytes().partition(b"end_header\n")
    lines = header.decode().splitlines()
    count = int(next(line.split()[-1] for line in lines if line.startswith("element vertex")))
    assert lines[:2] == ["ply", "format binary_little_endian 1.0"]
    assert [line.split()[1:] for line in lines if line.startswith("property")] == [
        *[["float", axis] for axis in "xyz"],
        *[["uchar", colour] for colour in ("red", "green", "blue")],
    ]
    assert len(body) == count * 15
    return np.frombuffer(body, POINT), header.decode()


class Sloping(nn.Module):
    """A stand-in network that sees the ground: depth falls towards the bottom of the picture."""

    def predict_depth(self, image):
        rows = torch.linspace(10, 7, image.shape[-2])[:, None].expand(image.shape[-2:])
        return rows.expand(len(image), 1, -1, -1)


@given(st.floats(0.5, 70), st.floats(20, 300))
def test_a_point_lies_where_its_pixel_looks(depth, focal):
    rays = pinhole_rays(focal=focal)
    points = points_of(wall(depth), np.zeros((HEIGHT, WIDTH, 3), np.uint8), rays, 80)
    assert len(points) == HEIGHT * WIDTH
    seen = np.stack([points["x"] / points["z"], points["y"] / points["z"]], -1)
    np.testing.assert_allclose(seen, rays.reshape(-1, 2), rtol=1e-5, atol=1e-6)
    assert points["z"] == pytest.approx(depth)


def test_colours_are_those_of_the_pixels():
    image = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    points = points_of(wall(), image, pinhole_rays(), 80)
    assert np.array_equal(np.stack([points[name] for name in ("red", "green", "blue")], -1), image.reshape(-1, 3))


def test_what_is_far_unknown_or_hangs_between_front_and_background_is_left_out():
    depth = wall()
    depth[:, 40:] = 30.0  # a background, and smooth pixels on the way to it
    depth[:, 38:40] = 12.0
    depth[0, 0], depth[1, 1], depth[2, 2] = np.nan, np.inf, 0
    rays = pinhole_rays()
    rays[-1, -1] = np.nan
    black = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    found = points_of(depth, black, rays, 80)
    assert set(np.unique(found["z"])) == {5.0, 30.0}
    columns = np.round(found["x"] / found["z"] * 40 + (WIDTH - 1) / 2)
    assert not set(range(37, 41)) & set(columns.astype(int))
    assert set(np.unique(points_of(depth, black, rays, 20)["z"])) == {5.0}


def test_predict_writes_points_of_the_pictures_own_camera(tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(2):
        Image.fromarray(moving_scene(number, HEIGHT, WIDTH)).save(folder / f"{number}.png")
    predictor = NetworkPredictor(Sloping(), ModelFacts(HEIGHT, WIDTH, 2.0))
    predict(predictor, [folder], tmp_path / "out", "ply", progress=False, intrinsics="40,40,31.5,15.5")
    points, header = read_ply(tmp_path / "out" / "0.ply")
    assert "metres" in header
    assert len(points) == HEIGHT * WIDTH
    assert points["z"].max() == pytest.approx(20)
    down = points["y"] / points["z"]
    assert np.corrcoef(down, points["z"])[0, 1] < -0.99
    few = predict(predictor, [folder], tmp_path / "few", "ply", progress=False, intrinsics="fov=77", farthest=18)
    assert read_ply(few.written[0])[0]["z"].max() <= 18


def test_points_of_a_lens_lie_on_its_undistorted_rays(tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    Image.fromarray(moving_scene(0, 96, 160)).save(folder / "0.png")
    lens = {"fx": 100, "fy": 101, "cx": 81, "cy": 46, "k1": -0.2, "k2": 0.03}
    (folder / "camera.json").write_text(json.dumps(lens))
    predict(NetworkPredictor(Sloping(), ModelFacts(96, 160, 1.0)), [folder], tmp_path / "out", "ply", progress=False)
    points, _ = read_ply(tmp_path / "out" / "0.ply")
    # Bent outward again by OpenCV's formula, the rays meet whole pixels.
    x, y = points["x"] / points["z"], points["y"] / points["z"]
    square = x**2 + y**2
    factor = 1 - 0.2 * square + 0.03 * square**2
    for pixels in (x * factor * 100 + 81, y * factor * 101 + 46):
        assert np.abs(pixels - pixels.round()).max() < 1e-2
    assert footage_lens(folder) is not None


def test_points_without_a_camera_are_refused(tmp_path):
    Image.fromarray(moving_scene(0, HEIGHT, WIDTH)).save(tmp_path / "0.png")
    with pytest.raises(UserError, match=r"points need the camera\. Give --fov"):
        predict(
            NetworkPredictor(Sloping(), ModelFacts(HEIGHT, WIDTH)),
            [tmp_path / "0.png"],
            tmp_path / "out",
            "ply",
            progress=False,
        )
    assert not list(tmp_path.glob("out/*"))


def test_a_limit_is_for_points_alone(tmp_path, capsys):
    Image.fromarray(moving_scene(0, HEIGHT, WIDTH)).save(tmp_path / "0.png")
    assert run("predict", tmp_path / "0.png", "--out", tmp_path / "out", "--farthest", 20) == 2
    assert "--farthest 20: is the largest depth of points" in capsys.readouterr().err
