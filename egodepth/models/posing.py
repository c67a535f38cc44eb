"""Poses of a drive by a model's own depth, chained from frame to frame: they drift, and need no log."""

from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from egodepth.geometry.camera_motion import camera_motion
from egodepth.inference.frames import SeenFrame
from egodepth.inference.predictor import Predictor


def with_own_poses(predictor: Predictor, frames: Iterable[SeenFrame]) -> Iterator[SeenFrame]:
    """Frames with poses, camera to world, of which the first is the world; those without a camera are left alone.

    A camera goes as far as points of a frame, as far away as the model says, move to where optical flow finds them in
    the next one; so translations are in the unit of the depth.
    """
    pose = np.eye(4)
    earlier: SeenFrame | None = None
    for frame in frames:
        if earlier is not None and earlier.camera is not None:
            pose = pose @ np.linalg.inv(_motion(predictor, earlier, frame))
        earlier = frame
        yield frame if frame.camera is None else replace(frame, pose=pose)


def _motion(predictor: Predictor, earlier: SeenFrame, later: SeenFrame) -> np.ndarray:
    """The transform (4, 4) from one frame's camera to the next one's."""
    fitted = predictor.fitted_to(*earlier.image.shape[:2])
    unit = fitted.focal_ratio(earlier.camera)
    inverse_depth = fitted.predict_inverse_depth(earlier.image, earlier.neighbours) / unit
    camera = earlier.camera.resize(fitted.height, fitted.width)
    motion = camera_motion(
        _picture(fitted, earlier.image),
        _picture(fitted, later.image),
        torch.from_numpy(inverse_depth)[None, None].reciprocal(),
        torch.as_tensor(camera.intrinsics, dtype=torch.float32)[None],
    )
    return motion[0].double().numpy()


def _picture(predictor: Predictor, image: np.ndarray) -> Tensor:
    return torch.from_numpy(predictor.reduce_image(image).copy()).permute(2, 0, 1)[None].float() / 255
