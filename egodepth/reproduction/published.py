"""The rows of the papers' tables as data, and how a measured result compares with one.

The rows stand in `published.toml`.
"""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any, Literal

import tyro
from tyro.conf import AvoidSubcommands

from egodepth.errors import UserError
from egodepth.evaluation.metrics import HIGHER_IS_BETTER
from egodepth.recipes import Recipe, recipe_named

Verdict = Literal["within", "better", "worse"]

DECIMALS = 3
"""Published figures are printed with so many."""


@dataclass(frozen=True)
class PublishedRow:
    """One row of a published table, and what would reproduce it.

    Attributes:
        id: what `egodepth reproduce` calls it.
        paper: key in `papers()`.
        table: of that paper, in words.
        model: as the table names it.
        size: of the network's input, width x height.
        recipe: name in `egodepth.recipes.recipe.recipe`.
        training_data, test_data: kinds of data; none means that it tests on what it trains on.
        protocol: name in `evaluation.protocols`.
        scale: how depths got theirs: `median` of each image, `stereo baseline` or `poses`.
        figures: by metric.
        tolerance: by metric, how far a reproduction may be off to the worse.
        options: of `egodepth train` that make the recipe this row's.
        also: kinds of data that are trained on jointly with the training data.
        needs: options that take the run of another row, by that row's id.
        test_split: of the test data.
        post_process: join the predictions of image and mirror.
        note: for people.
        unavailable: why it cannot be reproduced here; none where it can.
    """

    id: str
    paper: str
    table: str
    model: str
    size: str
    recipe: str
    training_data: str
    protocol: str
    scale: Literal["median", "stereo baseline", "poses"]
    figures: Mapping[str, float]
    tolerance: Mapping[str, float]
    options: tuple[str, ...] = ()
    also: tuple[str, ...] = ()
    needs: Mapping[str, str] = field(default_factory=dict)
    test_data: str | None = None
    test_split: str | None = None
    post_process: bool = False
    note: str | None = None
    unavailable: str | None = None


@dataclass(frozen=True)
class Compared:
    """One metric of a row beside its measured value, which counts as printed."""

    metric: str
    published: float
    measured: float
    tolerance: float

    @property
    def verdict(self) -> Verdict:
        """`better` and `worse` are by more than the tolerance."""
        gain = round(self.measured, DECIMALS) - self.published
        gain = gain if self.metric in HIGHER_IS_BETTER else -gain
        if abs(gain) <= self.tolerance + 1e-9:
            return "within"
        return "better" if gain > 0 else "worse"


@cache
def published_rows() -> Mapping[str, PublishedRow]:
    """All rows by id, in the order of the file."""
    general = _content()["tolerance"]
    return {entry["id"]: _row(entry, general) for entry in _content()["rows"]}


@cache
def papers() -> Mapping[str, str]:
    """Authors, title, place and year of each paper, by its key."""
    return _content()["papers"]


def row_named(identifier: str) -> PublishedRow:
    """The row of that id.

    Raises:
        UserError: there is none; the message lists those of the nearest system.
    """
    rows = published_rows()
    if identifier not in rows:
        system = identifier.split("-")[0]
        near = [known for known in rows if known.split("-")[0] == system] or list(rows)
        raise UserError(f"there is no published row {identifier!r}. Choose one of {', '.join(near)}.")
    return rows[identifier]


def row_recipe(row: PublishedRow, more: Sequence[str] = ()) -> Recipe:
    """A row's recipe with its options, and with more of `egodepth train`'s.

    Raises:
        SystemExit: an option is not one of the recipe's; tyro says which.
        UserError: an option is one that this training does not read.
    """
    recipe = recipe_named(row.recipe)
    chosen = tyro.cli(
        type(recipe),
        default=recipe,
        args=[*row.options, *more],
        prog=f"egodepth reproduce {row.id}",
        config=(AvoidSubcommands,),
    )
    chosen.check_options(recipe)
    return chosen


def compare(row: PublishedRow, metrics: Mapping[str, float]) -> tuple[Compared, ...]:
    """A row's figures beside measured ones.

    Raises:
        UserError: a metric of the row was not measured.
    """
    missing = [metric for metric in row.figures if metric not in metrics]
    if missing:
        raise UserError(f"{row.id}: {', '.join(missing)} was not measured. Evaluate with --protocol {row.protocol}.")
    return tuple(
        Compared(metric, value, metrics[metric], row.tolerance[metric]) for metric, value in row.figures.items()
    )


def _row(entry: Mapping[str, Any], general: Mapping[str, float]) -> PublishedRow:
    tolerance = dict(general) | entry.get("tolerance", {})
    return PublishedRow(
        **entry
        | {
            "options": tuple(entry.get("options", ())),
            "also": tuple(entry.get("also", ())),
            "tolerance": {metric: tolerance[metric] for metric in entry["figures"]},
        }
    )


@cache
def _content() -> Mapping[str, Any]:
    return tomllib.loads(files("egodepth.reproduction").joinpath("published.toml").read_text(encoding="utf-8"))
