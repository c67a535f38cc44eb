"""The file of intrinsics that belongs to footage: named on the command line, or found beside it."""

from pathlib import Path

from egodepth.data.bags.reading import bag_camera, is_bag
from egodepth.data.calibrations.kitti import of_drive
from egodepth.data.calibrations.reading import SUFFIXES
from egodepth.errors import UserError

OTHERS = (
    "camera_info.yaml",
    "camera_info.yml",
    "ost.yaml",
    "camera.yaml",
    "camera.yml",
    "calibration.yaml",
    "calibration.yml",
    "camchain.yaml",
    "camchain-*.yaml",
    "*-camchain.yaml",
    "cameras.txt",
    "transforms.json",
)
"""How other programs, and people, call theirs."""


def named_file(intrinsics: str) -> tuple[Path, str | None] | None:
    """The file, and the name of one camera in it, of `--intrinsics FILE` or `FILE#NAME`; None where it is no file.

    Raises:
        UserError: it looks like one that is not there.
    """
    whole = Path(intrinsics)
    file, hash_sign, name = intrinsics.rpartition("#")
    path, name = (Path(file), name) if hash_sign and not whole.is_file() else (whole, None)
    if path.suffix.lower() not in SUFFIXES and not path.is_file():
        return None
    if path.suffix.lower() not in SUFFIXES:
        raise UserError(f"--intrinsics {path}: its name ends in none of {', '.join(SUFFIXES)}. Rename it.")
    if not path.is_file():
        raise UserError(f"--intrinsics {path}: no such file. Check the path.")
    return path, name


def with_whole_path(intrinsics: str) -> str:
    """Intrinsics, with a file named as it is from any folder."""
    is_path = Path(intrinsics.partition("#")[0]).suffix.lower() in SUFFIXES
    return str(Path(intrinsics).absolute()) if is_path else intrinsics


def own_places(footage: Path) -> list[Path]:
    """Where the camera.json of footage may lie, the first one counts."""
    if footage.is_dir():
        return [footage / "camera.json"]
    return [footage.with_suffix(".json"), footage.with_name("camera.json")]


def files_beside(footage: Path) -> list[Path]:
    """All files of intrinsics beside footage, of which `file_beside` takes one."""
    return [*(place for place in own_places(footage) if place.is_file()), *_of_others(footage)]


def _of_others(footage: Path) -> list[Path]:
    folder = footage if footage.is_dir() else footage.parent
    return sorted({path for pattern in OTHERS for path in folder.glob(pattern) if path.is_file()})


def file_beside(footage: Path) -> tuple[Path, str | None] | None:
    """The file in a folder of frames, or beside a video, and the name of the camera in it where it has several.

    A bag of ROS with its camera is that itself, and the frames of a KITTI drive have that of their date. None where
    there is none.

    Raises:
        UserError: there are several of other programs, so that none is clearly meant.
    """
    if own := next((place for place in own_places(footage) if place.is_file()), None):
        return own, None
    found = _of_others(footage)
    if len(found) > 1:
        names = " and ".join(path.name for path in found)
        raise UserError(
            f"{found[0].parent}: holds {names}, and one camera is needed. Name one: --intrinsics {found[0]}."
        )
    if found:
        return found[0], None
    if is_bag(footage) and bag_camera(footage) is not None:
        return footage, None
    return of_drive(footage.absolute())
