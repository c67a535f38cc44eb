"""What kind of data a path is, by its layout."""

from pathlib import Path

from egodepth.data import kinds
from egodepth.data.configurations import DataKind
from egodepth.data.images import is_image
from egodepth.data.record import DatasetKind, visible_entries
from egodepth.errors import UserError


def recognise(path: Path | str) -> DataKind:
    """Tell the kind of a data set from its layout.

    Raises:
        UserError: the path is missing, empty, or of no known layout; the message says what was looked for.
    """
    return kind_of(Path(path)).name


def kind_of(path: Path, name: DataKind | None = None) -> DatasetKind:
    """The record of the data under a path.

    Args:
        name: of the kind, where the user has said it; none looks at the layout.

    Raises:
        UserError: see `recognise`.
    """
    if name is not None:
        return next(kind for kind in kinds.KINDS if kind.name == name)
    if not path.exists():
        raise UserError(f"{path}: no such file or folder. Check the path.")
    for kind in kinds.KINDS:
        if kind.recognise(path):
            return kind
    raise UserError(f"{path}: {_what_it_is(path)}")


def _what_it_is(path: Path) -> str:
    if path.is_file() and is_image(path):
        return f"is a single image; a data set is a video or a folder of frames. Give {path.parent}."
    if path.is_dir() and not visible_entries(path):
        return f"is an empty folder. {_expected()}"
    hints = (kind.hint(path) for kind in kinds.KINDS)
    return next((hint for hint in hints if hint), f"has an unknown layout. {_expected()}")


def _expected() -> str:
    *others, last = (kind.expected for kind in kinds.KINDS)
    return f"Expected {', '.join(others)}, or {last}."
