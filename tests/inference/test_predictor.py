"""The predictor: any size in, the same size out, and metres where the scale is known."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor, nn

from egodepth.errors import UserError
from egodepth.inference.network_predictor import NetworkPredictor
from egodepth.inference.predictor import ModelFacts, Predictor

HEIGHT, WIDTH = 32, 64


class BrightIsNear(nn.Module):
    """A stand-in network: depth 1 to 11 falling with the brightness of each pixel."""

    def __init__(self) -> None:
        super().__init__()
        self.reach = nn.Parameter(torch.tensor(10.0))
        self.seen: list[tuple[int, ...]] = []

    def predict_depth(self, image: Tensor) -> Tensor:
        self.seen.append(tuple(image.shape))
        return 1 + self.reach * (1 - image.mean(dim=1, keepdim=True))


class Broken(nn.Module):
    def predict_depth(self, image: Tensor) -> Tensor:
        return torch.full_like(image[:, :1], float("nan"))


@pytest.fixture
def predictor() -> Predictor:
    return NetworkPredictor(BrightIsNear(), ModelFacts(HEIGHT, WIDTH))


def random_image(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def as_tensor(image: np.ndarray) -> Tensor:
    return torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 90), st.integers(1, 90), st.integers(1, 3))
def test_depth_has_the_size_of_the_image(height: int, width: int, batch: int) -> None:
    network = BrightIsNear()
    depth = NetworkPredictor(network, ModelFacts(HEIGHT, WIDTH)).predict_depth(torch.rand(batch, 3, height, width))
    assert depth.shape == (batch, 1, height, width)
    assert depth.dtype == torch.float32
    assert 1 <= float(depth.min()) <= float(depth.max()) <= 11.0001
    assert network.seen == [(batch, 3, HEIGHT, WIDTH)]


def test_an_image_of_48_megapixels_comes_back_in_its_size(predictor: Predictor) -> None:
    image = torch.full((1, 3, 6000, 8000), 0.5)
    depth = predictor.predict_depth(image)
    assert depth.shape == (1, 1, 6000, 8000)
    assert float(depth[0, 0, 3000, 4000]) == pytest.approx(1 + 10 * (1 - 128 / 255), rel=1e-5)


def test_an_image_of_the_networks_size_goes_in_unchanged(predictor: Predictor) -> None:
    image = torch.rand(2, 3, HEIGHT, WIDTH)
    expected = 1 + 10 * (1 - image.mean(dim=1, keepdim=True))
    torch.testing.assert_close(predictor.predict_depth(image), expected)


def test_a_tensor_and_the_file_that_it_came_from_give_the_same_depth(predictor: Predictor) -> None:
    image = random_image(75, 51)
    from_tensor = predictor.predict_depth(as_tensor(image))[0, 0].numpy()
    from_pixels = predictor.predict_images([image])[0]
    np.testing.assert_array_equal(from_tensor, from_pixels)


def test_the_resize_is_lanczos_and_it_is_inverse_depth_that_is_enlarged(predictor: Predictor) -> None:
    image = random_image(80, 100)
    small = np.array(Image.fromarray(image).resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS))
    inverse = 1 / (1 + 10 * (1 - as_tensor(small).mean(dim=1, keepdim=True)))
    expected = 1 / nn.functional.interpolate(inverse, (80, 100), mode="bilinear", align_corners=False)
    np.testing.assert_allclose(predictor.predict_images([image])[0], expected[0, 0].numpy(), rtol=1e-5)


def test_pictures_of_several_sizes_share_a_batch(predictor: Predictor) -> None:
    images = [random_image(7, 5), random_image(41, 63, seed=1), random_image(HEIGHT, WIDTH, seed=2)]
    together = predictor.predict_images(images)
    assert predictor.network.seen == [(3, 3, HEIGHT, WIDTH)]
    assert [depth.shape for depth in together] == [(7, 5), (41, 63), (HEIGHT, WIDTH)]
    for image, depth in zip(images, together, strict=True):
        np.testing.assert_allclose(predictor.predict_images([image])[0], depth, rtol=1e-6)


def test_no_pictures_give_no_depths(predictor: Predictor) -> None:
    assert predictor.predict_images([]) == []


def test_a_known_scale_gives_metres() -> None:
    image = random_image(50, 70)
    relative = NetworkPredictor(BrightIsNear(), ModelFacts(HEIGHT, WIDTH))
    metric = NetworkPredictor(BrightIsNear(), ModelFacts(HEIGHT, WIDTH, metres_per_unit=5.4))
    assert metric.is_metric
    assert not relative.is_metric
    np.testing.assert_allclose(metric.predict_images([image])[0], 5.4 * relative.predict_images([image])[0], rtol=1e-5)
    inverse = metric.predict_inverse_depth(image)
    assert inverse.shape == (HEIGHT, WIDTH)
    assert inverse.dtype == np.float32
    np.testing.assert_allclose(inverse * 5.4, relative.predict_inverse_depth(image), rtol=1e-5)


def test_pictures_of_known_widths_have_metres_of_their_own() -> None:
    relative = NetworkPredictor(BrightIsNear(), ModelFacts(HEIGHT, WIDTH))
    metric = NetworkPredictor(BrightIsNear(), ModelFacts(HEIGHT, WIDTH, 5.0, metres_of_width={70: 2.0, 71: 3.0}))
    images = [random_image(50, width) for width in (70, 71, 72)]
    wanted = [scale * depth for scale, depth in zip((2, 3, 5), relative.predict_images(images), strict=True)]
    for found, depth in zip(metric.predict_images(images), wanted, strict=True):
        np.testing.assert_allclose(found, depth, rtol=1e-5)
    inverse = metric.predict_inverse_depths(images) * np.array([2, 3, 5])[:, None, None]
    np.testing.assert_allclose(inverse, relative.predict_inverse_depths(images), rtol=1e-5)
    tensor = torch.from_numpy(images[0]).permute(2, 0, 1)[None] / 255
    np.testing.assert_allclose(metric.predict_depth(tensor)[0, 0], wanted[0], rtol=1e-5)
    reduced = [metric.reduce_image(image) for image in images]  # as it comes from a reader of large pictures
    depths = metric.enlargements(reduced, [image.shape[:2] for image in images])
    for found, depth in zip(depths, wanted, strict=True):
        np.testing.assert_allclose(found(), depth, rtol=1e-5)
    assert metric.with_scale(4.0).metres_of_width == {}


def test_another_scale_leaves_the_first_predictor_as_it_was(predictor: Predictor) -> None:
    assert predictor.with_scale(2.0).metres_per_unit == 2.0
    assert predictor.metres_per_unit is None


def test_the_network_is_in_evaluation_mode_and_keeps_no_gradients() -> None:
    network = BrightIsNear().double().train()
    predictor = NetworkPredictor(network, ModelFacts(HEIGHT, WIDTH))
    depth = predictor.predict_depth(torch.rand(1, 3, 20, 20, dtype=torch.float64))
    assert not network.training
    assert depth.dtype == torch.float32
    assert not depth.requires_grad
    assert predictor.to("cpu") is predictor


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (torch.zeros(1, 3, 8, 8, dtype=torch.uint8), "floating-point"),
        (np.zeros((1, 3, 8, 8), dtype=np.uint8), "floating-point"),
        (torch.zeros(3, 8, 8), r"\(3, 8, 8\)"),
        (torch.zeros(1, 8, 8, 3), "shape"),
        (torch.zeros(0, 3, 8, 8), "shape"),
        (torch.full((1, 3, 8, 8), 255.0), "divide 8-bit values by 255"),
        (torch.full((1, 3, 8, 8), -1.5), "do not normalise"),
        (torch.full((1, 3, 8, 8), float("nan")), "nan"),
    ],
)
def test_what_is_no_image_is_refused_in_plain_words(predictor: Predictor, image: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        predictor.predict_depth(image)


def test_pictures_of_another_type_are_refused(predictor: Predictor) -> None:
    with pytest.raises(ValueError, match="uint8"):
        predictor.predict_images([np.zeros((8, 8, 3), dtype=np.float32)])


def test_a_model_that_predicts_nan_is_named_as_damaged() -> None:
    with pytest.raises(UserError, match="earlier checkpoint"):
        NetworkPredictor(Broken(), ModelFacts(HEIGHT, WIDTH)).predict_depth(torch.rand(1, 3, 8, 8))


@pytest.mark.parametrize("size", [(30, 64), (32, 0), (32, 100)])
def test_a_network_size_that_is_no_multiple_of_32_is_refused(size: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="multiples of 32"):
        NetworkPredictor(BrightIsNear(), ModelFacts(*size))


@pytest.mark.parametrize("scale", [0.0, -1.0, float("nan"), float("inf")])
def test_a_scale_that_is_no_positive_number_is_refused(scale: float) -> None:
    with pytest.raises(ValueError, match="positive"):
        NetworkPredictor(BrightIsNear(), ModelFacts(HEIGHT, WIDTH, metres_per_unit=scale))
