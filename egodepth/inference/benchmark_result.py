"""What a benchmark found: rows of figures and ratios, as a table for people and as plain data."""

from dataclasses import asdict, dataclass

from egodepth.inference.configurations import Engine


@dataclass(frozen=True)
class Row:
    """One network in one engine. A ratio is how many times as fast as the baseline it is, or as large.

    Attributes:
        layout: of PyTorch's tensors, the faster of both.
        latency_ms, latency_p95_ms: of a single picture, median and 95th percentile.
        speed_ratio, speed_ratio_to_eager: latency of the baseline in the same engine, and in eager, over this one's.
        images_per_second: at `best_batch`, the fastest of the batch sizes.
        throughput_ratio, throughput_ratio_to_eager: over the baseline's at its own best batch.
        peak_memory: bytes, see `peak_memory.MEANING`; None where the system does not tell.
        None as a ratio: the baseline has no figure in that engine.
    """

    model: str
    engine: Engine
    layout: str
    parameters: int
    parameters_ratio: float
    macs: int
    macs_ratio: float
    latency_ms: float
    latency_p95_ms: float
    speed_ratio: float | None
    speed_ratio_to_eager: float | None
    images_per_second: float
    best_batch: int
    throughput_ratio: float | None
    throughput_ratio_to_eager: float | None
    peak_memory: int | None
    peak_memory_ratio: float | None
    peak_memory_ratio_to_eager: float | None


@dataclass(frozen=True)
class Missing:
    """What could not be measured, and why."""

    model: str
    engine: Engine
    batch: int
    reason: str


@dataclass(frozen=True)
class BenchmarkResult:
    """All rows, the baseline's first, and under which conditions they came about."""

    settings: dict
    rows: tuple[Row, ...]
    missing: tuple[Missing, ...]

    def to_json(self) -> dict:
        """Plain data with every figure."""
        return asdict(self)

    def table(self) -> str:
        """The rows as aligned text; behind each figure its ratios to the baseline in the same engine and in eager."""
        heads = ("model", "engine", "parameters", "MACs", "ms", "95 %", "speed", "images/s", "batch", "speed", "memory")
        lines = [heads] + [_cells(row) for row in self.rows]
        widths = [max(len(line[column]) for line in lines) for column in range(len(heads))]
        text = [
            "  ".join(
                cell.ljust(width) if column < 2 else cell.rjust(width)
                for column, (cell, width) in enumerate(zip(line, widths, strict=True))
            ).rstrip()
            for line in lines
        ]
        settings = self.settings
        text.insert(
            0,
            f"{settings['height']}x{settings['width']}, {settings['device_name']}, {settings['threads']} "
            f"threads, PyTorch {settings['torch']}, {settings['rounds']} interleaved rounds",
        )
        text.append(
            f"ratios: to {settings['baseline']} in the same engine / to {settings['baseline']} in eager PyTorch"
        )
        text.append(f"batch norms: {settings['batch_norms']}")
        text.append(f"memory: {settings['peak_memory']}")
        text += [
            f"not measured: {each.model} {each.engine} at batch {each.batch}: {each.reason}" for each in self.missing
        ]
        return "\n".join(text)


def _cells(row: Row) -> tuple[str, ...]:
    return (
        row.model,
        row.engine,
        f"{row.parameters / 1e6:.2f} M x{row.parameters_ratio:.2f}",
        f"{row.macs / 1e9:.2f} G x{row.macs_ratio:.2f}",
        f"{row.latency_ms:.2f}",
        f"{row.latency_p95_ms:.2f}",
        _ratios(row.speed_ratio, row.speed_ratio_to_eager),
        f"{row.images_per_second:.1f}",
        str(row.best_batch),
        _ratios(row.throughput_ratio, row.throughput_ratio_to_eager),
        "–"
        if row.peak_memory is None
        else f"{row.peak_memory / 2**20:.0f} MiB " + _ratios(row.peak_memory_ratio, row.peak_memory_ratio_to_eager),
    )


def _ratios(same: float | None, eager: float | None) -> str:
    return " / ".join("–" if ratio is None else f"x{ratio:.2f}" for ratio in (same, eager))
