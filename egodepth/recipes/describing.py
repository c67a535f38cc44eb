"""What `egodepth list` tells of a recipe.

Counting builds every network, which takes PyTorch, timm and most of a minute, so the counts are kept in `costs.json`.
`python -m egodepth.recipes.describing` counts anew and rewrites that file; the tests compare the two.
"""

import json
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

from egodepth.files import write_text
from egodepth.recipes.table import RECIPES, recipe_named

COSTS_FILE = Path(__file__).with_name("costs.json")


@dataclass(frozen=True)
class Cost:
    """Parameters of a depth network, and its multiply-accumulates for one image of the recipe's size."""

    parameters: int
    macs: int


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
    """What there is to say about a recipe.

    Raises:
        UserError: there is no recipe of that name.
    """
    recipe, cost = recipe_named(name), kept_costs()[name]
    return SystemDescription(name, cost.parameters, cost.macs, recipe.height, recipe.width, recipe.modes, recipe.source)


@cache
def kept_costs() -> dict[str, Cost]:
    """The costs of all recipes, as `costs.json` has them."""
    return {name: Cost(**cost) for name, cost in json.loads(COSTS_FILE.read_text()).items()}


def counted_cost(name: str) -> Cost:
    """The cost of a recipe's depth network, counted."""
    import torch

    from egodepth.networks.complexity import complexity

    recipe = recipe_named(name)
    # Counting needs shapes alone, so no weight is drawn and no number multiplied.
    with torch.device("meta"):
        network = recipe.sized_network.build()
    cost = complexity(network, recipe.height, recipe.width)
    return Cost(cost.parameters, cost.macs)


def write_costs() -> None:
    """Count the costs of all recipes and write `costs.json`."""
    costs = {name: asdict(counted_cost(name)) for name in RECIPES}
    write_text(COSTS_FILE, json.dumps(costs, indent=2) + "\n")


if __name__ == "__main__":
    write_costs()
