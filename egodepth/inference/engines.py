"""Engines that run a depth network, and what there is to know of each.

Those that run a graph live here and take NumPy arrays; PyTorch's live in `network_engines.py` and take tensors. This
file needs no PyTorch.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np

from egodepth.cache import cache_folder
from egodepth.errors import UserError, first_line
from egodepth.inference.configurations import RuntimeName
from egodepth.processors import working_threads

if TYPE_CHECKING:
    from openvino import CompiledModel

logger = logging.getLogger(__name__)

Graph = bytes | Path
"""An ONNX file's bytes, or a file of one of the engines' own formats."""

ONNX_SUFFIX, OPENVINO_SUFFIX, NCNN_SUFFIX = ".onnx", ".xml", ".param"
LITERT_SUFFIX, EXECUTORCH_SUFFIX = ".tflite", ".pte"

MANY_PICTURES = 150
"""From so many on OpenVINO is the faster engine: it takes a second longer to load and to compile than ONNX Runtime, and
is about 1.7 times as fast then."""


class Runtime(Protocol):
    """A network, ready to run.

    Attributes:
        name: which engine it is.
    """

    name: RuntimeName

    def __call__(self, inputs: Any) -> Any:
        """Images (B, 3, H, W) float32 in [0, 1] to depths (B, 1, H, W) float32 in the network's units.

        Arrays for an engine of graphs, tensors for one of PyTorch.
        """
        ...


class ONNXRuntime:
    """A graph in ONNX Runtime, on the CPU."""

    name: RuntimeName = "onnx"

    def __init__(self, graph: Graph) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = working_threads()
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(
            graph if isinstance(graph, bytes) else str(graph), options, providers=["CPUExecutionProvider"]
        )
        self._input = self._session.get_inputs()[0].name

    def __call__(self, inputs: np.ndarray) -> np.ndarray:
        (depth,) = self._session.run(None, {self._input: np.ascontiguousarray(inputs)})
        return depth


class OpenVINORuntime:
    """A graph in OpenVINO, on the CPU. What OpenVINO compiles is kept for the next time, see `egodepth.cache`.

    Args:
        precision: of the arithmetic. Left alone, OpenVINO takes bfloat16 wherever the processor has it: twice as
            fast, and depths move by about 0.05 %. Ours is float32 unless asked.
    """

    def __init__(self, graph: Graph, precision: Literal["f32", "bf16"] = "f32") -> None:
        import openvino

        self.name: RuntimeName = "openvino-bf16" if precision == "bf16" else "openvino"
        self._core = openvino.Core()
        self._model = self._core.read_model(graph if isinstance(graph, bytes) else str(graph))
        self._settings = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": working_threads(),
            "INFERENCE_PRECISION_HINT": precision,
        }
        # OpenVINO's own key covers the graph, its settings, its version and the processor.
        if (folder := cache_folder("openvino")) is not None:
            self._settings["CACHE_DIR"] = str(folder)
        self._compiled: dict[tuple[int, ...], CompiledModel] = {}

    def __call__(self, inputs: np.ndarray) -> np.ndarray:
        compiled = self._compiled.get(inputs.shape) or self._compile(inputs)
        return compiled([np.ascontiguousarray(inputs)])[0]

    def _compile(self, inputs: np.ndarray) -> "CompiledModel":
        """For this shape alone: a graph of any batch size takes about a millisecond longer for each call."""
        fixed = self._model.clone()
        fixed.reshape(list(inputs.shape))
        return self._compiled.setdefault(inputs.shape, self._core.compile_model(fixed, "CPU", self._settings))

    @staticmethod
    def has_bfloat16() -> bool:
        """Whether this processor computes in bfloat16 by itself."""
        import openvino

        return "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


class NcnnRuntime:
    """A network in ncnn, on the CPU, in float32 whatever its weights are kept in.

    Args:
        graph: the file of the layers, `model.ncnn.param`; the weights lie beside it, in `model.ncnn.bin`.

    Raises:
        RuntimeError: ncnn does not read the files.
    """

    name: RuntimeName = "ncnn"

    def __init__(self, graph: Path) -> None:
        import ncnn

        self._array = ncnn.Mat
        self._net = ncnn.Net()
        options = self._net.opt
        options.num_threads = working_threads()
        # Where the processor has them, ncnn takes half precision and bfloat16 by itself.
        options.use_fp16_packed = options.use_fp16_storage = options.use_fp16_arithmetic = False
        options.use_bf16_storage = False
        for file, read in ((graph, self._net.load_param), (graph.with_suffix(".bin"), self._net.load_model)):
            if read(str(file)) != 0:
                raise RuntimeError(f"{file.name} is not read")

    def __call__(self, inputs: np.ndarray) -> np.ndarray:
        """One image after another: ncnn knows no batches."""
        return np.stack([self._depth(image) for image in inputs]).reshape(len(inputs), 1, *inputs.shape[2:])

    def _depth(self, image: np.ndarray) -> np.ndarray:
        run = self._net.create_extractor()
        # ncnn neither keeps an array alive nor takes strides; and layers that work in place end the process where the
        # memory is NumPy's. So it gets a copy, of an array that has a name until then.
        pixels = np.ascontiguousarray(image)
        run.input("in0", self._array(pixels).clone())
        failed, depth = run.extract("out0")
        if failed:
            raise RuntimeError(f"ncnn ended with {failed}")
        return np.array(depth)


class LiteRTRuntime:
    """A network in LiteRT, on the CPU; it takes one image at a time."""

    name: RuntimeName = "litert"

    def __init__(self, graph: Path) -> None:
        from ai_edge_litert.interpreter import Interpreter

        self._run = Interpreter(model_path=str(graph), num_threads=working_threads()).get_signature_runner()

    def __call__(self, inputs: np.ndarray) -> np.ndarray:
        return np.concatenate([self._run(image=image[None])["output_0"] for image in np.ascontiguousarray(inputs)])


class ExecuTorchRuntime:
    """A network in ExecuTorch, on the CPU; it takes one image at a time. Its Python package needs PyTorch."""

    name: RuntimeName = "executorch"

    def __init__(self, graph: Path) -> None:
        from executorch.runtime import Runtime

        self._method = Runtime.get().load_program(graph).load_method("forward")

    def __call__(self, inputs: np.ndarray) -> np.ndarray:
        return np.concatenate([self._depth(image[None]) for image in np.ascontiguousarray(inputs)])

    def _depth(self, image: np.ndarray) -> np.ndarray:
        import torch

        (depth,) = self._method.execute([torch.from_numpy(image)])
        return depth.numpy().copy()  # the next call writes to the same memory


@dataclass(frozen=True)
class RuntimeRecord:
    """What there is to know of an engine; a new one is a class and a record in `RUNTIMES`.

    Attributes:
        title: for people.
        open: from what it `takes`, and a memory layout where that is a network, to the runtime.
        extra: of the installation that brings it; None where a plain one does.
        modules: that it needs.
        reads: suffixes of the files that it runs; `.onnx` stands for the graph that is made of any network, too. None
            for engines of PyTorch's modules.
        package: that brings it without what its extra brings to export models.
        device: type of the only one that it runs on; None for all of PyTorch's.
        lacks: what this machine lacks for it, once it is installed; None where it has all.
    """

    title: str
    open: Callable[..., Runtime]
    extra: str | None
    modules: tuple[str, ...]
    reads: tuple[str, ...] = ()
    package: str | None = None
    device: Literal["cpu", "cuda"] | None = None
    lacks: Callable[[], str | None] = lambda: None

    @property
    def takes(self) -> Literal["network", "graph"]:
        """A PyTorch module, or a graph."""
        return "graph" if self.reads else "network"

    @property
    def is_installed(self) -> bool:
        """Whether the modules are there that it needs."""
        return all(find_spec(module) for module in self.modules)

    def absence(self, device: str) -> str | None:
        """Why it cannot run on a device here (`cpu`, `cuda:1`); None if it can."""
        if self.device not in (None, device_type(device)):
            return {"cpu": f"runs on the CPU, not on {device}", "cuda": f"needs an NVIDIA GPU, not {device}"}[
                self.device
            ]
        if not self.is_installed:
            needed = self.package or f"'egodepth{f'[{self.extra}]' if self.extra else ''}'"
            return f"{self.title} is not installed: pip install {needed}"
        return self.lacks()


def device_type(device: str) -> str:
    """`cuda` for `cuda:1`."""
    return str(device).partition(":")[0]


def _network_engine(name: str) -> Callable[..., Runtime]:
    """An engine of PyTorch, which is imported when it is opened."""

    def opened(*arguments: Any) -> Runtime:
        from egodepth.inference import network_engines

        return getattr(network_engines, name)(*arguments)

    return opened


def _lacks_bfloat16() -> str | None:
    return None if OpenVINORuntime.has_bfloat16() else "this processor does not compute in bfloat16"


TORCH = {"extra": "train", "modules": ("torch",)}
OPENVINO = {
    "extra": "openvino",
    "modules": ("openvino",),
    "reads": (ONNX_SUFFIX, OPENVINO_SUFFIX),
    "device": "cpu",
}

RUNTIMES: dict[RuntimeName, RuntimeRecord] = {
    "torch": RuntimeRecord("PyTorch", _network_engine("TorchRuntime"), **TORCH),
    "compile": RuntimeRecord("torch.compile", _network_engine("CompiledRuntime"), **TORCH),
    "cuda-graph": RuntimeRecord("a CUDA graph", _network_engine("CUDAGraphRuntime"), **TORCH, device="cuda"),
    "onnx": RuntimeRecord(
        "ONNX Runtime", ONNXRuntime, extra=None, modules=("onnxruntime",), reads=(ONNX_SUFFIX,), device="cpu"
    ),
    "openvino": RuntimeRecord("OpenVINO", OpenVINORuntime, **OPENVINO),
    "openvino-bf16": RuntimeRecord(
        "OpenVINO", partial(OpenVINORuntime, precision="bf16"), **OPENVINO, lacks=_lacks_bfloat16
    ),
    "ncnn": RuntimeRecord(
        "ncnn", NcnnRuntime, extra="ncnn", modules=("ncnn",), reads=(NCNN_SUFFIX,), package="ncnn", device="cpu"
    ),
    "litert": RuntimeRecord(
        "LiteRT",
        LiteRTRuntime,
        extra="litert",
        modules=("ai_edge_litert",),
        reads=(LITERT_SUFFIX,),
        package="ai-edge-litert",
        device="cpu",
    ),
    "executorch": RuntimeRecord(
        "ExecuTorch",
        ExecuTorchRuntime,
        extra="executorch",
        modules=("torch", "executorch"),
        reads=(EXECUTORCH_SUFFIX,),
        device="cpu",
    ),
}


def check_runtime(name: str, device: str) -> RuntimeRecord:
    """The record of an engine that a user asked for.

    Raises:
        UserError: the engine is unknown, not installed, or not for this device.
    """
    if name not in RUNTIMES:
        raise UserError(f"--runtime {name}: unknown. Choose one of {', '.join(RUNTIMES)}.")
    record = RUNTIMES[name]
    if reason := record.absence(device):
        remedy = "another" if record.device in (None, device_type(device)) else f"--device {record.device} or another"
        raise UserError(f"--runtime {name}: {reason}. Use {remedy} --runtime.")
    return record


def check_reads(name: RuntimeName, suffix: str) -> None:
    """Raises UserError: an engine does not run graphs in files whose names end so."""
    if suffix in RUNTIMES[name].reads:
        return
    if suffix == ONNX_SUFFIX and RUNTIMES[name].reads:
        raise UserError(
            f"--runtime {name}: runs models that were exported for it. Make one by egodepth export MODEL DIR --format "
            f"{name}, and give DIR."
        )
    others = " or ".join(other for other, record in RUNTIMES.items() if suffix in record.reads)
    raise UserError(f"--runtime {name}: does not run this exported model. Use {others}.")


def suffix_of(graph: Graph) -> str:
    """How the name of a graph's file ends."""
    return ONNX_SUFFIX if isinstance(graph, bytes) else graph.suffix


