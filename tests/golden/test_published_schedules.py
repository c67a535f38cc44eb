"""Every recipe trains as its paper says: each field of each one beside tests/reference/schedules.json.

The reference is written from the specifications, not from the recipes: a rate that is wrong by a factor of a hundred
breaks no other test, since no test trains long enough to see it.
"""

import inspect
import json
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, get_type_hints

import pytest
from tyro import MISSING

from egodepth.recipes import RECIPES, Recipe

REFERENCE = json.loads((Path(__file__).parents[1] / "reference" / "schedules.json").read_text())

NO_PUBLISHED_MATTER = {
    "source": "the citation",
    "start_from": "a path",
    "teacher": "a path; where a recipe demands one, the reference says `required`",
    "prior": "a path",
    "all": "what the command makes on its way",
    "teacher_depth": "a path",
    "teacher_maps.values": "of the user's files",
    "teacher_maps.units": "of the user's files",
    "taught.weight": "for maps of any program, which is ours",
    "taught.gradient_weight": "as above",
    "taught.synthesis_weight": "as above",
    "taught.checked": "as above",
    "frozen_norms": "for weights to start from, which is ours",
    "anchor": "as above",
    "motion": "as above",
    "keep_aspect": "for footage of any form, which is ours",
    "fov": "of the user's camera",
    "learned_camera.rate": "for cameras that nobody knows, which is ours",
    "learned_camera.freeze_from": "as above",
    "learned_camera.insist": "as above",
    "learned_camera.largest_uncertainty": "as above",
    "data.kind": "the layout of the user's data",
    "data.split": "where the user's lists are",
    "data.bits": "of the user's frames",
    "data.stride": "of the user's footage",
    "data.offsets": "of the user's footage",
    "data.mask": "of the user's footage",
    "data.beside": "the other videos of the user",
    "data.also": "further data of the user's",
    "training.steps": "for runs that are shorter than the recipe",
    "training.seed": "ours",
    "training.devices": "the user's machine",
    "training.nodes": "the user's machine",
    "training.precision": "the user's machine",
    "training.workers": "the user's machine",
    "training.log_every": "how often to look",
    "training.validate_every": "how often to look",
    "training.patience": "for footage whose length nobody knows, which is ours",
    "training.checkpoint_every": "how often to look",
    "training.checkpoint_minutes": "how often to look",
    "training.panels_every": "how often to look",
}
"""Fields that no paper has a value for, and why."""

PUBLISHED = {name: recipe for name, recipe in RECIPES.items() if recipe.start_from is None}
"""`video` and `video-large`, which start from weights of ours, are no paper's."""

ORIGINS = ("paper: ", "published code: ", "derived: ")

Entries = dict[str, tuple[Any, str]]


def block(name: str) -> Entries:
    """The entries of a block with those that it extends."""
    return entries(REFERENCE["blocks"][name])


def entries(written: dict) -> Entries:
    own = {field: tuple(entry) for field, entry in written.items() if field != "extends"}
    inherited: Entries = {}
    for name in written.get("extends", []):
        inherited |= block(name)
    return inherited | own


def published(recipe: str) -> Entries:
    return entries(REFERENCE["recipes"][recipe])


def found(recipe: Recipe) -> dict[str, Any]:
    """All that a recipe says, flat: fields by their dotted paths, in the reference's words."""
    return {"scheme": type(recipe).__name__, "views": in_json(recipe.views), **dict(flattened(recipe))}


def flattened(config: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The fields of a dataclass and of those in it; where one of several classes may stand, its name too.

    Class variables are no fields: they belong to the code, not to the settings.
    """
    types = get_type_hints(type(config))
    for field in fields(config):
        path, value = prefix + field.name, getattr(config, field.name)
        if not is_dataclass(value):
            yield path, in_json(value)
            continue
        if types[field.name] is not type(value):
            yield path, type(value).__name__
        yield from flattened(value, f"{path}.")


def in_json(value: Any) -> Any:
    if value is MISSING:
        return "required"
    return list(value) if isinstance(value, tuple) else value


def same(found: Any, expected: Any) -> bool:
    """Equal, and no number where there is to be a truth value: in Python 1 equals True."""
    return found == expected and isinstance(found, bool) == isinstance(expected, bool)


def constant(place: str) -> Any:
    """`module:NAME`, or the default of an argument, `module:function(argument)`."""
    module, name = place.split(":")
    name, _, argument = name.rstrip(")").partition("(")
    value = getattr(import_module(module), name)
    return in_json(inspect.signature(value).parameters[argument].default if argument else value)


def test_the_reference_and_the_recipes_have_the_same_names():
    assert set(REFERENCE["recipes"]) == set(PUBLISHED)


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_recipe_has_the_values_of_its_paper(name):
    expected, values = published(name), found(RECIPES[name])
    wrong = [
        f"{name}, {field}: expected {value!r} ({source}), found {values[field]!r}"
        for field, (value, source) in expected.items()
        if field in values and not same(values[field], value)
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("name", PUBLISHED)
def test_no_field_of_a_recipe_is_forgotten(name):
    expected, values = published(name), found(RECIPES[name])
    forgotten = [
        f"{name}, {field}: found {value!r}, and schedules.json says nothing"
        for field, value in values.items()
        if field not in expected and field not in NO_PUBLISHED_MATTER
    ]
    surplus = [f"{name}, {field}: is in schedules.json, and no such field" for field in expected if field not in values]
    assert not forgotten + surplus, "\n".join(forgotten + surplus)


def test_only_a_recipe_of_a_demanded_teacher_has_one():
    demanded = {name for name, recipe in PUBLISHED.items() if getattr(recipe, "teacher", None) is not None}
    assert demanded == {name for name in PUBLISHED if "teacher" in published(name)}


@pytest.mark.parametrize("place", REFERENCE["constants"])
def test_a_constant_beside_the_recipes_has_its_published_value(place):
    value, source = REFERENCE["constants"][place]
    assert same(constant(place), value), f"{place}: expected {value!r} ({source}), found {constant(place)!r}"


def test_every_value_says_where_it_is_from():
    everything = [*REFERENCE["blocks"].values(), *REFERENCE["recipes"].values(), REFERENCE["constants"]]
    written = [entry for part in everything for field, entry in part.items() if field != "extends"]
    assert [entry for entry in written if len(entry) != 2 or not entry[1].startswith(ORIGINS)] == []


def test_every_block_of_the_reference_is_part_of_a_recipe():
    everything = [*REFERENCE["blocks"].values(), *REFERENCE["recipes"].values()]
    assert {name for part in everything for name in part.get("extends", [])} == set(REFERENCE["blocks"])


def test_a_field_is_excused_or_compared_but_not_both():
    compared = set().union(*(published(name) for name in PUBLISHED))
    assert compared & set(NO_PUBLISHED_MATTER) <= {"teacher"}


def test_no_field_is_excused_that_exists_nowhere():
    assert set(NO_PUBLISHED_MATTER) <= set().union(*(found(recipe) for recipe in PUBLISHED.values()))
