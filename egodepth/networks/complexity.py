"""What a network costs: parameters and multiply-accumulates."""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.flop_counter import FlopCounterMode

from egodepth.networks.modes import evaluating


@dataclass(frozen=True)
class Complexity:
    """What a network costs.

    Attributes:
        parameters: all of them, trained or not.
        macs: multiply-accumulates of convolutions, matrix products and attention for one image.
    """

    parameters: int
    macs: int


SHAPE_KEEPING = {F.batch_norm, F.elu, F.gelu, F.group_norm, F.silu, F.softmax}
"""Functions without counted work whose result has the shape of their first argument.

Layer norms are none of them: they make their argument contiguous, by which PyTorch chooses how to multiply next.
"""


class ShapesAlone(TorchFunctionMode):
    """A pass on the meta device whose norms, activations and resizings give the shape of their result and no more.

    None of them has multiply-accumulates that are counted, but on that device PyTorch takes them apart in Python,
    which was nine tenths of a pass through DIFFNet.
    """

    def __torch_function__(self, func: Callable, types: tuple, args: tuple = (), kwargs: dict | None = None) -> object:
        if func in SHAPE_KEEPING:
            return args[0]
        if func is F.interpolate:
            return _resized(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


def _resized(image: Tensor, size: int | tuple | None = None, scale_factor: float | None = None, *_, **__) -> Tensor:
    lengths = image.shape[2:]
    if size is None:
        size = [int(length * scale_factor) for length in lengths]
    elif isinstance(size, int):
        size = [size] * len(lengths)
    return image.new_empty(*image.shape[:2], *size)


def complexity(network: nn.Module, height: int, width: int) -> Complexity:
    """Parameters, and multiply-accumulates of predicting one image's depth, counted by PyTorch.

    Args:
        network: has `predict_depth`.
        height, width: image size in pixels.
    """
    device = next(network.parameters()).device
    shapes = ShapesAlone() if device.type == "meta" else nullcontext()
    with evaluating(network), torch.no_grad(), shapes, FlopCounterMode(display=False) as counter:
        network.predict_depth(torch.zeros(1, 3, height, width, device=device))
    return Complexity(sum(parameter.numel() for parameter in network.parameters()), counter.get_total_flops() // 2)
