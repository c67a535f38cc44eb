"""Running the commands in this process, at a size that takes seconds."""

import csv
import json
import math
from pathlib import Path

from egodepth.cli.main import main
from egodepth.reproduction.published import PublishedRow

TINY = "test_resnet"
"""Trains in half the time of the smallest encoder that anybody uses."""

SMALL = ["--height", 64, "--width", 96, "--batch-size", 2, "--steps", 2, "--pretrained", "none", "--workers", 0]
TINY_NETWORKS = ["--network.encoder", TINY, "--pose.encoder", TINY]
TINY_TEACHER = "test_efficientnet"
TINY_MANYDEPTH = [
    *("--network.encoder", TINY, "--network.bins", 4),
    *("--teacher-network.encoder", TINY_TEACHER, "--pose.encoder", TINY),
]

TINY_ROW = PublishedRow(
    id="tiny",
    paper="monodepth2",
    table="simulated street",
    model="Tiny",
    size="96x64",
    recipe="monodepth2",
    training_data="simulated",
    protocol="simulated",
    scale="median",
    figures={"abs_rel": 0.001, "a1": 0.001},
    tolerance={"abs_rel": 0.003, "a1": 0.005},
    options=tuple(map(str, (*SMALL, *TINY_NETWORKS))),
)
"""A row that takes seconds, in place of the published ones; one figure was far better, one far worse."""


def run(*arguments: object) -> int:
    """Exit code of `egodepth ARGUMENTS`."""
    try:
        main([str(argument) for argument in arguments])
    except SystemExit as stop:
        return stop.code or 0
    return 0


def train(data: Path, out: Path, *more: object) -> int:
    """Exit code of two steps of Monodepth2."""
    return run("train", "monodepth2", data, "--out", out, *SMALL, *TINY_NETWORKS, *more)


def only_line(errors: str) -> str:
    """What a command said on stderr, where that ended in the one line of an error; else an assertion fails."""
    lines = [line for line in errors.splitlines() if line.startswith("egodepth: ")]
    assert len(lines) == 1, errors
    assert errors.rstrip().endswith(lines[0]), errors
    return lines[0]


def evaluated(model: Path, data: Path, protocol: str, file: Path, *more: object) -> dict:
    """The figures that `egodepth evaluate` writes, all of them finite."""
    assert run("evaluate", model, data, "--protocol", protocol, "--json", file, *more) == 0
    figures = json.loads(file.read_text())
    assert figures["protocol"] == protocol
    assert figures["images"] == len(figures["per_image"]) > 0
    assert figures["metrics"]
    for name, value in figures["metrics"].items():
        assert math.isfinite(value), name
    return figures


def logged(run_folder: Path, column: str) -> list[float]:
    """What a run wrote to its curves under a name, step by step."""
    with (run_folder / "logs" / "part_0" / "metrics.csv").open(newline="") as file:
        return [float(row[column]) for row in csv.DictReader(file) if row.get(column)]
