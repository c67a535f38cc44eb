"""What a user names on the command line, turned into pictures and videos with distinct output names."""

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

from egodepth.data.footage.containers import VIDEO_SUFFIXES, is_video
from egodepth.data.footage.stretches import Stretch
from egodepth.data.images import IMAGE_SUFFIXES, is_image, natural_key
from egodepth.errors import UserError

GLOB_CHARACTERS = frozenset("*?[")


@dataclass(frozen=True)
class ImageInput:
    """One picture.

    Attributes:
        path: of the file.
        name: of its outputs, without suffix and relative to the output folder; no two inputs share it.
    """

    path: Path
    name: Path


@dataclass(frozen=True)
class VideoInput:
    """One video, or a stretch of it.

    Attributes:
        path, name: as for `ImageInput`.
        stretch: the frames that are wanted; None for all.
    """

    path: Path
    name: Path
    stretch: Stretch | None = None


Input = ImageInput | VideoInput


def expand_inputs(arguments: Sequence[str | Path]) -> list[Input]:
    """Turn images, folders, globs and videos into single inputs, in the order given and naturally within each.

    A folder gives the images and videos directly in it. A glob (`*`, `?`, `**`, `[…]`) gives what it matches;
    what is neither an image nor a video is passed over there. A file that is met twice counts once;
    links count by themselves, so that frames that are links into a store keep their names, order and repetition.

    Output names are the files' own without suffix, below a folder or the fixed part of a glob with their
    relative folder (`left/000001`). Inputs that would share a name keep their suffix in it, and where this is
    not enough as many of their parent folders as it takes.

    Raises:
        UserError: nothing was named, a path does not exist, a folder or a glob holds nothing to read, or a
            file is neither an image by its suffix nor a video.
    """
    if not arguments:
        raise UserError("no input was named; name an image, a folder, a glob or a video")
    found: dict[Path, Input] = {}
    for argument in _as_unquoted_globs(arguments):
        for each in _expand(argument):
            found.setdefault(named_path(each.path), each)
    return with_distinct_names(list(found.values()))


def named_path(path: Path) -> Path:
    """The path as the user calls it, from the root: links stay what they are."""
    return Path(os.path.abspath(path))  # noqa: PTH100 - `Path.resolve` would follow links


def short_name(path: Path) -> str:
    """The last part of an input's path, without the suffix of a file; a folder's name may have a dot in it."""
    return path.name if path.is_dir() else path.stem


def distinct_names(paths: Sequence[Path], names: Sequence[Path], short: Sequence[str]) -> list[Path]:
    """Lengthen those of `names` that are shared until all differ. `paths`, all different, give what to add.

    Folders are added from the innermost on; the suffix stays away unless names differ in it alone.

    Args:
        short: the last parts of `paths` without what may stay away, see `short_name`.
    """
    whole = list(names)
    level = 0
    while clashing := {name for name, count in Counter(whole).items() if count > 1}:
        whole = [
            _longer_name(path, level) if name in clashing else name for path, name in zip(paths, whole, strict=True)
        ]
        level += 1
    bare = [
        name if name == before else name.with_name(last) for last, name, before in zip(short, whole, names, strict=True)
    ]
    alone = {name for name, count in Counter(bare).items() if count == 1} - set(whole)
    return [name if name in alone else long for name, long in zip(bare, whole, strict=True)]


def _as_unquoted_globs(arguments: Sequence[str | Path]) -> list[str | Path]:
    """The arguments, with what a shell made of `num/*.png` (1 10 11 2) in natural order.

    Files of one folder and suffix that follow each other in the order of their letters come from a pattern; what was
    typed in another order stays in it.
    """
    ordered: list[str | Path] = []
    for (_, suffix), group in groupby(arguments, key=lambda each: (Path(each).parent, Path(each).suffix)):
        run = list(group)
        texts = [str(each) for each in run]
        from_a_shell = suffix and len(set(texts)) > 1 and texts in (sorted(texts), sorted(texts, key=str.casefold))
        ordered += sorted(run, key=lambda each: natural_key(Path(each))) if from_a_shell else run
    return ordered


def _expand(argument: str | Path) -> list[Input]:
    path = Path(argument)
    if path.is_dir() and is_video(path):  # a bag of ROS 2
        return [VideoInput(path, Path(path.name))]
    if path.is_dir():
        return _expand_folder(path)
    if path.exists():
        return [_file_input(path, Path(path.stem))]
    if GLOB_CHARACTERS & set(str(argument)):
        return _expand_glob(str(argument))
    raise UserError(f"{path}: no such file or folder; check the path")


def _expand_folder(folder: Path) -> list[Input]:
    files = sorted((path for path in folder.iterdir() if _is_readable(path)), key=natural_order)
    if not files:
        raise UserError(
            f"{folder}: no image or video in this folder; name the folder that holds them, "
            f"or '{folder}/**/*.png' for those in its folders"
        )
    return [_file_input(path, Path(path.stem)) for path in files]


def _expand_glob(pattern: str) -> list[Input]:
    root = fixed_part(pattern)
    matches = root.glob(str(Path(pattern).relative_to(root)))
    files = sorted((path for path in matches if _is_readable(path)), key=natural_order)
    if not files:
        raise UserError(f"{pattern}: this pattern matches no image and no video; check the path and the suffix")
    return [_file_input(path, path.relative_to(root).with_suffix("")) for path in files]


def fixed_part(pattern: str) -> Path:
    """The folders of a glob before its first special character."""
    fixed = Path()
    for part in Path(pattern).parts[:-1]:
        if GLOB_CHARACTERS & set(part):
            break
        fixed = fixed / part
    return fixed


def _is_readable(path: Path) -> bool:
    return path.is_file() and not path.name.startswith(".") and (is_image(path) or is_video(path))


def natural_order(path: Path) -> tuple:
    """Sort key of whole paths, see `natural_key`."""
    return tuple(natural_key(Path(part)) for part in path.parts)


def _file_input(path: Path, name: Path) -> Input:
    if path.suffix.lower() in IMAGE_SUFFIXES:
        return ImageInput(path, name)
    if is_video(path):
        return VideoInput(path, name)
    known = ", ".join(sorted(IMAGE_SUFFIXES) + sorted(VIDEO_SUFFIXES))
    raise UserError(
        f"{path}: '{path.suffix}' is no known suffix of an image or a video, and it holds no video; known are {known}"
    )


def with_distinct_names(inputs: Sequence[Input]) -> list[Input]:
    """The inputs, with names of their own for those that share one."""
    short = [short_name(each.path) for each in inputs]
    names = distinct_names([named_path(each.path) for each in inputs], [each.name for each in inputs], short)
    return [replace(each, name=name) for each, name in zip(inputs, names, strict=True)]


def _longer_name(path: Path, parents: int) -> Path:
    """The whole file name below its `parents` innermost folders: all of them make it unlike any other."""
    return Path(*path.parts[1:][-(parents + 1) :])
