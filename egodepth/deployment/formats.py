"""The formats that a model leaves PyTorch in, each by its maker's own converter."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from egodepth.deployment.configurations import FormatName, Quantisation
from egodepth.errors import UserError
from egodepth.inference.graph import INPUT, OUTPUT, DepthGraph, onnx_graph, picture_channels

if TYPE_CHECKING:
    from egodepth.deployment.calibration import Pictures

ONNX_FILE, OPENVINO_FILE, TORCH_FILE = "model.onnx", "model.xml", "model.pt2"
COREML_FILE = "model.mlpackage"

Run = Callable[[Path, np.ndarray], np.ndarray]
"""From a folder and images (1, C, H, W) float32 to depths (1, 1, H, W), by the format's own engine."""


@dataclass(frozen=True)
class Work:
    """What is to be converted.

    Attributes:
        network: on the CPU, in evaluation mode.
        unit: metres of a unit of its depth; None leaves depth in the network's units.
        height, width: of the images.
        quantisation: of weights and activations.
        pictures: for calibration, where eight bits are asked for.
    """

    network: torch.nn.Module
    unit: float | None
    height: int
    width: int
    quantisation: Quantisation = "fp32"
    pictures: "Pictures | None" = None

    @property
    def graph(self) -> DepthGraph:
        """Image to depth in the unit."""
        return DepthGraph(self.network, self.unit).eval()

    @property
    def example(self) -> torch.Tensor:
        """An image of the right shape."""
        return torch.zeros(1, picture_channels(self.network), self.height, self.width)

    def onnx(self) -> bytes:
        """The graph as ONNX in full precision, for makers that read that."""
        return onnx_graph(self.network, self.height, self.width, self.unit)


@dataclass(frozen=True)
class Format:
    """What there is to know of a format; a new one is two functions and a record in `FORMATS`.

    Attributes:
        title: for people.
        write: makes the files of a folder.
        run: the files' depth of an image; None where the engine does not run on this system.
        modules: that writing and running need.
        extra: of the installation that brings them.
        quantisations: that it can be written in.
        file: the one that stands for the model.
    """

    title: str
    write: Callable[[Work, Path], None]
    run: Run | None
    modules: tuple[str, ...]
    extra: str
    quantisations: tuple[Quantisation, ...]
    file: str

    def require(self, quantisation: Quantisation) -> None:
        """Raises UserError: it is not installed, or has no such quantisation."""
        if quantisation not in self.quantisations:
            raise UserError(f"--quantize {quantisation}: {self.title} is written in {', '.join(self.quantisations)}.")
        modules, extra = self.modules, self.extra
        if quantisation == "int8" and self.file == OPENVINO_FILE:
            modules, extra = (*modules, "nncf"), "int8"
        if missing := [module for module in modules if not find_spec(module)]:
            raise UserError(f"{self.title}: {missing[0]} is not installed: pip install 'egodepth[train,{extra}]'.")


# --- ONNX ------------------------------------------------------------------------------------------------------------


def _write_onnx(work: Work, folder: Path) -> None:
    if work.quantisation == "int8":
        from egodepth.deployment.quantisation import quantised_onnx

        quantised_onnx(work.onnx(), work.pictures, folder / ONNX_FILE)
        return
    precision = "fp16" if work.quantisation == "fp16" else "fp32"
    graph = onnx_graph(work.network, work.height, work.width, work.unit, precision)
    (folder / ONNX_FILE).write_bytes(graph)


def _run_onnx(folder: Path, image: np.ndarray) -> np.ndarray:
    import onnxruntime

    session = onnxruntime.InferenceSession(folder / ONNX_FILE, providers=["CPUExecutionProvider"])
    return session.run([OUTPUT], {INPUT: image})[0]


# --- OpenVINO --------------------------------------------------------------------------------------------------------


def _write_openvino(work: Work, folder: Path) -> None:
    import openvino

    model = openvino.Core().read_model(work.onnx())
    if work.quantisation == "int8":
        from egodepth.deployment.quantisation import quantised_openvino

        model = quantised_openvino(model, work.pictures)
    openvino.save_model(model, folder / OPENVINO_FILE, compress_to_fp16=work.quantisation == "fp16")


def _run_openvino(folder: Path, image: np.ndarray) -> np.ndarray:
    import openvino

    settings = {"INFERENCE_PRECISION_HINT": "f32"}
    compiled = openvino.Core().compile_model(folder / OPENVINO_FILE, "CPU", settings)
    return compiled([image])[0]


# --- PyTorch ---------------------------------------------------------------------------------------------------------


def _write_torch(work: Work, folder: Path) -> None:
    with torch.no_grad():
        torch.export.save(torch.export.export(work.graph, (work.example,)), folder / TORCH_FILE)


def _run_torch(folder: Path, image: np.ndarray) -> np.ndarray:
    program = torch.export.load(folder / TORCH_FILE)
    with torch.no_grad():
        return program.module()(torch.from_numpy(image)).numpy()


# --- Core ML ---------------------------------------------------------------------------------------------------------


def _write_coreml(work: Work, folder: Path) -> None:
    """Written anywhere; it runs on Apple's systems alone, and is not checked elsewhere."""
    import coremltools

    with torch.no_grad():
        program = torch.export.export(work.graph, (work.example,)).run_decompositions({})
    precision = coremltools.precision.FLOAT16 if work.quantisation == "fp16" else coremltools.precision.FLOAT32
    model = coremltools.convert(
        program,
        inputs=[coremltools.TensorType(name=INPUT, shape=tuple(work.example.shape))],
        outputs=[coremltools.TensorType(name=OUTPUT)],
        compute_precision=precision,
        minimum_deployment_target=coremltools.target.iOS17,
    )
    model.save(str(folder / COREML_FILE))


FORMATS: dict[FormatName, Format] = {
    "onnx": Format(
        "ONNX", _write_onnx, _run_onnx, ("onnx", "onnxscript"), "train", ("fp32", "fp16", "int8"), ONNX_FILE
    ),
    "openvino": Format(
        "OpenVINO", _write_openvino, _run_openvino, ("openvino",), "openvino", ("fp32", "fp16", "int8"), OPENVINO_FILE
    ),
    "torch-export": Format("torch.export", _write_torch, _run_torch, ("torch",), "train", ("fp32",), TORCH_FILE),
    "coreml": Format("Core ML", _write_coreml, None, ("coremltools",), "coreml", ("fp32", "fp16"), COREML_FILE),
}
