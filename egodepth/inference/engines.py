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
"""An ONNX file's bytes, or a file of OpenVINO's or ONNX."""

OPENVINO_SUFFIX = ".xml"

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


@dataclass(frozen=True)
class RuntimeRecord:
    """What there is to know of an engine; a new one is a class and a record in `RUNTIMES`.

    Attributes:
        title: for people.
        open: from what it `takes`, and a memory layout where that is a network, to the runtime.
        takes: `network`, a PyTorch module, or `graph`.
        extra: of the installation that brings it; None where a plain one does.
        modules: that it needs.
        device: type of the only one that it runs on; None for all of PyTorch's.
        lacks: what this machine lacks for it, once it is installed; None where it has all.
    """

    title: str
    open: Callable[..., Runtime]
    takes: Literal["network", "graph"]
    extra: str | None
    modules: tuple[str, ...]
    device: Literal["cpu", "cuda"] | None = None
    lacks: Callable[[], str | None] = lambda: None

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
            return f"{self.title} is not installed: pip install 'egodepth{f'[{self.extra}]' if self.extra else ''}'"
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


TORCH = {"takes": "network", "extra": "train", "modules": ("torch",)}
OPENVINO = {"takes": "graph", "extra": "openvino", "modules": ("openvino",), "device": "cpu"}

RUNTIMES: dict[RuntimeName, RuntimeRecord] = {
    "torch": RuntimeRecord("PyTorch", _network_engine("TorchRuntime"), **TORCH),
    "compile": RuntimeRecord("torch.compile", _network_engine("CompiledRuntime"), **TORCH),
    "cuda-graph": RuntimeRecord("a CUDA graph", _network_engine("CUDAGraphRuntime"), **TORCH, device="cuda"),
    "onnx": RuntimeRecord("ONNX Runtime", ONNXRuntime, "graph", None, ("onnxruntime",), "cpu"),
    "openvino": RuntimeRecord("OpenVINO", OpenVINORuntime, **OPENVINO),
    "openvino-bf16": RuntimeRecord(
        "OpenVINO", partial(OpenVINORuntime, precision="bf16"), **OPENVINO, lacks=_lacks_bfloat16
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


def open_graph(graph: Graph, name: RuntimeName | None, pictures: int | None = None) -> Runtime:
    """An engine for a graph on the CPU.

    Args:
        name: None takes the fastest that is installed and takes the graph, all work told.
        pictures: how many are to be predicted; None where nobody knows, and many are expected.

    Raises:
        UserError: the engine is unknown, not installed, or runs no graphs; or none runs this one.
    """
    if name is not None:
        record = check_runtime(name, "cpu")
        if record.takes != "graph":
            raise UserError(f"--runtime {name}: runs no exported model. Use onnx or openvino.")
        return record.open(graph)
    few = pictures is not None and pictures < MANY_PICTURES
    names: tuple[RuntimeName, ...] = ("onnx", "openvino") if few else ("openvino", "onnx")
    if isinstance(graph, Path) and graph.suffix == OPENVINO_SUFFIX:
        names = ("openvino",)
    said = []
    for each in names:
        if reason := RUNTIMES[each].absence("cpu"):
            said.append(reason)
            continue
        try:
            return RUNTIMES[each].open(graph)
        except Exception as error:  # engines raise types of their own
            said.append(f"{RUNTIMES[each].title}: {first_line(error)}")
            logger.warning("%s cannot run this model (%s); trying the next.", each, first_line(error))
    raise UserError(f"no engine here runs this model ({'; '.join(said)}).")
