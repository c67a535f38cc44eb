"""What the commands do, as functions that return values: models, data and evaluation brought together."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from egodepth.data.images import read_resized_image
from egodepth.data.opening import EvaluationDataConfig, open_evaluation_frames, open_sequence
from egodepth.evaluation.evaluate import EvaluationResult, evaluate
from egodepth.evaluation.odometry import OdometryResult, predict_transforms, snippet_ate
from egodepth.evaluation.protocols import Scaling, protocol_named
from egodepth.evaluation.report import per_image_figures
from egodepth.geometry import pose_to_transform
from egodepth.inference.benchmark import BenchmarkConfig, Contender, benchmark, checked_device
from egodepth.inference.benchmark_result import BenchmarkResult
from egodepth.models import load, load_pose_network, metres_from, model_size
from egodepth.networks.modes import evaluating
from egodepth.recipes import RECIPES, build, modes


@dataclass(frozen=True)
class Complexity:
    """What a network costs.

    Attributes:
        parameters: all of them, trained or not.
        macs: multiply-accumulates of convolutions, matrix products and attention for one image.
    """

    parameters: int
    macs: int


def complexity(network: nn.Module, height: int, width: int) -> Complexity:
    """Parameters, and multiply-accumulates of predicting one image's depth, counted by PyTorch.

    Args:
        network: has `predict_depth`.
        height, width: image size in pixels.
    """
    device = next(network.parameters()).device
    with evaluating(network), torch.no_grad(), FlopCounterMode(display=False) as counter:
        network.predict_depth(torch.zeros(1, 3, height, width, device=device))
    return Complexity(sum(parameter.numel() for parameter in network.parameters()), counter.get_total_flops() // 2)


@dataclass(frozen=True)
class SystemDescription:
    """A line of `egodepth list`."""

    name: str
    parameters: int
    macs: int
    height: int
    width: int
    modes: tuple[str, ...]
    source: str


def describe(name: str) -> SystemDescription:
    """What there is to say about a recipe."""
    recipe = RECIPES[name]
    # Counting needs shapes alone, so no weight is drawn and no number multiplied.
    with torch.device("meta"):
        network = build(name)
    cost = complexity(network, recipe.height, recipe.width)
    return SystemDescription(
        name, cost.parameters, cost.macs, recipe.height, recipe.width, modes(recipe), recipe.source
    )


def evaluate_model(
    model: str,
    data: Path,
    protocol: str,
    scaling: Scaling = "auto",
    post_process: bool = False,
    frames_of: EvaluationDataConfig = EvaluationDataConfig(),  # noqa: B008, frozen
    figures: Path | None = None,
    device: str = "cpu",
) -> EvaluationResult:
    """Evaluate a released model on DATA by a protocol.

    Raises:
        UserError: the model or the data cannot be read, or do not fit the protocol.
    """
    predictor = load(model, device)
    wanted = protocol_named(protocol).frames
    frames = open_evaluation_frames(data, wanted, frames_of, moments=predictor.moments)
    result = evaluate(
        predictor.predict_inverse_depth,
        frames,
        protocol_named(protocol),
        metric_scale=predictor.is_metric,
        scaling=scaling,
        post_process=post_process,
        on_frame=per_image_figures(figures) if figures else None,
    )
    return replace(result, metres_from=metres_from(model))


def evaluate_odometry(model: str, data: Path, sequence: str | None = None, device: str = "cpu") -> OdometryResult:
    """Absolute trajectory error of a model's pose network over a sequence with known poses.

    Args:
        data: KITTI odometry layout, or a simulated drive.
        sequence: `09`, or the drive's name; none takes the only one, or the simulated test drive.

    Raises:
        UserError: the model has no pose network, or the sequence is not there.
    """
    recorded = open_sequence(data, sequence)
    network = load_pose_network(model).to(device)
    height, width = model_size(model)

    def as_input(image: np.ndarray) -> torch.Tensor:
        pixels = torch.from_numpy(image.copy())
        return pixels.to(device).permute(2, 0, 1)[None].float() / 255

    @torch.inference_mode()
    def predict(earlier: np.ndarray, later: np.ndarray) -> np.ndarray:
        axis_angle, translation = network(as_input(earlier), as_input(later))
        return pose_to_transform(axis_angle[:, 0], translation[:, 0])[0].cpu().double().numpy()

    images = [read_resized_image(path, height, width) for path in recorded.images]
    return snippet_ate(predict_transforms(predict, images), recorded.poses)


def benchmark_models(
    models: Sequence[str],
    baseline: str = "monodepth2",
    config: BenchmarkConfig = BenchmarkConfig(),  # noqa: B008, frozen
    progress: bool = True,
) -> BenchmarkResult:
    """Speed and memory of depth networks in every engine, as ratios to a baseline in the same run.

    Args:
        models: recipe names, whose networks get random weights, released model folders, run folders or hub ids.
        baseline: likewise.

    Raises:
        UserError: there is no such model or device.
    """
    checked_device(config)  # before a network meets a size that it cannot take
    names = dict.fromkeys((baseline, *models))
    return benchmark([_contender(name, config) for name in names], config, progress)


def _contender(name: str, config: BenchmarkConfig) -> Contender:
    network = build(name) if name in RECIPES else load(name).network
    cost = complexity(network, config.height, config.width)
    return Contender(name, network, cost.parameters, cost.macs)
