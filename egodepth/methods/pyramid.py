"""FA-Depth's pyramid loss: the same views looked at in five forms that must agree.

Source: FA-Depth, equations 20 to 22 and table IX. It joins any loss of view synthesis.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from egodepth.data.configurations import AugmentationConfig
from egodepth.data.transforms import Views, mirrored, recoloured, resized
from egodepth.geometry.depth import sigmoid_to_disparity
from egodepth.losses.consistency import mean_absolute_difference, symmetric_divergence
from egodepth.losses.photometric import at_size
from egodepth.methods.configurations import Level, LevelName
from egodepth.networks.disparity import Features

LOW, HIGH = 0.8, 1.2
"""Size of the low and high resolution against the recipe's; 128x416 gives the paper's 96x320 and 160x512."""

MULTIPLE = 32

DISTANCES = {"divergence": symmetric_divergence, "l1": mean_absolute_difference}


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
    mask: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """How far disparities and features of a level are from those of the views as they are (equation 22).

    Args:
        reference, seen: disparities and features of the views as they are, and of the level.
        detach: let the level alone follow.
        mask: (B, 1, H, W) bool, the pixels of the views as they are that show the scene; none is all of them.

    Returns:
        the distance of the disparities, mean over the heads, and that of the finest decoder feature and the
        coarsest encoder feature, mean over both.
    """

    def distance(expected: Tensor, found: Tensor) -> Tensor:
        found = found.flip(-1) if name == "flip" else found
        found = F.interpolate(found.float(), expected.shape[-2:], mode="bilinear", align_corners=False)
        expected = expected.detach().float() if detach else expected.float()
        if mask is not None:
            used = at_size(mask, expected.shape[-2:])
            expected, found = torch.where(used, expected, 0), torch.where(used, found, 0)
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
