"""How many samples per second the loader gives, from the original frames and from a pack.

    python benchmarks/loading.py [DATA] [--data.split NAME] [--height H --width W] [--mode MODE] [--samples N]

Loads samples spread over DATA (or over a simulated drive of KITTI's picture size, made once in a temporary folder) with
each number of workers: from the original files for the first time, as every epoch of a set does that does not fit in
memory; from the original again, with its frames remembered; and from a pack. All files are in the system's cache.
"""

import logging
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import torch
import tyro
from rich.console import Console
from rich.table import Table
from tyro.conf import Positional

from egodepth.data.configurations import DataConfig, Source
from egodepth.data.loading import make_loader, sequential_batches
from egodepth.data.opening import open_training_sets
from egodepth.data.packs.reading import PackOptions, open_pack
from egodepth.data.packs.writing import pack
from egodepth.data.samples import Sample, TrainingDataset
from egodepth.data.simulator.configuration import SimulatorConfig
from egodepth.data.simulator.writer import simulate
from egodepth.recipes.recipe import VIEWS


@dataclass(frozen=True)
class Benchmark:
    """Time the loading of batches."""

    root: Annotated[Positional[Path | None], tyro.conf.arg(metavar="DATA")] = None
    mode: Literal["mono", "stereo", "mono+stereo"] = "mono"
    height: int = 192
    width: int = 640
    batch_size: int = 4
    samples: int = 96
    workers: tuple[int, ...] = (1, 2, 4)
    data: DataConfig = DataConfig()


def main(options: Benchmark) -> None:
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        root = options.root or simulate(place / "drive", SimulatorConfig(frames=48, height=375, width=1242))
        show(options, measure(options, root, place))


def measure(options: Benchmark, root: Path, place: Path) -> dict[int, tuple[float, float, float]]:
    """Samples per second by the number of workers: the first time, remembered, and from a pack."""
    views, size = VIEWS[options.mode], (options.height, options.width)

    def original() -> TrainingDataset:
        return open_training_sets(root, options.data, "calibrated", views, *size, place / "cache").training

    dataset = original()
    chosen = Subset(dataset, range(0, len(dataset), max(1, len(dataset) // options.samples))[: options.samples])
    asked = PackOptions(views, *size)
    pack(place / "pack", root, chosen, None, asked)
    rates = {}
    for workers in options.workers:
        # A new data set remembers nothing.
        fresh = Subset(original(), chosen.indices)
        packed = open_pack(place / "pack", asked).training
        rates[workers] = (
            rate(fresh, options.batch_size, workers, timed=1, before=0),
            rate(fresh, options.batch_size, workers, timed=5, before=1),
            rate(packed, options.batch_size, workers, timed=5, before=1),
        )
    return rates


@dataclass(frozen=True)
class Subset:
    """Some samples of a set (a `TrainingDataset`)."""

    dataset: TrainingDataset
    indices: Sequence[int]

    @property
    def source_ids(self) -> tuple[Source, ...]:
        return self.dataset.source_ids

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> Sample:
        return self.dataset[self.indices[index]]


def rate(dataset: TrainingDataset, batch_size: int, workers: int, timed: int, before: int) -> float:
    """Samples per second over `timed` passes through a set, after passes that do not count."""
    one_pass = sequential_batches(len(dataset), batch_size)
    batches = iter(make_loader(dataset, one_pass * (before + timed), workers))
    for _ in range(before * len(one_pass)):
        next(batches)
    start = time.perf_counter()
    samples = sum(len(batch) for batch in batches)
    return samples / (time.perf_counter() - start)


def show(options: Benchmark, rates: dict[int, tuple[float, float, float]]) -> None:
    size = f"{options.height}x{options.width}, batch {options.batch_size}, {options.mode}"
    table = Table(title=f"samples per second, {size}, PyTorch {torch.__version__}")
    for heading in ("workers", "first time", "remembered", "pack", "pack : first time", "pack : remembered"):
        table.add_column(heading, justify="right")
    for workers, (first, remembered, packed) in rates.items():
        ratios = f"{packed / first:.1f}", f"{packed / remembered:.2f}"
        table.add_row(str(workers), f"{first:.1f}", f"{remembered:.0f}", f"{packed:.0f}", *ratios)
    wide = max(Console().width, 90)
    Console(width=wide).print(table)


if __name__ == "__main__":
    main(tyro.cli(Benchmark))
