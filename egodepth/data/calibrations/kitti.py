"""KITTI's calib_cam_to_cam.txt: the rectified cameras of one date, P_rect_02 and so on, with the size S_rect_02."""

import re
from pathlib import Path

from egodepth.data.calibrations.calibration import Calibration, Unusable, chosen

FILE = "calib_cam_to_cam.txt"
FOLDER = re.compile(r"image_(\d\d)")
PROJECTION = re.compile(r"P_rect_(\d\d)")


def is_kitti(text: str) -> bool:
    return any(PROJECTION.match(line) for line in text.splitlines())


def read_kitti(text: str, name: str | None) -> Calibration:
    """One camera, by its number: 02 is the left colour camera."""
    lines = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    cameras = {found[1]: line for key, line in lines.items() if (found := PROJECTION.fullmatch(key))}
    values = [float(word) for word in chosen(cameras, name, "camera").split()]
    if len(values) != 12:
        raise Unusable(f"P_rect_{name} has {len(values)} numbers, expected 12")
    number = name or next(iter(cameras))
    width, height = (int(float(word)) for word in lines[f"S_rect_{number}"].split())
    return Calibration(values[0], values[5], values[2], values[6], height, width)


def of_drive(frames: Path) -> tuple[Path, str] | None:
    """The file and the number of the camera whose frames are DATE/DRIVE/image_02/data; None for any other folder."""
    camera = FOLDER.fullmatch(frames.parent.name)
    if frames.name != "data" or camera is None or len(frames.parents) < 3:
        return None
    file = frames.parents[2] / FILE
    return (file, camera[1]) if file.is_file() else None
