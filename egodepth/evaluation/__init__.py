"""Metrics, protocols, priors to beat, odometry, and reports."""

from egodepth.evaluation.evaluate import (
    EvaluationResult,
    FrameResult,
    ImageRow,
    Predict,
    evaluate,
    results_table,
)
from egodepth.evaluation.metrics import DepthMetrics, DepthMetricsMean, depth_metrics
from egodepth.evaluation.protocols import PROTOCOLS, Protocol, Scaling, blend_flipped, protocol_named

__all__ = [
    "PROTOCOLS",
    "DepthMetrics",
    "DepthMetricsMean",
    "EvaluationResult",
    "FrameResult",
    "ImageRow",
    "Predict",
    "Protocol",
    "Scaling",
    "blend_flipped",
    "depth_metrics",
    "evaluate",
    "protocol_named",
    "results_table",
]
