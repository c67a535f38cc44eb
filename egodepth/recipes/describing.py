"""What `egodepth list` tells of a recipe."""

from dataclasses import dataclass

import torch

from egodepth.networks.complexity import complexity
from egodepth.recipes.table import recipe_named


@dataclass(frozen=True)
class SystemDescription:
    """A line of `egodepth list`."""

    name: str
    parameters: int
    macs: int
    height: int
    width: int
    modes: tuple[str, ...]
    source: str


def describe(name: str) -> SystemDescription:
    """What there is to say about a recipe."""
    recipe = recipe_named(name)
    # Counting needs shapes alone, so no weight is drawn and no number multiplied.
    with torch.device("meta"):
        network = recipe.network.build()
    cost = complexity(network, recipe.height, recipe.width)
    return SystemDescription(name, cost.parameters, cost.macs, recipe.height, recipe.width, recipe.modes, recipe.source)
