"""camera.json, the program's own form."""

import re
from collections.abc import Mapping
from typing import Any, get_args

from egodepth.data.calibrations.calibration import Calibration, Unusable, coefficients_named
from egodepth.geometry.lenses import COEFFICIENTS, Field, LensModel


def read_camera_json(entries: Mapping[str, Any], name: str | None) -> Calibration:
    """A camera of `fx`, `fy`, `cx`, `cy`, with `width` and `height` where it was calibrated at another size.

    A lens has `k1` to `k6`, `p1` and `p2`, or with `"model": "fisheye"` `k1` to `k4`, and may choose its `field`.
    """
    try:
        numbers = [float(entries[key]) for key in ("fx", "fy", "cx", "cy")]
        size = [int(entries[key]) if key in entries else None for key in ("height", "width")]
        if min(numbers[:2]) <= 0 or any(side is not None and side <= 0 for side in size):
            raise ValueError
    except (ValueError, TypeError, KeyError):
        raise Unusable(
            "expected an object with the numbers fx, fy, cx and cy in pixels, and width and height where they belong "
            "to another size than the frames'. Correct it"
        ) from None
    model, field = entries.get("model", "opencv"), entries.get("field", "cropped")
    for key, value, known in (("model", model, get_args(LensModel)), ("field", field, get_args(Field))):
        if value not in known:
            raise Unusable(f"{key} {value!r} is not known. Choose {' or '.join(known)}")
    unknown = [key for key in entries if re.fullmatch(r"[kp]\d+", key) and key not in COEFFICIENTS[model]]
    if unknown:
        known = ", ".join(COEFFICIENTS[model])
        raise Unusable(f"{unknown[0]} is no coefficient of the model {model} ({known}). Correct it")
    return Calibration(*numbers, *size, model, coefficients_named(model, entries), field)


def camera_entries(calibration: Calibration) -> dict[str, Any]:
    """What camera.json holds of a calibration."""
    numbers = {key: getattr(calibration, key) for key in ("fx", "fy", "cx", "cy", "width", "height")}
    if not calibration.is_bent:
        return numbers
    names = COEFFICIENTS[calibration.model]
    return numbers | {"model": calibration.model} | dict(zip(names, calibration.coefficients, strict=True))
