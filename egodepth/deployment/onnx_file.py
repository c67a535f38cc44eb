"""A depth network as an ONNX file: what other programs, languages and devices run."""

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import get_args

import torch
from torch import nn

from egodepth.errors import UserError
from egodepth.files import replacing
from egodepth.inference.graph import INPUT, DepthGraph, Precision, onnx_graph, picture_channels, require_exporter
from egodepth.inference.network_predictor import NetworkPredictor
from egodepth.networks.configurations import SIZE_MULTIPLE
from egodepth.version import __version__

TOLERANCE: Mapping[Precision, float] = {"fp32": 1e-3, "fp16": 5e-2}
"""Largest relative difference of a depth between the file and PyTorch at which the file counts as right. A wrong
export is off by tens of percent; far pixels enlarge what rounding alone does."""


def export_onnx(
    predictor: NetworkPredictor,
    file: Path,
    height: int | None = None,
    width: int | None = None,
    precision: Precision = "fp32",
    scale: Mapping[str, str] | None = None,
) -> None:
    """Write a model as an ONNX file, `image` (B, 3, H, W) to `depth` (B, 1, H, W), both float32, for any batch size.

    A model that looks at the frame before takes it as further channels of `image`, (B, 6, H, W); black is missing.

    `image` is RGB in [0, 1] at the size of the file; `depth` is in metres where the model knows its scale, else up
    to scale. Metadata name the recipe, the size, the unit, the focal length (in widths of the picture) of the camera
    that metres belong to, and the version of egodepth. The file is held against PyTorch in ONNX Runtime before
    it gets its name.

    Args:
        height, width: of the pictures that the file will see. By default any multiples of 32, where the model takes
            pictures of any form, or else the model's own.
        precision: `fp16` keeps weights and activations in half precision, in a file of half the size.
        scale: further metadata: the metres of a unit that `depth` has been multiplied by, and how they are known.

    Raises:
        UserError: ONNX is not installed, the size does not suit a network, the file cannot be written, or it does not
            give PyTorch's depths; nothing is left behind.
    """
    file = Path(file)
    any_size = predictor.keeps_aspect and height is None and width is None
    height, width = height or predictor.height, width or predictor.width
    _check_request(file, height, width, precision)
    metadata = {
        "egodepth": __version__,
        "recipe": predictor.recipe or "unknown",
        "height": str(height),
        "width": str(width),
        "sizes": "any" if any_size else "one",
        "time_offsets": ",".join(map(str, predictor.time_offsets)),
        "unit": predictor.unit,
        "precision": precision,
        **({} if predictor.focal is None else {"focal": f"{predictor.focal:.6g}"}),
        **(scale or {}),
    }
    network = copy.deepcopy(predictor.network).cpu()
    with replacing(file) as temporary:
        temporary.touch()  # a place that cannot be written to shows before seconds of work
        graph = onnx_graph(network, height, width, predictor.metres_per_unit, precision, metadata, any_size)
        temporary.write_bytes(graph)
        _check_file(temporary, file, DepthGraph(network, predictor.metres_per_unit), height, width, precision)


def _check_request(file: Path, height: int, width: int, precision: str) -> None:
    require_exporter()
    for option, value in (("--height", height), ("--width", width)):
        if value <= 0 or value % SIZE_MULTIPLE:
            raise UserError(f"{option} {value}: a network's size is a multiple of {SIZE_MULTIPLE}. Choose such a size.")
    if precision not in get_args(Precision):
        raise UserError(f"--precision {precision}: unknown. Choose one of {', '.join(get_args(Precision))}.")
    if file.suffix != ".onnx":
        raise UserError(f"{file}: is not the name of an ONNX file. Give one that ends in .onnx.")
    if file.is_dir():
        raise UserError(f"{file}: is a folder. Give the name of a file.")
    if in_the_way := [parent for parent in file.parents if parent.is_file()]:
        raise UserError(f"{file}: cannot be written ({in_the_way[0]} is a file). Choose another place.")


@torch.inference_mode()
def _check_file(path: Path, file: Path, network: nn.Module, height: int, width: int, precision: Precision) -> None:
    """Hold the file at `path` against PyTorch at two batch sizes.

    Raises:
        UserError: their depths differ; the message names `file`.
    """
    from onnxruntime import InferenceSession

    session = InferenceSession(path, providers=["CPUExecutionProvider"])
    for batch in (1, 2):
        image = torch.rand(
            batch, picture_channels(network.network), height, width, generator=torch.Generator().manual_seed(batch)
        )
        expected = network(image)
        (found,) = session.run(None, {INPUT: image.numpy()})
        error = float((torch.from_numpy(found) / expected - 1).abs().max())
        if not error <= TOLERANCE[precision]:  # NaN fails this too
            remedy = "Use --precision fp32." if precision == "fp16" else "Update torch, onnxscript and onnxruntime."
            raise UserError(f"{file}: its depths differ from PyTorch's by up to {error:.1%}; it was not kept. {remedy}")
