"""Configurations as plain data, for the JSON files of runs and models, and back.

Where a recipe has a choice of networks, the data names the kind that was taken.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from egodepth.checked_json import Fault
from egodepth.configuration_shapes import shape_of
from egodepth.errors import UserError
from egodepth.networks.model_config import KINDS
from egodepth.recipes.recipe import Recipe
from egodepth.recipes.table import recipe_named

PARTS = ("network", "teacher_network", "pose", "equivalent")
"""What of a recipe a model or a run has in a form of its own."""

Configuration = TypeVar("Configuration")


def as_data(value: Any) -> Any:
    """A configuration, or what is in one, as JSON can hold it."""
    if dataclasses.is_dataclass(value):
        data = {entry.name: as_data(getattr(value, entry.name)) for entry in dataclasses.fields(value)}
        kind = type(value).__name__
        return {"kind": kind} | data if kind in KINDS else data
    if isinstance(value, Mapping):
        return {key: as_data(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [as_data(each) for each in value]
    return str(value) if isinstance(value, Path) else value


def restored(default: Configuration, data: Mapping[str, Any]) -> Configuration:
    """The configuration that `as_data` made data of. What the data does not say is as in `default`, or as
    all networks were before the setting was there.

    Raises:
        UserError: the data names a kind of network that there is not.
    """
    kind = data.get("kind")
    if kind is not None:
        if kind not in KINDS:
            raise UserError(f"{kind}: this egodepth knows no such network. Use the egodepth that wrote the model.")
        default = default if type(default) is KINDS[kind] else KINDS[kind]()
        data = {**getattr(default, "before", {}), **data}
    known = {entry.name for entry in dataclasses.fields(default)} & data.keys()
    return dataclasses.replace(default, **{key: _in_place_of(getattr(default, key), data[key]) for key in known})


def _in_place_of(default: Any, value: Any) -> Any:
    """A value of a JSON file in the type of the default that it replaces."""
    if dataclasses.is_dataclass(default) and isinstance(value, Mapping):
        return restored(default, value)
    return tuple(value) if isinstance(value, list) else value


def restored_network(data: Mapping[str, Any], source: object = "network") -> Any:
    """The config of a network that `as_data` made data of; the data name its kind.

    Args:
        source: where the data are from, for messages.

    Raises:
        UserError: there is no such kind of network, or none that its numbers make.
    """
    kind = data.get("kind")
    if kind not in KINDS:
        raise UserError(f"{source}: this egodepth knows no network {kind}. Use the egodepth that wrote the model.")
    try:
        return restored(KINDS[kind](), data)
    except UserError as error:
        raise UserError(f"{source}: {error}") from error


def restored_recipe(name: str, options: Mapping[str, Any]) -> Recipe:
    """The recipe of that name with networks as the options of a model or a run have them.

    Raises:
        UserError: there is no such recipe, or an option is none of its.
    """
    recipe = recipe_named(name)
    given = {part: options[part] for part in PARTS if hasattr(recipe, part) and options.get(part) is not None}
    plain = {key: options[key] for key in ("mode", "etm", "height", "width") if hasattr(recipe, key) and key in options}
    check_options(recipe, given | plain, f"options of {name}")
    parts = {part: restored(getattr(recipe, part), data) for part, data in given.items()}
    return dataclasses.replace(recipe, **parts, **plain)


def check_options(recipe: Recipe, options: Mapping[str, Any], source: str) -> None:
    """Check what a file says of a recipe, before it is built.

    Args:
        source: where the options are from, for messages.

    Raises:
        UserError: one has another type, or is beyond what a network can be.
    """
    try:
        shape_of(recipe, KINDS).check(dict(options), "")
    except Fault as fault:
        raise UserError(f"{source}: {fault}. Use the egodepth that wrote them.") from fault
