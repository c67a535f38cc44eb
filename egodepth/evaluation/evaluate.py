"""Running a depth predictor over frames with ground truth, by one protocol.

Under torch.distributed every process calls `evaluate` with the same frames, takes its share, and gets the
whole result.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
import torch.distributed as distributed
from rich.markup import escape
from rich.table import Table

from egodepth.data.samples import EvaluationFrame, EvaluationFrames
from egodepth.errors import UserError
from egodepth.evaluation.metrics import (
    HIGHER_IS_BETTER,
    DepthMetrics,
    DepthMetricsMean,
    depth_metrics,
    median_ratio,
)
from egodepth.evaluation.protocols import Protocol, Scaling
from egodepth.geometry.cameras import Camera
from egodepth.progress import progress_bar

Predict = Callable[..., np.ndarray]
"""From an image (H, W, 3) uint8 RGB at its native size to inverse depth (h, w) float32 at the network's size.

In 1/metre when the model predicts metres, else in any unit. Where a frame has neighbours, they are the second
argument, images by their time offset.
"""


@dataclass(frozen=True)
class ImageRow:
    """The figures of one image: its metrics, and the ratio of the medians, applied or not."""

    name: str
    metrics: DepthMetrics
    ratio: float


@dataclass(frozen=True)
class FrameResult:
    """One evaluated frame, for those who draw it.

    Attributes:
        index: the frame's place in the collection.
        frame: the part of image and ground truth that the protocol looks at.
        depth: (H, W) float32, the prediction at the ground truth's size, scaled and clamped, in metres.
        mask: (H, W) bool, the pixels that counted.
    """

    index: int
    frame: EvaluationFrame
    depth: np.ndarray
    mask: np.ndarray
    row: ImageRow


@dataclass(frozen=True)
class EvaluationResult:
    """What an evaluation found.

    Attributes:
        scaling: "median" or "none", as applied.
        metrics: means over images.
        scale_ratio: median over images of median(ground truth) / median(prediction).
        scale_ratio_std: standard deviation of the ratios divided by that median.
        rows: per image, in the order of the frames.
        skipped: names of the frames without a pixel that counts; they are in no mean.
        metres_from: how the model's depth got its metres; none where it is up to scale, or nobody said.
        metres_error: of its scale, as a share; none where nobody knows.
    """

    protocol: str
    scaling: str
    post_process: bool
    metrics: DepthMetrics
    scale_ratio: float
    scale_ratio_std: float
    rows: tuple[ImageRow, ...]
    skipped: tuple[str, ...] = ()
    metres_from: str | None = None
    metres_error: float | None = None

    @property
    def images(self) -> int:
        return len(self.rows)

    def to_json(self) -> dict:
        """Plain data for `json.dumps`."""
        return {
            "protocol": self.protocol,
            "scaling": self.scaling,
            "post_process": self.post_process,
            "images": self.images,
            "metrics": dict(self.metrics),
            "scale_ratio": {"median": self.scale_ratio, "relative_std": self.scale_ratio_std},
            "metres_from": self.metres_from,
            "metres_error": self.metres_error,
            "skipped": list(self.skipped),
            "per_image": [asdict(row) for row in self.rows],
        }

    def table(self, name: str = "model") -> Table:
        """The result as a table for the terminal."""
        return results_table({name: self})


def evaluate(
    predict: Predict,
    frames: EvaluationFrames,
    protocol: Protocol,
    *,
    metric_scale: bool,
    scaling: Scaling = "auto",
    post_process: bool = False,
    progress: bool = True,
    on_frame: Callable[[FrameResult], None] | None = None,
    focal_ratio: Callable[[Camera], float] | None = None,
) -> EvaluationResult:
    """Compare predictions with ground truth, frame by frame.

    Args:
        predict: see `Predict`.
        metric_scale: the predictions are inverse metres.
        scaling: "auto" is the protocol's rule, "median" and "none" overrule it.
        post_process: predict the mirrored image too and join both (the protocol's `blend`).
        progress: show a bar with the time that remains.
        on_frame: called with every evaluated frame, for example by `report.per_image_figures`.
        focal_ratio: what metres are to be multiplied by for a frame whose camera is known.

    Raises:
        UserError: there are no frames, none has a pixel that counts, or a prediction is not finite.
    """
    if len(frames) == 0:
        raise UserError("there are no frames to evaluate; give a folder or a split that lists some.")
    by_median = protocol.scales_by_median(scaling, metric_scale)
    rank, processes = _place()
    rows: dict[int, ImageRow] = {}
    skipped: dict[int, str] = {}
    with progress_bar(progress and rank == 0) as bar:
        for index in bar.track(range(rank, len(frames), processes), description="evaluating"):
            frame = protocol.crop(frames[index])
            mask = protocol.mask(frame.depth)
            if not mask.any():
                skipped[index] = frame.name
                continue
            disparity = predict_disparity(predict, frame, protocol if post_process else None)
            if focal_ratio is not None and frame.camera is not None:
                disparity = disparity / np.float32(focal_ratio(frame.camera))
            result = _compare(index, frame, mask, disparity, protocol, by_median)
            rows[index] = result.row
            if on_frame is not None:
                on_frame(result)
    rows, skipped = _gathered(rows), _gathered(skipped)
    if not rows:
        raise UserError(
            f"none of the {len(frames)} frames has ground truth that counts in protocol {protocol.name} "
            f"(first: {next(iter(skipped.values()))}); check that ground truth and protocol belong together."
        )
    return _summary(protocol, by_median, post_process, rows, skipped)


def predict_disparity(predict: Predict, frame: EvaluationFrame, blended_by: Protocol | None) -> np.ndarray:
    """Inverse depth (h, w) of a frame, joined with its mirror's where a protocol's `blend` is given."""
    disparity = _checked(predict(*_pictures(frame)), frame.name)
    if blended_by is None:
        return disparity
    mirrored = _checked(predict(*_pictures(frame, mirrored=True)), frame.name)
    return blended_by.blend(disparity, mirrored[:, ::-1])


def results_table(results: Mapping[str, EvaluationResult]) -> Table:
    """Results of one protocol as a table for the terminal, one row each, the best of a column in bold."""
    first = next(iter(results.values()))
    table = Table(
        title=f"{first.protocol}, {first.images} images", caption=escape(_caption(results)), caption_justify="left"
    )
    table.add_column("")
    for metric in first.metrics:
        table.add_column(metric_label(metric), justify="right")
    best = best_by_metric({name: result.metrics for name, result in results.items()})
    for name, result in results.items():
        cells = (
            f"[bold]{value:.3f}[/]" if len(results) > 1 and name in best[metric] else f"{value:.3f}"
            for metric, value in result.metrics.items()
        )
        table.add_row(escape(name), *cells)
    return table


def metric_label(metric: str) -> str:
    """A column's heading, with an arrow towards better."""
    return f"{metric} {'↑' if metric in HIGHER_IS_BETTER else '↓'}"


def best_by_metric(rows: Mapping[str, DepthMetrics]) -> dict[str, frozenset[str]]:
    """For every metric the names of the rows that are best in it, as printed with three decimals."""
    best = {}
    for metric in next(iter(rows.values())):
        values = {name: round(metrics[metric], 3) for name, metrics in rows.items()}
        top = max(values.values()) if metric in HIGHER_IS_BETTER else min(values.values())
        best[metric] = frozenset(name for name, value in values.items() if value == top)
    return best


# --- parts -----------------------------------------------------------------------------------------------------------


def _checked(disparity: np.ndarray, name: str) -> np.ndarray:
    if disparity.ndim != 2:
        raise ValueError(f"a predictor must return inverse depth (H, W), got {disparity.shape}")
    if not np.isfinite(disparity).all():
        raise UserError(
            f"{name}: the model predicts values that are not finite; its weights are damaged or its training "
            "diverged. Use an earlier checkpoint."
        )
    return disparity


def _pictures(frame: EvaluationFrame, mirrored: bool = False) -> tuple[Any, ...]:
    """The arguments of `Predict`: the image, and its neighbours where it has any."""

    def shown(image: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(image[:, ::-1]) if mirrored else image

    neighbours = {offset: shown(image) for offset, image in frame.neighbours.items()}
    return (shown(frame.image), neighbours) if neighbours else (shown(frame.image),)


def _compare(
    index: int,
    frame: EvaluationFrame,
    mask: np.ndarray,
    disparity: np.ndarray,
    protocol: Protocol,
    by_median: bool,
) -> FrameResult:
    depth = protocol.resize(disparity, *frame.depth.shape)
    truth = frame.depth[mask]
    if protocol.clamp_truth_m is not None:
        truth = truth.clip(*protocol.clamp_truth_m)
    ratio = median_ratio(truth, depth[mask], protocol.median)
    if by_median:
        depth = depth * np.float32(ratio)
    depth = depth.clip(*protocol.clamp_m)
    row = ImageRow(frame.name, depth_metrics(truth, depth[mask], protocol.metrics), ratio)
    return FrameResult(index, frame, depth, mask, row)


def _summary(
    protocol: Protocol,
    by_median: bool,
    post_process: bool,
    rows: dict[int, ImageRow],
    skipped: dict[int, str],
) -> EvaluationResult:
    # The rows of all processes are here already.
    mean = DepthMetricsMean(protocol.metrics, sync_on_compute=False).set_dtype(torch.float64)
    for row in rows.values():
        mean.update(row.metrics, row.ratio)
    figures = {name: value.item() for name, value in mean.compute().items()}
    return EvaluationResult(
        protocol=protocol.name,
        scaling="median" if by_median else "none",
        post_process=post_process,
        scale_ratio=figures.pop("scale_ratio"),
        scale_ratio_std=figures.pop("scale_ratio_std"),
        metrics=figures,
        rows=tuple(rows.values()),
        skipped=tuple(skipped.values()),
    )


def _caption(results: Mapping[str, EvaluationResult]) -> str:
    lines = []
    for name, result in results.items():
        scale = f"scale ratio {result.scale_ratio:.3f} ± {100 * result.scale_ratio_std:.1f} %"
        flipped = ", flip post-processing" if result.post_process else ""
        lines.append(f"{name}: scaling {result.scaling}, {scale}{flipped}")
    skipped = next(iter(results.values())).skipped
    if skipped:
        lines.append(f"{len(skipped)} frames without valid ground truth left out: {_listed(skipped)}")
    return "\n".join(lines)


def _listed(names: tuple[str, ...], limit: int = 3) -> str:
    return ", ".join(names[:limit]) + (", …" if len(names) > limit else "")


def _place() -> tuple[int, int]:
    """This process's rank and the number of processes."""
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    return 0, 1


def _gathered(mine: dict[int, object]) -> dict[int, object]:
    """The entries of all processes, by index."""
    _, processes = _place()
    parts = [mine]
    if processes > 1:
        parts = [{} for _ in range(processes)]
        distributed.all_gather_object(parts, mine)
    return dict(sorted(entry for part in parts for entry in part.items()))
