"""Engines that run a depth network: PyTorch in three ways, ONNX Runtime and OpenVINO, behind one call."""

import copy
import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, Literal, Protocol

import torch
from torch import Tensor, nn

from egodepth.errors import UserError, first_line
from egodepth.inference.configurations import RuntimeName
from egodepth.inference.graph import onnx_graph

if TYPE_CHECKING:
    from openvino import CompiledModel

logger = logging.getLogger(__name__)

FASTEST_ON_CPU: tuple[RuntimeName, ...] = ("openvino", "onnx", "torch")


class Runtime(Protocol):
    """A network, ready to run at one image size.

    Attributes:
        name: which engine it is.
    """

    name: RuntimeName

    def __call__(self, inputs: Tensor) -> Tensor:
        """Images (B, 3, H, W) float32 in [0, 1] to depths (B, 1, H, W) float32 in the network's units."""
        ...


class TorchRuntime:
    """The network itself, operation by operation. It is shared, not copied, and takes any size."""

    name: RuntimeName = "torch"

    def __init__(self, network: nn.Module, memory_format: torch.memory_format = torch.contiguous_format) -> None:
        self._network = network
        self._memory_format = memory_format

    @torch.inference_mode()
    def __call__(self, inputs: Tensor) -> Tensor:
        with torch.autocast(inputs.device.type, enabled=False):
            return self._network.predict_depth(inputs.contiguous(memory_format=self._memory_format)).float()


class CompiledRuntime:
    """The network as torch.compile builds it: once for batches of one and once for all others, when they first come."""

    name: RuntimeName = "compile"

    def __init__(self, network: nn.Module, memory_format: torch.memory_format = torch.contiguous_format) -> None:
        self._predict_depth = torch.compile(network.predict_depth)
        self._memory_format = memory_format

    @torch.inference_mode()
    def __call__(self, inputs: Tensor) -> Tensor:
        with torch.autocast(inputs.device.type, enabled=False):
            return self._predict_depth(inputs.contiguous(memory_format=self._memory_format)).float()


class CUDAGraphRuntime:
    """The network's kernels as one recorded graph for each batch size, replayed without PyTorch's work between them."""

    name: RuntimeName = "cuda-graph"
    WARM_UP = 3

    def __init__(self, network: nn.Module, memory_format: torch.memory_format = torch.contiguous_format) -> None:
        self._eager = TorchRuntime(network, memory_format)
        self._graphs: dict[tuple[int, ...], tuple[torch.cuda.CUDAGraph, Tensor, Tensor]] = {}

    @torch.inference_mode()
    def __call__(self, inputs: Tensor) -> Tensor:
        shape = tuple(inputs.shape)
        if shape not in self._graphs:
            self._graphs[shape] = self._captured(inputs)
        graph, static_inputs, static_depth = self._graphs[shape]
        static_inputs.copy_(inputs)
        graph.replay()
        return static_depth.clone()

    def _captured(self, inputs: Tensor) -> tuple[torch.cuda.CUDAGraph, Tensor, Tensor]:
        static_inputs = inputs.clone()
        # Libraries choose their kernels and take their workspaces on first calls, which may not be recorded.
        stream = torch.cuda.Stream(inputs.device)
        stream.wait_stream(torch.cuda.current_stream(inputs.device))
        with torch.cuda.stream(stream):
            for _ in range(self.WARM_UP):
                self._eager(static_inputs)
        torch.cuda.current_stream(inputs.device).wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            static_depth = self._eager(static_inputs)
        return graph, static_inputs, static_depth


class ONNXRuntime:
    """A graph of `onnx_graph` in ONNX Runtime, on the CPU."""

    name: RuntimeName = "onnx"

    def __init__(self, graph: bytes) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        self._input = self._session.get_inputs()[0].name

    def __call__(self, inputs: Tensor) -> Tensor:
        (depth,) = self._session.run(None, {self._input: inputs.contiguous().numpy()})
        return torch.from_numpy(depth)


class OpenVINORuntime:
    """A graph of `onnx_graph` in OpenVINO, on the CPU.

    Args:
        precision: of the arithmetic. Left alone, OpenVINO takes bfloat16 wherever the processor has it: twice as
            fast, and depths move by about 0.05 %. Ours is float32 unless asked.
    """

    def __init__(self, graph: bytes, precision: Literal["f32", "bf16"] = "f32") -> None:
        import openvino

        self.name: RuntimeName = "openvino-bf16" if precision == "bf16" else "openvino"
        self._core = openvino.Core()
        self._model = self._core.read_model(graph)
        self._settings = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
            "INFERENCE_PRECISION_HINT": precision,
        }
        self._compiled: dict[int, CompiledModel] = {}

    def __call__(self, inputs: Tensor) -> Tensor:
        compiled = self._compiled.get(len(inputs)) or self._compile(inputs)
        return torch.from_numpy(compiled([inputs.contiguous().numpy()])[0])

    def _compile(self, inputs: Tensor) -> "CompiledModel":
        """For this batch size alone: a graph of any batch size takes about a millisecond longer for each call."""
        fixed = self._model.clone()
        fixed.reshape(list(inputs.shape))
        return self._compiled.setdefault(len(inputs), self._core.compile_model(fixed, "CPU", self._settings))

    @staticmethod
    def has_bfloat16() -> bool:
        """Whether this processor computes in bfloat16 by itself."""
        import openvino

        return "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


