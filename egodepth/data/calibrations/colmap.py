"""COLMAP's cameras.txt: an identifier, a model, a size and parameters to a line."""

from dataclasses import dataclass

from egodepth.data.calibrations.calibration import Calibration, Unusable, chosen, coefficients_named
from egodepth.geometry.lenses import LensModel

HALF_PIXEL = 0.5
"""COLMAP counts from the border of the top-left pixel, we and OpenCV from its centre."""


@dataclass(frozen=True)
class Model:
    """The parameters of one of COLMAP's camera models, in order, and the lens that they describe."""

    parameters: tuple[str, ...]
    lens: LensModel = "opencv"


MODELS = {
    "SIMPLE_PINHOLE": Model(("f", "cx", "cy")),
    "PINHOLE": Model(("fx", "fy", "cx", "cy")),
    "SIMPLE_RADIAL": Model(("f", "cx", "cy", "k1")),
    "RADIAL": Model(("f", "cx", "cy", "k1", "k2")),
    "OPENCV": Model(("fx", "fy", "cx", "cy", "k1", "k2", "p1", "p2")),
    "FULL_OPENCV": Model(("fx", "fy", "cx", "cy", "k1", "k2", "p1", "p2", "k3", "k4", "k5", "k6")),
    "SIMPLE_RADIAL_FISHEYE": Model(("f", "cx", "cy", "k1"), "fisheye"),
    "RADIAL_FISHEYE": Model(("f", "cx", "cy", "k1", "k2"), "fisheye"),
    "OPENCV_FISHEYE": Model(("fx", "fy", "cx", "cy", "k1", "k2", "k3", "k4"), "fisheye"),
}


def read_colmap(text: str, name: str | None) -> Calibration:
    """One camera of a cameras.txt; those that agree in all but the identifier are one."""
    cameras: dict[str, list[str]] = {}
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        if words and not line.lstrip().startswith("#"):
            if len(words) < 5:
                raise Unusable(f"line {number}: expected CAMERA_ID MODEL WIDTH HEIGHT PARAMS")
            cameras[words[0]] = words[1:]
    if name is None and len({tuple(words) for words in cameras.values()}) == 1:
        cameras = dict([next(iter(cameras.items()))])
    model, width, height, *values = chosen(cameras, name, "camera")
    return of_parameters(model, int(width), int(height), [float(value) for value in values])


def of_parameters(model: str, width: int, height: int, values: list[float]) -> Calibration:
    """The camera of a model and its parameters.

    Raises:
        Unusable: the model is not known here, or has another number of parameters.
    """
    if model not in MODELS:
        raise Unusable(f"has the camera model {model}; known are {', '.join(MODELS)}. Map with one of them")
    known = MODELS[model]
    if len(values) != len(known.parameters):
        raise Unusable(f"{model} has {len(known.parameters)} parameters, found {len(values)}")
    entries = dict(zip(known.parameters, values, strict=True))
    fx, fy = (entries["f"],) * 2 if "f" in entries else (entries["fx"], entries["fy"])
    centre = entries["cx"] - HALF_PIXEL, entries["cy"] - HALF_PIXEL
    return Calibration(fx, fy, *centre, height, width, known.lens, coefficients_named(known.lens, entries))
