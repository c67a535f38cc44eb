"""What RPrDepth's prior costs in each form of attention, as ratios to DIFFNet alone, and what the cheaper forms lose.

    python benchmarks/attention.py [--training] [--references N] [--height H --width W] [--device D] [--json FILE]
    python benchmarks/attention.py --model RUN --data DATA --protocol P

Time is taken in turns: each round gives every case one, in shuffled order, and a ratio is the median over rounds of
the two times within a round. Memory is taken in a process of its own for each case. Both have random weights and
references, which they do not depend on. `top-k` and `clustered` give another result. With a run of RPrDepth the second
table is the accuracy of that on DATA; without, how far the depths that are found in the prior lie from those of exact
attention with random weights and references, which is no measure of what a trained network loses.
"""

import copy
import ctypes
import gc
import json
import random
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from itertools import repeat
from multiprocessing import get_context
from pathlib import Path

import torch
import tyro
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor, nn

from egodepth.data.configurations import EvaluationDataConfig
from egodepth.data.opening import open_evaluation_frames
from egodepth.errors import UserError
from egodepth.evaluation.evaluate import EvaluationResult, results_table
from egodepth.evaluation.protocols import protocol_named
from egodepth.files import write_text
from egodepth.inference.network_predictor import NetworkPredictor
from egodepth.inference.peak_memory import CLEAR, resident
from egodepth.inference.predictor import ModelFacts
from egodepth.models.evaluating import evaluate_predictor
from egodepth.models.opening import load
from egodepth.networks.configurations import RELEASED_REFERENCES, TOP, Form, RPrDepthConfig
from egodepth.networks.folding import fold_batch_norms
from egodepth.networks.prior import ReferenceSet
from egodepth.networks.rprdepth import RPrDepth
from egodepth.prior.building import with_clusters, with_references
from egodepth.recipes.restoring import restored_recipe
from egodepth.reproduction.measured import hardware, software
from egodepth.training.starting import load_trained_networks, run_options

STUDENT = "DIFFNet"
EXACT = "exact"
STEPS = 2
"""Rounds of a memory measurement; the second meets what the first has left."""
NAIVE_COPIES = {False: 3, True: 5}
"""Matrices of weights that the naive form holds at once, in inference and in training."""


@dataclass(frozen=True)
class AttentionBenchmark:
    """Time and memory of the prior depth fusion, and what its cheaper forms lose.

    Attributes:
        height, width: of the image; the batch is 1.
        references: of the prior, where none comes with a model.
        tops: references that each query keeps, for `top-k`.
        clusters: centres that stand for all references.
        training: measure forward and backward, too.
        rounds: turns of each case.
        device: where networks run.
        model: a run of RPrDepth, whose accuracy under each form is told.
        data: to evaluate that on.
        protocol: likewise.
        test_split: folder in DATA/splits, or a path to test lists.
        json: file for all figures.
    """

    height: int = 192
    width: int = 640
    references: int = 25_000
    tops: tuple[int, ...] = (16, TOP, 256)
    clusters: tuple[int, ...] = (250, 1000, 4000)
    training: bool = False
    rounds: int = 5
    device: str = "cpu"
    model: Path | None = None
    data: Path | None = None
    protocol: str | None = None
    test_split: str | None = None
    json: Path | None = None


@dataclass(frozen=True)
class Case:
    """A network to measure.

    Attributes:
        form: of attention; None is the student alone.
        references: that queries meet.
        top: for `top-k`.
        clustered: references count differently.
        training: forward and backward, not inference.
    """

    name: str
    form: Form | None = None
    references: int = 1
    top: int = TOP
    clustered: bool = False
    training: bool = False

    def build(self) -> nn.Module:
        """The network with random weights and references, the same for each call."""
        torch.manual_seed(0)
        config = RPrDepthConfig(clustered=self.clustered)
        if self.form is None:
            return config.student.build()
        network = with_references(config, config.student.build(), random_set(self.references))
        # At its start the fusion changes nothing.
        network.fusion.change.reset_parameters()
        return in_form(network, self.form, self.top)


