"""OpenCV's FileStorage: what its samples and tutorials write after a calibration."""

from collections.abc import Mapping
from typing import Any

from egodepth.data.calibrations.calibration import Calibration, Unusable, coefficients_listed
from egodepth.data.calibrations.yaml_files import matrix_values, pinhole_values

MATRICES = ("cameramatrix", "k", "intrinsics", "intrinsicmatrix")
DISTORTIONS = ("distortioncoefficients", "distcoeffs", "distcoeff", "distortion", "d")
WIDTHS, HEIGHTS = ("imagewidth", "width"), ("imageheight", "height")


def is_opencv(entries: Mapping[str, Any]) -> bool:
    return any(_plain(key) in MATRICES for key in entries)


def read_opencv(entries: Mapping[str, Any], name: str | None) -> Calibration:
    """A camera of a FileStorage; OpenCV has no one way to call its parts, so that the usual ones are known."""
    plain = {_plain(key): value for key, value in entries.items()}
    matrix = _first(plain, MATRICES)
    values = matrix_values(_first(plain, DISTORTIONS) or [])
    model = "fisheye" if int(plain.get("fisheyemodel", 0) or 0) else "opencv"
    height, width = _first(plain, HEIGHTS), _first(plain, WIDTHS)
    if isinstance(size := plain.get("imagesize"), list) and len(size) == 2:
        width, height = size
    if model == "fisheye" and len(values) != 4:
        raise Unusable(f"is a fisheye's and has {len(values)} distortion coefficients in place of k1 to k4")
    return Calibration(
        *pinhole_values(matrix),
        height=None if height is None else int(height),
        width=None if width is None else int(width),
        model=model,
        coefficients=coefficients_listed(model, values),
    )


def _plain(key: Any) -> str:
    return str(key).replace("_", "").lower()


def _first(entries: Mapping[str, Any], names: tuple[str, ...]) -> Any:
    return next((entries[name] for name in names if name in entries), None)
