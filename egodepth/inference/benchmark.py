"""How fast networks are, in every engine, as ratios to a baseline that ran between them.

A busy machine slows one measurement and not the next. So nothing is measured alone: each round gives every network in
every engine at every batch size a short turn, in shuffled order, and a ratio is the median over rounds of the two
times within a round.
"""

import copy
import io
import platform
import random
import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field

import torch
from torch import Tensor, nn

from egodepth.errors import UserError, first_line
from egodepth.inference.benchmark_result import BenchmarkResult, Missing, Row
from egodepth.inference.configurations import BenchmarkConfig, Engine
from egodepth.inference.engines import Runtime
from egodepth.inference.graph import onnx_graph
from egodepth.inference.network_engines import TorchRuntime
from egodepth.inference.peak_memory import MEANING, available_memory, peak_on_cpu, peak_on_cuda, runtime_of
from egodepth.inference.turns import LEAST_CALLS, slow_call, take_turn
from egodepth.networks.folding import fold_batch_norms
from egodepth.progress import progress_bar


@dataclass(frozen=True)
class Contender:
    """A network to measure.

    Attributes:
        network: has `predict_depth`; it is copied.
        parameters, macs: what it costs at the benchmark's size.
    """

    name: str
    network: nn.Module
    parameters: int
    macs: int


@dataclass
class _Lane:
    """One network in one engine, and the seconds of its calls: by batch size, a list for each round."""

    contender: Contender
    engine: Engine
    layout: str
    runtime: Callable[[Tensor], object]
    peak_memory: int | None
    rounds: dict[int, list[list[float]]] = field(default_factory=dict)

    def per_round(self, batch: int) -> list[float]:
        """Median seconds of each round."""
        return [statistics.median(calls) for calls in self.rounds[batch]]

    def best_batch(self) -> int:
        return max(self.rounds, key=lambda batch: batch / statistics.median(self.per_round(batch)))


def benchmark(contenders: Sequence[Contender], config: BenchmarkConfig, progress: bool = True) -> BenchmarkResult:
    """Measure networks against the first of them, the baseline.

    Deployed forms are compared, the baseline's too: evaluation mode, batch norms folded, no gradients, the faster
    memory layout of PyTorch. Latency includes nothing but the network: images are on the device already.

    Raises:
        UserError: the device is not there, or a number makes no sense.
    """
    device = checked_device(config)
    missing: list[Missing] = []
    lanes = [lane for contender in contenders for lane in _open_lanes(contender, config, device, missing)]
    turns = _warm_turns(lanes, config, device, missing)
    shuffle = random.Random(0)
    # The baseline is measured in every round like the others, so a slow moment hurts all alike.
    with progress_bar(progress) as bar:
        for _ in bar.track(range(config.rounds), description="Measuring"):
            shuffle.shuffle(turns)
            for lane, images in turns:
                lane.rounds.setdefault(len(images), []).append(_take_turn(lane.runtime, images))
    baseline = contenders[0]
    rows = [_row(lane, lanes, baseline) for lane in lanes if 1 in lane.rounds]
    return BenchmarkResult(_settings(config, device, baseline), tuple(rows), tuple(missing))


def checked_device(config: BenchmarkConfig) -> torch.device:
    """Where to measure.

    Raises:
        UserError: the device is not there, or a number of the configuration makes no sense.
    """
    for option, value in (("--batch-size", config.batch_size), ("--rounds", config.rounds)):
        if value < 1:
            raise UserError(f"{option} {value}: must be 1 or more.")
    for option, value in (("--height", config.height), ("--width", config.width)):
        if value <= 0 or value % 32:
            raise UserError(f"{option} {value}: a network's size is a multiple of 32. Choose such a size.")
    try:
        device = torch.device(config.device)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"--device {config.device}: is not there ({first_line(error)}). Use --device cpu.") from error
    return device


def _open_lanes(
    contender: Contender, config: BenchmarkConfig, device: torch.device, missing: list[Missing]
) -> list[_Lane]:
    network = fold_batch_norms(copy.deepcopy(contender.network).cpu())
    memory_format = _faster_layout(network, config, device)
    layout = "channels last" if memory_format == torch.channels_last else "contiguous"
    size = (config.height, config.width)
    image = torch.rand(1, 3, *size, device=device)
    graph: bytes | None = None
    lanes = []
    for engine in config.engines:
        record = runtime_of(engine)
        if reason := record.absence(str(device)):
            missing.append(Missing(contender.name, engine, 1, reason))
            continue
        try:
            if record.takes == "graph":
                graph = graph or onnx_graph(network, *size)
                runtime, peak = _fed_tensors(record.open(graph)), peak_on_cpu(engine, graph, *size, False)
            else:
                runtime, peak = _open_torch(engine, network, memory_format, image)
        except Exception as error:  # compilers, exporters and engines raise types of their own
            missing.append(Missing(contender.name, engine, 1, first_line(error)))
            continue
        shown = "" if record.takes == "graph" else layout
        lanes.append(_Lane(contender, engine, shown, runtime, peak))
    return lanes


def _fed_tensors(runtime: Runtime) -> Callable[[Tensor], object]:
    """An engine of graphs that takes tensors; turning them into arrays copies nothing."""
    return lambda images: runtime(images.numpy())


