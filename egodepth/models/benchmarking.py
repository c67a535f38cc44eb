"""Measuring released models, and recipes with random weights, against a baseline."""

from collections.abc import Sequence

from egodepth.inference.benchmark import Contender, benchmark, checked_device
from egodepth.inference.benchmark_result import BenchmarkResult
from egodepth.inference.configurations import BenchmarkConfig
from egodepth.models.opening import load
from egodepth.networks.complexity import complexity
from egodepth.recipes import RECIPES, build


def benchmark_models(
    models: Sequence[str],
    baseline: str = "monodepth2",
    config: BenchmarkConfig = BenchmarkConfig(),
    progress: bool = True,
) -> BenchmarkResult:
    """Speed and memory of depth networks in every engine, as ratios to a baseline in the same run.

    Args:
        models: recipe names, whose networks get random weights, released model folders, run folders or hub ids.
        baseline: named in the same way; all ratios are to it.

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