@dataclass(frozen=True)
class Cost:
    """What a case costs.

    Attributes:
        milliseconds: of one image.
        time_ratio: to the student.
        model_mebibytes: of parameters and constants.
        peak_mebibytes: what a step takes beyond these at most.
        memory_ratio: of both together, to the student's.
    """

    case: Case
    milliseconds: float
    time_ratio: float
    model_mebibytes: float
    peak_mebibytes: float
    memory_ratio: float


def main(options: AttentionBenchmark) -> dict:
    """Measure, show and write; the figures.

    Raises:
        UserError: the model or its data cannot be used, or a part of them is not given.
    """
    given = [value is not None for value in (options.model, options.data, options.protocol)]
    if any(given) and not all(given):
        raise UserError("--model, --data and --protocol belong together. Give all or none.")
    costs, left_out = measured_costs(options)
    console = Console()
    for training in (False, True)[: 1 + options.training]:
        console.print(costs_table([cost for cost in costs if cost.case.training == training], options))
    for name, reason in left_out.items():
        console.print(f"{name}: left out, {reason}.", markup=False)
    figures = {
        "options": json.loads(json.dumps(asdict(options), default=str)),
        "hardware": hardware(),
        "software": software(),
        "costs": [asdict(cost) for cost in costs],
        "left_out": left_out,
    }
    if options.model is not None:
        results = accuracies(options)
        console.print(results_table(results))
        figures["accuracy"] = {name: result.to_json() for name, result in results.items()}
    else:
        figures["random weights and references"] = found = differences(options)
        console.print(differences_table(found))
    if options.json is not None:
        write_text(options.json, json.dumps(figures, indent=2) + "\n")
        console.print(f"Wrote {options.json}")
    return figures


# --- networks --------------------------------------------------------------------------------------------------------


def random_set(count: int) -> ReferenceSet:
    """Normal features and depths of 1 to 50, the same for each call."""
    generator = torch.Generator().manual_seed(count)
    features = torch.randn(count, RPrDepthConfig.reference_channels, generator=generator)
    depths = 1 + 49 * torch.rand(count, generator=generator)
    return ReferenceSet.of(features.half(), depths.half(), {})


def in_form(network: RPrDepth, form: Form, top: int = TOP) -> RPrDepth:
    """A copy that attends in another form."""
    network = copy.deepcopy(network)
    network.fusion.attention, network.fusion.top = form, top
    return network


def variants(network: RPrDepth, config: RPrDepthConfig, options: AttentionBenchmark) -> Iterator[tuple[str, RPrDepth]]:
    """A network with exact attention, and its cheaper forms, by name."""
    yield EXACT, in_form(network, "fused")
    for top in options.tops:
        yield f"top-k {top}", in_form(network, "top-k", top)
    for count in options.clusters:
        if count < len(network.fusion.references.depths):
            yield f"clustered {count}", in_form(with_clusters(network, config, count), "fused")


def deployed(network: nn.Module) -> nn.Module:
    """A network as it is used; the prior's constants are computed."""
    return fold_batch_norms(network.folded() if isinstance(network, RPrDepth) else network)


# --- time and memory -------------------------------------------------------------------------------------------------


def cases(options: AttentionBenchmark) -> list[Case]:
    """All that is measured, the student first."""
    count = options.references
    found = [
        Case(STUDENT),
        *(Case(form, form, count) for form in ("naive", "chunked", "fused")),
        *(Case(f"top-k {top}", "top-k", count, top) for top in options.tops),
        *(Case(f"clustered {few}", "fused", few, clustered=True) for few in options.clusters if few < count),
    ]
    kinds = (False, True)[: 1 + options.training]
    return [replace(case, training=training) for training in kinds for case in found]


