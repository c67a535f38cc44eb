"""Which frames train, which validate and which test: split files, and the rule that serves where there is none."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from egodepth.errors import UserError
from egodepth.files import read_text, within

Side = Literal["l", "r"]
Stage = Literal["train", "val"]

FRAME_NUMBER = re.compile(r"[0-9]{1,18}")

BLOCK_FRAMES = 100
VALIDATION_FRAMES_PER_BLOCK = 10


@dataclass(frozen=True)
class SplitLine:
    """One frame that a split names.

    Attributes:
        folder: the drive, relative to the data's root, for example `2011_09_26/2011_09_26_drive_0005_sync`.
        frame: frame number.
        side: `l` for camera 2, `r` for camera 3.
        origin: where it was named, for messages: `train_files.txt, line 12`; empty where no file did.
    """

    folder: str
    frame: int
    side: Side
    origin: str = ""

    def __str__(self) -> str:
        return f"{self.folder} {self.frame} {self.side}"


def read_split(file: Path | str) -> list[SplitLine]:
    """Read a split file, one `<folder> <frame> <side>` a line (Monodepth2 specification, section 8.2).

    Raises:
        UserError: the file is missing or empty, or a line has another form.
    """
    file = Path(file)
    if not file.is_file():
        raise UserError(f"{file}: no such split file. Check --data.split.")
    text = read_text(file)
    lines = [_parse(line, f"{file}, line {number}") for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    if not lines:
        raise UserError(f"{file}: is empty. Expected lines like `<folder> <frame> l`.")
    return lines


def find_split_file(root: Path, split: str | None, names: Sequence[str]) -> Path | None:
    """The split file of that name: the first of `names` that exists.

    Args:
        root: the data's root, whose `splits` folder is searched.
        split: the name of a folder in `splits`, or a path to a folder or to a file. None takes the only split
            that the root has, and no file where it has none.
        names: file names in order of preference, for example `val_stereo_files.txt` before `val_files.txt`.

    Raises:
        UserError: the named split is not there, or several are and none was named.
    """
    splits = root / "splits"
    if split is None:
        found = [file for folder in _folders(splits) if (file := _first(folder, names))]
        if len(found) > 1:
            raise UserError(f"{splits}: holds several splits ({_names(found)}). Choose one with --data.split NAME.")
        return found[0] if found else None
    if is_one_list(split):
        return Path(split)
    folder = next((place for place in (splits / split, Path(split)) if place.is_dir()), None)
    if folder is None:
        known = ", ".join(place.name for place in _folders(splits)) or "none"
        raise UserError(f"--data.split {split}: neither a folder in {splits} (found: {known}) nor a path. Correct it.")
    if file := _first(folder, names):
        return file
    raise UserError(f"{folder}: has no {' or '.join(names)}. Add the file or choose another split.")


def is_one_list(split: str | None) -> bool:
    """Whether a split is a path to one list, which trains or tests and leaves nothing to validate on."""
    return split is not None and Path(split).is_file()


def validates(position: int, count: int) -> bool:
    """Whether the frame at `position` of a sequence of `count` is held out: the last 10 of each 100.

    A sequence too short for that holds out its last tenth, one frame at least.
    """
    if count < BLOCK_FRAMES:
        return position >= count - max(1, count * VALIDATION_FRAMES_PER_BLOCK // BLOCK_FRAMES)
    return position % BLOCK_FRAMES >= BLOCK_FRAMES - VALIDATION_FRAMES_PER_BLOCK


def _parse(line: str, origin: str) -> SplitLine:
    match line.split():
        case [folder, frame, side] if FRAME_NUMBER.fullmatch(frame) and side in ("l", "r"):
            within(Path("DATA"), folder, f"Correct {origin}.")
            return SplitLine(folder, int(frame), side, origin)
    raise UserError(f"{origin}: `{line.strip()}` is not `<folder> <frame> <l or r>`. Correct the line.")


def _first(folder: Path, names: Iterable[str]) -> Path | None:
    return next((folder / name for name in names if (folder / name).is_file()), None)


def _folders(parent: Path) -> list[Path]:
    return sorted(path for path in parent.iterdir() if path.is_dir()) if parent.is_dir() else []


def _names(files: Iterable[Path]) -> str:
    return ", ".join(file.parent.name for file in files)
