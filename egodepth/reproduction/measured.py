"""What we measured ourselves, as JSON files; benchmarks/results_page.py makes the page of results of them.

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
"""

import json
import platform
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import torch

from egodepth.checked_json import Flag, ListOf, MapOf, Number, Object, Optional, Text, Whole, read_checked
from egodepth.errors import UserError
from egodepth.files import write_text
from egodepth.geometry.scale import Origin
from egodepth.models.folder import MODEL_FOLDER
from egodepth.networks.model_config import read_config
from egodepth.training.starting import run_options
from egodepth.version import __version__


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


METRICS = MapOf(Number())

EVALUATED = Object(
    {
        "protocol": Text(),
        "scaling": Text(),
        "post_process": Flag(),
        "images": Whole(),
        "metrics": METRICS,
        "metres_from": Optional(Text()),
    }
)

MEASURED = Object(
    {
        "model": Text(),
        "results": ListOf(EVALUATED),
        **dict.fromkeys(("table", "row", "recipe", "start", "data", "hardware", "software"), Optional(Text())),
        **dict.fromkeys(("place", "seed"), Optional(Whole(0))),
        "budget": METRICS,
        "commands": ListOf(Text()),
        "columns": ListOf(Text()),
        "timings": MapOf(ListOf(Number())),
    },
    required=("model",),
)

RECORD_AGAIN = "Write it with `record`, or correct it."

LARGEST_BYTES = 256 * 2**20
"""Size of one file; an evaluation lists its figures for each image."""


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
    results = tuple(Evaluated.of(read_checked(file, EVALUATED, RECORD_AGAIN, LARGEST_BYTES)) for file in evaluations)
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
    return read_config(run / MODEL_FOLDER)["provenance"]


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
    values = read_checked(file, MEASURED, RECORD_AGAIN, LARGEST_BYTES)
    try:
        results = tuple(Evaluated.of(entry) for entry in values.pop("results", ()))
        lists = {key: tuple(values.pop(key, ())) for key in ("commands", "columns")}
        return Measured(name=file.stem, results=results, **lists, **values)
    except (KeyError, TypeError) as error:
        raise UserError(f"{file}: is no measurement ({error}). Write it with `record`, or correct it.") from error
