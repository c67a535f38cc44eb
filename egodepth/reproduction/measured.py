"""What we measured ourselves, as JSON files, and the page of results that is made of them.

A file of `docs/measured` tells of one run, or of one thing that was compared with it:

    model           what a table calls it
    table           the table of the page that it stands in, or null
    place           its line there; files of the same place are in the order of their names
    row             the published row that it reproduces, or null
    recipe, seed    null where nothing was trained
    start           of the encoder's weights: random, ImageNet, …
    data            in words
    budget          steps, batch_size, minutes; whichever are known
    hardware, software
    commands        what was typed, with words for paths
    results         for each evaluation its protocol, scaling, metres_from, post_process, images and metrics, the main
                    one first

`record` makes one from a run folder and the JSON files of `egodepth evaluate --json`. A file with `columns` and
`timings` in place of `results` holds timings, one list of figures for each line.

On the page, what stands between `<!-- made from … -->` and `<!-- end -->` is written by `results_page`: `published
rows`, `measured TABLE` (main results), `variants TABLE` (the others) or `timings NAME`.
"""

import json
import platform
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from itertools import groupby
from pathlib import Path
from typing import Any

import torch

from egodepth import __version__
from egodepth.errors import UserError
from egodepth.files import read_json, write_text
from egodepth.models.released import MODEL_FOLDER
from egodepth.networks.weights import CONFIG_FILE
from egodepth.recipes.scale import Origin
from egodepth.reproduction.published import PublishedRow, papers
from egodepth.training.runs import run_options

MADE = re.compile(r"(<!-- made from (?P<what>[^>]+?) -->\n).*?(<!-- end -->)", re.DOTALL)


@dataclass(frozen=True)
class Evaluated:
    """One evaluation: what `egodepth evaluate --json` writes, without the figures of each image.

    Attributes:
        scaling: `median`, or `none` for depth as predicted.
        images: how many.
        metrics: by name.
        metres_from: how the model's depth got its metres, `stereo baseline` or `poses`; none where it is up to scale.
    """

    protocol: str
    scaling: str
    post_process: bool
    images: int
    metrics: Mapping[str, float]
    metres_from: Origin | None

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> "Evaluated":
        """From the values of a JSON file.

        Raises:
            KeyError: one is missing.
        """
        return cls(**{entry.name: values[entry.name] for entry in fields(cls)})

    @property
    def scale(self) -> str:
        """How the depths that were compared got their scale, in the words of `PublishedRow.scale`, and the flip."""
        scale = "median" if self.scaling == "median" else self.metres_from or "none"
        return scale + (", flip" if self.post_process else "")


@dataclass(frozen=True)
class Measured:
    """A file of `docs/measured`; see the module for its fields."""

    name: str
    model: str
    results: tuple[Evaluated, ...] = ()
    table: str | None = None
    place: int = 100
    row: str | None = None
    recipe: str | None = None
    seed: int | None = None
    start: str | None = None
    data: str = ""
    budget: Mapping[str, float] = field(default_factory=dict)
    hardware: str = ""
    software: str = ""
    commands: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    timings: Mapping[str, Sequence[float]] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Plain data for `json.dumps`, without what is empty; the name is the file's."""
        return {key: value for key, value in asdict(self).items() if key != "name" and value not in (None, (), {}, "")}


# --- files -----------------------------------------------------------------------------------------------------------


def read_measured(folder: Path) -> list[Measured]:
    """The files of a folder, in the order in which tables show them.

    Raises:
        UserError: a file is not JSON, or has not the fields.
    """
    found = [_read(file) for file in sorted(folder.glob("*.json"))]
    return sorted(found, key=lambda measured: (measured.place, measured.name))


def write_measured(folder: Path, measured: Measured) -> Path:
    """Write a measurement to `<folder>/<name>.json`."""
    file = folder / f"{measured.name}.json"
    write_text(file, json.dumps(measured.to_json(), indent=2, ensure_ascii=False) + "\n")
    return file


