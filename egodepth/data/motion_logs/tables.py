"""Text files of numbers in lines, read with the number of each line for messages."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from egodepth.errors import UserError
from egodepth.files import read_text

SHOWN = 60
"""So many characters of a broken line are shown."""


def filled_lines(file: Path) -> list[tuple[int, str]]:
    """Number and text of the lines that are neither empty nor a comment (`#`).

    Raises:
        UserError: the file cannot be read, or has none.
    """
    if not file.is_file():
        raise UserError(f"{file}: no such file. Check the path.")
    try:
        text = read_text(file)
    except OSError as error:
        raise UserError(f"{file}: cannot be read ({error.strerror}). Check the path.") from error
    lines = [(number, line.partition("#")[0].strip()) for number, line in enumerate(text.splitlines(), 1)]
    found = [(number, line) for number, line in lines if line]
    if not found:
        raise UserError(f"{file}: is empty. Check the path.")
    return found


def words(line: str) -> list[str]:
    """What a line holds between commas or spaces."""
    return line.replace(",", " ").split()


def numbers(file: Path, lines: Sequence[tuple[int, str]], count: int, what: str) -> np.ndarray:
    """The numbers (N, count) float64 of lines.

    Args:
        what: the form of a line, for messages.

    Raises:
        UserError: a line has another form; more numbers than `count` are left out.
    """
    rows = []
    for number, line in lines:
        try:
            row = [float(word) for word in words(line)[:count]]
        except ValueError:
            row = []
        if len(row) < count or not np.isfinite(row).all():
            raise UserError(f"{file}, line {number}: expected {what}, found `{line[:SHOWN]}`. Correct the line.")
        rows.append(row)
    return np.array(rows, dtype=np.float64)


def in_order(file: Path, seconds: np.ndarray) -> np.ndarray:
    """The positions by which a log is put in order of time, of entries at one time the first alone.

    Raises:
        UserError: fewer than two times are left.
    """
    places = np.unique(seconds, return_index=True)[1]
    if len(places) < 2:
        raise UserError(f"{file}: holds one time alone. A log needs two entries or more.")
    return places
