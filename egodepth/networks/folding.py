"""Folding batch norms into the convolutions before them, for a network that is only to infer.

In evaluation a batch norm multiplies each channel by a number and adds another. A convolution can do both itself.
"""

import sys
from collections import Counter
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from egodepth.networks.disparity import DisparityNetwork

TRACED_SIZE = (64, 96)
"""Height and width of the image that is sent through: small, yet large enough for every network here."""

Pairs = dict[nn.Module, nn.Conv2d]
"""Batch norms, each with the convolution that takes it in."""


def fold_batch_norms(network: nn.Module) -> nn.Module:
    """Fold every batch norm that directly follows a convolution into it: in place, and for inference only.

    What follows what is found by watching an image pass, not by names or by the order of registration. A norm stays
    where its convolution's result goes elsewhere too, where either of them is called twice or has hooks, or where the
    kernel is shared or computed. What is folded depends on the architecture alone: a network that is built from the
    same config and folded has the same state-dict keys, and so can load what a folded one has saved.

    Args:
        network: gives depth of an image (1, 3, H, W) by `predict_depth`, or when called if it has none. It is put
            into evaluation mode and cannot be trained further; copy it before if it must be.

    Returns:
        The same network. Each folded convolution has a bias; each folded norm is an identity or its activation.
    """
    with torch.inference_mode(False), torch.no_grad():
        pairs = _pairs(network.eval())
        remainders = {norm: _remainder(norm) for norm in pairs}
        for norm, conv in pairs.items():
            _fold(conv, norm)
    for path, module in list(network.named_modules(remove_duplicate=False)):
        if module in remainders:
            network.set_submodule(path, remainders[module])
    return network


def _fold(conv: nn.Conv2d, norm: nn.Module) -> None:
    """Give a convolution the kernel and bias that do the norm's work too; in float64, rounded once."""
    mean, variance = norm.running_mean.double(), norm.running_var.double()
    scale = torch.rsqrt(variance + norm.eps) * (1 if norm.weight is None else norm.weight.double())
    shift = (0 if norm.bias is None else norm.bias.double()) - mean * scale
    if conv.bias is not None:
        shift += conv.bias.double() * scale
    trained = conv.weight.requires_grad
    conv.bias = nn.Parameter(shift.to(conv.weight.dtype), requires_grad=trained)
    folded = conv.weight.double() * scale[:, None, None, None]
    conv.weight = nn.Parameter(folded.to(conv.weight.dtype), requires_grad=trained)


def _norms() -> tuple[type, ...]:
    """The kinds of batch norm; timm's, which hold their activation, only where something has imported them."""
    timm = sys.modules.get("timm.layers")
    return (nn.BatchNorm2d,) if timm is None else (nn.BatchNorm2d, timm.BatchNormAct2d)


def _remainder(norm: nn.Module) -> nn.Module:
    """What is left to do in place of a folded norm."""
    return norm.act if hasattr(norm, "act") else nn.Identity()


def _pairs(network: nn.Module) -> Pairs:
    """The norms to fold, each with its convolution: those that are a pair in each pass that calls either of them."""
    parameter = next(network.parameters())
    image = torch.zeros(1, 3, *TRACED_SIZE, device=parameter.device, dtype=parameter.dtype)
    watched = [_watch(network, run, image) for run in _passes(network)]
    found: Pairs = {norm: conv for pairs, _ in watched for norm, conv in pairs.items()}
    return {
        norm: conv
        for norm, conv in found.items()
        if all(pairs.get(norm) is conv for pairs, called in watched if norm in called or conv in called)
    }


def _passes(network: nn.Module) -> list[Callable[[Tensor], object]]:
    """The ways that images take through a network for inference, each with all the tensors that it hands out."""

    def with_features(image: Tensor) -> object:
        disparities, features = network.with_features(image)
        return disparities, features.encoder, features.decoder

    inference = getattr(network, "predict_depth", network)
    return [inference, with_features] if isinstance(network, DisparityNetwork) else [inference]


def _watch(network: nn.Module, run: Callable[[Tensor], object], image: Tensor) -> tuple[Pairs, set[nn.Module]]:
    """The pairs of one pass, and the candidates (convolutions and norms) that it called."""
    unhooked = [module for module in network.modules() if not (module._forward_hooks or module._forward_pre_hooks)]
    convs = [module for module in unhooked if isinstance(module, nn.Conv2d)]
    norms = [module for module in unhooked if type(module) in _norms() and module.running_mean is not None]
    # A kernel that is computed, for example by a parametrisation, is no parameter of its layer.
    kernels = [(dict(conv.named_parameters(recurse=False)).get("weight"), conv) for conv in convs]
    flow = _Flow({id(kernel): conv for kernel, conv in kernels if kernel is not None})
    hooks = [hook for norm in norms for hook in flow.listen_to(norm)]
    try:
        with flow:
            outputs = run(image)
    finally:
        for hook in hooks:
            hook.remove()
    flow.uses.update(id(output) for output in tree_leaves(outputs))
    return flow.pairs(), flow.called()


class _Flow(TorchDispatchMode):
    """Watches the tensors of a pass: which convolution made one, and how often it is used.

    Args:
        kernels: convolutions by the identity of their weight.
    """

    def __init__(self, kernels: dict[int, nn.Conv2d]) -> None:
        super().__init__()
        self.kernels = kernels
        self.uses: Counter[int] = Counter()
        self.made: dict[int, tuple[Tensor, nn.Conv2d]] = {}
        self.taken: dict[nn.Module, list[int]] = {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None) -> object:
        result = func(*args, **(kwargs or {}))
        self.uses.update(id(leaf) for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor))
        if func is torch.ops.aten.convolution.default and id(args[1]) in self.kernels:
            # The tensor is held, so that its identity stays its own; a former owner's uses are forgotten.
            self.made[id(result)] = result, self.kernels[id(args[1])]
            self.uses[id(result)] = 0
        return result

    def listen_to(self, norm: nn.Module) -> list[torch.utils.hooks.RemovableHandle]:
        """Note what a norm takes, as one use, whatever operations it is made of."""
        before: list[int] = []

        def enter(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            before.append(self.uses[id(inputs[0])])
            self.taken.setdefault(norm, []).append(id(inputs[0]))

        def leave(_: nn.Module, inputs: tuple[Tensor, ...], __: Tensor) -> None:
            self.uses[id(inputs[0])] = before.pop() + 1

        return [norm.register_forward_pre_hook(enter), norm.register_forward_hook(leave)]

    def pairs(self) -> Pairs:
        """The norms that were called once, on what nothing else used, of a kernel that was used once."""
        used_once = {conv for kernel, conv in self.kernels.items() if self.uses[kernel] == 1}
        return {
            norm: self.made[taken[0]][1]
            for norm, taken in self.taken.items()
            if len(taken) == 1
            and taken[0] in self.made
            and self.uses[taken[0]] == 1
            and self.made[taken[0]][1] in used_once
        }

    def called(self) -> set[nn.Module]:
        """The norms and convolutions that took part."""
        return {*self.taken, *(conv for kernel, conv in self.kernels.items() if self.uses[kernel])}
