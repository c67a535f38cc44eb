"""The formats that a model leaves PyTorch in, each by its maker's own converter."""

import contextlib
import io
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from egodepth.deployment.configurations import FormatName, Quantisation
from egodepth.errors import UserError
from egodepth.inference.engines import ExecuTorchRuntime, LiteRTRuntime
from egodepth.inference.graph import INPUT, OUTPUT, DepthGraph, onnx_graph, picture_channels

if TYPE_CHECKING:
    from egodepth.deployment.calibration import Pictures

ONNX_FILE, OPENVINO_FILE, TORCH_FILE = "model.onnx", "model.xml", "model.pt2"
COREML_FILE = "model.mlpackage"
NCNN_FILE, NCNN_WEIGHTS_FILE = "model.ncnn.param", "model.ncnn.bin"
LITERT_FILE, EXECUTORCH_FILE = "model.tflite", "model.pte"

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
        names: of its input and its output.
    """

    title: str
    write: Callable[[Work, Path], None]
    run: Run | None
    modules: tuple[str, ...]
    extra: str
    quantisations: tuple[Quantisation, ...]
    file: str
    names: tuple[str, str] = (INPUT, OUTPUT)

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


# --- ncnn ------------------------------------------------------------------------------------------------------------


def _write_ncnn(work: Work, folder: Path) -> None:
    """By pnnx, from a traced network: of ONNX graphs it makes models that are wrong.

    What is traced is the exported program, which holds plain operators; at modules whose weights are read without the
    module being called (SmallDepth's heads) pnnx ends by a signal.

    Raises:
        RuntimeError: pnnx failed, or ncnn has no layer for an operator.
    """
    import pnnx

    with tempfile.TemporaryDirectory() as place, warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # PyTorch's, that tracing is old
        program = torch.export.export(work.graph, (work.example,)).module()
        torch.jit.trace(program, work.example, check_trace=False).save(str(Path(place) / "model.pt"))
        shape = ",".join(map(str, work.example.shape))
        half = int(work.quantisation == "fp16")
        command = [pnnx.EXEC_PATH, "model.pt", f"inputshape=[{shape}]f32", f"fp16={half}"]
        done = subprocess.run(command, cwd=place, capture_output=True, check=False)
        layers = Path(place) / NCNN_FILE
        if done.returncode or not layers.is_file():
            raise RuntimeError(f"pnnx ended with {done.returncode}")
        types = {line.split()[0] for line in layers.read_text(encoding="utf-8").splitlines()[2:]}
        if foreign := sorted(each for each in types if "." in each or ":" in each):
            more = f" and {len(foreign) - 3} more" if len(foreign) > 3 else ""
            raise RuntimeError(f"ncnn has no layer for {', '.join(foreign[:3])}{more}")
        for name in (NCNN_FILE, NCNN_WEIGHTS_FILE):
            (folder / name).write_bytes((Path(place) / name).read_bytes())


NCNN_CHECK = """
import sys
from pathlib import Path
import numpy
from egodepth.inference.engines import NcnnRuntime
numpy.save(sys.argv[3], NcnnRuntime(Path(sys.argv[1]))(numpy.load(sys.argv[2])))
"""


def _run_ncnn(folder: Path, image: np.ndarray) -> np.ndarray:
    """In a process of its own: a model that pnnx got wrong (RPrDepth's) ends the process that runs it.

    Raises:
        RuntimeError: it does so.
    """
    with tempfile.TemporaryDirectory() as place:
        given, found = Path(place) / "image.npy", Path(place) / "depth.npy"
        np.save(given, image)
        command = [sys.executable, "-c", NCNN_CHECK, folder / NCNN_FILE, given, found]
        done = subprocess.run(command, capture_output=True, check=False)
        if done.returncode:
            raise RuntimeError(f"ncnn ended with {done.returncode}")
        return np.load(found)


# --- LiteRT ----------------------------------------------------------------------------------------------------------


def _write_litert(work: Work, folder: Path) -> None:
    """Half precision is that of the weights, by the maker's quantiser."""
    import litert_torch

    file = folder / LITERT_FILE
    with _unheard():
        litert_torch.convert(work.graph, sample_kwargs={INPUT: work.example}).export(str(file))
        if work.quantisation == "fp16":
            _halve_litert(file)


def _halve_litert(file: Path) -> None:
    from ai_edge_quantizer import qtyping, quantizer
    from ai_edge_quantizer.algorithm_manager import AlgorithmName

    halves = qtyping.OpQuantizationConfig(
        weight_tensor_config=qtyping.TensorQuantizationConfig(num_bits=16, dtype=qtyping.TensorDataType.FLOAT),
        compute_precision=qtyping.ComputePrecision.FLOAT,
        explicit_dequantize=True,
    )
    converter = quantizer.Quantizer(str(file))
    converter.update_quantization_recipe(
        ".*", qtyping.TFLOperationName.ALL_SUPPORTED, halves, AlgorithmName.FLOAT_CASTING
    )
    converter.quantize().export_model(str(file), overwrite=True)


def _run_litert(folder: Path, image: np.ndarray) -> np.ndarray:
    return LiteRTRuntime(folder / LITERT_FILE)(image)


# --- ExecuTorch ------------------------------------------------------------------------------------------------------


def _write_executorch(work: Work, folder: Path) -> None:
    """For processors, by XNNPACK; what that does not take runs in ExecuTorch's portable operators."""
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower

    with _unheard(), torch.no_grad():
        program = torch.export.export(work.graph, (work.example,))
        lowered = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()]).to_executorch()
    (folder / EXECUTORCH_FILE).write_bytes(lowered.buffer)


def _run_executorch(folder: Path, image: np.ndarray) -> np.ndarray:
    return ExecuTorchRuntime(folder / EXECUTORCH_FILE)(image)


@contextlib.contextmanager
def _unheard() -> Iterator[None]:
    """Keep what converters say of their steps off the user's screen."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield


FORMATS: dict[FormatName, Format] = {
    "onnx": Format(
        "ONNX", _write_onnx, _run_onnx, ("onnx", "onnxscript"), "train", ("fp32", "fp16", "int8"), ONNX_FILE
    ),
    "openvino": Format(
        "OpenVINO", _write_openvino, _run_openvino, ("openvino",), "openvino", ("fp32", "fp16", "int8"), OPENVINO_FILE
    ),
    "torch-export": Format("torch.export", _write_torch, _run_torch, ("torch",), "train", ("fp32",), TORCH_FILE),
    "coreml": Format("Core ML", _write_coreml, None, ("coremltools",), "coreml", ("fp32", "fp16"), COREML_FILE),
    "ncnn": Format(
        "ncnn", _write_ncnn, _run_ncnn, ("pnnx", "ncnn"), "ncnn", ("fp32", "fp16"), NCNN_FILE, ("in0", "out0")
    ),
    "litert": Format(
        "LiteRT",
        _write_litert,
        _run_litert,
        ("litert_torch", "ai_edge_litert"),
        "litert",
        ("fp32", "fp16"),
        LITERT_FILE,
        (INPUT, "output_0"),
    ),
    "executorch": Format(
        "ExecuTorch", _write_executorch, _run_executorch, ("executorch",), "executorch", ("fp32",), EXECUTORCH_FILE
    ),
}
