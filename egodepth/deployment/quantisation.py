"""Eight bits after training, by the engines' own tools: NNCF for OpenVINO, ONNX Runtime's QDQ for ONNX.

What follows the last convolution stays in floating point: it turns a disparity into a depth, and an inverse depth near
zero has no digits to lose.
"""

import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from egodepth.deployment.calibration import Pictures
from egodepth.inference.graph import INPUT, KERNELS

if TYPE_CHECKING:
    import openvino

HEAD = 1
"""Convolutions at the end that stay in floating point: the one that gives the disparity."""


def quantised_openvino(model: "openvino.Model", pictures: Pictures) -> "openvino.Model":
    """A model with eight-bit weights and activations, as OpenVINO runs it fastest."""
    import nncf

    nncf.set_log_level(logging.ERROR)
    names = [each.get_friendly_name() for each in model.get_ordered_ops()]
    last = max(place for place, each in enumerate(model.get_ordered_ops()) if "Convolution" in each.get_type_name())
    return nncf.quantize(
        model,
        nncf.Dataset(list(pictures.batches())),
        subset_size=len(pictures.images),
        preset=nncf.QuantizationPreset.MIXED,
        fast_bias_correction=False,
        ignored_scope=nncf.IgnoredScope(names=_arithmetic(model, names[last:]), validate=False),
    )


def _arithmetic(model: "openvino.Model", names: list[str]) -> list[str]:
    """The names of operators that compute; constants and results cannot be left out."""
    silent = ("Constant", "Result", "Parameter")
    types = {each.get_friendly_name(): each.get_type_name() for each in model.get_ordered_ops()}
    return [name for name in names if types[name] not in silent]


def quantised_onnx(graph: bytes, pictures: Pictures, file: Path) -> None:
    """Write an ONNX graph with eight-bit weights and activations."""
    import onnx
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with tempfile.TemporaryDirectory() as folder:
        source, prepared = Path(folder) / "float.onnx", Path(folder) / "prepared.onnx"
        source.write_bytes(graph)
        quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
        nodes = onnx.load(prepared).graph.node
        kernels = [place for place, node in enumerate(nodes) if node.op_type in KERNELS]
        quantize_static(
            str(prepared),
            str(file),
            _Reader(pictures),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            # Seven bits of weight: processors without VNNI add two products in sixteen bits, which eight overflow.
            reduce_range=True,
            calibrate_method=CalibrationMethod.Percentile,
            op_types_to_quantize=list(KERNELS),
            nodes_to_exclude=[node.name for node in nodes[kernels[-HEAD] :]],
        )


class _Reader:
    """Pictures as ONNX Runtime's calibration asks for them."""

    def __init__(self, pictures: Pictures) -> None:
        self._batches: Iterator[np.ndarray] = pictures.batches()

    def get_next(self) -> dict[str, Any] | None:
        image = next(self._batches, None)
        return None if image is None else {INPUT: image}