def record(
    name: str,
    run: Path,
    evaluations: Sequence[Path],
    model: str,
    minutes: float | None = None,
    table: str | None = None,
    row: str | None = None,
    data: str = "",
    start: str | None = None,
    commands: Sequence[str] = (),
    place: int = 100,
) -> Measured:
    """A measurement from a run that was made with other commands, on this machine.

    Args:
        name: of its file.
        run: run folder.
        evaluations: files that `egodepth evaluate --json` wrote, the main one first.
        model: what tables call it.
        minutes: how long training took.

    Raises:
        UserError: a file is missing or broken.
    """
    results = tuple(Evaluated.of(read_json(file)) for file in evaluations)
    options = run_options(run)
    return Measured(
        name=name,
        model=model,
        results=results,
        table=table,
        place=place,
        row=row,
        recipe=options["recipe"],
        seed=options["training"]["seed"],
        start=start,
        data=data or provenance(run)["data"],
        budget=budget(run, minutes),
        hardware=hardware(),
        software=software(),
        commands=tuple(commands),
    )


def provenance(run: Path) -> dict[str, Any]:
    """What a run's model was made from.

    Raises:
        UserError: the run has not released a model.
    """
    return read_json(run / MODEL_FOLDER / CONFIG_FILE)["provenance"]


def budget(run: Path, minutes: float | None) -> dict[str, float]:
    """Steps that the run's model was trained for, samples in a step, and minutes where known."""
    training = run_options(run)["training"]
    steps = provenance(run)["steps"]
    samples = training["batch_size"] * training["devices"] * training["nodes"]
    known = {} if minutes is None else {"minutes": round(minutes, 1)}
    return {"steps": steps, "batch_size": samples} | known


def hardware() -> str:
    """What this machine trains on."""
    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
        return ", ".join(f"{names.count(name)} x {name}" for name in dict.fromkeys(names))
    information = Path("/proc/cpuinfo")
    text = information.read_text(encoding="utf-8", errors="replace") if information.is_file() else ""
    model = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return f"{torch.get_num_threads()} threads of {model[1] if model else platform.machine()}, no GPU"


def software() -> str:
    """The versions that decide what a run does."""
    return f"egodepth {__version__}, Python {platform.python_version()}, PyTorch {torch.__version__}"


def _read(file: Path) -> Measured:
    values = read_json(file)
    try:
        results = tuple(Evaluated.of(entry) for entry in values.pop("results", ()))
        lists = {key: tuple(values.pop(key, ())) for key in ("commands", "columns")}
        return Measured(name=file.stem, results=results, **lists, **values)
    except (KeyError, TypeError) as error:
        raise UserError(f"{file}: is no measurement ({error}). Write it with `record`, or correct it.") from error


# --- the page --------------------------------------------------------------------------------------------------------


def results_page(page: str, rows: Sequence[PublishedRow], measured: Sequence[Measured]) -> str:
    """A page with its tables made anew; the rest of it stays.

    Raises:
        UserError: the page asks for a table that is not known, or nothing was measured for.
    """
    makers: dict[str, Callable[[str], str]] = {
        "published": lambda _: published_tables(rows, measured),
        "measured": lambda name: measured_table(_of_table(measured, name)),
        "variants": lambda name: variants_table(_of_table(measured, name)),
        "timings": lambda name: timings_table(_of_table(measured, name)[0]),
    }

    def made(place: re.Match[str]) -> str:
        kind, _, name = place["what"].partition(" ")
        if kind not in makers:
            raise UserError(f"made from {place['what']}: is not known. Choose one of {', '.join(makers)}.")
        return f"{place[1]}\n{makers[kind](name)}\n\n{place[3]}"

    return MADE.sub(made, page)


def write_results_page(page: Path, rows: Sequence[PublishedRow], measured_folder: Path) -> None:
    """Make the tables of a page anew, in place."""
    text = page.read_text(encoding="utf-8")
    write_text(page, results_page(text, rows, read_measured(measured_folder)))


