"""The page of results, made of what was measured.

What stands between `<!-- made from … -->` and `<!-- end -->` is written by `results_page`: `published rows`, `measured
TABLE` (main results), `variants TABLE` (the others), `timings NAME`, `claims` (what the papers say, and what was found)
or `arms EXPERIMENT`. `python -m benchmarks.results_page` writes docs/results.md from docs/measured.
"""

import re
import statistics
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from pathlib import Path

from benchmarks.claimed import find, mean_and_spread, read_claims
from egodepth.errors import UserError
from egodepth.files import write_text
from egodepth.reproduction.measured import Measured, read_measured
from egodepth.reproduction.published import PublishedRow, papers, published_rows

MADE = re.compile(r"(<!-- made from (?P<what>[^>]+?) -->\n).*?(<!-- end -->)", re.DOTALL)


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
        "claims": lambda _: claims_table(measured),
        "arms": lambda name: arms_table(_of_table(measured, name)),
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


def claims_table(measured: Sequence[Measured]) -> str:
    """Each claim with the figures of both arms, mean and spread over seeds."""
    experiments, claims = read_claims()
    lines = []
    for claim in claims:
        found = find(claim, measured)
        figures = ""
        if found.gains:
            other = claim.than if claim.than_figure is None else f"{claim.than}, {claim.than_figure}"
            sides = ((claim.better, found.better), (other, found.than))
            figures = "<br>".join((claim.figure, *(f"{name} {mean_and_spread(values)}" for name, values in sides)))
        setting = f"`{claim.experiment}`: {experiments[claim.experiment].setting}"
        lines.append([claim.paper, claim.words, figures, str(len(found.gains)), found.verdict, setting])
    return _table(("paper", "claim", "figures", "seeds", "verdict", "experiment and setting"), lines)


def arms_table(measured: Sequence[Measured]) -> str:
    """The arms of an experiment, mean and spread over seeds of every figure that all of them have."""
    arms = {name: list(group) for name, group in groupby(measured, key=lambda one: one.model)}
    metrics = [
        metric for metric in measured[0].results[0].metrics if all(metric in one.results[0].metrics for one in measured)
    ]
    lines = []
    for name, group in arms.items():
        minutes = [one.budget["minutes"] for one in group if "minutes" in one.budget]
        figures = [mean_and_spread([one.results[0].metrics[metric] for one in group]) for metric in metrics]
        lines.append([name, str(len(group)), f"{statistics.fmean(minutes):.1f}" if minutes else "", *figures])
    return _table(("arm", "seeds", "minutes", *metrics), lines)


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


if __name__ == "__main__":
    docs = Path(__file__).parents[1] / "docs"
    write_results_page(docs / "results.md", list(published_rows().values()), docs / "measured")
