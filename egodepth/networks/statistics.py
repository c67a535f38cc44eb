"""Batch statistics as a network in use would have them.

While training drops branches, the running averages of its batch norms describe features that are often missing and
scaled up where they are not. In use nothing is dropped: at a drop rate of 0.9 the deepest features of a SmallDepth
shrink to a third then, and its depth says nothing.
"""

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from egodepth.networks.drop import SampleDrop
from egodepth.networks.equivalent import EquivalentConv2d


def drops(network: nn.Module) -> bool:
    """Whether training leaves parts of the network out at times, so that its running averages are not those of use."""
    return any(_drops(module) for module in network.modules())


@torch.no_grad()
def without_drops(network: nn.Module, batches: Sequence[Tensor]) -> nn.Module:
    """A copy of `network` whose running averages are those of these images with nothing dropped.

    The network itself and PyTorch's generators stay as they are, and the same images give the same copy.

    Args:
        batches: images (B, 3, H, W) in [0, 1] at the size of training, on the network's device; their statistics are
            averaged.
    """
    steady = copy.deepcopy(network).train()
    for module in steady.modules():
        if isinstance(module, SampleDrop):
            module.rate = 0.0
        elif isinstance(module, EquivalentConv2d):
            module.branch_drop.zero_()
            module.element_drop.zero_()
        elif isinstance(module, _BatchNorm):
            module.reset_running_stats()
        elif isinstance(module, nn.modules.dropout._DropoutNd):
            module.eval()
    averaging = [module for module in steady.modules() if isinstance(module, _BatchNorm | EquivalentConv2d)]
    momenta = [module.momentum for module in averaging]
    devices = sorted({tensor.device for tensor in batches if tensor.is_cuda}, key=str)
    with torch.random.fork_rng(devices):
        for count, images in enumerate(batches, start=1):
            for module in averaging:
                module.momentum = 1 / count
            steady(images)
    # What was set for this pass alone goes back: drops, rates and modes are the network's own.
    for module, momentum in zip(averaging, momenta, strict=True):
        module.momentum = momentum
    for ours, theirs in zip(steady.modules(), network.modules(), strict=True):
        ours.training = theirs.training
        if isinstance(ours, SampleDrop):
            ours.rate = theirs.rate
        elif isinstance(ours, EquivalentConv2d):
            ours.branch_drop.copy_(theirs.branch_drop)
            ours.element_drop.copy_(theirs.element_drop)
    return steady


def _drops(module: nn.Module) -> bool:
    if isinstance(module, EquivalentConv2d):
        return bool(module.branch_drop.any() or module.element_drop.any())
    return isinstance(module, SampleDrop) and module.maximum > 0
