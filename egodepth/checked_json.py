"""JSON that is checked before anything is built from it: the program's own files, which may be damaged or forged.

A file is read in two steps: `parsed` refuses what is too large, too deep, no JSON or no finite number, and a shape says
what has to be in it. The first value at fault is named with its file and its place (`network.widths[2]`).

    CAMERA = Object({"fx": Number(0, 1e6), "note": Optional(Text())}, required=("fx",))
    entries = read_checked(file, CAMERA, "Calibrate again.")
"""

import hashlib
import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from egodepth.errors import UserError, first_line
from egodepth.files import read_text

LARGEST_BYTES = 16 * 2**20
"""Largest file that describes one thing; what lists thousands of frames says its own limit."""

DEEPEST = 32
"""Levels within each other; a run's options have six."""

LONGEST_TEXT = 4096

SHOWN = 40
"""Characters of a wrong value that a message shows."""

DIGEST = "digest"


class Fault(Exception):
    """What is wrong with a value, and where it stands; without the file, which the caller knows."""

    def __init__(self, place: str, problem: str) -> None:
        super().__init__(f"{place or 'its content'} {problem}")


class Shape(Protocol):
    """What a value has to be."""

    def check(self, value: Any, place: str) -> None:
        """Raises Fault: the value, or one in it, is something else."""


@dataclass(frozen=True)
class Number:
    """A finite number from `low` to `high`, both included."""

    low: float = -1e12
    high: float = 1e12
    whole: bool = False

    def check(self, value: Any, place: str) -> None:
        kind = "a whole number" if self.whole else "a number"
        numeric = isinstance(value, int if self.whole else int | float) and not isinstance(value, bool)
        if not numeric or not self.low <= value <= self.high:  # NaN is in no range
            raise Fault(place, f"is {shown(value)}, expected {kind} from {self.low:.12g} to {self.high:.12g}")


def Whole(low: int = 0, high: int = 2**53) -> Number:
    """A whole number from `low` to `high`."""
    return Number(low, high, whole=True)


@dataclass(frozen=True)
class Text:
    """A string, not longer than `longest`; with `choices`, one of them; with a `pattern`, all of it matches that."""

    choices: tuple[str, ...] = ()
    longest: int = LONGEST_TEXT
    pattern: str = ""

    def check(self, value: Any, place: str) -> None:
        if not isinstance(value, str) or (self.choices and value not in self.choices):
            expected = f"one of {', '.join(self.choices)}" if self.choices else "a text"
            raise Fault(place, f"is {shown(value)}, expected {expected}")
        if self.pattern and not re.fullmatch(self.pattern, value):
            raise Fault(place, f"is {shown(value)}, expected the form {self.pattern}")
        if len(value) > self.longest:
            raise Fault(place, f"has {len(value)} characters, expected {self.longest} at most")


@dataclass(frozen=True)
class Flag:
    """True or false."""

    def check(self, value: Any, place: str) -> None:
        if not isinstance(value, bool):
            raise Fault(place, f"is {shown(value)}, expected true or false")


@dataclass(frozen=True)
class Anything:
    """Any plain data, of which `parsed` has refused what is too deep."""

    def check(self, value: Any, place: str) -> None:
        return


@dataclass(frozen=True)
class Optional:
    """A value of a shape, or null."""

    shape: Shape

    def check(self, value: Any, place: str) -> None:
        if value is not None:
            self.shape.check(value, place)


@dataclass(frozen=True)
class Either:
    """A value of the first or of the second shape; the fault named is that of the second."""

    first: Shape
    second: Shape

    def check(self, value: Any, place: str) -> None:
        try:
            self.first.check(value, place)
        except Fault:
            self.second.check(value, place)


@dataclass(frozen=True)
class ListOf:
    """A list of `least` to `most` values of one shape."""

    shape: Shape
    least: int = 0
    most: int = 10_000_000

    def check(self, value: Any, place: str) -> None:
        if not isinstance(value, list):
            raise Fault(place, f"is {shown(value)}, expected a list")
        if not self.least <= len(value) <= self.most:
            count = f"{self.least}" if self.least == self.most else f"{self.least} to {self.most}"
            raise Fault(place, f"has {len(value)} values, expected {count}")
        for number, each in enumerate(value):
            self.shape.check(each, f"{place}[{number}]")


@dataclass(frozen=True)
class Row:
    """A list with a value of each of these shapes, in this order."""

    shapes: tuple[Shape, ...]

    def check(self, value: Any, place: str) -> None:
        ListOf(Anything(), len(self.shapes), len(self.shapes)).check(value, place)
        for number, (shape, each) in enumerate(zip(self.shapes, value, strict=True)):
            shape.check(each, f"{place}[{number}]")


@dataclass(frozen=True)
class MapOf:
    """An object with any keys that `key` accepts, and values of one shape."""

    shape: Shape
    key: Callable[[str], bool] = lambda key: True
    keys: str = "texts"

    def check(self, value: Any, place: str) -> None:
        if not isinstance(value, dict):
            raise Fault(place, f"is {shown(value)}, expected an object")
        for key, each in value.items():
            if not self.key(key):
                raise Fault(place, f"has the key {shown(key)}, expected {self.keys}")
            self.shape.check(each, f"{place}.{key[:SHOWN]}")


