"""Metres from distances that were measured in single pictures."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from egodepth.data.images import read_image
from egodepth.data.known_points import KnownPoint, read_known_points
from egodepth.errors import UserError
from egodepth.inference.input_cameras import InputCameras
from egodepth.inference.inputs import ImageInput
from egodepth.inference.predictor import Predictor
from egodepth.models.opening import open_model
from egodepth.scaling.estimate import estimate_of, outliers, unit_ratio
from egodepth.scaling.found import Footage, Found, found_of


@dataclass(frozen=True)
class Compared:
    """Measured points against the depth there.

    Attributes:
        points: in the order of their file.
        ratios: (N,), metres over units for the camera of `focal`.
        left_out: (N,) bool, far from all others.
        focal: focal length in widths; None where no camera is known.
        without_camera: names of the pictures whose camera is not known, though the network's is.
    """

    points: tuple[KnownPoint, ...]
    ratios: np.ndarray
    left_out: np.ndarray
    focal: float | None
    without_camera: tuple[str, ...]


def compare_points(
    predictor: Predictor, file: Path, points: Sequence[KnownPoint], intrinsics: str | None = None
) -> Compared:
    """Look up the depth at measured points.

    Args:
        predictor: whose depth is in units of its network. The units are brought to its camera, or to that of the first
            picture whose camera is known.
        file: of the points, for messages.
        intrinsics: see `InputCameras`.

    Raises:
        UserError: a picture cannot be read, or a point lies outside it.
    """
    pictures = dict.fromkeys(point.picture for point in points)
    inputs = {path: ImageInput(path, Path(str(number))) for number, path in enumerate(pictures)}
    cameras = InputCameras(list(inputs.values()), intrinsics)
    depths: dict[Path, np.ndarray] = {}
    focals: dict[Path, float] = {}
    for path, each in inputs.items():
        image = read_image(path)
        [depth] = predictor.fitted_to(*image.shape[:2]).predict_images([cameras.straight(each.name, image)])
        depths[path] = cameras.bent(each.name, depth)
        if (camera := cameras.camera(each.name, *image.shape[:2])) is not None:
            focals[path] = float(camera.normalised()[0, 0])
    focal = predictor.focal or next(iter(focals.values()), None)
    units = [_at(depths[point.picture], point, file) * unit_ratio(focals.get(point.picture), focal) for point in points]
    ratios = np.array([point.metres for point in points]) / np.array(units)
    unknown = [path.name for path in pictures if path not in focals] if predictor.focal is not None else []
    return Compared(tuple(points), ratios, outliers(ratios), focal, tuple(unknown))


def scale_from_points(model: str, footage: Footage, file: Path, device: str = "cpu") -> Found:
    """By distances that were measured at points of pictures.

    Raises:
        UserError: the file cannot be read, or a point lies in no picture.
    """
    points = read_known_points(file, footage.path)
    predictor = open_model(model, device).predictor.with_scale(1.0)
    intrinsics = None if footage.intrinsics == "calibrated" else footage.intrinsics
    compared = compare_points(predictor, file, points, intrinsics)
    kept = compared.ratios[~compared.left_out]
    estimate = estimate_of(kept)
    remarks = []
    if unknown := compared.without_camera:
        remarks.append(
            f"{unknown[0]}: the camera is not known, so that metres are right where it is not given to predict either. "
            "Give --intrinsics fx,fy,cx,cy in pixels, or --fov DEGREES."
        )
    for point, ratio, left_out in zip(compared.points, compared.ratios, compared.left_out, strict=True):
        said = estimate.metres_per_unit / ratio * point.metres
        out = ": left out, far from all others. Measure it again" if left_out else ""
        remarks.append(
            f"{point.said}: {point.metres:g} m, the model says {said:.4g} m ({said / point.metres - 1:+.1%}){out}."
        )
    if len(kept) == 1:
        remarks.append("Nothing checks a single point: measure three or more, near and far.")
    note = f"{len(kept)} of {len(compared.points)} points of {file.name}"
    return found_of(estimate, "known distances", note, remarks, "points", compared.focal)


def _at(depth: np.ndarray, point: KnownPoint, file: Path) -> float:
    height, width = depth.shape
    column, row = round(point.column), round(point.row)
    if not (column < width and row < height):
        raise UserError(
            f"{file}, {point.said}: lies outside the {width}x{height} picture. Count column and row from 0, at the top "
            "left."
        )
    if not np.isfinite(depth[row, column]):
        raise UserError(f"{file}, {point.said}: lies where the undistorted picture shows nothing. Leave it out.")
    return float(depth[row, column])