@dataclass(frozen=True)
class RuntimeRecord:
    """What there is to know of an engine; a new one is a class above and a record in `RUNTIMES`.

    Attributes:
        title: for people.
        open: from what it `takes`, and a memory layout where that is a network, to the runtime.
        takes: `network`, a PyTorch module, or `graph`, the bytes of an ONNX file.
        device: type of the only one that it runs on; None for all of PyTorch's.
        extra: of the installation that brings it; None where a plain one does.
        modules: that the extra brings.
        lacks: what this machine lacks for it, once it is installed; None where it has all.
    """

    title: str
    open: Callable[..., Runtime]
    takes: Literal["network", "graph"] = "network"
    device: Literal["cpu", "cuda"] | None = None
    extra: str | None = None
    modules: tuple[str, ...] = ()
    lacks: Callable[[], str | None] = lambda: None

    @property
    def is_installed(self) -> bool:
        """Whether the modules are there that it needs."""
        return all(find_spec(module) for module in self.modules)

    def absence(self, device: torch.device) -> str | None:
        """Why it cannot run on a device here; None if it can."""
        if self.device not in (None, device.type):
            return {"cpu": f"runs on the CPU, not on {device}", "cuda": f"needs an NVIDIA GPU, not {device}"}[
                self.device
            ]
        if not self.is_installed:
            return f"{self.title} is not installed: pip install 'egodepth[{self.extra}]'"
        return self.lacks()


def _lacks_bfloat16() -> str | None:
    return None if OpenVINORuntime.has_bfloat16() else "this processor does not compute in bfloat16"


OPENVINO = {"takes": "graph", "device": "cpu", "extra": "openvino", "modules": ("onnx", "onnxscript", "openvino")}

RUNTIMES: dict[RuntimeName, RuntimeRecord] = {
    "torch": RuntimeRecord("PyTorch", TorchRuntime),
    "compile": RuntimeRecord("torch.compile", CompiledRuntime),
    "cuda-graph": RuntimeRecord("a CUDA graph", CUDAGraphRuntime, device="cuda"),
    "onnx": RuntimeRecord("ONNX Runtime", ONNXRuntime, "graph", "cpu", "onnx", ("onnx", "onnxscript", "onnxruntime")),
    "openvino": RuntimeRecord("OpenVINO", OpenVINORuntime, **OPENVINO),
    "openvino-bf16": RuntimeRecord(
        "OpenVINO", partial(OpenVINORuntime, precision="bf16"), **OPENVINO, lacks=_lacks_bfloat16
    ),
}


def open_runtime(
    name: RuntimeName | None, network: nn.Module, height: int, width: int, device: torch.device | str = "cpu"
) -> Runtime:
    """Make a network ready to run at one image size.

    Args:
        name: which engine. None takes the fastest that is installed on the CPU (OpenVINO, ONNX Runtime, PyTorch), and
            PyTorch on any other device.
        network: in evaluation mode, on `device`.

    Raises:
        UserError: the engine is unknown, not installed, or not for this device.
    """
    device = torch.device(device)
    if name is None:
        return _open_fastest(network, height, width, device)
    if name not in RUNTIMES:
        raise UserError(f"--runtime {name}: unknown. Choose one of {', '.join(RUNTIMES)}.")
    record = RUNTIMES[name]
    if reason := record.absence(device):
        remedy = "another" if record.device in (None, device.type) else f"--device {record.device} or another"
        raise UserError(f"--runtime {name}: {reason}. Use {remedy} --runtime.")
    if record.takes == "graph":
        return record.open(onnx_graph(copy.deepcopy(network).cpu(), height, width))
    return record.open(network)


def _open_fastest(network: nn.Module, height: int, width: int, device: torch.device) -> Runtime:
    """The fastest engine that takes the network: another version of PyTorch may export less than ours does."""
    if device.type == "cpu":
        for name in FASTEST_ON_CPU:
            if RUNTIMES[name].absence(device):
                continue
            try:
                return open_runtime(name, network, height, width, device)
            except Exception as error:  # exporters and engines raise types of their own
                if name == "torch":
                    raise
                logger.warning("%s cannot run this model (%s); trying the next.", name, first_line(error))
    return open_runtime("torch", network, height, width, device)
