"""Metres from the height of the camera above the road."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from egodepth.errors import UserError
from egodepth.geometry.cameras import Camera
from egodepth.geometry.road import Plane, camera_rays, fit_ground
from egodepth.inference.predictor import Predictor
from egodepth.progress import progress_bar
from egodepth.scaling.sequences import FrameSequence

FRAMES = 150
"""So many frames are looked at, spread over DATA."""

TOP, LEFT, RIGHT = 0.6, 0.2, 0.8
"""The part of the picture that points are taken from, in shares of its height and width: there is mostly road in it."""

POINTS = 4000

STEEPEST_DEGREES = 25.0
LEAST_INLIERS = 0.3
"""A plane is the road if it is at most so steep in the camera, and if so many of the points lie on it."""


@dataclass(frozen=True)
class Heights:
    """Distances of the camera from the road that depth says.

    Attributes:
        units: (N,), of the frames that show a road, in units of the network for a camera of the focal length asked for,
            in widths; for the frames' own where none was.
        frames: that were looked at.
    """

    units: np.ndarray
    frames: int


def heights_over_road(predictor: Predictor, sequences: Sequence[FrameSequence], focal: float | None) -> Heights:
    """Fit the road in frames spread over DATA.

    Args:
        predictor: whose depth is in units of its network.
        focal: of the camera that units are for, see `Heights`.

    Raises:
        UserError: no frame shows a road.
    """
    places = [(sequence, position) for sequence in sequences for position in range(len(sequence.frames))]
    chosen = [places[index * len(places) // min(FRAMES, len(places))] for index in range(min(FRAMES, len(places)))]
    found: list[float] = []
    with progress_bar(True) as bar:
        for sequence, position in bar.track(chosen, description="road"):
            neighbours = sequence.neighbours(position, predictor.time_offsets)
            fitted = predictor.fitted_to(*sequence.native)
            inverse_depth = fitted.predict_inverse_depth(sequence.read(position), neighbours)
            plane = road_of(1 / inverse_depth, sequence.intrinsics, sequence.mask, seed=position)
            if plane is not None:
                found.append(plane.distance * sequence.unit_ratio(focal))
    if not found:
        raise UserError(
            f"--camera-height: none of {len(chosen)} frames shows a road, a plane under the camera within "
            f"{STEEPEST_DEGREES:g} degrees of level. Check the camera (--intrinsics), or use --speed or --known."
        )
    return Heights(np.array(found), len(chosen))


def road_of(depth: np.ndarray, intrinsics: np.ndarray, mask: np.ndarray | None = None, seed: int = 0) -> Plane | None:
    """The road in a depth (H, W) of a camera (3, 3), normalised; None where there is none to be seen.

    Args:
        mask: (H, W) bool, the pixels that show the scene.
        seed: of the points that are taken.
    """
    height, width = depth.shape
    usable = np.zeros((height, width), dtype=bool)
    usable[int(TOP * height) :, int(LEFT * width) : int(RIGHT * width)] = True
    rows, columns = np.nonzero(usable if mask is None else usable & mask)
    if len(rows) > POINTS:
        chosen = np.random.default_rng(seed).choice(len(rows), POINTS, replace=False)
        rows, columns = rows[chosen], columns[chosen]
    pixels = Camera.from_normalised(intrinsics, height, width).intrinsics.astype(np.float64)
    plane = fit_ground(camera_rays(pixels, columns, rows), depth[rows, columns].astype(float), STEEPEST_DEGREES, seed)
    return plane if plane is not None and plane.inliers >= LEAST_INLIERS else None
