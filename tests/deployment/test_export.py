"""Exported files: PyTorch's depths in ONNX Runtime at any batch size, named and whole."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto
from torch import Tensor, nn

import egodepth
from egodepth.deployment import onnx_file
from egodepth.deployment.onnx_file import export_onnx
from egodepth.errors import UserError
from egodepth.inference import graph
from egodepth.inference.engines import OpenVINORuntime
from egodepth.inference.graph import half_precision, picture_channels
from egodepth.inference.network_predictor import NetworkPredictor
from egodepth.inference.predictor import ModelFacts, Predictor
from tests.inference.deployed_networks import (
    HEIGHT,
    WIDTH,
    StageOfHQDecv2,
    one_recipe_per_network,
    seeded_network,
)

SCALE = 5.4


class Tiny(nn.Module):
    """A network that exports in a moment: depth 1 to 11, with an interpolation, a reflection and a shared weight."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1, padding_mode="reflect")

    def predict_depth(self, image: Tensor) -> Tensor:
        small = nn.functional.elu(self.conv(self.conv(image)))
        small = nn.functional.interpolate(small[..., ::2, ::2], scale_factor=2, mode="bilinear", align_corners=False)
        return 1 + 10 * torch.sigmoid(self.conv(small).mean(dim=1, keepdim=True))


def tiny_predictor(metres_per_unit: float | None = None) -> Predictor:
    torch.manual_seed(0)
    return NetworkPredictor(Tiny(), ModelFacts(HEIGHT, WIDTH, metres_per_unit, recipe="tiny"))


@pytest.fixture(scope="module")
def tiny_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny network, which does not know its scale."""
    file = tmp_path_factory.mktemp("exported") / "model.onnx"
    export_onnx(tiny_predictor(), file)
    return file


@pytest.fixture(scope="module")
def tiny_half_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same in half precision."""
    file = tmp_path_factory.mktemp("exported") / "half.onnx"
    export_onnx(tiny_predictor(), file, precision="fp16")
    return file


def images(batch: int, height: int = HEIGHT, width: int = WIDTH, channels: int = 3) -> Tensor:
    return torch.rand(batch, channels, height, width, generator=torch.Generator().manual_seed(batch))


def run(file: Path, image: Tensor) -> np.ndarray:
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    (depth,) = session.run(["depth"], {"image": image.numpy()})
    return depth


def metadata(file: Path) -> dict[str, str]:
    return {entry.key: entry.value for entry in onnx.load(file).metadata_props}


def expected(network: nn.Module, image: Tensor) -> np.ndarray:
    with torch.inference_mode():
        return network.predict_depth(image).numpy()


SAMPLES_AT_COMPUTED_COORDINATES = ("sdfa-net", "manydepth")


