"""Evaluating a released model by a protocol, and its pose network by its trajectory."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from egodepth.data.configurations import EvaluationDataConfig
from egodepth.data.images import read_resized_image
from egodepth.data.opening import open_evaluation_frames, open_sequence
from egodepth.data.samples import EvaluationFrame, EvaluationFrames
from egodepth.evaluation.evaluate import EvaluationResult, FrameResult, evaluate
from egodepth.evaluation.odometry import OdometryResult, predict_transforms, snippet_ate
from egodepth.evaluation.protocols import Protocol, Scaling, protocol_named
from egodepth.evaluation.report import comparison, frame_panels, per_image_figures, telling_rows, write_report
from egodepth.geometry.poses import pose_to_transform
from egodepth.inference.predictor import Predictor
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
    report: Path | None = None,
    device: str = "cpu",
) -> EvaluationResult:
    """Evaluate a released model on DATA by a protocol.

    Args:
        figures: folder for a picture of every frame with its error.
        report: HTML page of the result, with the best, the middle and the worst frame.

    Raises:
        UserError: the model or the data cannot be read, or do not fit the protocol.
    """
    opened, judge = open_model(model, device), protocol_named(protocol)
    frames = open_evaluation_frames(data, judge.frames, frames_of, time_offsets=opened.predictor.time_offsets)
    run = partial(evaluate_predictor, opened.predictor, protocol=judge, scaling=scaling, post_process=post_process)
    places: dict[str, int] = {}
    draw = per_image_figures(figures) if figures else None

    def on_frame(found: FrameResult) -> None:
        places[found.row.name] = found.index
        if draw is not None:
            draw(found)

    result = run(frames=frames, on_frame=on_frame)
    if opened.scale is not None:
        result = replace(result, metres_from=opened.scale.origin, metres_error=opened.scale.error)
    if report is not None:
        # Looked at once more: all frames of a large test set would not fit into memory.
        chosen = {word: places[row.name] for word, row in telling_rows(result.rows).items()}
        shown: dict[str, FrameResult] = {}
        words = iter(chosen)
        run(
            frames=_Chosen(frames, list(chosen.values())),
            on_frame=lambda found: shown.update({next(words): found}),
            progress=False,
        )
        _report(report, model, data, result, shown)
    return result


def evaluate_predictor(
    predictor: Predictor,
    frames: EvaluationFrames,
    protocol: Protocol,
    scaling: Scaling = "auto",
    post_process: bool = False,
    progress: bool = True,
    on_frame: Callable[[FrameResult], None] | None = None,
) -> EvaluationResult:
    """`evaluate` of a model, which says itself whether it predicts metres, for which camera, and in what form it sees.

    Args:
        frames: with those of the model's `time_offsets` around them.
        scaling, post_process, progress, on_frame: see `evaluate`.

    Raises:
        UserError: as `evaluate`.
    """
    if predictor.keeps_aspect and len(frames):
        predictor = predictor.fitted_to(*protocol.crop(frames[0]).image.shape[:2])
    return evaluate(
        predictor.predict_inverse_depth,
        frames,
        protocol,
        metric_scale=predictor.is_metric,
        scaling=scaling,
        post_process=post_process,
        progress=progress,
        on_frame=on_frame,
        focal_ratio=predictor.focal_ratio,
    )


@dataclass(frozen=True)
class _Chosen(EvaluationFrames):
    """Some frames of a collection."""

    frames: EvaluationFrames
    places: Sequence[int]

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index: int) -> EvaluationFrame:
        return self.frames[self.places[index]]


def _report(path: Path, model: str, data: Path, result: EvaluationResult, shown: Mapping[str, FrameResult]) -> None:
    unit = "up to scale" if result.metres_from is None else f"in metres, by {result.metres_from}"
    summary = [("protocol", result.protocol), ("images", str(result.images)), ("depth of the model is", unit)]
    summary += [(metric, f"{value:.3f}") for metric, value in list(result.metrics.items())[:1]]
    notes = [f"{len(result.skipped)} frames have no ground truth that counts: {', '.join(result.skipped[:5])}."]
    write_report(
        path,
        f"{Path(model).name} on {data.name}",
        summary=summary,
        tables=[comparison("Against ground truth", {Path(model).name: result})],
        panels=frame_panels(shown, result.images),
        notes=notes if result.skipped else (),
    )


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
