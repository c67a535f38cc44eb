"""Metres from distances that were measured in single pictures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from egodepth.data.images import read_image
from egodepth.data.motion_logs.known_points import KnownPoint
from egodepth.errors import UserError
from egodepth.inference.inputs import ImageInput
from egodepth.inference.predictor import Predictor
from egodepth.inference.undistorting import Undistortion
from egodepth.scaling.estimate import outliers


@dataclass(frozen=True)
class Compared:
    """Measured points against the depth there.

    Attributes:
        points: in the order of their file.
        ratios: (N,), metres over units.
        left_out: (N,) bool, far from all others.
    """

    points: tuple[KnownPoint, ...]
    ratios: np.ndarray
    left_out: np.ndarray


def compare_points(
    predictor: Predictor, file: Path, points: Sequence[KnownPoint], intrinsics: str | None = None
) -> Compared:
    """Look up the depth at measured points.

    Args:
        predictor: whose depth is in units of its network.
        file: of the points, for messages.
        intrinsics: see `Undistortion`.

    Raises:
        UserError: a picture cannot be read, or a point lies outside it.
    """
    pictures = {path: ImageInput(path, Path(str(number))) for number, path in enumerate(_pictures(points))}
    undistortion = Undistortion(list(pictures.values()), intrinsics)
    depths: Mapping[Path, np.ndarray] = {
        path: _depth(predictor, undistortion, each.name, read_image(path)) for path, each in pictures.items()
    }
    ratios = np.array([point.metres / _at(depths[point.picture], point, file) for point in points])
    return Compared(tuple(points), ratios, outliers(ratios))


def _pictures(points: Sequence[KnownPoint]) -> list[Path]:
    return list(dict.fromkeys(point.picture for point in points))


def _depth(predictor: Predictor, undistortion: Undistortion, name: Path, image: np.ndarray) -> np.ndarray:
    [depth] = predictor.predict_images([undistortion.straight(name, image)])
    return undistortion.bent(name, depth)


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