def measured_costs(options: AttentionBenchmark) -> tuple[list[Cost], dict[str, str]]:
    """The costs of all cases, and why some are left out."""
    left_out: dict[str, str] = {}
    fitting = []
    for case in cases(options):
        reason = too_large(case, options)
        if reason is None:
            fitting.append(case)
        else:
            left_out[f"{case.name}, {'training' if case.training else 'inference'}"] = reason
    memory = _in_own_processes(fitting, options)
    image = torch.rand(1, 3, options.height, options.width, device=options.device)
    steps = {case: step_of(case, options.device) for case in fitting}
    seconds: dict[Case, list[float]] = {case: [] for case in fitting}
    shuffle, order = random.Random(0), list(fitting)
    for _ in track(range(options.rounds), "measuring", console=Console(stderr=True)):
        shuffle.shuffle(order)
        for case in order:
            seconds[case].append(take_turn(steps[case], image))
    costs = []
    for case in fitting:
        student = replace(Case(STUDENT), training=case.training)
        ratios = [ours / theirs for ours, theirs in zip(seconds[case], seconds[student], strict=True)]
        (model, peak), alone = memory[case], sum(memory[student])
        median = 1000 * statistics.median(seconds[case])
        costs.append(Cost(case, median, statistics.median(ratios), model, peak, (model + peak) / alone))
    return costs, left_out


def step_of(case: Case, device: str) -> Callable[[Tensor], None]:
    """What is measured of a case, to be called with an image (1, 3, H, W)."""
    network = case.build()
    if not case.training:
        network = deployed(network).to(device, memory_format=torch.channels_last)

        @torch.inference_mode()
        def infer(image: Tensor) -> None:
            network.predict_depth(image.contiguous(memory_format=torch.channels_last))

        infer.network = network
        return infer
    network = network.train().to(device, memory_format=torch.channels_last)

    def train(image: Tensor) -> None:
        disparities, features = network.with_features(image.contiguous(memory_format=torch.channels_last))
        loss = sum(disparity.mean() for disparity in disparities)
        if case.form is not None:
            loss = loss + features.hint_depth.mean()
        loss.backward()
        network.zero_grad()

    train.network = network
    return train


def take_turn(step: Callable[[Tensor], None], image: Tensor) -> float:
    """Seconds of one call, the faster of two: another network has just had caches and threads."""
    wait = torch.cuda.synchronize if image.device.type == "cuda" else lambda: None
    seconds = []
    for _ in range(2):
        wait()
        start = time.perf_counter()
        step(image)
        wait()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def too_large(case: Case, options: AttentionBenchmark) -> str | None:
    """Why the naive form, which holds all weights, cannot be measured here."""
    if case.form != "naive":
        return None
    queries = options.height * options.width // 16
    needed = NAIVE_COPIES[case.training] * RPrDepthConfig.heads * queries * case.references * 4 / 2**20
    free = _free_mebibytes(options.device)
    if needed < free / 2:
        return None
    return f"takes about {needed:,.0f} MiB of {free:,.0f} that are free"


def peak_memory(case: Case, options: AttentionBenchmark) -> tuple[float, float]:
    """MiB of the model, and what steps take beyond it, where nothing else has been: in this process."""
    device = torch.device(options.device)
    step = step_of(case, options.device)
    tensors = [*step.network.parameters(), *step.network.buffers()]
    model = sum(tensor.numel() * tensor.element_size() for tensor in tensors) / 2**20
    image = torch.rand(1, 3, options.height, options.width, device=device)
    if device.type == "cuda":
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
    else:
        # PyTorch's kernel library is not the model's.
        nn.functional.conv2d(torch.zeros(1, 8, 32, 32), torch.zeros(8, 8, 3, 3))
        # Forget what building took and gave back: handed to the steps, it would hide what they take.
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)
        CLEAR.write_text("5")
        before = resident("VmRSS")
    for _ in range(STEPS):
        step(image)
    after = torch.cuda.max_memory_allocated() if device.type == "cuda" else resident("VmHWM")
    return model, (after - before) / 2**20


