"""The table of recipes, one for each published result."""

from difflib import get_close_matches
from typing import TYPE_CHECKING

from egodepth.errors import UserError
from egodepth.recipes import multi_frame, prior_guided, self_distilled, view_synthesis
from egodepth.recipes.recipe import Recipe

if TYPE_CHECKING:
    from torch import nn

RECIPES: dict[str, Recipe] = {
    **view_synthesis.RECIPES,
    **multi_frame.RECIPES,
    **prior_guided.RECIPES,
    **self_distilled.RECIPES,
}


def recipe_named(name: str) -> Recipe:
    """The recipe of that name.

    Raises:
        UserError: there is none; the message names the nearest, or lists those there are.
    """
    if name not in RECIPES:
        near = get_close_matches(name, RECIPES, n=1)
        choice = f"Did you mean {near[0]}?" if near else f"Choose one of {', '.join(RECIPES)}."
        raise UserError(f"there is no recipe {name!r}. {choice}")
    return RECIPES[name]


def build(name: str) -> "nn.Module":
    """The depth network of a recipe, with random weights.

    Raises:
        UserError: there is no recipe of that name.
    """
    return recipe_named(name).sized_network.build()