@dataclass(frozen=True)
class Object:
    """An object with known entries; what is in it besides is passed over, as newer versions may have written it.

    Attributes:
        entries: the shape of each.
        required: those that must be there; None means all.
        closed: nothing is passed over, but for a digest: whose name may be damaged, too.
    """

    entries: Mapping[str, Shape]
    required: tuple[str, ...] | None = None
    closed: bool = False

    def check(self, value: Any, place: str) -> None:
        if not isinstance(value, dict):
            raise Fault(place, f"is {shown(value)}, expected an object")
        for key in self.entries if self.required is None else self.required:
            if key not in value:
                raise Fault(_joined(place, key), "is missing")
        if self.closed and (unknown := value.keys() - self.entries.keys() - {DIGEST}):
            raise Fault(place, f"has the key {shown(min(unknown))}, expected {', '.join(self.entries)}")
        for key, shape in self.entries.items():
            if key in value:
                shape.check(value[key], _joined(place, key))


def read_checked(file: Path, shape: Shape, remedy: str, largest_bytes: int = LARGEST_BYTES) -> Any:
    """What one of the program's own JSON files holds.

    A file that `sealed` wrote is held against its digest; one without a digest is read without that check.

    Args:
        remedy: what to do about a file that cannot be used, a sentence.

    Raises:
        UserError: it is missing, damaged, or holds something else; file and place are named.
    """
    try:
        return _checked(parsed(file, largest_bytes), shape)
    except FileNotFoundError:
        raise UserError(f"{file}: is missing. {remedy}") from None
    except OSError as error:
        raise UserError(f"{file}: cannot be read ({error.strerror}). Check the path.") from error
    except (Fault, ValueError) as fault:
        raise UserError(f"{file}: {fault}. {remedy}") from fault


def checked_text(text: str, shape: Shape, source: str, remedy: str) -> Any:
    """What a JSON text within another file holds, checked as `read_checked` does.

    Args:
        source: where it stands, for messages.

    Raises:
        UserError: it is damaged, or holds something else.
    """
    try:
        return _checked(parsed_text(text), shape)
    except (Fault, ValueError) as fault:
        raise UserError(f"{source} {fault}. {remedy}") from fault


def _checked(content: Any, shape: Shape) -> Any:
    shape.check(content, "")
    if isinstance(content, dict) and DIGEST in content and content.pop(DIGEST) != digest_of(content):
        raise Fault("", "is not what was written: its digest is another one")
    return content


def read_object(file: Path, remedy: str = "Write it again.", largest_bytes: int = LARGEST_BYTES) -> dict[str, Any]:
    """A JSON object whose entries the caller checks, as those of a stranger's file.

    Raises:
        UserError: it is missing, damaged, or no object.
    """
    return read_checked(file, Object({}), remedy, largest_bytes)


def parsed(file: Path, largest_bytes: int = LARGEST_BYTES) -> Any:
    """What a JSON file holds, of whatever form; for strangers' files, which have readers of their own.

    Raises:
        ValueError: it is too large, too deep, or no JSON.
        OSError: it cannot be read.
    """
    size = file.stat().st_size
    if size > largest_bytes:
        raise ValueError(f"has {size} bytes, where {largest_bytes} are the most that is read")
    return parsed_text(read_text(file))


def parsed_text(text: str) -> Any:
    """What a JSON text holds.

    Raises:
        ValueError: it is too deep, or no JSON; NaN and infinity, which Python writes and JSON has not, are none.
    """
    try:
        content = json.loads(text, parse_constant=_no_number)
    except RecursionError:
        raise ValueError(f"has more than {DEEPEST} levels within each other") from None
    except ValueError as error:
        raise ValueError(f"is not JSON ({first_line(error)})") from None
    if _depth(content) > DEEPEST:
        raise ValueError(f"has more than {DEEPEST} levels within each other")
    return content


def sealed(content: Mapping[str, Any]) -> dict[str, Any]:
    """Content with the digest by which `read_checked` knows that it is as it was written."""
    return {**content, DIGEST: digest_of(content)}


def digest_of(content: Any) -> str:
    """The digest of plain data, whatever the order of keys and the spaces of its file."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def shown(value: Any) -> str:
    """A value as a message shows it."""
    if isinstance(value, dict | list):
        return f"{'an object' if isinstance(value, dict) else 'a list'} of {len(value)}"
    if isinstance(value, float) and not math.isfinite(value):
        return "not finite"
    text = json.dumps(value) if not isinstance(value, int) or value.bit_length() < 128 else "a number beyond all bounds"
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"


def _joined(place: str, key: str) -> str:
    return f"{place}.{key}" if place else key


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is no number")


def _depth(content: Any) -> int:
    """How many levels of objects and lists stand within each other; counted no further than one too many."""
    level, depth = [content], 0
    while level and depth <= DEEPEST:
        level = [
            inner
            for each in level
            if isinstance(each, dict | list)
            for inner in (each.values() if isinstance(each, dict) else each)
            if isinstance(inner, dict | list)
        ]
        depth += 1
    return depth
