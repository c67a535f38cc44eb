"""The distinct depth networks of the recipes, with weights under which a wrong graph shows."""

from torch import nn

from egodepth.recipes import RECIPES
from tests.seeded_weights import seeded_state

HEIGHT, WIDTH = 64, 96


def one_recipe_per_network() -> list[str]:
    """The first recipe of each kind of network: a new kind joins the tests that use this by itself."""
    first: dict[type, str] = {}
    for name, recipe in RECIPES.items():
        first.setdefault(type(recipe.network), name)
    return list(first.values())


def seeded_network(name: str) -> nn.Module:
    """A recipe's network in evaluation mode. A fresh head gives nearly the same depth everywhere; these do not."""
    network = RECIPES[name].network.build()
    state = {
        key: (tensor.shape, "float32" if tensor.is_floating_point() else "int64")
        for key, tensor in network.state_dict().items()
        if tensor.ndim  # a single number keeps its initial value
    }
    network.load_state_dict(network.state_dict() | seeded_state(state))
    return network.eval()