def _in_own_processes(cases: Sequence[Case], options: AttentionBenchmark) -> dict[Case, tuple[float, float]]:
    """`peak_memory` of each case; what all of them import is imported once."""
    context = get_context("forkserver")
    context.set_forkserver_preload(["egodepth.training.runs"])
    with ProcessPoolExecutor(1, context, max_tasks_per_child=1) as processes:
        return dict(zip(cases, processes.map(peak_memory, cases, repeat(options)), strict=True))


def _free_mebibytes(device: str) -> float:
    if torch.device(device).type == "cuda":
        return torch.cuda.mem_get_info()[0] / 2**20
    lines = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
    return int(lines["MemAvailable"].split()[0]) / 1024


def costs_table(costs: Sequence[Cost], options: AttentionBenchmark) -> Table:
    """For the terminal."""
    what = "a training step" if costs[0].case.training else "inference"
    size = f"{options.height}x{options.width}, {options.references:,} references, batch 1, {options.device}"
    table = Table(title=f"{what}: {size}, {torch.get_num_threads()} threads")
    for heading in ("", "ms", "time ratio", "model MiB", "peak MiB", "memory ratio"):
        table.add_column(heading, justify="right" if heading else "left")
    for cost in costs:
        table.add_row(
            cost.case.name,
            f"{cost.milliseconds:.1f}",
            f"{cost.time_ratio:.2f}",
            f"{cost.model_mebibytes:.0f}",
            f"{cost.peak_mebibytes:.0f}",
            f"{cost.memory_ratio:.2f}",
        )
    return table


# --- what the cheaper forms lose -------------------------------------------------------------------------------------


def accuracies(options: AttentionBenchmark) -> dict[str, EvaluationResult]:
    """Figures of a trained RPrDepth under each form; from its run, since a released model has lost its references.

    Raises:
        UserError: this is no run of RPrDepth, or the data cannot be evaluated on.
    """
    network = load_trained_networks(str(options.model))["depth"]
    if not isinstance(network, RPrDepth):
        raise UserError(f"{options.model}: is no run of RPrDepth. Give one of egodepth train rprdepth.")
    stored = run_options(options.model)
    config = restored_recipe(stored["recipe"], stored).network
    network, released = network.thinned(RELEASED_REFERENCES), load(options.model)
    protocol = protocol_named(options.protocol)
    frames = open_evaluation_frames(options.data, protocol.frames, EvaluationDataConfig(split=options.test_split))
    results = {}
    for name, variant in variants(network, config, options):
        size = released.height, released.width
        predictor = NetworkPredictor(deployed(variant), ModelFacts(*size, released.metres_per_unit, options.device))
        results[name] = evaluate_predictor(predictor, frames, protocol)
    return results


@torch.no_grad()
def differences(options: AttentionBenchmark) -> dict[str, float]:
    """Mean relative difference to exact attention of the depth that is found in the prior.

    On one random image, with random weights and references. What the student makes of it is left out: untrained, it
    gives one depth everywhere.
    """
    network = Case(EXACT, "fused", options.references).build()
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(1, 3, options.height, options.width, generator=generator).to(options.device)
    depths = {
        name: deployed(variant).to(options.device).with_features(image)[1].hint_depth
        for name, variant in variants(network, RPrDepthConfig(), options)
    }
    exact = depths[EXACT]
    return {name: float(((depth - exact).abs() / exact).mean()) for name, depth in depths.items()}


def differences_table(found: dict[str, float]) -> Table:
    """For the terminal."""
    table = Table(title="relative difference to exact attention; random weights and references, not a trained network")
    for heading in ("", "depth found in the prior"):
        table.add_column(heading, justify="right" if heading else "left")
    for name, difference in found.items():
        table.add_row(name, f"{difference:.1e}")
    return table


if __name__ == "__main__":
    try:
        main(tyro.cli(AttentionBenchmark))
    except UserError as error:
        sys.exit(f"attention: {error}")
