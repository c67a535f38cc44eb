"""nerfstudio's transforms.json (and that of instant-ngp, which it took over)."""

import math
from collections.abc import Mapping
from typing import Any

from egodepth.data.calibrations.calibration import Calibration, Unusable, agreed, coefficients_named
from egodepth.data.calibrations.colmap import HALF_PIXEL

KEYS = ("fl_x", "fl_y", "cx", "cy", "w", "h", "k1", "k2", "k3", "k4", "p1", "p2", "camera_angle_x", "camera_model")
STRAIGHT = ("PINHOLE", "SIMPLE_PINHOLE")
BROWN = ("OPENCV", "SIMPLE_RADIAL", "RADIAL")
FISHEYE = ("OPENCV_FISHEYE",)


def is_nerfstudio(entries: Mapping[str, Any]) -> bool:
    return any(key in entries for key in ("frames", "fl_x", "camera_angle_x"))


def read_nerfstudio(entries: Mapping[str, Any], name: str | None) -> Calibration:
    """The one camera of a capture, whether it stands at the top or with each frame."""
    frames = [frame for frame in entries.get("frames", ()) if isinstance(frame, Mapping)]
    camera = {key: entries[key] for key in KEYS if key in entries}
    for key in KEYS:
        given = [frame[key] for frame in frames if key in frame]
        if given:
            camera[key] = agreed([*given, *([camera[key]] if len(given) < len(frames) and key in camera else [])], key)
    if "w" not in camera or "h" not in camera:
        raise Unusable("has no w and h, the size of the picture. Add them")
    width, height = int(camera["w"]), int(camera["h"])
    if "fl_x" not in camera and "camera_angle_x" not in camera:
        raise Unusable("has neither fl_x nor camera_angle_x. Add fl_x")
    fx = float(camera.get("fl_x") or width / 2 / math.tan(float(camera["camera_angle_x"]) / 2))
    fy = float(camera.get("fl_y", fx))
    cx, cy = float(camera.get("cx", width / 2)), float(camera.get("cy", height / 2))
    named = camera.get("camera_model", "OPENCV_FISHEYE" if entries.get("is_fisheye") else "OPENCV")
    if named not in (*STRAIGHT, *BROWN, *FISHEYE):
        raise Unusable(f"has the camera_model {named}; known are {', '.join((*STRAIGHT, *BROWN, *FISHEYE))}")
    model = "fisheye" if named in FISHEYE else "opencv"
    if model == "opencv" and float(camera.get("k4", 0)):
        # There it is the factor of r^8, in OpenCV's model a part of the denominator.
        raise Unusable("has k4 of a model that is not OpenCV's. Calibrate with k1 to k3")
    bent = {} if named in STRAIGHT else camera
    coefficients = coefficients_named(model, bent)
    return Calibration(fx, fy, cx - HALF_PIXEL, cy - HALF_PIXEL, height, width, model, coefficients)
