"""Measuring exported models against each other, without PyTorch."""

import platform
import random
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from egodepth.errors import UserError
from egodepth.inference.engines import RUNTIMES, suffix_of
from egodepth.inference.graph_predictor import GraphPredictor
from egodepth.inference.turns import slow_call, take_turn
from egodepth.models.opening import graph_of
from egodepth.processors import working_threads
from egodepth.progress import progress_bar


@dataclass(frozen=True)
class GraphRow:
    """One model in one engine, a picture at a time.

    Attributes:
        latency_ms, latency_p95_ms: of a single picture at the model's own size, median and 95th percentile.
        speed_ratio: how many times as fast as the baseline in the same engine it is; None where that has none.
    """

    model: str
    engine: str
    height: int
    width: int
    latency_ms: float
    latency_p95_ms: float
    images_per_second: float
    speed_ratio: float | None


@dataclass(frozen=True)
class GraphBenchmark:
    """All rows, the baseline's first, and what could not be measured."""

    settings: dict
    rows: tuple[GraphRow, ...]
    missing: tuple[str, ...]

    def to_json(self) -> dict:
        """Plain data with every figure."""
        return asdict(self)

    def table(self) -> str:
        """The rows as aligned text."""
        lines = [("model", "engine", "size", "ms", "95 %", "images/s", "speed"), *map(_cells, self.rows)]
        widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
        text = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in lines]
        settings = self.settings
        head = f"{settings['processor']}, {settings['threads']} threads, {settings['rounds']} interleaved rounds"
        tail = f"speed: to {settings['baseline']} in the same engine"
        return "\n".join([head, *text, tail, *(f"not measured: {each}" for each in self.missing)])


def _cells(row: GraphRow) -> tuple[str, ...]:
    return (
        row.model,
        row.engine,
        f"{row.height}x{row.width}",
        f"{row.latency_ms:.2f}",
        f"{row.latency_p95_ms:.2f}",
        f"{row.images_per_second:.1f}",
        "–" if row.speed_ratio is None else f"x{row.speed_ratio:.2f}",
    )


def benchmark_graphs(models: Sequence[str], baseline: str, rounds: int, progress: bool = True) -> GraphBenchmark:
    """Speed of exported models in every engine that is installed, in turns within one run.

    Args:
        models: exported models (folders or ONNX files), `starter`, or models whose graph is kept.
        baseline: named in the same way; all ratios are to it.

    Raises:
        UserError: a model has no graph.
    """
    if rounds < 1:
        raise UserError(f"--rounds {rounds}: must be 1 or more.")
    names = list(dict.fromkeys((baseline, *models)))
    lanes: dict[tuple[str, str], tuple[GraphPredictor, np.ndarray]] = {}
    missing: list[str] = []
    for name in names:
        graph = graph_of(name)
        for engine, record in RUNTIMES.items():
            if suffix_of(graph.graph) not in record.reads:
                continue
            try:
                opened = graph.with_runtime(engine)
            except UserError as error:
                missing.append(f"{name} {engine}: {error}")
                continue
            channels = 3 * (1 + len(graph.time_offsets))
            image = np.random.default_rng(0).random((1, channels, graph.height, graph.width), np.float32)
            lanes[name, engine] = opened, image
    seconds: dict[tuple[str, str], list[list[float]]] = {lane: [] for lane in lanes}
    shuffle = random.Random(0)
    with progress_bar(progress) as bar:
        for _ in bar.track(range(rounds), description="Measuring"):
            for lane in shuffle.sample(list(lanes), len(lanes)):
                model, image = lanes[lane]
                seconds[lane].append(take_turn(lambda model=model, image=image: model.runtime(image)))
    rows = tuple(_row(lane, lanes[lane][0], seconds, baseline) for lane in lanes)
    settings = {
        "baseline": baseline,
        "rounds": rounds,
        "threads": working_threads(),
        "processor": f"{platform.machine()} CPU",
        "system": platform.platform(),
    }
    return GraphBenchmark(settings, rows, tuple(missing))


def _row(
    lane: tuple[str, str], model: GraphPredictor, seconds: dict[tuple[str, str], list[list[float]]], baseline: str
) -> GraphRow:
    name, engine = lane
    calls = [each for turn in seconds[lane] for each in turn]
    rounds = [statistics.median(turn) for turn in seconds[lane]]
    others = [statistics.median(turn) for turn in seconds.get((baseline, engine), [])]
    ratio = statistics.median(slow / fast for slow, fast in zip(others, rounds, strict=True)) if others else None
    middle = statistics.median(calls)
    return GraphRow(name, engine, model.height, model.width, 1000 * middle, 1000 * slow_call(calls), 1 / middle, ratio)
