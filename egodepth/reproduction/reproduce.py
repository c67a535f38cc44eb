"""Reproducing a published row: train, evaluate, compare, and write down what was measured."""

import shlex
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.table import Table

from egodepth.data.configurations import EvaluationDataConfig
from egodepth.data.packs.reading import is_pack
from egodepth.data.recognise import recognise
from egodepth.errors import UserError
from egodepth.evaluation.evaluate import metric_label
from egodepth.models.evaluating import evaluate_model
from egodepth.models.folder import RUN_FILE
from egodepth.prior.pipeline import train_whole
from egodepth.reproduction.measured import (
    Evaluated,
    Measured,
    budget,
    hardware,
    read_measured,
    software,
    write_measured,
)
from egodepth.reproduction.published import Compared, PublishedRow, compare, row_named, row_recipe
from egodepth.training.starting import run_options

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
    also: Sequence[Path] = (),
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
        also: to train on jointly, where the row does, in the order of its kinds.
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
    trained = None if model else train_row(row, data, run, options, prepared or {}, also)
    result = evaluate_model(
        model or str(trained.run),
        test_root,
        row.protocol,
        "median" if row.scale == "median" else "none",
        row.post_process,
        EvaluationDataConfig(split=row.test_split),
        device=device,
    )
    comparison = compare(row, result.metrics)
    if trained is None:
        known = {"commands": _commands(row, (), trains=False)}
    else:
        known = {
            "recipe": row.recipe,
            "seed": run_options(trained.run)["training"]["seed"],
            "start": _start(trained.run),
            "budget": budget(trained.run, trained.minutes),
            "commands": _commands(row, options, trains=True),
        }
    measured = Measured(
        name=row.id,
        model=row.model,
        results=(Evaluated.of(result.to_json()),),
        row=row.id,
        data=" + ".join(path.resolve().name for path in (data, *also)),
        hardware=hardware(),
        software=software(),
        **known,
    )
    return Reproduction(row, comparison, measured, write_measured(run / MEASURED_FOLDER, measured))


@dataclass(frozen=True)
class Trained:
    """A row's training.

    Attributes:
        run: the run folder with the model; of a ladder its last stage.
        minutes: that it took; those that another row wrote down where it was done already, and none where it was
            stopped in between, so that nobody knows.
    """

    run: Path
    minutes: float | None


def train_row(
    row: PublishedRow,
    data: Path,
    run: Path,
    options: Sequence[str] = (),
    prepared: Mapping[str, str] | None = None,
    also: Sequence[Path] = (),
) -> Trained:
    """Train a row's recipe, and what it needs before, or continue the run.

    Raises:
        UserError: the data are of other kinds than the row's, or training cannot be done.
    """
    _check_kinds(row, data, also)
    more = [*options, *(word for path in also for word in ("--also", str(path)))]
    for option, needed in row.needs.items():
        given = (prepared or {}).get(option)
        if given is None:
            given = str(run / NEEDED_FOLDER / needed)
            train_row(row_named(needed), data, Path(given))
        more += [option, given]
    # The runs of a ladder are one folder down.
    begun = (run / RUN_FILE).is_file() or any(run.glob(f"*/{RUN_FILE}"))
    start = time.perf_counter()
    model = train_whole(row.recipe, row_recipe(row, more), data, run, resume=(run / RUN_FILE).is_file())
    if begun:
        minutes = next((one.budget.get("minutes") for one in read_measured(run / MEASURED_FOLDER)), None)
    else:
        minutes = (time.perf_counter() - start) / 60
    return Trained(model.parent, minutes)


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


def _check_kinds(row: PublishedRow, data: Path, also: Sequence[Path]) -> None:
    if len(also) != len(row.also):
        wanted = f"{' and '.join(row.also)} data too. Give them" if row.also else "one data set. Give nothing"
        raise UserError(f"{row.id}: trains on {wanted} with --also.")
    for path, kind in zip((data, *also), (row.training_data, *row.also), strict=True):
        if is_pack(path):
            continue
        found = recognise(path)
        if found != kind and found not in ALSO_SERVE.get(kind, ()):
            raise UserError(f"{path}: is {found} data; {row.id} trains on {kind} data. Give such data.")


def _start(run: Path) -> str:
    options = run_options(run)
    if options["start_from"] is not None:
        return "trained"
    return {"imagenet": "ImageNet", "none": "random"}.get(options["pretrained"], Path(options["pretrained"]).name)


def _commands(row: PublishedRow, options: Sequence[str], trains: bool) -> tuple[str, ...]:
    """The same as single commands, with words for paths."""
    needed = [word for option, identifier in row.needs.items() for word in (option, identifier)]
    joined = [word for kind in row.also for word in ("--also", kind.upper())]
    training = ["egodepth", "train", row.recipe, "DATA", *joined, "--out", "RUN", *row.options, *needed, *options]
    scaling = ["--scaling", "median" if row.scale == "median" else "none"]
    evaluation = ["egodepth", "evaluate", "RUN", "TEST_DATA", "--protocol", row.protocol, *scaling]
    evaluation += ["--data.split", row.test_split] if row.test_split else []
    evaluation += ["--post-process"] if row.post_process else []
    return tuple(map(shlex.join, [training, evaluation] if trains else [evaluation]))