def _open_torch(
    engine: Engine, network: nn.Module, memory_format: torch.memory_format, image: Tensor
) -> tuple[Runtime, int | None]:
    """An engine of PyTorch with a copy of the network on the image's device, and its peak memory."""

    def open_engine() -> Runtime:
        return runtime_of(engine).open(
            copy.deepcopy(network).to(image.device, memory_format=memory_format), memory_format
        )

    if image.device.type == "cuda":
        return peak_on_cuda(open_engine, image)
    runtime = open_engine()
    runtime(image)
    if image.device.type != "cpu":
        return runtime, None
    pickled = io.BytesIO()
    torch.save(copy.deepcopy(network).to(memory_format=memory_format), pickled)
    last = memory_format == torch.channels_last
    return runtime, peak_on_cpu(engine, pickled.getvalue(), *image.shape[-2:], last)


def _faster_layout(network: nn.Module, config: BenchmarkConfig, device: torch.device) -> torch.memory_format:
    """The memory layout in which eager PyTorch runs the network faster, measured in turns."""
    formats = (torch.contiguous_format, torch.channels_last)
    image = torch.rand(1, 3, config.height, config.width, device=device)
    runtimes = {each: TorchRuntime(copy.deepcopy(network).to(device, memory_format=each), each) for each in formats}
    seconds: dict[torch.memory_format, list[float]] = {each: [] for each in formats}
    for _ in range(max(3, config.rounds // 2)):
        for each, runtime in runtimes.items():
            seconds[each] += _take_turn(runtime, image)
    return min(formats, key=lambda each: statistics.median(seconds[each]))


def _warm_turns(
    lanes: Sequence[_Lane], config: BenchmarkConfig, device: torch.device, missing: list[Missing]
) -> list[tuple[_Lane, Tensor]]:
    """Every lane with every batch that fits into memory, each called once: compilers build on first sight."""
    turns = []
    pictures: dict[int, Tensor] = {}
    for lane in lanes:
        for batch in (2**power for power in range(config.batch_size.bit_length())):
            try:
                if not _fits(lane, batch, device):
                    raise MemoryError(f"{batch} images may not fit into memory")
                if batch not in pictures:
                    pictures[batch] = torch.rand(batch, 3, config.height, config.width, device=device)
                lane.runtime(pictures[batch])
            except Exception as error:  # out of memory has another type in every engine
                missing.append(Missing(lane.contender.name, lane.engine, batch, first_line(error)))
                break
            turns.append((lane, pictures[batch]))
    return turns


def _fits(lane: _Lane, batch: int, device: torch.device) -> bool:
    """Whether a batch takes less than half of the free memory; a GPU says so itself."""
    if device.type != "cpu" or lane.peak_memory is None:
        return True
    return batch * lane.peak_memory < available_memory() / 2


def _take_turn(run: Callable[[Tensor], object], images: Tensor) -> list[float]:
    """Seconds of single calls with these images."""
    wait = torch.cuda.synchronize if images.device.type == "cuda" else lambda: None
    return take_turn(lambda: run(images), LEAST_CALLS if len(images) == 1 else 1, wait)


def _row(lane: _Lane, lanes: Sequence[_Lane], baseline: Contender) -> Row:
    of_baseline = {each.engine: each for each in lanes if each.contender is baseline and 1 in each.rounds}
    same, eager = of_baseline.get(lane.engine), of_baseline.get("eager")
    calls = [seconds for turn in lane.rounds[1] for seconds in turn]
    best = lane.best_batch()
    return Row(
        model=lane.contender.name,
        engine=lane.engine,
        layout=lane.layout,
        parameters=lane.contender.parameters,
        parameters_ratio=lane.contender.parameters / baseline.parameters,
        macs=lane.contender.macs,
        macs_ratio=lane.contender.macs / baseline.macs,
        latency_ms=1000 * statistics.median(calls),
        latency_p95_ms=1000 * slow_call(calls),
        speed_ratio=_speed_ratio(lane, 1, same, 1),
        speed_ratio_to_eager=_speed_ratio(lane, 1, eager, 1),
        images_per_second=best / statistics.median(lane.per_round(best)),
        best_batch=best,
        throughput_ratio=_speed_ratio(lane, best, same, same and same.best_batch()),
        throughput_ratio_to_eager=_speed_ratio(lane, best, eager, eager and eager.best_batch()),
        peak_memory=lane.peak_memory,
        peak_memory_ratio=_memory_ratio(lane, same),
        peak_memory_ratio_to_eager=_memory_ratio(lane, eager),
    )


def _speed_ratio(lane: _Lane, batch: int, other: _Lane | None, other_batch: int | None) -> float | None:
    """Images per second of a lane over another's, the median over rounds."""
    if other is None:
        return None
    pairs = zip(lane.per_round(batch), other.per_round(other_batch), strict=True)
    return statistics.median((batch / ours) / (other_batch / theirs) for ours, theirs in pairs)


def _memory_ratio(lane: _Lane, other: _Lane | None) -> float | None:
    return lane.peak_memory / other.peak_memory if other and other.peak_memory and lane.peak_memory else None


def _settings(config: BenchmarkConfig, device: torch.device, baseline: Contender) -> dict:
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{platform.machine()} CPU"
    return {
        **asdict(config),
        "baseline": baseline.name,
        "device_name": name,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "batch_norms": "folded in all networks, the baseline's too",
        "system": platform.platform(),
        "peak_memory": MEANING.get(device.type, "not known on this device"),
    }
