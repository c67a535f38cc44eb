"""What holds on an NVIDIA GPU: the same depth as on the processor, by every engine, and training that learns the same.

pytest -m gpu
"""

import numpy as np
import pytest
import torch

import egodepth
from egodepth.inference.network_predictor import NetworkPredictor
from egodepth.inference.predictor import ModelFacts
from tests.command_line import TINY_NETWORKS, evaluated, logged, run
from tests.inference.deployed_networks import HEIGHT, WIDTH, one_recipe_per_network, seeded_network

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no NVIDIA GPU"),
]

SMALL = ["--height", "64", "--width", "96", "--batch-size", "2", "--pretrained", "none", "--workers", "0"]


@pytest.fixture(autouse=True)
def full_precision():
    """Products in TensorFloat-32 differ from the processor's in the third digit."""
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


@pytest.mark.parametrize("name", one_recipe_per_network())
def test_every_network_gives_the_depth_of_the_processor(name):
    network = seeded_network(name)
    channels = 3 * getattr(network, "frames", 1)
    image = torch.rand(2, channels, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = network.predict_depth(image)
        found = network.cuda().predict_depth(image.cuda()).cpu()
    torch.testing.assert_close(found, expected, rtol=2e-3, atol=0)


@pytest.mark.parametrize("runtime", ["torch", "compile", "cuda-graph"])
def test_every_engine_gives_the_depth_of_the_processor(runtime):
    network = seeded_network("small-depth")
    facts = ModelFacts(HEIGHT, WIDTH)
    pictures = [np.random.default_rng(number).integers(0, 256, (70, 90, 3), dtype=np.uint8) for number in range(3)]
    expected = NetworkPredictor(network, facts).predict_images(pictures)
    found = NetworkPredictor(network, facts, "cuda").with_runtime(runtime).predict_images(pictures)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=2e-3)


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_training_learns_in_either_precision(drive, tmp_path, precision):
    options = [
        *SMALL,
        *TINY_NETWORKS,
        "--mode",
        "stereo",
        "--steps",
        "30",
        "--log-every",
        "1",
        "--precision",
        precision,
    ]
    assert run("train", "monodepth2", drive, "--out", tmp_path / "run", *options) == 0
    losses = logged(tmp_path / "run", "loss")
    assert np.isfinite(losses).all()
    assert np.mean(losses[-5:]) < np.mean(losses[:5])
    figures = evaluated(tmp_path / "run", drive, "simulated", tmp_path / "figures.json", "--device", "cuda")
    assert np.isfinite(figures["abs_rel"])


def test_the_starter_predicts_on_the_device_as_on_the_processor():
    image = torch.rand(1, 3, 96, 320, generator=torch.Generator().manual_seed(0))
    expected = egodepth.load("starter").predict_depth(image)
    found = egodepth.load("starter", "cuda").predict_depth(image.cuda())
    assert found.is_cuda
    torch.testing.assert_close(found.cpu(), expected, rtol=2e-3, atol=0)
