import json
from dataclasses import replace
from pathlib import Path

import pytest

from egodepth.errors import UserError
from egodepth.networks.configurations import DNADepthConfig, RPrDepthConfig, SmallDepthConfig
from egodepth.recipes import RECIPES
from egodepth.recipes.restoring import as_data, restored


@pytest.mark.parametrize("name", [name for name in RECIPES if name != "fa-depth"])
def test_a_recipe_survives_json(name):
    data = json.loads(json.dumps(as_data(RECIPES[name])))
    assert restored(RECIPES[name], data) == RECIPES[name]


@pytest.mark.parametrize("student", [SmallDepthConfig(repeats=(1, 1, 1, 1)), DNADepthConfig()])
def test_the_kind_of_a_network_is_kept_where_there_is_a_choice(student):
    recipe = replace(RECIPES["rprdepth"], network=RPrDepthConfig(student=student, references=7))
    assert restored(RECIPES["rprdepth"], as_data(recipe)) == recipe


def test_what_the_data_does_not_say_is_as_by_default():
    assert restored(RPrDepthConfig(heads=2), {"references": 5}) == RPrDepthConfig(heads=2, references=5)


def test_paths_are_written_as_text():
    recipe = replace(RECIPES["diffnet"], data=replace(RECIPES["diffnet"].data, also=(Path("a/b"),)))
    assert as_data(recipe)["data"]["also"] == ["a/b"]


def test_a_network_that_this_egodepth_does_not_know_is_refused():
    with pytest.raises(UserError, match="MegaDepthConfig: this egodepth knows no such network"):
        restored(RPrDepthConfig(), {"student": {"kind": "MegaDepthConfig"}})
