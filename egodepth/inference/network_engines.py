"""PyTorch as an engine, in three ways: operation by operation, compiled, and as a recorded CUDA graph."""

import torch
from torch import Tensor, nn

from egodepth.inference.configurations import RuntimeName


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
