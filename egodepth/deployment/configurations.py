"""Names of formats and precisions, as plain data: a command line is read without PyTorch."""

from typing import Literal

FormatName = Literal["onnx", "openvino", "torch-export", "coreml", "ncnn", "litert", "executorch"]

Quantisation = Literal["fp32", "fp16", "int8"]
"""Numbers of weights and activations; images and depths stay float32."""
