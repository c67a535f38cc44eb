"""Reproducing a published row: train, evaluate, compare, and write down what was measured."""

import shlex
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.table import Table

from egodepth.commands import evaluate_model
from egodepth.data.opening import EvaluationDataConfig
from egodepth.data.packed import is_pack
from egodepth.data.recognise import recognise
from egodepth.errors import UserError
from egodepth.evaluation.evaluate import EvaluationResult, metric_label
from egodepth.measured import (
    Evaluated,
    Measured,
    budget,
    hardware,
    read_measured,
    run_options,
    software,
    write_measured,
)
from egodepth.models import MODEL_FOLDER, RUN_FILE
from egodepth.networks.weights import CONFIG_FILE
from egodepth.published import Compared, PublishedRow, compare, row_named, row_recipe
from egodepth.runs import train

MEASURED_FOLDER = "measured"
NEEDED_FOLDER = "needed"

LISTED = ("abs_rel", "rmse", "a1")
"""The figures that a list of rows has room for."""

ALSO_SERVE = {"cityscapes": ("cityscapes-triplets",)}
"""Other kinds of data that a row trains on as well."""


@dataclass(frozen=True)
class Reproduction:
    """What came of reproducing a row.

    Attributes:
        row: the published one.
        comparison: metric by metric.
        measured: as written to `file`.
        file: JSON, ready for `docs/measured`.
    """

    row: PublishedRow
    comparison: tuple[Compared, ...]
    measured: Measured
    file: Path

    @property
    def succeeded(self) -> bool:
        """No metric is worse than published by more than its tolerance."""
        return all(compared.verdict != "worse" for compared in self.comparison)

    def table(self) -> Table:
        """For the terminal."""
        table = Table(title=f"{self.row.id}, protocol {self.row.protocol}, scale: {self.row.scale}")
        for heading in ("", "published", "measured", "tolerance", "verdict"):
            table.add_column(heading, justify="left" if heading in ("", "verdict") else "right")
        for one in self.comparison:
            figures = f"{one.published:.3f}", f"{one.measured:.3f}", f"{one.tolerance:.3f}"
            table.add_row(metric_label(one.metric), *figures, one.verdict)
        return table


