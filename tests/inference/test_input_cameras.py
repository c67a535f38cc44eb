"""Prediction on pictures of a lens: the network sees them straight, and depth lies on the pixels that were given."""

import json
import logging

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from egodepth.data.footage.camera import footage_camera, footage_lens
from egodepth.data.footage.unpacking import unpack
from egodepth.errors import UserError
from egodepth.geometry.lenses import rays, shown_pixels, straight_camera, undistort
from egodepth.inference.network_predictor import NetworkPredictor
from egodepth.inference.predict import predict
from egodepth.inference.predictor import ModelFacts
from tests.data.trees import moving_scene

pytest.importorskip("cv2")

HEIGHT, WIDTH = 96, 160
CAMERA = {"fx": 100, "fy": 101, "cx": 81, "cy": 46, "k1": -0.2, "k2": 0.03, "p1": 0.001, "p2": -0.001}


class Plane(nn.Module):
    """A stand-in network that sees a plane, by the camera of the undistorted picture; it keeps what it was given."""

    def __init__(self, lens) -> None:
        super().__init__()
        (fx, _, cx), (_, fy, cy), _ = straight_camera(lens).intrinsics.tolist()
        columns, rows = np.meshgrid(np.arange(WIDTH), np.arange(HEIGHT))
        self.depth = torch.from_numpy(plane((columns - cx) / fx, (rows - cy) / fy)).float()
        self.seen = []

    def predict_depth(self, image):
        self.seen.append(image)
        return self.depth.expand(len(image), 1, -1, -1)


def plane(x, y):
    return 5 / (1 + 0.2 * x + 0.5 * y)


@pytest.fixture
def pictures(tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(4):
        Image.fromarray(moving_scene(number, HEIGHT, WIDTH)).save(folder / f"{number}.png")
    return folder


@pytest.mark.parametrize("field", ["cropped", "full"])
def test_depth_lies_on_the_original_pixels(pictures, tmp_path, field, caplog):
    (pictures / "camera.json").write_text(json.dumps(CAMERA | {"field": field}))
    lens = footage_lens(pictures)
    network = Plane(lens)
    with caplog.at_level(logging.INFO, logger="egodepth"):
        predict(
            NetworkPredictor(network, ModelFacts(HEIGHT, WIDTH, 1.0)),
            [pictures],
            tmp_path / "out",
            "npy",
            progress=False,
        )
    [said] = [message for message in caplog.messages if "undistorted" in message]
    assert "camera.json, depth is on the original pixels" in said
    seen = (network.seen[0][0].permute(1, 2, 0) * 255).round().numpy()
    assert np.array_equal(seen, undistort(moving_scene(0, HEIGHT, WIDTH), lens))
    depth = np.load(tmp_path / "out" / "0.npy")
    shown = shown_pixels(lens)
    assert shown.all() == (field == "full") == ("at the border" not in said)
    assert np.array_equal(np.isnan(depth), ~shown)
    columns, rows = np.meshgrid(np.arange(WIDTH), np.arange(HEIGHT))
    x, y = rays(lens, np.stack([columns, rows], axis=-1).reshape(-1, 2)).reshape(HEIGHT, WIDTH, 2)[shown].T
    assert np.abs(depth[shown] / plane(x, y) - 1).max() < 0.01


@pytest.mark.parametrize("format", ["color", "png16", "video"])
def test_every_format_takes_pixels_without_depth(pictures, tmp_path, format):
    (pictures / "camera.json").write_text(json.dumps(CAMERA))
    predictor = NetworkPredictor(Plane(footage_lens(pictures)), ModelFacts(HEIGHT, WIDTH, 1.0))
    predict(predictor, [pictures], tmp_path / "out", format, progress=False)
    if format == "png16":
        steps = np.asarray(Image.open(tmp_path / "out" / "0.png"))
        assert np.array_equal(steps == 0, ~shown_pixels(footage_lens(pictures)))


def test_a_file_may_be_named_and_undistortion_left_out(pictures, tmp_path):
    elsewhere = tmp_path / "lens.json"
    elsewhere.write_text(json.dumps(CAMERA))
    lens = footage_lens(pictures, str(elsewhere))
    for intrinsics, expected in (
        (str(elsewhere), undistort(moving_scene(0, HEIGHT, WIDTH), lens)),
        ("none", moving_scene(0, HEIGHT, WIDTH)),
    ):
        network = Plane(lens)
        predictor = NetworkPredictor(network, ModelFacts(HEIGHT, WIDTH, 1.0))
        predict(predictor, [pictures / "0.png"], tmp_path / "out", "npy", progress=False, intrinsics=intrinsics)
        seen = (network.seen[0][0].permute(1, 2, 0) * 255).round().numpy()
        assert np.array_equal(seen, expected)


def test_a_file_beside_the_pictures_that_cannot_be_read_is_said_and_passed_over(pictures, tmp_path, caplog):
    (pictures / "transforms.json").write_text('{"frames": []}')
    with caplog.at_level(logging.WARNING, logger="egodepth"):
        predictor = NetworkPredictor(nn.Module(), ModelFacts(HEIGHT, WIDTH, 1.0))
        predictor.network.predict_depth = lambda image: torch.ones(len(image), 1, HEIGHT, WIDTH)
        report = predict(predictor, [pictures], tmp_path / "out", "npy", progress=False)
    assert len(report.written) == 4
    assert sum("The pictures are taken as they are" in message for message in caplog.messages) == 1


def test_training_unpacks_undistorted_frames_and_has_their_camera(pictures, tmp_path):
    plain = unpack(pictures, tmp_path / "cache", HEIGHT, WIDTH)
    (pictures / "camera.json").write_text(json.dumps(CAMERA))
    lens, camera = footage_lens(pictures), footage_camera(pictures)
    straight = unpack(pictures, tmp_path / "cache", HEIGHT, WIDTH, lens=lens)
    assert straight.frames[0].parent != plain.frames[0].parent
    picture = np.asarray(Image.open(straight.frames[1]))
    assert np.array_equal(picture, undistort(moving_scene(1, HEIGHT, WIDTH), lens))
    assert np.array_equal(camera.intrinsics, straight_camera(lens).intrinsics)
    assert camera.intrinsics[0, 0] < 100
    assert camera.intrinsics.dtype == np.float32


def test_a_calibration_of_another_size_is_scaled_and_one_that_is_turned_needs_its_side(pictures):
    larger = {key: 10 * value if key[0] in "fc" else value for key, value in CAMERA.items()}
    (pictures / "camera.json").write_text(json.dumps(larger | {"width": 1600, "height": 960}))
    assert footage_lens(pictures).fx == pytest.approx(100)
    turned = larger | {"cx": 479.5, "cy": 799.5, "fy": 1000, "width": 960, "height": 1600}
    (pictures / "camera.json").write_text(json.dumps(turned))
    with pytest.raises(UserError, match=r"nothing says to which side p1 and p2 turn"):
        footage_lens(pictures)
    (pictures / "camera.json").write_text(json.dumps(turned | {"p1": 0, "p2": 0}))
    assert footage_lens(pictures).coefficients[:2] == (-0.2, 0.03)


def test_a_distortion_that_folds_is_refused_with_the_file(pictures):
    (pictures / "camera.json").write_text(json.dumps(CAMERA | {"k1": -1}))
    with pytest.raises(UserError, match=r"camera\.json: the distortion k1 -1"):
        footage_camera(pictures)
