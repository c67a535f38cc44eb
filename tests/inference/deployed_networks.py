"""The distinct depth networks of the recipes, with weights under which a wrong graph shows."""

from dataclasses import replace

from torch import nn

from egodepth.data.kitti import fixed_intrinsics
from egodepth.networks.manydepth import ManyDepth, MultiFrameDepth
from egodepth.networks.rprdepth import RPrDepthConfig
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
    """A recipe's network as it is deployed. A fresh head gives nearly the same depth everywhere; these do not."""
    recipe = RECIPES[name]
    config = recipe.network
    if isinstance(config, RPrDepthConfig):
        return _seeded(replace(config, references=200).build()).folded()
    network = _seeded(config.build())
    if isinstance(network, ManyDepth):
        return MultiFrameDepth(network, _seeded(recipe.pose.build()), fixed_intrinsics(HEIGHT, WIDTH)).eval()
    return network


def _seeded(network: nn.Module) -> nn.Module:
    state = {
        key: (tensor.shape, "float32" if tensor.is_floating_point() else "int64")
        for key, tensor in network.state_dict().items()
        if tensor.ndim  # a single number keeps its initial value
    }
    network.load_state_dict(network.state_dict() | seeded_state(state))
    return network.eval()
