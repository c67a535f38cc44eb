"""Dropping whole branches, sample by sample, at a rate that rises and falls over a training.

Source: FA-Depth, equations 4 (F_d) and 5 (the schedule).
"""

import math

import torch
from torch import Tensor, nn

from egodepth.errors import UserError

RAMP_SHARE = 2 / 3
"""r of equation 5. The paper does not name it; at two thirds, and hardly anywhere else, the printed form is continuous.

Its second half counts the steps from the start of training instead of from the turning point. With r = 1/2 it jumps
there from the highest rate to none.
"""


def drop_rate(step: int, total: int, maximum: float, ramp_share: float | None = RAMP_SHARE) -> float:
    """The rate at a step: half a cosine from zero up to `maximum`, then half a cosine back down. Equation 5.

    The second half counts from the turning point, so it is continuous for any share.

    Args:
        step: of training, from zero; from `total` on the rate is zero.
        total: steps of the whole training.
        ramp_share: share of the steps in which the rate rises; none means that it is the highest all the time.
    """
    if ramp_share is None:
        return maximum
    turning_point = math.floor(total * ramp_share)
    if step < turning_point:
        return (1 - math.cos(math.pi * step / turning_point)) * maximum / 2
    if step < total:
        return (1 + math.cos(math.pi * (step - turning_point) / (total - turning_point))) * maximum / 2
    return 0.0


def set_drop_rates(network: nn.Module, step: int, total: int) -> None:
    """Give every `SampleDrop` in a network its rate for a step of `total`.

    The rate follows from the step alone, so a training that sets it before each step needs no memory of it to resume.
    """
    for module in network.modules():
        if isinstance(module, SampleDrop):
            module.rate = drop_rate(step, total, module.maximum, module.ramp_share)


def scale_survivors(features: Tensor, keep: Tensor, rate: float) -> Tensor:
    """Features (B, C, H, W) of the samples that are kept, divided by 1 - rate; zero for the others. Equation 4.

    Args:
        keep: (B, 1, 1, 1), one or zero.
        rate: share of samples that are dropped on average, below one.
    """
    return features * (keep / (1 - rate))


class SampleDrop(nn.Module):
    """F_d of equation 4: in training some samples lose this branch; in evaluation it does nothing.

    A new module drops nothing until `set_drop_rates` gives it a rate.

    Args:
        maximum: the rate at the height of the schedule, in [0, 1).
        ramp_share: see `drop_rate`.

    Raises:
        UserError: the maximum is outside [0, 1): at one, nothing would survive to be scaled up; or the share is none.
    """

    def __init__(self, maximum: float, ramp_share: float | None = RAMP_SHARE) -> None:
        super().__init__()
        if ramp_share is not None and not 0 <= ramp_share <= 1:
            raise UserError(f"ramp share: {ramp_share} is no share of a run. Give one from 0 to 1, or None.")
        if not 0 <= maximum < 1:
            raise UserError(f"drop rate: {maximum} is not in [0, 1). Give a share below one, such as 0.9.")
        self.maximum, self.ramp_share = maximum, ramp_share
        self.rate = 0.0

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape."""
        if not self.training or self.rate == 0:
            return features
        keep = torch.rand(len(features), 1, 1, 1, device=features.device) >= self.rate
        return scale_survivors(features, keep.to(features.dtype), self.rate)

    def extra_repr(self) -> str:
        return f"maximum={self.maximum}"
