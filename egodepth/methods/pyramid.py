"""FA-Depth's pyramid loss: the same views looked at in five forms that must agree.

Source: FA-Depth, equations 20 to 22 and table IX. It joins any loss of view synthesis.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from egodepth.data.transforms import AugmentationConfig, Views, mirrored, recoloured, resized
from egodepth.geometry import sigmoid_to_disparity
from egodepth.losses.consistency import mean_absolute_difference, symmetric_divergence
from egodepth.networks.disparity import Features

LOW, HIGH = 0.8, 1.2
"""Size of the low and high resolution against the recipe's; 128x416 gives the paper's 96x320 and 160x512."""

MULTIPLE = 32

DISTANCES = {"divergence": symmetric_divergence, "l1": mean_absolute_difference}

LevelName = Literal["low", "high", "flip", "colour"]


@dataclass(frozen=True)
class Level:
    """What one form of the views weighs.

    Attributes:
        alpha: of the loss of these views, at their own resolution.
        beta: of the distance between these disparities and those of the views as they are.
        gamma: of the distance between the features.
        distance: `divergence` is the symmetric divergence of softmaxed rows and columns, `l1` the mean difference.
    """

    alpha: float
    beta: float
    gamma: float
    distance: Literal["divergence", "l1"] = "divergence"


@dataclass(frozen=True)
class PyramidConfig:
    """The four forms beside the views as they are, with the paper's coefficients (table IX).

    Attributes:
        low, high: at 0.8 and 1.2 times the size.
        flip: mirrored left to right.
        colour: with other colours.
        sequential: differentiate each form before the next is looked at, so that memory is one form's. False adds
            the losses up first; the agreement then pulls both sides.
    """

    low: Level = Level(0.5, 1.0, 0.5)
    high: Level = Level(0.5, 0.5, 0.1)
    flip: Level = Level(1.0, 0.1, 0.5)
    colour: Level = Level(1.0, 0.1, 0.1, "l1")
    sequential: bool = True

    def levels(self) -> dict[LevelName, Level]:
        return {"low": self.low, "high": self.high, "flip": self.flip, "colour": self.colour}


def scaled_size(height: int, width: int, factor: float) -> tuple[int, int]:
    """The nearest size to `factor` times this one whose sides are multiples of 32."""
    rounded = (max(1, round(factor * length / MULTIPLE)) * MULTIPLE for length in (height, width))
    return tuple(rounded)


def level_views(
    views: Views, name: LevelName, size: tuple[int, int], config: AugmentationConfig, seed: int, key: int
) -> Views:
    """The views in the form of a level.

    Args:
        views: at the size of the highest level.
        size: of the views as they are.
        config, seed, key: what the other colours are drawn from.
    """
    if name == "low":
        return resized(views, *scaled_size(*size, LOW))
    if name == "high":
        return resized(views, *scaled_size(*size, HIGH))
    if name == "flip":
        return mirrored(resized(views, *size))
    return recoloured(resized(views, *size), config, seed, key)


def consistency(
    name: LevelName,
    level: Level,
    reference: tuple[tuple[Tensor, ...], Features],
    seen: tuple[tuple[Tensor, ...], Features],
    detach: bool,
) -> tuple[Tensor, Tensor]:
    """How far disparities and features of a level are from those of the views as they are (equation 22).

    Args:
        reference, seen: disparities and features of the views as they are, and of the level.
        detach: let the level alone follow.

    Returns:
        the distance of the disparities, mean over the heads, and that of the finest decoder feature and the
        coarsest encoder feature, mean over both.
    """

    def distance(expected: Tensor, found: Tensor) -> Tensor:
        found = found.flip(-1) if name == "flip" else found
        found = F.interpolate(found.float(), expected.shape[-2:], mode="bilinear", align_corners=False)
        expected = expected.detach().float() if detach else expected.float()
        return DISTANCES[level.distance](expected, found)

    def mean_distance(expected: tuple[Tensor, ...], found: tuple[Tensor, ...]) -> Tensor:
        return sum(map(distance, expected, found)) / len(expected)

    # The divergence of two maps grows with the square of their range, and a sigmoid disparity hardly has one.
    disparities = [tuple(map(sigmoid_to_disparity, side[0])) for side in (reference, seen)]
    features = [(side[1].decoder[0], side[1].encoder[-1]) for side in (reference, seen)]
    return mean_distance(*disparities), mean_distance(*features)


@contextmanager
def frozen_statistics(network: nn.Module) -> Iterator[None]:
    """Keep the running statistics as they are: those of the views as they are shall describe the data."""
    running = {module: module.momentum for module in network.modules() if hasattr(module, "momentum")}
    for module in running:
        module.momentum = 0.0
    try:
        yield
    finally:
        for module, momentum in running.items():
            module.momentum = momentum
