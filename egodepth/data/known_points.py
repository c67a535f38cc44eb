"""Distances that somebody measured: a point of a picture and its metres."""

from dataclasses import dataclass
from pathlib import Path

from egodepth.data.motion_logs.tables import SHOWN, filled_lines, words
from egodepth.errors import UserError

EXPECTED = "`picture column row metres`"


@dataclass(frozen=True)
class KnownPoint:
    """A point whose depth was measured.

    Attributes:
        picture: file of the picture.
        column, row: in pixels, from 0.
        metres: along the viewing direction of the camera.
        line: of the file in which it stands.
    """

    picture: Path
    column: float
    row: float
    metres: float
    line: int

    @property
    def said(self) -> str:
        """The point in a message."""
        return f"line {self.line}, {self.picture.name} at ({self.column:g}, {self.row:g})"


def read_known_points(file: Path, data: Path) -> list[KnownPoint]:
    """The points of a file, a line each: `picture column row metres`, with spaces or commas between.

    Args:
        data: folder or file that pictures are looked for beside; then the file's own folder.

    Raises:
        UserError: a line has another form, or a picture is missing.
    """
    folders = [data if data.is_dir() else data.parent, file.parent]
    return [_point(file, number, line, folders) for number, line in filled_lines(file)]


def _point(file: Path, number: int, line: str, folders: list[Path]) -> KnownPoint:
    # The picture's name may hold spaces, the numbers stand last.
    pieces = [piece.strip() for piece in line.rsplit(",", 3)] if "," in line else line.rsplit(None, 3)
    try:
        picture, (column, row, metres) = pieces[0], map(float, pieces[1:])
    except ValueError:
        raise UserError(
            f"{file}, line {number}: expected {EXPECTED}, found `{line[:SHOWN]}`. Correct the line."
        ) from None
    if not (0 < metres < float("inf") and column >= 0 and row >= 0):
        raise UserError(f"{file}, line {number}: {' '.join(words(line)[-3:])}: metres and pixels must be positive.")
    for folder in folders:
        if (folder / picture).is_file():
            return KnownPoint(folder / picture, column, row, metres, number)
    where = " nor in ".join(dict.fromkeys(map(str, folders)))
    raise UserError(f"{file}, line {number}: there is no picture {picture} in {where}. Correct its name.")
