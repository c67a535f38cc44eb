"""A file of intrinsics, whichever program wrote it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from egodepth.checked_json import parsed_text
from egodepth.data.bags.reading import bag_camera, is_bag
from egodepth.data.calibrations.calibration import Calibration, Unusable
from egodepth.data.calibrations.camera_json import read_camera_json
from egodepth.data.calibrations.colmap import read_colmap
from egodepth.data.calibrations.kalibr import is_kalibr, read_kalibr
from egodepth.data.calibrations.kitti import is_kitti, read_kitti
from egodepth.data.calibrations.nerfstudio import is_nerfstudio, read_nerfstudio
from egodepth.data.calibrations.opencv_yaml import is_opencv, read_opencv
from egodepth.data.calibrations.ros import is_ros, read_ros
from egodepth.data.calibrations.yaml_files import read_yaml
from egodepth.errors import UserError

SUFFIXES = (".json", ".yaml", ".yml", ".txt")

KNOWN = (
    "camera.json, OpenCV's or ROS's YAML, Kalibr's camchain, COLMAP's cameras.txt, KITTI's calib_cam_to_cam.txt, or "
    "nerfstudio's transforms.json"
)

LARGEST_BYTES = 64 * 2**20
"""A transforms.json lists each frame; a file above this is no calibration."""


def read_calibration(file: Path, name: str | None = None) -> Calibration:
    """The camera of a file.

    Args:
        name: of one camera, where the file holds several.

    Raises:
        UserError: the file cannot be read, has no form that is known, or holds no camera that can be used.
    """
    if is_bag(file):
        return _of_bag(file)
    try:
        if file.stat().st_size > LARGEST_BYTES:
            raise UserError(f"{file}: is too large for a calibration. Give {KNOWN}.")
        text = file.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UserError(f"{file}: cannot be read ({error.strerror}). Check the path.") from error
    except UnicodeDecodeError:
        raise UserError(f"{file}: is not text. Give {KNOWN}.") from None
    try:
        return _read(text, file.suffix.lower(), name)
    except Unusable as fault:
        raise UserError(f"{file}: {fault}.") from fault
    except KeyError as error:
        raise UserError(f"{file}: has no {error.args[0]}. Give {KNOWN}.") from error
    except (ValueError, TypeError, AttributeError, IndexError, RecursionError, OverflowError) as error:
        raise UserError(f"{file}: its camera cannot be understood. Give {KNOWN}.") from error


def _of_bag(file: Path) -> Calibration:
    entries = bag_camera(file)
    if entries is None:
        raise UserError(f"{file}: this bag says nothing of its camera. Give {KNOWN}.")
    try:
        return read_ros(entries, None)
    except Unusable as fault:
        raise UserError(f"{file}: {fault}.") from fault


def _read(text: str, suffix: str, name: str | None) -> Calibration:
    if suffix == ".txt":
        return read_kitti(text, name) if is_kitti(text) else read_colmap(text, name)
    if suffix == ".json":
        entries = _entries(text)
        if isinstance(entries, Mapping) and is_nerfstudio(entries):
            return read_nerfstudio(entries, name)
        return read_camera_json(entries, name)
    return _read_yaml(read_yaml(text), name)


def _read_yaml(entries: Mapping[str, Any], name: str | None) -> Calibration:
    for is_it, read in ((is_ros, read_ros), (is_kalibr, read_kalibr), (is_opencv, read_opencv)):
        if is_it(entries):
            return read(entries, name)
    raise Unusable(f"holds no camera matrix and no camera that is known. Give {KNOWN}")


def _entries(text: str) -> Any:
    """What a JSON text holds; None where it is none, which no reader understands."""
    try:
        return parsed_text(text)
    except ValueError:
        return None