def open_graph(graph: Graph, name: RuntimeName | None, pictures: int | None = None) -> Runtime:
    """An engine for a graph on the CPU.

    Args:
        name: None takes the fastest that is installed and takes the graph, all work told.
        pictures: how many are to be predicted; None where nobody knows, and many are expected.

    Raises:
        UserError: the engine is unknown, not installed, or does not run this graph; or none does.
    """
    if name is not None:
        record = check_runtime(name, "cpu")
        check_reads(name, suffix_of(graph))
        return record.open(graph)
    few = pictures is not None and pictures < MANY_PICTURES
    preferred: tuple[RuntimeName, ...] = ("onnx", "openvino") if few else ("openvino", "onnx")
    said = []
    for each in (*preferred, "ncnn", "litert", "executorch"):
        if suffix_of(graph) not in RUNTIMES[each].reads:
            continue
        if reason := RUNTIMES[each].absence("cpu"):
            said.append(reason)
            continue
        try:
            return RUNTIMES[each].open(graph)
        except Exception as error:  # engines raise types of their own
            said.append(f"{RUNTIMES[each].title}: {first_line(error)}")
            logger.warning("%s cannot run this model (%s); trying the next.", each, first_line(error))
    raise UserError(f"no engine here runs this model ({'; '.join(said)}).")
