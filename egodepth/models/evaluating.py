"""Evaluating a released model by a protocol, and its pose network by its trajectory."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from egodepth.data.configurations import EvaluationDataConfig
from egodepth.data.images import read_resized_image
from egodepth.data.opening import open_evaluation_frames, open_sequence
from egodepth.evaluation.evaluate import EvaluationResult, evaluate
from egodepth.evaluation.odometry import OdometryResult, predict_transforms, snippet_ate
from egodepth.evaluation.protocols import Scaling, protocol_named
from egodepth.evaluation.report import per_image_figures
from egodepth.geometry.poses import pose_to_transform
from egodepth.models.opening import open_model
from egodepth.models.released import ReleasedModel


def evaluate_model(
    model: str,
    data: Path,
    protocol: str,
    scaling: Scaling = "auto",
    post_process: bool = False,
    frames_of: EvaluationDataConfig = EvaluationDataConfig(),
    figures: Path | None = None,
    device: str = "cpu",
) -> EvaluationResult:
    """Evaluate a released model on DATA by a protocol.

    Raises:
        UserError: the model or the data cannot be read, or do not fit the protocol.
    """
    opened = open_model(model, device)
    predictor = opened.predictor
    wanted = protocol_named(protocol).frames
    frames = open_evaluation_frames(data, wanted, frames_of, time_offsets=predictor.time_offsets)
    if predictor.keeps_aspect and len(frames):
        predictor = predictor.fitted_to(*protocol_named(protocol).crop(frames[0]).image.shape[:2])
    result = evaluate(
        predictor.predict_inverse_depth,
        frames,
        protocol_named(protocol),
        metric_scale=predictor.is_metric,
        scaling=scaling,
        post_process=post_process,
        on_frame=per_image_figures(figures) if figures else None,
        focal_ratio=predictor.focal_ratio,
    )
    if opened.scale is None:
        return result
    return replace(result, metres_from=opened.scale.origin, metres_error=opened.scale.error)


def evaluate_odometry(model: str, data: Path, sequence: str | None = None, device: str = "cpu") -> OdometryResult:
    """Absolute trajectory error of a model's pose network over a sequence with known poses.

    Args:
        data: KITTI odometry layout, or a simulated drive.
        sequence: `09`, or the drive's name; none takes the only one, or the simulated test drive.

    Raises:
        UserError: the model has no pose network, or the sequence is not there.
    """
    recorded = open_sequence(data, sequence)
    released = ReleasedModel.open(model)
    network = released.pose_network().to(device)
    height, width = released.size

    def as_input(image: np.ndarray) -> torch.Tensor:
        pixels = torch.from_numpy(image.copy())
        return pixels.to(device).permute(2, 0, 1)[None].float() / 255

    @torch.inference_mode()
    def predict(earlier: np.ndarray, later: np.ndarray) -> np.ndarray:
        axis_angle, translation = network(as_input(earlier), as_input(later))
        return pose_to_transform(axis_angle[:, 0], translation[:, 0])[0].cpu().double().numpy()

    images = [read_resized_image(path, height, width) for path in recorded.images]
    return snippet_ate(predict_transforms(predict, images), recorded.poses)
