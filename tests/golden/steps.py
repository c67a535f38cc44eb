"""What the golden steps share: seeded weights and frames, a trainer to stand in, one training step and its figures.

A golden step is one call of `training_step` of a recipe of the package, on inputs and weights that follow from seeds
alone. Its loss, what it logs and the gradient norm of each network are compared with numbers in tests/reference.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import SimpleNamespace

import torch
from torch import Tensor, nn

from egodepth.data.configurations import Source
from egodepth.data.samples import Batch
from tests.hashed_inputs import hashed_uniform
from tests.seeded_weights import seeded_tensor

NO_PANELS = 10**9


@dataclass(frozen=True)
class Step:
    """What one training step gave.

    Attributes:
        loss: the sum of its parts, as `training_step` returns it.
        logged: each value that `log_training` received, by name.
        gradient_norms: L2 norm over all parameters of each network, by the names of `networks()`.
    """

    loss: float
    logged: dict[str, float]
    gradient_norms: dict[str, float]


# --- weights ---------------------------------------------------------------------------------------------------


@torch.no_grad()
def fill_by_name(module: nn.Module) -> nn.Module:
    """Give each floating-point tensor of the module's state the values of `seeded_tensor`, which follow from its key.

    Scalars are drawn as one-element vectors are. Integer tensors stay.
    """
    for key, tensor in module.state_dict().items():
        if tensor.is_floating_point():
            tensor.copy_(seeded_tensor(key, tensor.shape or (1,)).view(tensor.shape))
    return module


def in_float64(network: nn.Module, *entries: str) -> nn.Module:
    """Run a network in float64 behind a face of float32.

    In training, batch norms over a dozen places turn the rounding of a convolution, which differs between processors,
    into the fifth digit of a gradient, and now and then tip a pixel's mask over. The losses around the network see
    float32, as in training.

    Args:
        entries: methods through which the network is called; tensors go in and out, also inside tuples, lists and
            dataclasses.
    """
    network.double()
    for entry in entries:
        setattr(network, entry, _behind_float32(getattr(network, entry)))
    return network


def _behind_float32(function: Callable) -> Callable:
    return lambda *inputs, **named: _cast(
        function(*_cast(inputs, torch.float64), **_cast(named, torch.float64)), torch.float32
    )


def _cast(value: object, dtype: torch.dtype) -> object:
    """The value with its floating-point tensors in another precision."""
    if isinstance(value, Tensor):
        return value.to(dtype) if value.is_floating_point() else value
    if isinstance(value, (tuple, list)):
        return type(value)(_cast(item, dtype) for item in value)
    if isinstance(value, dict):
        return {key: _cast(item, dtype) for key, item in value.items()}
    if hasattr(value, "__dataclass_fields__"):
        return type(value)(**{key: _cast(item, dtype) for key, item in vars(value).items()})
    return value


# --- frames ----------------------------------------------------------------------------------------------------


def golden_batch(size: tuple[int, int], source_ids: Sequence[Source], count: int = 2, seed: int = 0) -> Batch:
    """A batch of waves under noise, the sources seen from elsewhere: shifted further where nearer, towards the bottom.

    The left quarter moves with the camera, so that there an un-warped source explains the target best. Every sample
    has its own camera, side and baseline. The baselines are a tenth of KITTI's: seeded weights see everything at 0.2
    units, where KITTI's would shift the frames by a third of their width.
    """
    places = [0.0, *map(_shift, source_ids)]
    images = torch.stack([_frames(size, count, shift, 100 * seed + row) for row, shift in enumerate(places)], dim=1)
    cameras = [[[0.58 + 0.03 * b, 0, 0.49], [0, 1.1 - 0.05 * b, 0.52 - 0.01 * b], [0, 0, 1]] for b in range(count)]
    sides = torch.tensor([-1.0, 1.0]).repeat(count)[:count]
    return Batch(
        names=tuple(f"golden {row}" for row in range(count)),
        indices=torch.arange(count) + 10 * seed,
        target=images[:, 0],
        sources=images[:, 1:],
        source_ids=tuple(source_ids),
        intrinsics=torch.tensor(cameras),
        stereo_offset=sides,
        baseline_m=0.054 + 0.02 * torch.arange(count),
        centred=False,
    )


def _shift(source: Source) -> float:
    """How far a source's content lies to the left at the bottom, in pixels."""
    return 1.7 if source == "stereo" else -1.3 * source


def _frames(size: tuple[int, int], count: int, shift: float, seed: int) -> Tensor:
    """(B, 3, H, W) uint8, made in float64, so that all machines round to the same."""
    grid = (torch.arange(length, dtype=torch.float64) for length in (count, 3, *size))
    b, c, y, x = torch.meshgrid(*grid, indexing="ij")
    x = torch.where(x < size[1] / 4, x, x + shift * (0.3 + y / size[0]))
    wide = torch.sin(2 * math.pi * ((1.5 + c) * x / size[1] + 0.3 * b)) * torch.cos(2 * math.pi * (1 + c) * y / size[0])
    fine = torch.sin(0.9 * x + 0.5 * y + c + 2 * b)
    noise = hashed_uniform((count, 3, *size), seed) - 0.5
    return (255 * (0.5 + 0.22 * wide + 0.12 * fine + 0.03 * noise)).round().to(torch.uint8)


# --- the step --------------------------------------------------------------------------------------------------


def attach_trainer(method: nn.Module, step: int, max_steps: int) -> dict[str, float]:
    """Let a method believe that it is trained, at a step of `max_steps`; no optimiser changes its weights.

    Returns:
        the values that it logs from now on, by name.
    """
    logged: dict[str, float] = {}

    def log_training(values: dict[str, Tensor], batch_size: int) -> None:
        twice = values.keys() & logged.keys()
        assert not twice, f"logged twice in one step: {sorted(twice)}"
        logged.update({name: float(value.detach()) for name, value in values.items()})

    method._trainer = SimpleNamespace(
        max_steps=max_steps, global_step=step, global_rank=0, world_size=1, panels_every=NO_PANELS
    )
    method.log_training = log_training
    method.manual_backward = lambda part: part.backward()
    method.optimizers = lambda: SimpleNamespace(zero_grad=method.zero_grad, step=lambda: None)
    method.lr_schedulers = lambda: SimpleNamespace(step=lambda: None)
    return logged


def take_step(method: nn.Module, batch: Batch, step: int, steps: int) -> Step:
    """One training step, number `step` of `steps`, with the draws and the drop rates that training gives it."""
    logged = attach_trainer(method, step, steps)
    method.train()
    method.on_train_batch_start(batch, 0)
    loss = method.training_step(batch, 0)["loss"]
    return Step(float(loss), logged, gradient_norms(method.networks()))


def gradient_norms(networks: dict[str, nn.Module]) -> dict[str, float]:
    """L2 norm over all parameters of each network; zero where nothing reached it."""
    return {name: _norm(parameter.grad for parameter in net.parameters()) for name, net in networks.items()}


def _norm(gradients: Sequence[Tensor | None]) -> float:
    return math.sqrt(sum(float(gradient.double().square().sum()) for gradient in gradients if gradient is not None))
