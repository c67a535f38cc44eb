"""Configurations as plain data, for the JSON files of runs and models, and back.

Where a recipe has a choice of networks, the data names the kind that was taken.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar, get_args

from egodepth.errors import UserError
from egodepth.recipes import NetworkConfig, PoseNetworkConfig

KINDS: dict[str, type] = {kind.__name__: kind for kind in get_args(NetworkConfig | PoseNetworkConfig)}

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
    """The configuration that `as_data` made data of. What the data does not say is as in `default`.

    Raises:
        UserError: the data names a kind of network that there is not.
    """
    kind = data.get("kind")
    if kind is not None:
        if kind not in KINDS:
            raise UserError(f"{kind}: this egodepth knows no such network. Use the egodepth that wrote the model.")
        default = default if type(default) is KINDS[kind] else KINDS[kind]()
    known = {entry.name for entry in dataclasses.fields(default)} & data.keys()
    return dataclasses.replace(default, **{key: _in_place_of(getattr(default, key), data[key]) for key in known})


def _in_place_of(default: Any, value: Any) -> Any:
    """A value of a JSON file in the type of the default that it replaces."""
    if dataclasses.is_dataclass(default) and isinstance(value, Mapping):
        return restored(default, value)
    return tuple(value) if isinstance(value, list) else value
