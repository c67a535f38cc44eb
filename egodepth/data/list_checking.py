"""Looking through the split lists of a data set: whether they are there, can be read, and name what it holds."""

from collections.abc import Sequence
from pathlib import Path

from egodepth.data.findings import Findings
from egodepth.data.record import DatasetKind
from egodepth.errors import UserError


def check_lists(root: Path, kind: DatasetKind, split: str | None, findings: Findings) -> None:
    """Read the lists of one split, or of all of them.

    Args:
        split: the name of a folder in `splits` of the root, or a path to a folder or a file of lists; none takes all.

    Raises:
        UserError: there is no such split, or the kind of data has no lists at all.
    """
    if kind.lists is None:
        if split is not None:
            raise UserError(f"--split {split}: {root} is {kind.title}, which has no split lists. Leave --split out.")
        return
    lists = kind.lists(root)
    for file in find_lists(root, split, lists.patterns, lists.own):
        with findings.catching():
            listed = lists.read(file)
            missing = [frame for frame in listed if not lists.holds(frame)]
            name = file.relative_to(root) if file.is_relative_to(root) else file
            findings.count(f"{lists.frames} listed in {name}", len(listed))
            if missing:
                findings.faults.append(
                    f"{file}: {len(missing)} of its {len(listed)} {lists.frames} are not in the tree (the first: "
                    f"{lists.shown(missing[0])}). {lists.remedy}"
                )


def find_lists(root: Path, split: str | None, patterns: Sequence[str], own: Sequence[Path] = ()) -> list[Path]:
    """The files of split lists, found as training finds them (`find_split_file`).

    Raises:
        UserError: the named split is not there or has no list.
    """
    splits = root / "splits"
    folders = sorted(path for path in splits.iterdir() if path.is_dir()) if splits.is_dir() else []
    if split is None:
        files = [file for folder in folders for file in _lists_in(folder, patterns)]
        return [*files, *(file for file in own if file.is_file())]
    if Path(split).is_file():
        return [Path(split)]
    folder = next((place for place in (splits / split, Path(split)) if place.is_dir()), None)
    if folder is None:
        known = ", ".join(place.name for place in folders) or "none"
        raise UserError(f"--split {split}: neither a folder in {splits} (found: {known}) nor a path. Correct it.")
    if files := _lists_in(folder, patterns):
        return files
    raise UserError(f"{folder}: has no list of a split ({', '.join(patterns)}). Add one or choose another --split.")


def _lists_in(folder: Path, patterns: Sequence[str]) -> list[Path]:
    return sorted({file for pattern in patterns for file in folder.glob(pattern) if file.is_file()})
