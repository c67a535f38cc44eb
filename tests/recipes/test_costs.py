"""The costs that `egodepth list` shows are those of the networks."""

import pytest

from egodepth.recipes import RECIPES
from egodepth.recipes.describing import counted_cost, describe, kept_costs

CHEAP = ("monodepth2", "small-depth", "sdfa-net-r18", "manydepth")
REWRITE = "python -m egodepth.recipes.describing rewrites costs.json"


def test_every_recipe_has_its_costs_in_the_order_of_the_table():
    assert list(kept_costs()) == list(RECIPES), REWRITE


@pytest.mark.parametrize("name", CHEAP)
def test_the_costs_are_those_of_the_network(name):
    assert counted_cost(name) == kept_costs()[name], REWRITE


def test_the_costs_of_all_other_recipes_are_those_of_their_networks():
    wrong = [name for name in RECIPES if name not in CHEAP and counted_cost(name) != kept_costs()[name]]
    assert wrong == [], REWRITE


def test_a_description_joins_a_recipe_and_its_costs():
    row = describe("small-depth")
    assert (row.parameters, row.height, row.width) == (kept_costs()["small-depth"].parameters, 128, 416)
