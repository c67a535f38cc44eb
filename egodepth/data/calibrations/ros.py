"""ROS: the YAML of `camera_info`, from a calibration or printed from its topic."""

from collections.abc import Mapping
from typing import Any

from egodepth.data.calibrations.calibration import Calibration, Unusable, coefficients_listed
from egodepth.data.calibrations.yaml_files import matrix_values, pinhole_values
from egodepth.geometry.lenses import LensModel

MODELS: dict[str, LensModel] = {
    "plumb_bob": "opencv",
    "rational_polynomial": "opencv",
    "equidistant": "fisheye",
    "fisheye": "fisheye",
}
"""Distortion models of `sensor_msgs/distortion_models.h`."""


def is_ros(entries: Mapping[str, Any]) -> bool:
    return "distortion_model" in entries and any(key in entries for key in ("camera_matrix", "K", "k"))


def read_ros(entries: Mapping[str, Any], name: str | None) -> Calibration:
    """The camera of the raw pictures (K and D); a stereo pair's rectification, R and P, is of other pictures."""
    named = str(entries["distortion_model"])
    values = matrix_values(_either(entries, "distortion_coefficients", "D", "d") or [])
    if named not in MODELS and (named or any(values)):
        raise Unusable(f"has the distortion model {named!r}; known are {', '.join(MODELS)}. Calibrate with one of them")
    model = MODELS.get(named, "opencv")
    height, width = _either(entries, "image_height", "height"), _either(entries, "image_width", "width")
    return Calibration(
        *pinhole_values(_either(entries, "camera_matrix", "K", "k")),
        height=int(height) if height else None,  # 0 in messages of cameras that were never set up
        width=int(width) if width else None,
        model=model,
        coefficients=coefficients_listed(model, values),
    )


def _either(entries: Mapping[str, Any], *names: str) -> Any:
    return next((entries[name] for name in names if name in entries), None)
