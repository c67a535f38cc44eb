"""Damage and forgery of files, drawn from a seed: flipped bits, cut and doubled parts, and wrong values in text."""

import json
import random
import re
from collections.abc import Callable
from typing import Any

NASTY_VALUES: tuple[Any, ...] = (
    *(None, True, False, -1, 0, 1, 3.5, 10**9, -(10**9), 2**63, 10**400, -0.0, 1e-300, 1e300),
    *("", " ", "x" * 5000, "../../elsewhere", "/etc/passwd", "\x1b[31mred\x07", "\u202egnp.exe", "[red]", "\ud800"),
    *([], {}, [[]], [0] * 1000, {"kind": "Unknown"}, [None], ["a", 1], {"a": {"b": {}}}),
)
"""What a value of a JSON file is replaced by."""

NASTY_TOKENS = (
    *("NaN", "Infinity", "-Infinity", "1e400", "-1e400", "1" * 5000, "[" * 3000, '{"a":' * 3000, "nan", "inf", "-1"),
    *("0", "99999999999999999999", "1e308", "0x10", "1_000", "true", "null", "\x00", "\x1b[2J", "..", "\u0663"),
)
"""What a number of a text file is replaced by, as it stands there."""

NUMBER = re.compile(r"-?\d+(\.\d+)?([eE][-+]?\d+)?")


def mutated(content: bytes, draw: random.Random) -> bytes:
    """One to three changes of a file's bytes; text is changed as text half of the time."""
    changed = content
    for _ in range(draw.choice((1, 1, 1, 2, 3))):
        changed = draw.choice(_changes_for(changed, draw))(changed, draw)
    return changed


def _changes_for(content: bytes, draw: random.Random) -> tuple[Callable[[bytes, random.Random], bytes], ...]:
    try:
        text = content.decode()
    except UnicodeDecodeError:
        return BYTE_CHANGES
    if draw.random() < 0.25:
        return BYTE_CHANGES
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return TEXT_CHANGES
    return JSON_CHANGES


# --- bytes ------------------------------------------------------------------------------------------------------------


def _flip_bit(content: bytes, draw: random.Random) -> bytes:
    if not content:
        return content
    place = draw.randrange(len(content))
    return content[:place] + bytes([content[place] ^ 1 << draw.randrange(8)]) + content[place + 1 :]


def _cut(content: bytes, draw: random.Random) -> bytes:
    return content[: draw.randrange(len(content) + 1)]


def _drop_part(content: bytes, draw: random.Random) -> bytes:
    start, length = _part(content, draw)
    return content[:start] + content[start + length :]


def _double_part(content: bytes, draw: random.Random) -> bytes:
    start, length = _part(content, draw)
    return content[: start + length] + content[start:]


def _overwrite(content: bytes, draw: random.Random) -> bytes:
    start, length = _part(content, draw)
    filling = draw.choice((b"\0", b"\xff", None))
    new = draw.randbytes(length) if filling is None else filling * length
    return content[:start] + new + content[start + length :]


def _large_number(content: bytes, draw: random.Random) -> bytes:
    """A length or a size in a header becomes one beyond all memory, near the start where headers are."""
    place = draw.randrange(min(len(content), 4096) + 1)
    number = draw.choice((2**31 - 1, 2**32 - 1, 2**62, 2**63 - 1)).to_bytes(8, draw.choice(("little", "big")))
    return content[:place] + number + content[place + 8 :]


def _append(content: bytes, draw: random.Random) -> bytes:
    return content + draw.randbytes(draw.randrange(1, 200))


def _part(content: bytes, draw: random.Random) -> tuple[int, int]:
    start = draw.randrange(len(content) + 1)
    return start, min(len(content) - start, draw.choice((1, 2, 4, 8, 16, 64, 256)))


BYTE_CHANGES = (_flip_bit, _flip_bit, _cut, _drop_part, _double_part, _overwrite, _large_number, _append)


# --- text -------------------------------------------------------------------------------------------------------------


def _replace_number(content: bytes, draw: random.Random) -> bytes:
    text = content.decode(errors="replace")
    numbers = list(NUMBER.finditer(text))
    if not numbers:
        return content
    found = draw.choice(numbers)
    return (text[: found.start()] + draw.choice(NASTY_TOKENS) + text[found.end() :]).encode(errors="surrogatepass")


def _change_line(content: bytes, draw: random.Random) -> bytes:
    lines = content.decode(errors="replace").splitlines(keepends=True)
    if not lines:
        return content
    place = draw.randrange(len(lines))
    match draw.randrange(4):
        case 0:
            del lines[place]
        case 1:
            lines.insert(place, lines[place])
        case 2:
            lines[place] = draw.choice(NASTY_TOKENS) + "\n"
        case _:
            draw.shuffle(lines)
    return "".join(lines).encode(errors="surrogatepass")


TEXT_CHANGES = (_replace_number, _replace_number, _change_line)


# --- JSON -------------------------------------------------------------------------------------------------------------


def _change_value(content: bytes, draw: random.Random) -> bytes:
    """One value anywhere in a JSON file is replaced, dropped or doubled."""
    data = json.loads(content)
    places = list(_places(data, ()))
    if not places:
        return json.dumps(draw.choice(NASTY_VALUES)).encode(errors="surrogatepass")
    path = draw.choice(places)
    holder = data
    for step in path[:-1]:
        holder = holder[step]
    match draw.randrange(8):
        case 0:
            del holder[path[-1]]
        case 1 if isinstance(holder, list):
            holder.insert(path[-1], holder[path[-1]])
        case 2 if isinstance(holder, dict):
            holder["unknown"] = holder.pop(path[-1])
        case _:
            holder[path[-1]] = draw.choice(NASTY_VALUES)
    return json.dumps(data).encode(errors="surrogatepass")


def _replace_all(content: bytes, draw: random.Random) -> bytes:
    return json.dumps(draw.choice(NASTY_VALUES)).encode(errors="surrogatepass")


def _places(data: Any, path: tuple) -> Any:
    """Where each value of a JSON document stands; long lists give their first values alone."""
    if isinstance(data, dict):
        inner = data.items()
    elif isinstance(data, list):
        inner = enumerate(data[:8])
    else:
        return
    for key, value in inner:
        yield (*path, key)
        yield from _places(value, (*path, key))


JSON_CHANGES = (*(_change_value,) * 6, _replace_number, _replace_number, _replace_all)
