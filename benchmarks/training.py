"""Where the time of a training step goes, and how much memory it takes.

    python benchmarks/training.py [DATA] [--data.split NAME] [--height H --width W] [--batch-size B] [--mode MODE]

Runs single steps of a recipe on DATA (or on a small simulated drive, made once in a temporary folder) and prints,
per sample: load, augmentation, network forward, warp and loss, backward, optimiser step; then samples per second
with loading in line and beside the step, and the peak memory of the process.
"""

import logging
import resource
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

import torch
import tyro
from rich.console import Console
from rich.table import Table
from tyro.conf import Positional

from egodepth.data.configurations import DataConfig
from egodepth.data.loading import StepSampler, make_loader
from egodepth.data.opening import open_training_sets
from egodepth.data.simulator.configuration import SimulatorConfig
from egodepth.data.simulator.writer import simulate
from egodepth.data.transforms import augment
from egodepth.methods.photometric import photometric_loss
from egodepth.recipes import RECIPES
from egodepth.recipes.recipe import VIEWS


@dataclass(frozen=True)
class Benchmark:
    """Time single training steps, by part."""

    root: Annotated[Positional[Path | None], tyro.conf.arg(metavar="DATA")] = None
    recipe: str = "monodepth2"
    mode: Literal["mono", "stereo", "mono+stereo"] = "mono"
    height: int = 192
    width: int = 640
    batch_size: int = 4
    steps: int = 8
    device: str = "cpu"
    data: DataConfig = DataConfig()


class Stopwatch:
    """Seconds by name, with the device's queue emptied at both ends."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.seconds: dict[str, list[float]] = defaultdict(list)

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        start = self._now()
        yield
        self.seconds[name].append(self._now() - start)

    def _now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()


def main(options: Benchmark) -> None:
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory() as folder:
        root = options.root or simulate(Path(folder) / "drive", SimulatorConfig(frames=40))
        sets = open_training_sets(
            root, options.data, "calibrated", VIEWS[options.mode], options.height, options.width, Path(folder)
        )
        run(options, sets.training)


def run(options: Benchmark, dataset) -> None:
    device = torch.device(options.device)
    watch = Stopwatch(device)
    recipe = replace(RECIPES[options.recipe], mode=options.mode, loss="photometric")
    method = recipe.build_method(recipe.build_networks()).to(device, memory_format=torch.channels_last).train()
    optimiser = torch.optim.Adam(method.parameters(), lr=recipe.optimiser.learning_rate, fused=True)
    # A fresh dataset object in each pass would hide the cache; the first pass through these steps decodes.
    steps = StepSampler(len(dataset), options.batch_size, 0, 0, options.steps + 2)
    cutting = method.cutting((options.height, options.width))
    batches = iter(make_loader(dataset, steps, workers=0, cutting=cutting))
    for step in range(options.steps + 2):
        with watch("load"):
            batch = next(batches).to(device)
        with watch("augmentation"):
            views = augment(batch, recipe.augmentation, method.seed, step)
        with watch("networks forward"):
            disparities = method.depth_network(views.target_jittered)
            transforms = method.transforms(views)
        with watch("warp and loss"):
            sources = views.sources.transpose(0, 1)
            loss = photometric_loss(
                views.target, sources, disparities, transforms, views.intrinsics, recipe.photometric
            )
        with watch("backward"):
            loss.total.backward()
        with watch("optimiser step"):
            optimiser.step()
            optimiser.zero_grad()
    show(options, watch, device)


def show(options: Benchmark, watch: Stopwatch, device: torch.device) -> None:
    size = f"{options.height}x{options.width}, batch {options.batch_size}, {options.mode}"
    table = Table(title=f"{options.recipe}, {size}, {device}, PyTorch {torch.__version__}")
    table.add_column("part")
    table.add_column("ms per sample", justify="right")
    table.add_column("share", justify="right")
    # The first two steps warm up allocator and kernels.
    parts = {name: statistics.median(times[2:]) / options.batch_size for name, times in watch.seconds.items()}
    total = sum(parts.values())
    for name, seconds in parts.items():
        table.add_row(name, f"{1000 * seconds:.1f}", f"{seconds / total:.0%}")
    table.add_row("all", f"{1000 * total:.1f}", "", style="bold")
    console = Console()
    console.print(table)
    console.print(f"{1 / total:.2f} samples per second with loading in line")
    console.print(f"{1 / (total - parts['load']):.2f} samples per second with loading beside the step")
    if device.type == "cuda":
        console.print(f"peak memory {torch.cuda.max_memory_allocated(device) / 2**20:.0f} MiB on the device")
    console.print(f"peak memory of the process {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")


if __name__ == "__main__":
    main(tyro.cli(Benchmark))