def published_tables(rows: Sequence[PublishedRow], measured: Sequence[Measured]) -> str:
    """A table for each table of each paper; what we measured of a row stands under it."""
    parts = []
    for (paper, table), group in groupby(sorted_by_table(rows), key=lambda row: (row.paper, row.table)):
        group = list(group)
        metrics = tuple(dict.fromkeys(metric for row in group for metric in row.figures))
        lines = []
        for row in group:
            name = f"`{row.id}`" + ("" if row.unavailable is None else " (not here)")
            scale = row.scale + (", flip" if row.post_process else "")
            lines.append([name, row.model, row.size, scale, *_figures(row.figures, metrics)])
            for one in (one for one in measured if one.row == row.id):
                result = one.results[0]
                facts = f"{one.model}, measured", _budget_in_words(one.budget), result.scale
                lines.append(["", *facts, *_figures(result.metrics, metrics)])
        heading = ("row", "model", "input", "scale", *metrics)
        parts.append(f"{papers()[paper]}: {table}, protocol `{group[0].protocol}`.\n\n{_table(heading, lines)}")
    return "\n\n".join(parts)


def sorted_by_table(rows: Sequence[PublishedRow]) -> list[PublishedRow]:
    """Rows with those of one table together; tables and rows in the order in which they come first."""
    places = {key: place for place, key in enumerate(dict.fromkeys((row.paper, row.table) for row in rows))}
    return sorted(rows, key=lambda row: places[row.paper, row.table])


def measured_table(measured: Sequence[Measured]) -> str:
    """The main result of each; columns that are empty in all lines are left out."""
    metrics = tuple(measured[0].results[0].metrics)
    facts = {
        "start": [one.start or "" for one in measured],
        "steps": [f"{one.budget['steps']:,}" if "steps" in one.budget else "" for one in measured],
        "minutes": [f"{one.budget['minutes']:.1f}" if "minutes" in one.budget else "" for one in measured],
    }
    facts = {name: column for name, column in facts.items() if any(column)}
    facts["scale"] = [one.results[0].scale for one in measured]
    lines = [
        [one.model, *(column[place] for column in facts.values()), *_figures(one.results[0].metrics, metrics)]
        for place, one in enumerate(measured)
    ]
    return _table(("model", *facts, *metrics), lines)


def variants_table(measured: Sequence[Measured]) -> str:
    """The further results of each: other scaling, post-processing or protocol."""
    metrics = tuple(measured[0].results[0].metrics)
    lines = [
        [one.model, result.scale, *_figures(result.metrics, metrics)] for one in measured for result in one.results[1:]
    ]
    return _table(("model", "scale", *metrics), lines)


def timings_table(measured: Measured) -> str:
    """Timings, one line each; the line `all` in bold."""
    lines = []
    for name, figures in measured.timings.items():
        decimals = max(len(str(figure).partition(".")[2]) for figure in figures)
        line = [name, *(f"{figure:.{decimals}f}" for figure in figures)]
        lines.append([f"**{cell}**" for cell in line] if name == "all" else line)
    return _table((measured.model, *measured.columns), lines)


def _of_table(measured: Sequence[Measured], name: str) -> list[Measured]:
    found = [one for one in measured if one.table == name]
    if not found:
        known = sorted({one.table for one in measured if one.table})
        raise UserError(f"table {name}: nothing was measured for it. Tables with figures: {', '.join(known)}.")
    return found


def _figures(values: Mapping[str, float], metrics: Sequence[str]) -> list[str]:
    return [f"{values[metric]:.3f}" if metric in values else "" for metric in metrics]


def _budget_in_words(known: Mapping[str, float]) -> str:
    return f"{known['steps']:,} x {known['batch_size']}" if "steps" in known else ""


def _table(heading: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rule = "|---" * len(heading) + "|"
    return "\n".join([_line(heading), rule, *map(_line, lines)])


def _line(cells: Sequence[str]) -> str:
    return "".join(f"| {cell} " if cell else "| " for cell in cells) + "|"
