"""FA-Depth's equivalent transformation module (ETM): one convolution whose kernel is, in training, a sum of many.

Source: FA-Depth, Eqs. 13-19; specification section 3. Every kernel of the sum is centred in the largest one, so their
sum is a kernel too (Eq. 16): training convolves once, and a trained network folds into the one that it was made from.
"""

import copy
from collections.abc import Iterable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from egodepth.geometry.precision import in_float32
from egodepth.networks.configurations import EquivalentConfig
from egodepth.networks.modes import evaluating

EPSILON = 1e-5
"""Added to the standard deviation of a layer's input before dividing by it."""

SMALL_SCALE = 0.01
"""The scale of every branch but the last one where the network was trained already, as a share of the last one's."""


def equivalent(network: nn.Module, config: EquivalentConfig, images: Tensor | None = None) -> nn.Module:
    """Give branches to the convolutions of `network`, in place.

    Load pretrained weights before this: the names of the parameters change.

    Args:
        images: given for a trained network (ETM#), (B, 3, H, W) as in training: the variance of every layer's input
            is measured on them, and the network stays the function that it was. Without them the branches start at
            random beside the convolution's own kernel.

    Returns:
        The network; another module only where `network` itself is a convolution.
    """
    if any(isinstance(module, EquivalentConv2d) for module in network.modules()):
        raise ValueError("the network's convolutions have branches already")
    convolutions = [module for module in network.modules() if _has_branches(module, config)]
    variances = {} if images is None else _input_variances(network, convolutions, images)
    return _replaced(network, {conv: EquivalentConv2d(conv, config, variances.get(conv)) for conv in convolutions})


def merge(network: nn.Module) -> nn.Module:
    """A copy of `network` with plain convolutions: the same function in eval mode, under the plain network's names."""
    network = copy.deepcopy(network)
    branched = [module for module in network.modules() if isinstance(module, EquivalentConv2d)]
    return _replaced(network, {module: module.merged() for module in branched})


