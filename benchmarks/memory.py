"""How much memory one training step takes beyond the networks and the optimiser.

    python benchmarks/memory.py [CASE ...] [--height H --width W] [--batch-size B] [--device D]

Each case runs in a process of its own, for one step with random pictures. On a CPU the figure is how far the step
lifts the peak of the process's resident memory, on a GPU the peak of the allocator above what was allocated before.
"""

import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated

import torch
import tyro
from rich.console import Console
from rich.table import Table
from tyro.conf import Positional

from egodepth.data.samples import Batch
from egodepth.data.transforms import augment
from egodepth.methods.method import Method
from egodepth.methods.self_distilled import SelfDistilledMethod
from egodepth.recipes import RECIPES
from egodepth.recipes.recipe import VIEWS


def view_synthesis(name: str, **changes: object) -> Callable[[int, int], tuple[Method, tuple[int, int], tuple]]:
    """A case: the method of a recipe with changes, the size of its frames and its sources."""

    def make(height: int, width: int) -> tuple[Method, tuple[int, int], tuple]:
        recipe = replace(RECIPES[name], height=height, width=width, **changes)
        return recipe.build_method(recipe.build_networks()), recipe.frame_size, VIEWS[recipe.mode]

    return make


PYRAMID = RECIPES["small-depth"].pyramid_loss


def self_distilled(height: int, width: int) -> tuple[Method, tuple[int, int], tuple]:
    """SDFA-Net in its second stage, on whole frames of this size."""
    recipe = RECIPES["sdfa-net"]
    recipe = replace(
        recipe,
        perceptual="none",
        augmentation=replace(recipe.augmentation, crop=(height, width), min_scale=1.0, max_scale=1.0),
        losses=replace(recipe.losses, distil_from=0.0),
    )
    return recipe.build_method(recipe.build_networks()), (height, width), recipe.views


def in_parts(method: Method, batch: Batch) -> None:
    """A step as training takes it."""
    for part in method.losses(batch):
        part.backward()


def at_once(method: SelfDistilledMethod, batch: Batch) -> None:
    """SDFA-Net's step with both paths in one graph."""
    views = augment(batch, method.augmentation, 0, 0)
    features = method.depth_network.encode(views.target_jittered)
    raw = method.raw_loss(features, views)
    (raw.loss + method.distilled_loss(features, views, raw.disparity.detach()).loss).backward()


CASES = {
    "monodepth2": view_synthesis("monodepth2"),
    "small-depth": view_synthesis("small-depth"),
    "small-depth, etm": view_synthesis("small-depth", etm=True),
    "small-depth, pyramid, sequential": view_synthesis("small-depth", pyramid=True),
    "small-depth, pyramid, summed": view_synthesis(
        "small-depth", pyramid=True, pyramid_loss=replace(PYRAMID, sequential=False)
    ),
    "sdfa-net, in parts": self_distilled,
    "sdfa-net, at once": self_distilled,
}
STEPS = {"sdfa-net, at once": at_once}


@dataclass(frozen=True)
class Memory:
    """Peak memory of one training step, case by case."""

    cases: Annotated[Positional[tuple[str, ...]], tyro.conf.arg(metavar="CASE")] = tuple(CASES)
    height: int = 128
    width: int = 416
    batch_size: int = 4
    device: str = "cpu"


def main(options: Memory) -> None:
    table = Table(title=f"{options.height}x{options.width}, batch {options.batch_size}, {options.device}")
    for heading in ("training step", "peak MiB", "seconds"):
        table.add_column(heading, justify="left" if heading == "training step" else "right")
    for case in options.cases:
        command = [sys.executable, __file__, "--alone", case, json.dumps(vars(options))]
        measured = json.loads(
            subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1]
        )
        table.add_row(case, f"{measured['mebibytes']:.0f}", f"{measured['seconds']:.2f}")
    Console().print(table)


def measure(case: str, height: int, width: int, batch_size: int, device: str, **_: object) -> dict[str, float]:
    """Peak memory in MiB and seconds of one step of a case, in this process."""
    method, size, sources = CASES[case](height, width)
    method = method.to(device, memory_format=torch.channels_last).train()
    method.wants_panels = lambda: False
    method.log_training = lambda *_, **__: None
    method._trainer = SimpleNamespace(max_steps=1, global_step=0)
    batch = random_batch(size, sources, batch_size).to(device)
    before = _memory(device)
    start = time.perf_counter()
    STEPS.get(case, in_parts)(method, batch)
    peak = _memory(device, peak=True)
    return {"mebibytes": peak - before, "seconds": time.perf_counter() - start}


def random_batch(size: tuple[int, int], sources: tuple, batch_size: int) -> Batch:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (batch_size, 1 + len(sources), 3, *size), generator=generator, dtype=torch.uint8)
    intrinsics = torch.tensor([[0.58, 0, 0.5], [0, 1.92, 0.5], [0, 0, 1]]).repeat(batch_size, 1, 1)
    ones = torch.ones(batch_size)
    names = tuple(map(str, range(batch_size)))
    return Batch(
        names, torch.arange(batch_size), images[:, 0], images[:, 1:], sources, intrinsics, -ones, 0.54 * ones, False
    )


def _memory(device: str, peak: bool = False) -> float:
    """MiB in use, or the most that has been."""
    if torch.device(device).type == "cuda":
        return (torch.cuda.max_memory_allocated() if peak else torch.cuda.memory_allocated()) / 2**20
    if peak:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    with Path("/proc/self/statm").open() as file:
        return int(file.read().split()[1]) * resource.getpagesize() / 2**20


if __name__ == "__main__":
    if sys.argv[1:2] == ["--alone"]:
        print(json.dumps(measure(sys.argv[2], **json.loads(sys.argv[3]))))
    else:
        main(tyro.cli(Memory))
