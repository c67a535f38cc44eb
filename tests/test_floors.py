"""The table of floors in CONTRIBUTING.md: no room imports one above it, nor a neighbour that is not named there."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "egodepth"
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")

FLOORS = {
    room: int(number)
    for number, where in re.findall(r"^\| (\d) \| ([^|]*)\|", TEXT, re.MULTILINE)
    for room in re.findall(r"`(\w+)/`", where)
}
NEIGHBOURS = set(re.findall(r"`(\w+)`\s+on\s+`(\w+)`", TEXT))


def imported_rooms(file: Path) -> Iterator[str]:
    """The rooms that a file imports, inside functions and for the type checker too."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        names += [each.name for each in node.names] if isinstance(node, ast.Import) else []
        yield from (name.split(".")[1] for name in names if name.startswith("egodepth."))


def test_every_room_stands_on_the_floors_under_it():
    rooms = {folder.name for folder in PACKAGE.iterdir() if (folder / "__init__.py").is_file()}
    assert rooms == set(FLOORS)
    assert len(NEIGHBOURS) == 3
    upward = {
        (room, other)
        for room in rooms
        for file in (PACKAGE / room).rglob("*.py")
        for other in imported_rooms(file)
        if other in rooms - {room} and FLOORS[other] >= FLOORS[room]
    }
    assert upward == NEIGHBOURS
