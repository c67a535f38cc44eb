"""Poses of a drive by a model's own depth, chained from frame to frame: they drift, and need no log."""

from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np

from egodepth.inference.frames import SeenFrame
from egodepth.inference.motion import predicted_motions
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
    fitted, images = predictor.fitted_to(*earlier.image.shape[:2]), ([earlier.image], [later.image])
    motion = predicted_motions(fitted, *images, [earlier.neighbours], earlier.camera)[0].double().numpy()
    motion[:3, 3] *= fitted.focal_ratio(earlier.camera)
    return motion