def rows_table(rows: Sequence[PublishedRow], measured: Sequence[Measured]) -> Table:
    """The published rows for the terminal, each with what we measured of it, if anything, beside it."""
    table = Table(box=None, pad_edge=False)
    for heading in ("row", "recipe", "protocol", "scale"):
        table.add_column(heading, no_wrap=heading == "row")
    for heading in (*LISTED, "measured"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        scale = row.scale + (", flip" if row.post_process else "")
        ours = [_listed(one.results[0].metrics) for one in measured if one.row == row.id]
        state = "not here" if row.unavailable else ", ".join(" ".join(figures) for figures in ours)
        table.add_row(row.id, row.recipe, row.protocol, scale, *_listed(row.figures), state)
    return table


def reproduce(
    identifier: str,
    data: Path,
    run: Path,
    *,
    test_data: Path | None = None,
    options: Sequence[str] = (),
    prepared: Mapping[str, str] | None = None,
    model: str | None = None,
    device: str = "cpu",
) -> Reproduction:
    """Train a published row's recipe, evaluate it by the row's protocol, and compare.

    A run that was stopped goes on; rows that share a training (with and without the flip, against either ground truth)
    can share a run folder, and train once.

    Args:
        identifier: of the row.
        data: to train on.
        run: folder of the run; `measured/<row>.json` in it tells what was measured.
        test_data: to evaluate on; none means `data`.
        options: more options of `egodepth train`, for example `--batch-size 4`; they are written down.
        prepared: for the row's `needs`, trained runs or models by option, for example {"--teacher": RUN}. What is not
            given is trained first, as published, in `needed/<row>` of the run.
        model: evaluate this one and train nothing.
        device: where the evaluation runs.

    Raises:
        UserError: there is no such row, it cannot be reproduced here, or the data are of another kind.
    """
    row = row_named(identifier)
    if row.unavailable is not None:
        raise UserError(f"{row.id}: cannot be reproduced: {row.unavailable}. egodepth reproduce lists the others.")
    test_root = _test_root(row, data, test_data)
    minutes = None if model else train_row(row, data, run, options, prepared or {})
    result = evaluate_model(
        model or str(run),
        test_root,
        row.protocol,
        "median" if row.scale == "median" else "none",
        row.post_process,
        EvaluationDataConfig(split=row.test_split),
        device=device,
    )
    comparison = compare(row, result.metrics)
    if model:
        known = {"commands": _commands(row, (), trains=False)}
    else:
        known = {
            "recipe": row.recipe,
            "seed": run_options(run)["training"]["seed"],
            "start": _start(run),
            "budget": budget(run, minutes),
            "commands": _commands(row, options, trains=True),
        }
    measured = Measured(
        name=row.id,
        model=row.model,
        results=(_evaluated(result),),
        row=row.id,
        data=data.resolve().name,
        hardware=hardware(),
        software=software(),
        **known,
    )
    return Reproduction(row, comparison, measured, write_measured(run / MEASURED_FOLDER, measured))


def train_row(
    row: PublishedRow, data: Path, run: Path, options: Sequence[str] = (), prepared: Mapping[str, str] | None = None
) -> float | None:
    """Train a row's recipe, and what it needs before, or go on with the run.

    Returns:
        minutes of the training; those that another row wrote down where it is done already, and none where it was
        stopped in between, so that nobody knows.
    """
    _check_kind(row, data)
    more = list(options)
    for option, needed in row.needs.items():
        given = (prepared or {}).get(option)
        if given is None:
            given = str(run / NEEDED_FOLDER / needed)
            train_row(row_named(needed), data, Path(given))
        more += [option, given]
    begun = (run / RUN_FILE).is_file()
    finished = (run / MODEL_FOLDER / CONFIG_FILE).is_file()
    start = time.perf_counter()
    train(row.recipe, row_recipe(row, more), data, run, resume=begun)
    if not begun:
        return (time.perf_counter() - start) / 60
    if not finished:
        return None
    return next((one.budget.get("minutes") for one in read_measured(run / MEASURED_FOLDER)), None)


def _listed(figures: Mapping[str, float]) -> list[str]:
    return [f"{figures[metric]:.3f}" if metric in figures else "" for metric in LISTED]


def _test_root(row: PublishedRow, data: Path, test_data: Path | None) -> Path:
    kind = row.test_data or row.training_data
    if test_data is None and (kind != row.training_data or is_pack(data)):
        raise UserError(f"{row.id}: is evaluated on {kind} data. Give them with --test-data.")
    root = test_data or data
    if recognise(root) != kind:
        raise UserError(f"{root}: is {recognise(root)} data; {row.id} is evaluated on {kind} data. Give such data.")
    return root


def _check_kind(row: PublishedRow, data: Path) -> None:
    if is_pack(data):
        return
    found = recognise(data)
    if found != row.training_data and found not in ALSO_SERVE.get(row.training_data, ()):
        raise UserError(f"{data}: is {found} data; {row.id} trains on {row.training_data} data. Give such data.")


def _evaluated(result: EvaluationResult) -> Evaluated:
    return Evaluated.of(result.to_json())


def _start(run: Path) -> str:
    options = run_options(run)
    if options["start_from"] is not None:
        return "trained"
    return {"imagenet": "ImageNet", "none": "random"}.get(options["pretrained"], Path(options["pretrained"]).name)


def _commands(row: PublishedRow, options: Sequence[str], trains: bool) -> tuple[str, ...]:
    """The same as single commands, with words for paths."""
    needed = [word for option, identifier in row.needs.items() for word in (option, identifier)]
    training = ["egodepth", "train", row.recipe, "DATA", "--out", "RUN", *row.options, *needed, *options]
    scaling = ["--scaling", "median" if row.scale == "median" else "none"]
    evaluation = ["egodepth", "evaluate", "RUN", "TEST_DATA", "--protocol", row.protocol, *scaling]
    evaluation += ["--data.split", row.test_split] if row.test_split else []
    evaluation += ["--post-process"] if row.post_process else []
    return tuple(map(shlex.join, [training, evaluation] if trains else [evaluation]))
