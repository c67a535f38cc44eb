"""Two predictors that look at nothing: what a model has to beat before its figures mean anything."""

import numpy as np

from egodepth.evaluation.evaluate import Predict
from egodepth.geometry.cameras import Camera

KITTI_FOCAL = 1.92
"""Focal length of the KITTI cameras in image heights (721.5 px at 375 rows)."""

KITTI_HORIZON = 0.4623
"""Row of the horizon of a level KITTI camera, in image heights: its principal point (172.85 px at 375 rows)."""

KITTI_CAMERA_HEIGHT_M = 1.65
"""The colour cameras' height over the street."""


def constant_depth(depth_m: float = 10.0) -> Predict:
    """The same depth everywhere. Under median scaling its value does not matter."""

    def predict(image: np.ndarray) -> np.ndarray:
        return np.full(image.shape[:2], 1 / depth_m, dtype=np.float32)

    return predict


def ground_plane(
    focal: float = KITTI_FOCAL,
    horizon: float = KITTI_HORIZON,
    camera_height_m: float = KITTI_CAMERA_HEIGHT_M,
    farthest_m: float = 80.0,
) -> Predict:
    """An empty level street seen by a level camera: depth = height · focal / (row - horizon).

    Works at any image size of the same picture, because rows count in fractions of the image height.

    What stands on the street is nearer than the plane behind it, so a smaller `farthest_m` makes a stronger prior:
    on 41 frames of KITTI Stereo 2015 (protocol kitti-2015) abs_rel is 0.43 at 80 m, 0.36 at 60 m, 0.25 at 30 m.
    The default is the protocols' cap, which needs no look at any scene.

    Args:
        focal: vertical focal length in image heights.
        horizon: row of the horizon in image heights, 0 at the upper border.
        camera_height_m: of the camera over the street.
        farthest_m: the depth at and over the horizon, and the largest one under it.
    """

    def predict(image: np.ndarray) -> np.ndarray:
        height, width = image.shape[:2]
        row = (np.arange(height) + 0.5) / height
        disparity = np.maximum((row - horizon) / (focal * camera_height_m), 1 / farthest_m)
        return np.repeat(disparity.astype(np.float32)[:, None], width, axis=1)

    return predict


def ground_plane_of(camera: Camera, camera_height_m: float, farthest_m: float = 80.0) -> Predict:
    """The ground plane under a known level camera with intrinsics (3, 3), in metres."""
    normalised = camera.normalised()
    return ground_plane(float(normalised[1, 1]), float(normalised[1, 2]), camera_height_m, farthest_m)
