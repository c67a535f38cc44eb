"""The computation of a depth network as an ONNX graph, made by torch.export."""

import copy
import logging
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from egodepth.errors import UserError
from egodepth.networks.configurations import SIZE_MULTIPLE

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto, TensorProto
    from onnx_ir import Model

Precision = Literal["fp32", "fp16"]

INPUT, OUTPUT = "image", "depth"

EXPORTER = ("onnx", "onnxscript")
"""What turns a network into a graph."""

LARGEST = 64
"""Longest side of a graph for any size, in multiples of 32."""

KERNELS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
"""The operators that hold a network's weights."""


class DepthGraph(nn.Module):
    """What is exported: image (B, 3, H, W) in [0, 1] to depth (B, 1, H, W), in units of `unit` network units."""

    def __init__(self, network: nn.Module, unit: float | None = None) -> None:
        super().__init__()
        self.network = network
        self.unit = unit

    def forward(self, image: Tensor) -> Tensor:
        depth = self.network.predict_depth(image)
        return depth if self.unit is None else depth * self.unit


def exporter_is_installed() -> bool:
    """Whether networks can be turned into graphs here."""
    return all(find_spec(module) for module in EXPORTER)


def require_exporter() -> None:
    """Raises UserError: networks cannot be turned into graphs here."""
    if not exporter_is_installed():
        raise UserError("ONNX is not installed, by which models leave PyTorch: pip install 'egodepth[train]'.")


def picture_channels(network: nn.Module) -> int:
    """Channels of a network's input: three for each of the frames that it takes."""
    return 3 * getattr(network, "frames", 1)


def onnx_graph(
    network: nn.Module,
    height: int,
    width: int,
    unit: float | None = None,
    precision: Precision = "fp32",
    metadata: Mapping[str, str] | None = None,
    any_size: bool = False,
) -> bytes:
    """The graph of `predict_depth` for images (B, 3, `height`, `width`) of any B, as the bytes of an ONNX file.

    Args:
        network: on the CPU.
        unit: factor of the depth; none leaves it in the network's units.
        metadata: written into the graph.
        any_size: the graph takes images of any height and width that are multiples of 32, not of the given ones alone.
    """
    from onnx import helper

    sides = {}
    if any_size:
        rows, columns = (torch.export.Dim(name, min=1, max=LARGEST) for name in ("rows", "columns"))
        sides = {2: SIZE_MULTIPLE * rows, 3: SIZE_MULTIPLE * columns}
        network = _with_fixed_padding(network)
    with _quiet():
        program = torch.onnx.export(
            DepthGraph(network, unit).eval(),
            # One example would be taken for a fixed batch size of one.
            (torch.zeros(2, picture_channels(network), height, width),),
            dynamo=True,
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_shapes={INPUT: {0: torch.export.Dim("batch"), **sides}},
            verbose=False,
            optimize=False,
        )
        _simplify(program.model)
    model = _without_traces(program.model_proto)
    if precision == "fp16":
        model = half_precision(model)
    helper.set_model_props(model, dict(metadata or {}))
    return model.SerializeToString()


class _EvenConv(nn.Module):
    """A convolution with TensorFlow's padding, for inputs whose sides its stride divides, which makes that constant."""

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.conv = nn.Conv2d(
            conv.in_channels,
            conv.out_channels,
            conv.kernel_size,
            conv.stride,
            dilation=conv.dilation,
            groups=conv.groups,
            bias=conv.bias is not None,
        )
        self.conv.weight, self.conv.bias = conv.weight, conv.bias
        self.padding: list[int] = []
        # From the last side to the first, as F.pad takes them.
        for size, stride, dilation in reversed(list(zip(conv.kernel_size, conv.stride, conv.dilation, strict=True))):
            whole = max(dilation * (size - 1) + 1 - stride, 0)
            self.padding += [whole // 2, whole - whole // 2]

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.pad(x, self.padding))


def _with_fixed_padding(network: nn.Module) -> nn.Module:
    """The same function of images whose sides are multiples of 32.

    Padding that depends on the size is nested from convolution to convolution, and torch.export takes minutes to
    reason about it where the size is open.
    """
    # A network of timm's layers has imported it. Others need not wait for that.
    if "timm" not in sys.modules:
        return network
    from timm.layers import Conv2dSame

    network = copy.deepcopy(network)
    for name, module in list(network.named_modules()):
        if isinstance(module, Conv2dSame):
            network.set_submodule(name, _EvenConv(module))
    return network


