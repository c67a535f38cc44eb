"""Kalibr's camchain: cam0, cam1, … of a rig."""

import re
from collections.abc import Mapping
from typing import Any

from egodepth.data.calibrations.calibration import Calibration, Unusable, chosen, coefficients_listed
from egodepth.geometry.lenses import LensModel

MODELS: dict[str, LensModel] = {"radtan": "opencv", "equidistant": "fisheye", "none": "opencv"}


def is_kalibr(entries: Mapping[str, Any]) -> bool:
    return any(re.fullmatch(r"cam\d+", str(key)) for key in entries) or "distortion_coeffs" in entries


def read_kalibr(entries: Mapping[str, Any], name: str | None) -> Calibration:
    """One camera of a chain, or of the file of a single one."""
    cameras = {key: value for key, value in entries.items() if re.fullmatch(r"cam\d+", str(key))}
    camera = chosen(cameras, name, "camera") if cameras else entries
    if camera.get("camera_model", "pinhole") != "pinhole":
        raise Unusable(f"has the camera model {camera['camera_model']!r}. Calibrate with a pinhole-* model")
    named = camera.get("distortion_model", "none")
    if named not in MODELS:
        raise Unusable(f"has the distortion model {named!r}; known are radtan and equidistant. Calibrate with these")
    width, height = camera["resolution"]
    fx, fy, cx, cy = map(float, camera["intrinsics"])
    coefficients = coefficients_listed(MODELS[named], camera.get("distortion_coeffs") or [])
    return Calibration(fx, fy, cx, cy, int(height), int(width), MODELS[named], coefficients)
