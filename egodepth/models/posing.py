"""Poses of a drive by a model's own pose network, chained from frame to frame: they drift, and need no log."""

from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np
import torch

from egodepth.geometry.poses import pose_to_transform
from egodepth.inference.frames import SeenFrame
from egodepth.inference.predictor import Predictor
from egodepth.models.released import ReleasedModel
from egodepth.networks.modes import evaluating


def with_predicted_poses(
    released: ReleasedModel, predictor: Predictor, frames: Iterable[SeenFrame]
) -> Iterator[SeenFrame]:
    """Frames with poses, camera to world, of which the first is the world.

    Translations are in the unit of the predictor's depth: both networks were trained on one scene.

    Args:
        predictor: of the same model.

    Raises:
        UserError: the model has no pose network.
    """
    network = released.pose_network().to(predictor.device)
    pose = np.eye(4)
    earlier: torch.Tensor | None = None
    with evaluating(network), torch.inference_mode():
        for frame in frames:
            reduced = predictor.fitted_to(*frame.image.shape[:2]).reduce_image(frame.image)
            later = torch.from_numpy(reduced.copy()).to(predictor.device).permute(2, 0, 1)[None].float() / 255
            if earlier is not None:
                axis_angle, translation = network(earlier, later)
                unit = (predictor.metres_per_unit or 1.0) * predictor.focal_ratio(frame.camera)
                motion = pose_to_transform(axis_angle[:, 0], unit * translation[:, 0])[0]
                pose = pose @ np.linalg.inv(motion.double().cpu().numpy())
            earlier = later
            yield replace(frame, pose=pose)
