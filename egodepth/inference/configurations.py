"""Names of engines, and settings of measurements, as plain data: a command line is read without PyTorch."""

from dataclasses import dataclass
from typing import Literal, get_args

RuntimeName = Literal[
    "torch", "compile", "cuda-graph", "onnx", "openvino", "openvino-bf16", "ncnn", "litert", "executorch"
]
"""The last three run models alone that were exported for them."""

Engine = Literal["eager", "compile", "cuda-graph", "onnx", "openvino", "openvino-bf16"]

RawFormat = Literal["color", "png16"]
"""Frames of a stream on standard output: RGB colours, or 16-bit steps of 1/256 m, little-endian."""


@dataclass(frozen=True)
class BenchmarkConfig:
    """What to measure.

    Attributes:
        height, width: of the images, multiples of 32.
        batch_size: the largest batch that is tried for throughput: 1, 2, 4, … up to it.
        rounds: turns that each network gets in each engine.
        engines: to measure; those that are not installed are named with the reason.
        device: where PyTorch's engines run; ONNX Runtime and OpenVINO are measured on the CPU alone.
    """

    height: int = 192
    width: int = 640
    batch_size: int = 8
    rounds: int = 10
    engines: tuple[Engine, ...] = get_args(Engine)
    device: str = "cpu"
