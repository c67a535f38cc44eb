"""The shape that the JSON of a configuration (a dataclass of settings) has to have, by the types of its fields."""

import dataclasses
import types
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from egodepth.checked_json import (
    Anything,
    Either,
    Fault,
    Flag,
    ListOf,
    Number,
    Object,
    Optional,
    Shape,
    Text,
    Whole,
    shown,
)

Limits = Mapping[str, tuple[float, float]]
"""The least and the largest value of fields by name; `limits` of a configuration's class."""

MOST_VALUES = 100_000
"""In one list of a configuration; the data of a run may be thousands of videos."""


@dataclass(frozen=True)
class OneOfKinds:
    """A configuration whose data names its own kind.

    Attributes:
        kinds: the classes that it may be of, by name.
    """

    kinds: Mapping[str, type]

    def check(self, value: Any, place: str) -> None:
        if not isinstance(value, dict):
            raise Fault(place, f"is {shown(value)}, expected an object")
        kind = value.get("kind")
        if not isinstance(kind, str) or kind not in self.kinds:
            known = ", ".join(self.kinds)
            raise Fault(f"{place}.kind", f"is {shown(kind)}; this egodepth knows {known} there")
        shape_of(self.kinds[kind](), self.kinds).check(value, place)


def shape_of(configuration: Any, kinds: Mapping[str, type]) -> Object:
    """What the data of a configuration may hold; whatever it does not say is as in the default.

    Args:
        configuration: an instance; nested ones have the classes of its values.
        kinds: classes that nested data may name as their kind.
    """
    limits: Limits = getattr(type(configuration), "limits", {})
    hints = get_type_hints(type(configuration), include_extras=False)
    entries = {
        entry.name: _shape(hints[entry.name], getattr(configuration, entry.name), limits.get(entry.name), kinds)
        for entry in dataclasses.fields(configuration)
    }
    return Object(entries, required=())


def _shape(hint: Any, default: Any, limits: tuple[float, float] | None, kinds: Mapping[str, type]) -> Shape:
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _shape(inner[0], default, limits, kinds)
    if origin in (Union, types.UnionType):
        shapes = [_shape(each, default, limits, kinds) for each in inner if each is not type(None)]
        shape = shapes[0] if len(shapes) == 1 else Either(*shapes)
        return Optional(shape) if type(None) in inner else shape
    if origin is Literal:
        return Text(tuple(inner)) if all(isinstance(each, str) for each in inner) else Anything()
    if origin is tuple:
        whole = len(inner) == 2 and inner[1] is Ellipsis
        each = _shape(inner[0], None, limits, kinds)
        if not whole:
            return ListOf(each, len(inner), len(inner))
        # A network has so many stages; a list that may be empty may have any length.
        return ListOf(each, len(default), len(default)) if default and limits else ListOf(each, 0, MOST_VALUES)
    if hint is bool:
        return Flag()
    if hint is int:
        return Whole(*limits) if limits else Whole(-(2**53), 2**53)
    if hint is float:
        return Number(*limits) if limits else Number()
    if hint in (str, Path):
        return Text()
    if isinstance(hint, type) and (named := {name: kind for name, kind in kinds.items() if issubclass(kind, hint)}):
        return OneOfKinds(named)
    if dataclasses.is_dataclass(default):
        return shape_of(default, kinds)
    return Anything()
