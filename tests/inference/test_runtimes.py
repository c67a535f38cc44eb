"""Runtimes: the same depths from every engine, and plain words where one is not there."""

import logging
import shutil
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from egodepth.errors import UserError
from egodepth.inference import engines, graph
from egodepth.inference.engines import RUNTIMES, OpenVINORuntime, check_runtime
from egodepth.inference.network_predictor import NetworkPredictor
from egodepth.inference.predictor import ModelFacts
from egodepth.networks.folding import fold_batch_norms
from egodepth.recipes import RECIPES
from tests.inference.deployed_networks import HEIGHT, WIDTH


class Bright(nn.Module):
    """A network that every engine opens in a moment."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 1, 3, padding=1)

    def predict_depth(self, image: Tensor) -> Tensor:
        return 1 + 10 * torch.sigmoid(self.conv(image))


def open_runtime(name: str | None, network: nn.Module, device: str = "cpu") -> Callable[[Tensor], Tensor]:
    """The engine that a predictor takes; engines of graphs are fed arrays."""
    runtime = NetworkPredictor(network, ModelFacts(HEIGHT, WIDTH), device).with_runtime(name).runtime
    if RUNTIMES[runtime.name].takes == "network":
        return runtime
    fed: Callable[[Tensor], Tensor] = lambda inputs: torch.from_numpy(runtime(inputs.numpy()))  # noqa: E731
    fed.name = runtime.name
    return fed


@pytest.fixture
def network() -> nn.Module:
    torch.manual_seed(0)
    return Bright().eval()


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch):
    """Make modules look as if they were not installed."""
    found = engines.find_spec

    def hide(*names: str) -> None:
        for module in (engines, graph):
            monkeypatch.setattr(module, "find_spec", lambda name: None if name in names else found(name))

    return hide


def images(batch: int) -> Tensor:
    return torch.rand(batch, 3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(batch))


@pytest.mark.parametrize("name", ["torch", "onnx", "openvino"])
def test_a_predictor_gives_the_same_depths_by_every_runtime(name: str, network: nn.Module) -> None:
    predictor = NetworkPredictor(network, ModelFacts(HEIGHT, WIDTH, metres_per_unit=5.4))
    other = predictor.with_runtime(name)
    assert other.runtime.name == name
    assert predictor.runtime.name == "torch"
    assert other.metres_per_unit == 5.4
    pictures = [np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8), np.zeros((9, 9, 3), np.uint8)]
    for expected, found in zip(predictor.predict_images(pictures), other.predict_images(pictures), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-4)
    image = torch.rand(3, 3, HEIGHT, WIDTH)
    torch.testing.assert_close(other.predict_depth(image), predictor.predict_depth(image), rtol=1e-4, atol=0)
    torch.testing.assert_close(other.with_scale(10.8).predict_depth(image), 2 * other.predict_depth(image))


def test_a_result_is_not_overwritten_by_the_next(network: nn.Module) -> None:
    for name in ("torch", "onnx", "openvino"):
        runtime = open_runtime(name, network)
        first = runtime(images(1))
        kept = first.clone()
        runtime(images(1) / 2)
        assert torch.equal(first, kept)


def test_engines_keep_the_weights_that_they_were_opened_with(network: nn.Module) -> None:
    runtime = open_runtime("openvino", network)
    before = runtime(images(1))
    with torch.no_grad():
        network.conv.bias += 1
    assert torch.equal(runtime(images(1)), before)


def test_images_in_another_layout_are_taken(network: nn.Module) -> None:
    image = images(2)
    for name in ("torch", "onnx", "openvino"):
        runtime = open_runtime(name, network)
        found = runtime(image.contiguous(memory_format=torch.channels_last))
        torch.testing.assert_close(found, runtime(image))


@pytest.mark.skipif(not shutil.which("g++"), reason="torch.compile needs a C++ compiler on the CPU")
def test_a_compiled_network_gives_the_same_depths(network: nn.Module) -> None:
    runtime = open_runtime("compile", network)
    for batch in (1, 2, 3):
        with torch.inference_mode():
            torch.testing.assert_close(runtime(images(batch)), network.predict_depth(images(batch)))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
def test_a_captured_graph_gives_the_same_depths(network: nn.Module) -> None:
    runtime = open_runtime("cuda-graph", network.cuda(), "cuda")
    for batch in (1, 2, 1):
        image = images(batch).cuda()
        with torch.inference_mode():
            torch.testing.assert_close(runtime(image), network.predict_depth(image), rtol=1e-3, atol=1e-3)


def test_the_fastest_that_is_installed_is_taken_on_the_cpu(network: nn.Module, without) -> None:
    assert open_runtime(None, network).name == "openvino"
    without("openvino")
    assert open_runtime(None, network).name == "onnx"
    without("openvino", "onnxruntime")
    assert open_runtime(None, network).name == "torch"
    without("onnxscript")
    assert open_runtime(None, network).name == "torch"


@pytest.mark.skipif(not OpenVINORuntime.has_bfloat16(), reason="this processor does not compute in bfloat16")
def test_bfloat16_is_taken_where_it_is_asked_for(network: nn.Module) -> None:
    exact = open_runtime("openvino", network)(images(2))
    runtime = open_runtime("openvino-bf16", network)
    assert runtime.name == "openvino-bf16"
    torch.testing.assert_close(runtime(images(2)), exact, rtol=2e-2, atol=0)
    assert not torch.equal(runtime(images(2)), exact)


def test_bfloat16_is_refused_where_the_processor_has_none(network: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(OpenVINORuntime, "has_bfloat16", staticmethod(lambda: False))
    with pytest.raises(UserError, match=r"bfloat16.*--runtime"):
        open_runtime("openvino-bf16", network)


def test_another_device_than_the_cpu_takes_pytorch(network: nn.Module) -> None:
    assert open_runtime(None, network, "meta").name == "torch"


def test_a_model_that_an_engine_refuses_is_left_to_the_next(
    network: nn.Module, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(file: bytes) -> None:
        raise RuntimeError("unknown operator\nand more")

    monkeypatch.setitem(engines.RUNTIMES, "openvino", replace(engines.RUNTIMES["openvino"], open=refuse))
    with caplog.at_level(logging.WARNING):
        assert open_runtime(None, network).name == "onnx"
    assert "openvino cannot run this model (unknown operator)" in caplog.text
    with pytest.raises(RuntimeError, match="unknown operator"):
        open_runtime("openvino", network)


@pytest.mark.parametrize(
    ("name", "module", "message"),
    [
        ("onnx", "onnxruntime", r"--runtime onnx: ONNX Runtime .* pip install 'egodepth'"),
        ("openvino", "openvino", r"--runtime openvino: OpenVINO .* pip install 'egodepth\[openvino\]'"),
        ("openvino", "onnxscript", r"pip install 'egodepth\[train\]'"),
    ],
)
def test_an_engine_that_is_not_installed_names_its_extra(
    network: nn.Module, without, name: str, module: str, message: str
) -> None:
    without(module)
    with pytest.raises(UserError, match=message):
        open_runtime(name, network)


@pytest.mark.parametrize("name", ["ncnn", "litert", "executorch"])
def test_an_engine_of_its_own_format_says_how_to_export_for_it(
    network: nn.Module, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(engines, "find_spec", lambda module: object())
    with pytest.raises(UserError, match=f"--runtime {name}: .* egodepth export MODEL DIR --format {name}"):
        open_runtime(name, network)


@pytest.mark.parametrize(
    ("name", "device", "message"),
    [
        ("onnx", "cuda", "--device cpu"),
        ("cuda-graph", "cpu", "NVIDIA GPU"),
        ("tensorrt", "cpu", "torch, compile, cuda-graph, onnx, openvino"),
    ],
)
def test_an_engine_that_does_not_fit_is_refused(name: str, device: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        check_runtime(name, device)


def test_padding_of_tensorflow_is_the_same_in_a_graph_for_any_size():
    """It depends on the size of what comes in, layer by layer; the sides of the pictures are multiples of 32."""
    torch.manual_seed(0)
    config = replace(RECIPES["monodepth2"].network, encoder="tf_mobilenetv3_small_minimal_100")
    network = fold_batch_norms(config.build().eval())
    assert any(type(module).__name__ == "Conv2dSame" for module in network.modules())
    predictor = NetworkPredictor(network, ModelFacts(64, 96, keeps_aspect=True))
    in_graph = predictor.with_runtime("onnx")
    for height, width in ((64, 96), (130, 90), (96, 96)):
        image = np.random.default_rng(height).integers(0, 256, (height, width, 3), dtype=np.uint8)
        [expected], [found] = (each.fitted_to(height, width).predict_images([image]) for each in (predictor, in_graph))
        np.testing.assert_allclose(found, expected, rtol=1e-4)