class EquivalentConv2d(nn.Module):
    """A convolution whose kernel is the scaled sum of its branches' kernels (Eqs. 13-18).

    Branches, in the order of `gains`: the identity, where the output can be the input; a kernel for each odd height
    and width up to the convolution's own, row-major, the last of them of full size and with elements dropped
    (dropconv); and the convolution's own kernel, which is never dropped. A branch's scale is its gain over the
    standard deviation of the input: of this batch in training, its running average in eval mode.

    The convolution itself is kept and called with the sum, so strides, dilation, groups, bias and the padding of
    subclasses stay its own affair. In training, draws come from PyTorch's global generator.

    Args:
        conv: of odd kernel height and width; it belongs to this module from now on.
        input_variance: scalar, given where `conv` is trained already: the branches then start as crops of its
            kernel, and at this variance the sum is what the kernel was.

    Attributes:
        conv: its weight is the last branch.
        gains: (branches, C_out), the p_t of each branch and channel.
        kernels: (C_out, C_in / groups, taps), the kernels between identity and last branch, flattened and in order.
        running_variance: scalar, of the input over batch, channels and space.
    """

    def __init__(self, conv: nn.Conv2d, config: EquivalentConfig, input_variance: Tensor | None = None) -> None:
        super().__init__()
        if not _is_odd(conv):
            raise ValueError(f"a kernel of size {conv.kernel_size} has no centre")
        self.conv, self.momentum = conv, config.momentum
        weight = conv.weight.detach()
        shapes = branch_shapes(*conv.kernel_size)
        areas = torch.tensor([height * width for height, width in shapes], device=weight.device)
        self.has_identity = conv.in_channels == conv.out_channels and set(conv.stride) == {1}
        branches = self.has_identity + len(shapes) + 1

        # The share of one of T + 2 branches also where the identity is absent.
        self.gains = nn.Parameter(weight.new_full((branches, conv.out_channels), 1 / (len(shapes) + 2)))
        self.kernels = nn.Parameter(torch.cat([_fresh_kernel(weight, shape) for shape in shapes], dim=2))
        self.register_buffer("running_variance", weight.new_ones(()))

        places = torch.arange(areas[-1], device=weight.device).view(conv.kernel_size)
        placement = torch.cat([_centre(places, shape).flatten() for shape in shapes])
        self._constant("placement", F.one_hot(placement).to(weight.dtype))
        self._constant("branch_of_tap", torch.arange(len(shapes), device=weight.device).repeat_interleave(areas))
        branch_drop = weight.new_full((branches, 1), config.branch_drop)
        branch_drop[-2:, 0] = weight.new_tensor([config.dropconv_share * config.branch_drop, 0])
        self._constant("branch_drop", branch_drop)
        element_drop = weight.new_zeros(len(self.branch_of_tap))
        element_drop[-areas[-1] :] = config.element_share * config.branch_drop
        self._constant("element_drop", element_drop)
        if self.has_identity:
            self._constant("unit", torch.eye(weight.shape[1]).to(weight).repeat(conv.groups, 1))
        if input_variance is not None:
            self._start_from_trained(shapes, input_variance)
        self.train(conv.training)

    def forward(self, features: Tensor) -> Tensor:
        """What the convolution gives for (B, C_in, H, W), with the sum of the branches as its kernel."""
        if self.training:
            variance = _variance(features)
            self.running_variance.lerp_(variance.to(self.running_variance.dtype), self.momentum)
            kernel = self.kernel(variance, self._kept_branches(), self._kept_elements())
        else:
            kernel = self.kernel(self.running_variance)
        return torch.func.functional_call(self.conv, {"weight": kernel.to(self.conv.weight.dtype)}, (features,))

    @in_float32
    def kernel(
        self, variance: Tensor, kept_branches: Tensor | None = None, kept_elements: Tensor | None = None
    ) -> Tensor:
        """The sum of the branches (Eq. 16), of the shape of the convolution's kernel.

        Args:
            variance: scalar, of the input.
            kept_branches: (branches, 1), what each branch is multiplied by.
            kept_elements: (C_out, taps), what each element of `kernels` is multiplied by, for all input channels.
        """
        weight = self.conv.weight
        scales = self.gains / (variance.sqrt() + EPSILON)
        if kept_branches is not None:
            scales = scales * kept_branches
        of_taps = scales[int(self.has_identity) : -1][self.branch_of_tap].T
        if kept_elements is not None:
            of_taps = of_taps * kept_elements
        scaled = self.kernels * of_taps[:, None, :]
        # A product with zeros and ones, because adding by index has no fixed order on a GPU.
        total = scales[-1][:, None, None] * weight.flatten(2) + scaled @ self.placement.to(scaled.dtype)
        if self.has_identity:
            total[:, :, total.shape[2] // 2] += scales[0][:, None] * self.unit
        return total.view_as(weight)

    @torch.no_grad()
    def merged(self) -> nn.Conv2d:
        """The plain convolution of eval mode; the sum is made in float64 (Eq. 18)."""
        exact = copy.deepcopy(self).cpu().double()
        conv = copy.deepcopy(self.conv)
        conv.weight.copy_(exact.kernel(exact.running_variance))
        return conv

    def _kept_branches(self) -> Tensor:
        """Zero for a branch left out, more than one for the others (Eq. 4), for the whole batch."""
        return (torch.rand_like(self.branch_drop) >= self.branch_drop) / (1 - self.branch_drop)

    def _kept_elements(self) -> Tensor:
        """Zero for an element left out, one for the others: Eq. 14 does not make up for what it drops."""
        draws = torch.rand(len(self.gains[0]), len(self.element_drop), device=self.gains.device)
        return draws >= self.element_drop

    @torch.no_grad()
    def _start_from_trained(self, shapes: Iterable[tuple[int, int]], variance: Tensor) -> None:
        weight = self.conv.weight
        trained = weight.clone()
        self.running_variance.copy_(variance)
        self.gains.copy_((self.running_variance.sqrt() + EPSILON).expand_as(self.gains))
        self.gains[:-1] *= SMALL_SCALE
        self.kernels.copy_(torch.cat([_centre(trained, shape).flatten(2) for shape in shapes], dim=2))
        # What the small branches add is taken from the last one.
        weight -= self.kernel(self.running_variance) - trained

    def _constant(self, name: str, value: Tensor) -> None:
        self.register_buffer(name, value, persistent=False)


def branch_shapes(height: int, width: int) -> list[tuple[int, int]]:
    """All odd kernel sizes up to (height, width), row-major."""
    return [(rows, columns) for rows in range(1, height + 1, 2) for columns in range(1, width + 1, 2)]


def _centre(kernel: Tensor, shape: tuple[int, int]) -> Tensor:
    """The middle (..., *shape) of (..., Kh, Kw), all sizes odd."""
    top, left = ((size - wanted) // 2 for size, wanted in zip(kernel.shape[-2:], shape, strict=True))
    return kernel[..., top : top + shape[0], left : left + shape[1]]


def _fresh_kernel(weight: Tensor, shape: tuple[int, int]) -> Tensor:
    """A random kernel (C_out, C_in / groups, area of shape), spread as the network spread the kernel (…, Kh, Kw).

    Smaller kernels have larger values, so that every branch starts with outputs of the same size.
    """
    area = shape[0] * shape[1]
    deviation = weight.square().mean().sqrt() * (weight[0, 0].numel() / area) ** 0.5
    return deviation * torch.randn(*weight.shape[:2], area, dtype=weight.dtype, device=weight.device)


@in_float32
def _variance(features: Tensor) -> Tensor:
    return features.detach().var(correction=0)


def _is_odd(conv: nn.Conv2d) -> bool:
    return all(size % 2 for size in conv.kernel_size)


def _has_branches(module: nn.Module, config: EquivalentConfig) -> bool:
    return isinstance(module, nn.Conv2d) and _is_odd(module) and (config.pointwise or max(module.kernel_size) > 1)


@torch.no_grad()
def _input_variances(network: nn.Module, convolutions: Iterable[nn.Conv2d], images: Tensor) -> dict[nn.Module, Tensor]:
    """The variance of what each convolution sees; one that `network(images)` does not reach counts as 1."""
    variances = {conv: images.new_ones(()) for conv in convolutions}

    def measure(conv: nn.Module, inputs: tuple[Tensor]) -> None:
        variances[conv] = _variance(inputs[0])

    hooks = [conv.register_forward_pre_hook(measure) for conv in variances]
    try:
        with evaluating(network):
            network(images)
    finally:
        for hook in hooks:
            hook.remove()
    return variances


def _replaced(network: nn.Module, replacements: Mapping[nn.Module, nn.Module]) -> nn.Module:
    """`network` with the modules that are keys of `replacements` exchanged wherever they stand."""
    if network in replacements:
        return replacements[network]
    for path, module in list(network.named_modules(remove_duplicate=False)):
        if module in replacements:
            network.set_submodule(path, replacements[module])
    return network
