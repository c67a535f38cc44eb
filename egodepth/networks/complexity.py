"""What a network costs: parameters and multiply-accumulates."""

from dataclasses import dataclass

import torch
from torch import nn
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


def complexity(network: nn.Module, height: int, width: int) -> Complexity:
    """Parameters, and multiply-accumulates of predicting one image's depth, counted by PyTorch.

    Args:
        network: has `predict_depth`.
        height, width: image size in pixels.
    """
    device = next(network.parameters()).device
    with evaluating(network), torch.no_grad(), FlopCounterMode(display=False) as counter:
        network.predict_depth(torch.zeros(1, 3, height, width, device=device))
    return Complexity(sum(parameter.numel() for parameter in network.parameters()), counter.get_total_flops() // 2)
