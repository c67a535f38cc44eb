"""The demo's models beside priors that look at no picture."""

from collections.abc import Mapping
from pathlib import Path

from egodepth.data.kitti.depth import KittiRawFrames
from egodepth.data.kitti.raw import training_lines
from egodepth.data.opening import open_evaluation_frames
from egodepth.evaluation.evaluate import EvaluationResult, FrameResult, Predict, evaluate
from egodepth.evaluation.priors import constant_depth, ground_plane_of
from egodepth.evaluation.protocols import Scaling, protocol_named
from egodepth.inference.predictor import Predictor
from egodepth.models.evaluating import evaluate_predictor

CAMERA_HEIGHT_M = 1.65


PLANE_CAPS_M = (15.0, 20.0, 30.0, 40.0, 60.0, 80.0)
"""How far the ground plane prior may reach; the best on training frames is the one to beat."""


def compare(
    models: Mapping[str, Predictor],
    drive: Path,
    scaling: Scaling,
    kept: dict[int, FrameResult] | None = None,
) -> dict[str, EvaluationResult]:
    """Models beside a constant and a ground plane on the test frames of a simulated drive.

    Args:
        kept: takes the first model's evaluated frames by their number.
    """
    frames = open_evaluation_frames(drive, "simulated")
    protocol = protocol_named("simulated")

    def keep(result: FrameResult) -> None:
        if kept is not None:
            kept.setdefault(result.index, result)

    results = {
        name: evaluate_predictor(model, frames, protocol, scaling, on_frame=keep) for name, model in models.items()
    }
    priors: Mapping[str, Predict] = {
        "constant depth": constant_depth(),
        "ground plane": best_ground_plane(drive, scaling),
    }
    for name, prior in priors.items():
        results[name] = evaluate(prior, frames, protocol, metric_scale=True, scaling=scaling, progress=False)
    return results


def best_ground_plane(drive: Path, scaling: Scaling) -> Predict:
    """The level ground under the camera, cut off where that serves best on frames of the training drive."""
    lines = training_lines(drive, None, "train", (-1, 1))
    frames = KittiRawFrames(drive, lines[:: max(1, len(lines) // 20)], "improved")
    protocol = protocol_named("simulated")
    camera = frames[0].camera

    def error(cap_m: float) -> float:
        plane = ground_plane_of(camera, CAMERA_HEIGHT_M, cap_m)
        result = evaluate(plane, frames, protocol, metric_scale=True, scaling=scaling, progress=False)
        return result.metrics["abs_rel"]

    return ground_plane_of(camera, CAMERA_HEIGHT_M, min(PLANE_CAPS_M, key=error))
