"""Folders that are KITTI raw but for one thing, which a message can name."""

import re
from collections.abc import Iterator
from pathlib import Path

from egodepth.data.record import visible_entries

DATE = re.compile(r"\d{4}_\d{2}_\d{2}")
DRIVE = re.compile(r"\d{4}_\d{2}_\d{2}_drive_\d+_(sync|extract)")

LOOSE_DATE = re.compile(r"(\d{4})[-_.]?(\d{1,2})[-_.]?(\d{1,2})")
LOOSE_DRIVE = re.compile(r"(\d{4})[-_.]?(\d{1,2})[-_.]?(\d{1,2})[-_]drive[-_]?(\d+)([-_](?:sync|extract))?")
CALIBRATION = "calib_cam_to_cam.txt"


def near_misses(root: Path) -> Iterator[str]:
    """What in a folder would be drives of KITTI raw under other names or one level up or down: a remark for each.

    A remark follows the path of `root` in a message (`holds …`) and ends with what to do.
    """
    folders = [entry for entry in visible_entries(root) if entry.is_dir()]
    yield from filter(None, map(_nested, folders))
    for folder in folders:
        if DATE.fullmatch(folder.name):
            yield from _within_date(folder)
        elif date := LOOSE_DATE.fullmatch(folder.name):
            drives = [entry for entry in visible_entries(folder) if _is_nearly_drive(entry)]
            if drives or (folder / CALIBRATION).is_file():
                yield (
                    f"holds {folder.name}, a date of another form than KITTI's: rename it to {_date(date)}"
                    f"{_and_drives(drives)}."
                )
        elif _is_nearly_drive(folder) and not DRIVE.fullmatch(folder.name) and (folder / "image_02").is_dir():
            yield f"holds the drive {folder.name} itself: move it into a folder of its date, as {_target(folder)}."


def _within_date(folder: Path) -> Iterator[str]:
    entries = [entry for entry in visible_entries(folder) if entry.is_dir()]
    misnamed = [entry for entry in entries if _is_nearly_drive(entry) and not DRIVE.fullmatch(entry.name)]
    for drive in misnamed:
        yield (
            f"holds {folder.name}/{drive.name}, which is not named as a rectified drive: rename it to "
            f"{_drive(drive)} if it comes from a _sync archive."
        )
    if not entries and (folder / CALIBRATION).is_file():
        yield f"holds the calibration of {folder.name} without drives: unpack the _sync archives of that date here too."
    for entry in entries:
        if not _is_nearly_drive(entry) and entry.name.startswith(("image_0", "oxts", "velodyne")):
            yield (
                f"holds {folder.name}/{entry.name} without the folder of its drive: move what belongs to one drive "
                f"into {folder.name}/{folder.name}_drive_0001_sync."
            )
            return


def _nested(folder: Path) -> str | None:
    """Archives that were each unpacked into a folder of their own name, as Windows' Extract All does."""
    if DATE.fullmatch(folder.name):
        return None
    for date in visible_entries(folder):
        if date.is_dir() and DATE.fullmatch(date.name):
            held = [entry.name for entry in visible_entries(date)]
            if CALIBRATION in held or any(map(DRIVE.fullmatch, held)):
                return (
                    f"holds {date.name} within {folder.name}, as archives are unpacked each into a folder of its own: "
                    f"move what is in {folder.name}/{date.name} to {date.name} beside {folder.name}."
                )
    return None


def _is_nearly_drive(folder: Path) -> bool:
    return folder.is_dir() and LOOSE_DRIVE.fullmatch(folder.name) is not None


def _date(match: re.Match[str]) -> str:
    year, month, day = match.group(1, 2, 3)
    return f"{year}_{int(month):02d}_{int(day):02d}"


def _drive(folder: Path) -> str:
    match = LOOSE_DRIVE.fullmatch(folder.name)
    kind = match[5].replace("-", "_") if match[5] else "_sync"
    return f"{_date(match)}_drive_{int(match[4]):04d}{kind}"


def _target(folder: Path) -> str:
    return f"{_date(LOOSE_DRIVE.fullmatch(folder.name))}/{_drive(folder)}"


def _and_drives(drives: list[Path]) -> str:
    wrong = [drive for drive in drives if _drive(drive) != drive.name]
    return f", and {wrong[0].name} in it to {_drive(wrong[0])}" if wrong else ""