def test_every_kind_of_block_of_hqdecv2_gives_the_same_in_every_engine(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = StageOfHQDecv2().eval()
    export_onnx(NetworkPredictor(network, ModelFacts(HEIGHT, WIDTH, SCALE, recipe="hqdecv2")), tmp_path / "stage.onnx")
    openvino = OpenVINORuntime((tmp_path / "stage.onnx").read_bytes())
    for batch in (1, 3):
        depth = SCALE * expected(network, images(batch))
        assert depth.max() / depth.min() > 1.02, "depths that are alike everywhere prove nothing"
        np.testing.assert_allclose(run(tmp_path / "stage.onnx", images(batch)), depth, rtol=1e-4)
        np.testing.assert_allclose(openvino(images(batch).numpy()), depth, rtol=1e-4)


# The exporter takes two minutes for the whole of HQDecv2.
@pytest.mark.parametrize("name", [name for name in one_recipe_per_network() if name != "hqdecv2"])
def test_every_system_gives_its_depths_in_every_engine(name: str, tmp_path: Path) -> None:
    network = seeded_network(name)
    channels = picture_channels(network)
    single = tmp_path / "single.onnx"
    export_onnx(NetworkPredictor(network, ModelFacts(HEIGHT, WIDTH, SCALE, recipe=name)), single)
    openvino = OpenVINORuntime(single.read_bytes())
    for batch in (1, 3):
        depth = SCALE * expected(network, images(batch, channels=channels))
        assert depth.max() / depth.min() > 1.02, "depths that are alike everywhere prove nothing"
        np.testing.assert_allclose(run(single, images(batch, channels=channels)), depth, rtol=1e-4)
        np.testing.assert_allclose(openvino(images(batch, channels=channels).numpy()), depth, rtol=1e-4)
    half = tmp_path / "half.onnx"
    if name in SAMPLES_AT_COMPUTED_COORDINATES:
        with pytest.raises(UserError, match="fp16"):
            half_precision(onnx.load(single))
    else:
        onnx.save(half_precision(onnx.load(single)), half)
        depth = SCALE * expected(network, images(1, channels=channels))
        np.testing.assert_allclose(run(half, images(1, channels=channels)), depth, rtol=2e-2)
        assert half.stat().st_size == pytest.approx(single.stat().st_size / 2, rel=0.05)
        onnx.checker.check_model(onnx.load(half), full_check=True)
    assert metadata(single) == {
        "egodepth": egodepth.__version__,
        "recipe": name,
        "height": str(HEIGHT),
        "width": str(WIDTH),
        "sizes": "one",
        "time_offsets": "-1" if name == "manydepth" else "",
        "unit": "metres",
        "precision": "fp32",
    }


def test_a_file_has_float32_faces_a_free_batch_and_a_fixed_size(tiny_file: Path, tiny_half_file: Path) -> None:
    for file in (tiny_file, tiny_half_file):
        graph = onnx.load(file).graph
        faces = [*graph.input, *graph.output]
        assert [face.name for face in faces] == ["image", "depth"]
        for face, channels in zip(faces, (3, 1), strict=True):
            batch, *size = face.type.tensor_type.shape.dim
            assert face.type.tensor_type.elem_type == TensorProto.FLOAT
            assert batch.dim_param
            assert [each.dim_value for each in size] == [channels, HEIGHT, WIDTH]


def test_a_half_precision_file_computes_in_half_precision(tiny_half_file: Path) -> None:
    model = onnx.shape_inference.infer_shapes(onnx.load(tiny_half_file), strict_mode=True)
    types = {value.name: value.type.tensor_type.elem_type for value in model.graph.value_info}
    convolved = [types[node.output[0]] for node in model.graph.node if node.op_type == "Conv"]
    assert convolved == [TensorProto.FLOAT16] * 3
    assert not np.array_equal(run(tiny_half_file, images(2)), expected(tiny_predictor().network, images(2)))


def test_another_size_than_the_models_is_exported(tmp_path: Path) -> None:
    predictor = tiny_predictor(SCALE)
    export_onnx(predictor, tmp_path / "model.onnx", height=32, width=160)
    image = images(2, 32, 160)
    np.testing.assert_allclose(run(tmp_path / "model.onnx", image), SCALE * expected(predictor.network, image), 1e-5)
    assert metadata(tmp_path / "model.onnx")["width"] == "160"


def test_a_model_without_a_scale_says_so(tiny_file: Path) -> None:
    assert metadata(tiny_file)["unit"] == "up to scale"
    depth = run(tiny_file, images(1))
    np.testing.assert_allclose(depth, expected(tiny_predictor().network, images(1)), rtol=1e-5)


def test_another_program_gives_a_file_another_scale(tmp_path: Path) -> None:
    """By the metres of a unit that its metadata name: without PyTorch, and without exporting again."""
    known = {"metres_per_unit": f"{SCALE}", "metres_from": "camera height", "metres_error": "0.04"}
    export_onnx(tiny_predictor(SCALE), tmp_path / "model.onnx", scale=known)
    said = metadata(tmp_path / "model.onnx")
    assert said["unit"] == "metres"
    assert known.items() <= said.items()
    depth = run(tmp_path / "model.onnx", images(1)) * 31.7 / float(said["metres_per_unit"])
    np.testing.assert_allclose(depth, 31.7 * expected(tiny_predictor().network, images(1)), rtol=1e-5)


def test_a_file_tells_nothing_of_the_machine_that_wrote_it(tiny_file: Path) -> None:
    content = tiny_file.read_bytes()
    assert str(Path(egodepth.__file__).parent).encode() not in content
    assert Path(__file__).name.encode() not in content


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"height": 100}, "--height 100: .* multiple of 32"),
        ({"width": -32}, "--width -32"),
        ({"precision": "int8"}, "--precision int8: .*fp32, fp16"),
        ({"file": "model.pt"}, r"model\.pt: .*\.onnx"),
        ({"file": "folder.onnx"}, r"folder\.onnx: is a folder"),
        ({"file": "file/model.onnx"}, r"model\.onnx: cannot be written"),
    ],
)
def test_what_cannot_be_exported_is_refused_and_leaves_nothing(tmp_path: Path, options: dict, message: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder.onnx").mkdir()
    before = set(tmp_path.rglob("*"))
    file = tmp_path / options.pop("file", "model.onnx")
    with pytest.raises(UserError, match=message):
        export_onnx(tiny_predictor(), file, **options)
    assert set(tmp_path.rglob("*")) == before


def test_a_file_that_differs_from_pytorch_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An exporter that forgets the unit stands for one that gets an operator wrong."""
    (tmp_path / "model.onnx").write_text("an older file")
    right = onnx_file.onnx_graph
    monkeypatch.setattr(onnx_file, "onnx_graph", lambda network, h, w, unit, *rest: right(network, h, w, None, *rest))
    with pytest.raises(UserError, match=r"model\.onnx: its depths differ from PyTorch's by up to 8\d\.\d%"):
        export_onnx(tiny_predictor(SCALE), tmp_path / "model.onnx")
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]
    assert (tmp_path / "model.onnx").read_text() == "an older file"


def test_without_onnx_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graph, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'egodepth\[train\]'"):
        export_onnx(tiny_predictor(), tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []
