"""What kind of data a path is, by its layout."""

from pathlib import Path

from egodepth.data.cityscapes.triplets import CAMERA_SUFFIX
from egodepth.data.configurations import DataKind
from egodepth.data.ddad.scenes import find_scenes_file
from egodepth.data.footage.video import VIDEO_SUFFIXES
from egodepth.data.images import is_image
from egodepth.data.kitti.raw import DATE_PATTERN, DRIVE_PATTERN, KittiTree
from egodepth.data.kitti.selection import find_selection
from egodepth.data.make3d.frames import GRID_FOLDERS
from egodepth.data.make3d.frames import IMAGE_FOLDERS as MAKE3D_IMAGE_FOLDERS
from egodepth.data.packs.reading import is_pack
from egodepth.data.simulator import MARKER
from egodepth.errors import UserError

EXPECTED = (
    "Expected KITTI raw (<date>/<date>_drive_NNNN_sync), KITTI Stereo 2015 (training/image_2 and disp_occ_0), KITTI's "
    "depth selection (val_selection_cropped), Cityscapes (leftImg8bit or leftImg8bit_sequence), its triplets "
    "(<city>/*_cam.txt), DDAD (ddad.json), Make3D (Test134 and Gridlaserdata), a simulated drive, a folder of frames, "
    "or a video file."
)

CITYSCAPES_TYPES = ("leftImg8bit", "leftImg8bit_sequence", "rightImg8bit", "rightImg8bit_sequence")


def recognise(path: Path | str) -> DataKind:
    """Tell the kind of a data set from its layout.

    Raises:
        UserError: the path is missing, empty, or of no known layout; the message says what was looked for.
    """
    path = Path(path)
    if not path.exists():
        raise UserError(f"{path}: no such file or folder. Check the path.")
    if path.is_file():
        return _recognise_file(path)
    if is_pack(path):
        return "packed"
    entries = sorted(entry for entry in path.iterdir() if not entry.name.startswith("."))
    if not entries:
        raise UserError(f"{path}: is an empty folder. {EXPECTED}")
    if KittiTree(path).drives():
        return "simulated" if (path / MARKER).is_file() else "kitti-raw"
    if any((folder / "image_2").is_dir() and (folder / "disp_occ_0").is_dir() for folder in (path, path / "training")):
        return "kitti-2015"
    if find_selection(path):
        return "kitti-benchmark"
    if any((path / kind).is_dir() for kind in CITYSCAPES_TYPES):
        return "cityscapes"
    if find_scenes_file(path):
        return "ddad"
    if any((path / name).is_dir() for name in (*MAKE3D_IMAGE_FOLDERS, *GRID_FOLDERS)):
        return "make3d"
    if _holds_triplets(entries):
        return "cityscapes-triplets"
    if any(is_image(entry) for entry in entries):
        return "frames"
    raise UserError(f"{path}: {_hint(path, entries)}{EXPECTED}")


def _recognise_file(path: Path) -> DataKind:
    if path.suffix.lower() in VIDEO_SUFFIXES:
        return "video"
    if is_image(path):
        raise UserError(f"{path}: is a single image; a data set is a video or a folder of frames. Give {path.parent}.")
    raise UserError(f"{path}: is no video by its name ({', '.join(sorted(VIDEO_SUFFIXES))}). {EXPECTED}")


def _holds_triplets(entries: list[Path]) -> bool:
    return any(entry.is_dir() and next(entry.glob(f"*{CAMERA_SUFFIX}"), None) is not None for entry in entries)


def _hint(path: Path, entries: list[Path]) -> str:
    """A word to someone who is one folder off."""
    if any(DRIVE_PATTERN.fullmatch(entry.name) for entry in entries):
        return f"is one date of KITTI raw; give the folder above, {path.parent}. "
    if DRIVE_PATTERN.fullmatch(path.name):
        return f"is one drive of KITTI raw; give the folder above its date, {path.parent.parent}. "
    if any(DATE_PATTERN.fullmatch(entry.name) for entry in entries):
        return "has a KITTI date without drives in it. "
    if path.name in (*CITYSCAPES_TYPES, "camera", "disparity"):
        return f"is one part of Cityscapes; give the folder above, {path.parent}. "
    if path.name.isdigit() and any(entry.name.startswith("scene_") for entry in entries):
        return f"is one scene of DDAD; give the folder above, {path.parent}. "
    for entry in entries:
        if entry.is_dir() and any(is_image(inner) for inner in entry.iterdir()):
            return f"holds no frames itself, but {entry} does. "
    return "has a layout that is not known. "
