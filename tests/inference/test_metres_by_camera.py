"""Metres for cameras other than the training's: what looks alike through a lens twice as long is twice as far away."""

import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor, nn

from egodepth.data.samples import EvaluationFrame
from egodepth.errors import UserError
from egodepth.evaluation.evaluate import evaluate
from egodepth.evaluation.protocols import protocol_named
from egodepth.geometry.cameras import Camera, pinhole
from egodepth.inference.network_predictor import NetworkPredictor
from egodepth.inference.predict import predict
from egodepth.inference.predictor import ModelFacts, Predictor

HEIGHT, WIDTH = 32, 64
FOCAL, METRES = 0.5, 4.0
"""Of the training's camera, in widths, and of a unit of depth."""


class OneUnit(nn.Module):
    """A stand-in network to which everything looks one unit away."""

    def predict_depth(self, image: Tensor) -> Tensor:
        return torch.ones(len(image), 1, *image.shape[-2:])


def predictor(metres_per_unit: float | None = METRES, focal: float | None = FOCAL) -> Predictor:
    return NetworkPredictor(OneUnit(), ModelFacts(HEIGHT, WIDTH, metres_per_unit, focal=focal))


def camera(focal: float, height: int = 48, width: int = 80) -> Camera:
    return Camera(pinhole(focal * width, focal * width, (width - 1) / 2, (height - 1) / 2), height, width)


def metres(model: Predictor, of: Camera | None, height: int = 48, width: int = 80) -> float:
    depth = model.predict_depth(torch.rand(1, 3, height, width), camera=of)
    assert torch.allclose(depth, depth.mean(), rtol=1e-5)
    return float(depth[0, 0, 0, 0])


def test_without_a_camera_pictures_are_taken_for_the_trainings() -> None:
    assert metres(predictor(), None) == pytest.approx(METRES)
    assert metres(predictor(), camera(FOCAL)) == pytest.approx(METRES)


@given(st.floats(0.2, 3.0))
def test_metres_grow_with_the_focal_length(focal: float) -> None:
    assert metres(predictor(), camera(focal)) == pytest.approx(METRES * focal / FOCAL, rel=1e-5)


@given(st.integers(20, 200), st.integers(20, 200))
def test_a_picture_of_another_size_of_the_same_view_gives_the_same_metres(height: int, width: int) -> None:
    resized = camera(0.9).resize(height, width)
    assert metres(predictor(), resized, height, width) == pytest.approx(METRES * 0.9 / FOCAL, rel=1e-5)


@given(st.integers(16, 80))
def test_a_part_of_a_picture_looks_nearer_and_its_camera_says_by_how_much(width: int) -> None:
    # The network is shown the part enlarged to its own size, so that all in it looks 80 / width times as large.
    part = camera(0.9).crop(4, 0, 40, width)
    assert metres(predictor(), part, 40, width) == pytest.approx(METRES * 0.9 / FOCAL * 80 / width, rel=1e-5)


def test_a_camera_of_pictures_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match="resize or crop the camera as the picture was"):
        predictor().predict_depth(torch.rand(1, 3, 24, 40), camera=camera(0.9))


@pytest.mark.parametrize(("scale", "focal"), [(None, FOCAL), (METRES, None)])
def test_a_camera_changes_nothing_where_the_scale_or_the_trainings_camera_is_not_known(scale, focal) -> None:
    assert metres(predictor(scale, focal), camera(2.0)) == pytest.approx(scale or 1.0)


def test_pictures_of_a_batch_have_a_camera_each() -> None:
    images = [np.zeros((48, 80, 3), np.uint8)] * 3
    depths = predictor().predict_images(images, [camera(1.0), None, camera(0.25)])
    assert [float(depth[0, 0]) for depth in depths] == pytest.approx([8.0, 4.0, 2.0])


def test_evaluation_takes_the_cameras_of_its_frames() -> None:
    truth = np.full((48, 80), 7.2, np.float32)
    frames = [EvaluationFrame("long", np.zeros((48, 80, 3), np.uint8), truth, camera(0.9))]
    model = predictor()
    for focal_ratio, expected in ((model.focal_ratio, 0.0), (None, 1 - 4 / 7.2)):
        result = evaluate(
            model.predict_inverse_depth,
            frames,
            protocol_named("simulated"),
            metric_scale=True,
            scaling="none",
            progress=False,
            focal_ratio=focal_ratio,
        )
        assert result.metrics["abs_rel"] == pytest.approx(expected, abs=1e-6)


# --- egodepth predict ------------------------------------------------------------------------------------------------


@pytest.fixture
def pictures(tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(2):
        Image.new("RGB", (80, 48), (number, 0, 0)).save(folder / f"{number}.jpg")
    return folder


def written(folder) -> list[float]:
    return [float(np.load(file)[0, 0]) for file in sorted(folder.glob("*.npy"))]


@pytest.mark.parametrize(
    ("given", "focal"),
    [("fov=90", 0.5), ("fov=40", 0.5 / math.tan(math.radians(20))), ("72,72,40,24", 0.9), ("none", None), (None, None)],
)
def test_predict_takes_a_camera_as_training_does(pictures, tmp_path, given, focal) -> None:
    report = predict(predictor(), [pictures], tmp_path / "out", "npy", progress=False, intrinsics=given)
    expected = METRES if focal is None else METRES * focal / FOCAL
    assert written(tmp_path / "out") == pytest.approx([expected] * 2, rel=1e-5)
    assert report.without_camera == (2 if focal is None else 0)
    if focal is not None:
        assert report.focal_ratios == pytest.approx((focal / FOCAL,) * 2)


def test_the_camera_beside_the_pictures_counts_and_scales_with_them(pictures, tmp_path) -> None:
    twice = {"fx": 144, "fy": 144, "cx": 80, "cy": 48, "width": 160, "height": 96}
    (pictures / "camera.json").write_text(json.dumps(twice))
    predict(predictor(), [pictures], tmp_path / "out", "npy", progress=False)
    assert written(tmp_path / "out") == pytest.approx([METRES * 0.9 / FOCAL] * 2, rel=1e-5)


def test_a_photograph_that_says_its_focal_length_is_believed_and_others_beside_it_are_not_changed(
    pictures, tmp_path
) -> None:
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0xA405] = 28
    Image.new("RGB", (80, 48)).save(pictures / "2.jpg", exif=exif)
    report = predict(predictor(), [pictures], tmp_path / "out", "npy", progress=False)
    # 28 mm on a film whose diagonal is 43.27 mm, for a picture whose diagonal is 93.30 pixels.
    focal = 28 / 43.2666 * 93.2952 / 80
    assert written(tmp_path / "out") == pytest.approx([METRES, METRES, METRES * focal / FOCAL], rel=1e-4)
    assert report.without_camera == 2


@pytest.mark.parametrize("given", ["100,100", "fov=5", "nonsense", "missing.json", "0.9,0.9,0.5,0.5"])
def test_what_is_no_camera_is_refused_before_anything_is_written(pictures, tmp_path, given) -> None:
    with pytest.raises(UserError):
        predict(predictor(), [pictures], tmp_path / "out", "npy", progress=False, intrinsics=given)
    assert not list((tmp_path / "out").glob("*"))