def _simplify(model: "Model") -> None:
    """Compute what is constant and drop what is unused or said twice, in place.

    The exporter's own optimiser also looks for patterns, in a time that grows with the square of the graph: of two
    minutes for HQDecv2 it takes four fifths. Engines look for patterns themselves.
    """
    from onnx_ir.passes import common
    from onnxscript import optimizer

    optimizer.fold_constants(model)
    for simplify in (
        common.RemoveUnusedNodesPass(),
        common.RemoveUnusedOpsetsPass(),
        common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),
        common.DeduplicateInitializersPass(),
        common.CommonSubexpressionEliminationPass(),
        common.OutputFixPass(),
        common.NameFixPass(),
    ):
        simplify(model)


def _without_traces(model: "ModelProto") -> "ModelProto":
    """Drop the exporter's notes on each node: the paths and lines of this machine's sources."""
    graph = model.graph
    for part in (graph, *graph.node, *graph.value_info, *graph.input, *graph.output, *graph.initializer):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    return model


def half_precision(model: "ModelProto") -> "ModelProto":
    """Weights and activations in half precision, between a float32 image and a float32 depth.

    Of the graph, not of the network: what a network computes in float32 on its way (grids, levels, bounds) would
    meet half-precision kernels in PyTorch, while here every tensor gets its type in one pass. What follows the last
    convolution stays in float32, for an inverse depth near zero has no digits to lose.

    Raises:
        UserError: the network samples at computed coordinates (SDFA-Net, ManyDepth).
    """
    from onnx import TensorProto, helper, shape_inference

    if any(node.op_type == "GridSample" for node in model.graph.node):
        raise UserError(
            "--precision fp16: this network samples at coordinates that it computes, which half precision puts off by "
            "parts of a pixel. Use --precision fp32."
        )
    graph = shape_inference.infer_shapes(model).graph
    typed = (*graph.value_info, *graph.input, *graph.output)
    floats = {value.name for value in typed if value.type.tensor_type.elem_type == TensorProto.FLOAT}
    weights = {weight.name: weight for weight in graph.initializer if weight.data_type == TensorProto.FLOAT}
    last = max(index for index, node in enumerate(graph.node) if node.op_type in KERNELS)
    nodes, halves, widened = [], {INPUT}, set()
    nodes.append(helper.make_node("Cast", [INPUT], [_half_name(INPUT)], to=TensorProto.FLOAT16))
    for index, node in enumerate(graph.node):
        in_half = index <= last
        for position, name in enumerate(node.input):
            fixed = not in_half or (node.op_type == "Resize" and position > 0)
            if not fixed and (name in halves or name in weights):
                halves.add(name)
                node.input[position] = _half_name(name)
            elif fixed and name in halves and name != INPUT and name not in weights and name not in widened:
                widened.add(name)
                nodes.append(helper.make_node("Cast", [_half_name(name)], [name], to=TensorProto.FLOAT))
        if in_half:
            _make_attributes_half(node)
            for position, name in enumerate(node.output):
                if name in floats:
                    halves.add(name)
                    node.output[position] = _half_name(name)
        nodes.append(node)
    if OUTPUT in halves:  # no arithmetic after the last kernel
        nodes.append(helper.make_node("Cast", [_half_name(OUTPUT)], [OUTPUT], to=TensorProto.FLOAT))
    in_use = {name for node in nodes for name in node.input}
    kept = [weight for weight in graph.initializer if weight.name in in_use]
    kept += [_half_tensor(weights[name], _half_name(name)) for name in weights if name in halves]
    for field, values in (("node", nodes), ("initializer", kept), ("value_info", [])):
        model.graph.ClearField(field)
        getattr(model.graph, field).extend(values)
    return model


def _half_name(name: str) -> str:
    return f"{name}.half"


def _half_tensor(tensor: "TensorProto", name: str) -> "TensorProto":
    from onnx import numpy_helper

    return numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float16), name)


def _make_attributes_half(node: "NodeProto") -> None:
    """Turn the types and constants that a node carries from float32 into half precision."""
    from onnx import TensorProto

    for attribute in node.attribute:
        if attribute.name in ("to", "dtype") and attribute.i == TensorProto.FLOAT:
            attribute.i = TensorProto.FLOAT16
        if attribute.HasField("t") and attribute.t.data_type == TensorProto.FLOAT:
            attribute.t.CopyFrom(_half_tensor(attribute.t, attribute.t.name))


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's talk about its own inner workings off the user's screen."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
