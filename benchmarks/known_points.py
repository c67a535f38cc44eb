"""How many distances must be measured for metres? `egodepth scale --known`, tried on frames with ground truth.

    python -m benchmarks.known_points MODEL --data KITTI_2015 [--protocol kitti-2015] [--near 10] [--far 20]

Draws pixels of known depth, each from a picture of its own, a thousand times over, and takes the median of true over
predicted depth, as the command does. Errors are against the median over all pictures of the ratio of their medians.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro
from rich.console import Console
from rich.table import Table
from tyro.conf import Positional

from egodepth.data.opening import open_evaluation_frames
from egodepth.evaluation.evaluate import FrameResult
from egodepth.evaluation.protocols import protocol_named
from egodepth.models.evaluating import evaluate_predictor
from egodepth.models.opening import load

TRIALS = 1000


@dataclass(frozen=True)
class KnownPoints:
    """Errors of a scale from measured points.

    Attributes:
        near, far: metres between which points are measured.
        counts: how many.
    """

    model: Annotated[Positional[str], tyro.conf.arg(metavar="MODEL")]
    data: Path
    protocol: str = "kitti-2015"
    near: float = 10.0
    far: float = 20.0
    counts: tuple[int, ...] = (1, 3, 5, 10, 20)


def main(options: KnownPoints) -> None:
    protocol, model = protocol_named(options.protocol), load(options.model)
    points, medians = [], []

    def look(result: FrameResult) -> None:
        ratios = result.frame.depth[result.mask] / result.depth[result.mask]
        near_enough = (options.near < result.frame.depth) & (result.frame.depth < options.far)
        medians.append(np.median(result.frame.depth[result.mask]) / np.median(result.depth[result.mask]))
        points.append(ratios[near_enough[result.mask]])

    frames = open_evaluation_frames(options.data, protocol.frames, time_offsets=model.time_offsets)
    evaluate_predictor(model, frames, protocol, "none", on_frame=look)
    points = [each for each in points if len(each)]
    random, truth = np.random.default_rng(0), float(np.median(medians))
    table = Table("points", "error, median", "within 5 %", "within 10 %")
    for count in options.counts:
        errors = np.array([abs(drawn_scale(points, count, random) / truth - 1) for _ in range(TRIALS)])
        shares = [f"{(errors < within).mean():.0%}" for within in (0.05, 0.1)]
        table.add_row(str(count), f"{np.median(errors):.1%}", *shares)
    Console().print(table)


def drawn_scale(points: list[np.ndarray], count: int, random: np.random.Generator) -> float:
    """The median ratio of points, each from a picture of its own."""
    pictures = random.choice(len(points), count, replace=False)
    return float(np.median([random.choice(points[picture]) for picture in pictures]))


if __name__ == "__main__":
    main(tyro.cli(KnownPoints))
