"""DDAD's lists: the JSON files that name the scenes of each split.

DDAD's own is `ddad.json`, DDAD_tiny's `ddad_tiny.json`, that of TRI's test scenes `scene_dataset_v1.0.json`: a list is
known by its `scene_splits`, not by its name. Scenes lie relative to it.
"""

from pathlib import Path

from egodepth.checked_json import parsed
from egodepth.errors import UserError
from egodepth.files import within

LARGEST_SCENE_BYTES = 256 * 2**20
"""A scene's own JSON lists each image and cloud of its 100 moments, 1 MB in all."""

USUAL_NAMES = ("ddad*.json", "scene_dataset*.json")
NUMBER_OF_SPLIT = {"train": "0", "val": "1", "test": "2", "train_overfit": "3"}

# DDAD's own list has 30 kB. A folder of frames may have annotations of gigabytes beside it, which are not read.
LARGEST_LIST_BYTES = 1 << 24


def find_lists(root: Path) -> list[Path]:
    """The lists of a folder, or of the folders in it that archives unpack (`ddad_train_val`, `DDAD_tiny`)."""
    for folder in (root, root / "ddad_train_val", *sorted(root.glob("[dD][dD][aA][dD]*"))):
        if lists := _lists_in(folder):
            return lists
    return []


def _lists_in(folder: Path) -> list[Path]:
    """Lists by their content; by their usual names where none has it, since a file cut short is a list all the same."""
    known = sorted(file for file in folder.glob("*.json") if _names_splits(file))
    return known or sorted({file for name in USUAL_NAMES for file in folder.glob(name) if file.is_file()})


def _names_splits(file: Path) -> bool:
    try:
        return file.is_file() and file.stat().st_size <= LARGEST_LIST_BYTES and b'"scene_splits"' in file.read_bytes()
    except OSError:
        return False


def find_list(root: Path, name: str | None = None) -> Path:
    """The list of a folder, or of those in it (see `find_lists`).

    Args:
        name: of the file, or a path to it; none takes the only one.

    Raises:
        UserError: there is no list, there are several and none is named, or none has the name.
    """
    lists = find_lists(root)
    if not lists:
        raise UserError(
            f"{root}: has no ddad.json, nor another list with scene_splits. "
            "Give the folder that DDAD.tar unpacks, ddad_train_val."
        )
    names = ", ".join(file.name for file in lists)
    if name is None:
        if len(lists) > 1:
            raise UserError(f"{lists[0].parent}: has several lists of scenes, {names}. Choose one with --data.split.")
        return lists[0]
    for file in lists:
        if name == file.name or Path(name).resolve() == file.resolve():
            return file
    raise UserError(f"--data.split {name}: no such list in {lists[0].parent}, only {names}. Correct it.")


def list_and_split(split: str | None) -> tuple[str | None, str | None]:
    """The two parts of `--data.split`: the name of a list and that of a split, as `LIST.json:SPLIT`, or one of them."""
    if split is None or split.endswith(".json"):
        return split, None
    name, separator, part = split.rpartition(":")
    return (name, part) if separator and name.endswith(".json") else (None, split)


def scene_files(listing: Path, split: str) -> list[Path]:
    """The scenes of `train`, `val`, `test` or `train_overfit`, in the list's order.

    Raises:
        UserError: the list lacks the split, or a scene that it names is missing.
    """
    files = listed_scenes(listing, split)
    if not files:
        others = [other for other in NUMBER_OF_SPLIT if listed_scenes(listing, other)]
        has = f", only {', '.join(others)} scenes" if others else ""
        raise UserError(
            f"{listing}: lists no {split} scenes{has}. Unpack the archive that has them, or choose another split."
        )
    missing = [file for file in files if not file.is_file()]
    if missing:
        raise UserError(
            f"{missing[0]}: no such scene; {len(missing)} of {len(files)} {split} scenes are missing. "
            "The archive is unpacked in part: unpack all of it."
        )
    return files


def listed_scenes(listing: Path, split: str) -> list[Path]:
    """What a list names of a split, there or not.

    Raises:
        UserError: the list has another form, or the split has another name.
    """
    if split not in NUMBER_OF_SPLIT:
        raise UserError(f"--data.split {split}: DDAD's splits are {', '.join(NUMBER_OF_SPLIT)}. Choose one.")
    try:
        splits = read_json(listing, "Unpack it again")["scene_splits"]
        names = splits.get(NUMBER_OF_SPLIT[split], {}).get("filenames", [])
        return [within(listing.parent, name, f"Correct {listing.name}.") for name in names]
    except (KeyError, TypeError, AttributeError):
        raise UserError(f"{listing}: has no scene_splits with filenames. Unpack it again.") from None


def read_json(file: Path, remedy: str) -> dict:
    """A JSON object.

    Raises:
        UserError: the file is missing or cut short.
    """
    try:
        entries = parsed(file, LARGEST_SCENE_BYTES)
    except FileNotFoundError:
        raise UserError(f"{file}: no such file. {remedy}.") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{file}: is damaged or cut short ({error}). {remedy}.") from None
    if not isinstance(entries, dict):
        raise UserError(f"{file}: expected a JSON object. {remedy}.")
    return entries
