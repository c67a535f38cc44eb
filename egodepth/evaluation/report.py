"""A one-page HTML report that needs no other file and no network, and figures of single images."""

import base64
import html
import io
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from matplotlib import rc_context
from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageFont

from egodepth.colour import colour_disparity, colour_error
from egodepth.errors import printable
from egodepth.evaluation.evaluate import EvaluationResult, FrameResult, ImageRow, best_by_metric, metric_label
from egodepth.evaluation.metrics import HIGHER_IS_BETTER, DepthMetrics
from egodepth.files import write_bytes, write_text

ERROR_TOP = 0.3
"""The relative error that error maps show in their last colour."""

SPARSE = 0.3
"""Ground truth that covers less than this share of an image is drawn with thicker points."""

Curve = Sequence[tuple[float, float]]
"""Steps and values, in order."""


@dataclass(frozen=True)
class MetricsTable:
    """Rows of metrics to compare; the best of each column stands in bold.

    Attributes:
        rows: metrics by the row's name; all rows have the same metrics.
        caption: a line under the table.
    """

    title: str
    rows: Mapping[str, DepthMetrics]
    caption: str = ""


@dataclass(frozen=True)
class PictureRow:
    """Pictures beside each other: (label, (H, W, 3) uint8 RGB) each, with one caption."""

    caption: str
    pictures: Sequence[tuple[str, np.ndarray]]


def comparison(title: str, results: Mapping[str, EvaluationResult]) -> MetricsTable:
    """The table of several evaluations of one protocol, with a caption that says how they were made."""
    first = next(iter(results.values()))
    caption = f"Protocol {first.protocol}, {first.images} images. " + "; ".join(
        f"{name}: scaling {result.scaling}, scale ratio {result.scale_ratio:.3f}"
        + (", flip post-processing" if result.post_process else "")
        for name, result in results.items()
    )
    return MetricsTable(title, {name: result.metrics for name, result in results.items()}, f"{caption}.")


# --- pictures of one frame -------------------------------------------------------------------------------------------


def frame_pictures(result: FrameResult) -> list[tuple[str, np.ndarray]]:
    """Image, predicted depth, ground truth and error map of a frame, labelled.

    Prediction and ground truth share one scale of colours. The error map shows |g - p| / g where it counted.
    """
    truth, depth = result.frame.depth, result.depth
    predicted = 1 / np.maximum(depth, 1e-6)
    low, high = float(predicted.min()), float(np.percentile(predicted, 95))
    known = np.isfinite(truth) & (truth > 0)
    disparity = np.divide(1, truth, out=np.full(truth.shape, np.nan, np.float32), where=known)
    error = np.full(truth.shape, np.nan, np.float32)
    error[result.mask] = np.abs(truth - depth)[result.mask] / truth[result.mask]
    if known.mean() < SPARSE:
        disparity, error = _thickened(disparity), _thickened(error)
    return [
        ("image", result.frame.image),
        ("predicted depth", colour_disparity(predicted, low, high)),
        ("ground truth", colour_disparity(disparity, low, high)),
        (f"relative error, red: {ERROR_TOP:.0%} or more", colour_error(error, ERROR_TOP)),
    ]


def telling_rows(rows: Sequence[ImageRow]) -> dict[str, ImageRow]:
    """The best, the middle and the worst image by the first metric; fewer where there are fewer images."""
    metric = next(iter(rows[0].metrics))
    ordered = sorted(rows, key=lambda row: row.metrics[metric], reverse=metric in HIGHER_IS_BETTER)
    places = {"best": 0, "middle": len(ordered) // 2, "worst": len(ordered) - 1}
    words = ("best", "middle", "worst") if len(ordered) > 2 else ("best", "worst")[: len(ordered)]
    return {word: ordered[places[word]] for word in words}


def frame_panels(chosen: Mapping[str, FrameResult], images: int) -> list[PictureRow]:
    """What `frame_pictures` shows of frames, for example of `telling_rows`, by what they are among so many images."""
    panels = []
    for name, result in chosen.items():
        metric, value = next(iter(result.row.metrics.items()))
        caption = f"The {name} of {images} frames: {result.row.name}, {metric} {value:.3f}"
        panels.append(PictureRow(caption, frame_pictures(result)))
    return panels


def per_image_figures(folder: Path) -> Callable[[FrameResult], None]:
    """A function for `evaluate(on_frame=…)` that writes one PNG per frame into a folder."""

    def write(result: FrameResult) -> None:
        name = re.sub(r"[^\w.-]+", "_", result.row.name)
        figures = ", ".join(f"{metric} {value:.3f}" for metric, value in result.row.metrics.items())
        picture = _sheet(frame_pictures(result), f"{result.row.name}: {figures}")
        write_bytes(Path(folder) / f"{result.index:04d}_{name}.png", _png(picture))

    return write


def _thickened(values: np.ndarray) -> np.ndarray:
    """Spread values (H, W) over their unknown (NaN) neighbours, the largest first."""
    unknown = np.float32(-1)
    filled = torch.from_numpy(np.where(np.isnan(values), unknown, values))[None, None]
    spread = F.max_pool2d(filled, 3, stride=1, padding=1)[0, 0].numpy()
    spread = np.where(np.isnan(values), spread, values)
    return np.where(spread == unknown, np.nan, spread)


def _sheet(pictures: Sequence[tuple[str, np.ndarray]], title: str) -> Image.Image:
    """The pictures in two columns with their labels, under a title."""
    gap, bar = 8, 22
    tiles = [(label, Image.fromarray(picture)) for label, picture in pictures]
    width = max(tile.width for _, tile in tiles)
    height = max(tile.height for _, tile in tiles)
    rows = (len(tiles) + 1) // 2
    sheet = Image.new("RGB", (2 * width + 3 * gap, bar + gap + rows * (height + bar + gap)), (24, 24, 27))
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(13)
    draw.text((gap, 4), printable(title), fill=(235, 235, 235), font=font)
    for place, (label, tile) in enumerate(tiles):
        left = gap + (place % 2) * (width + gap)
        top = bar + gap + (place // 2) * (height + bar + gap)
        draw.text((left, top), label, fill=(170, 170, 178), font=font)
        sheet.paste(tile, (left, top + bar))
    return sheet


def _png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


# --- the page --------------------------------------------------------------------------------------------------------


def write_report(
    path: Path,
    title: str,
    summary: Sequence[tuple[str, str]] = (),
    tables: Sequence[MetricsTable] = (),
    curves: Mapping[str, Curve] | None = None,
    panels: Sequence[PictureRow] = (),
    notes: Sequence[str] = (),
) -> None:
    """Write the report to `path` (.html), whole or not at all. All text is escaped.

    Args:
        summary: facts in a few words, (label, value) each; they open the page.
        tables: metrics to compare, for example by `comparison`.
        curves: by the curve's title.
        panels: rows of pictures, for example of `frame_pictures`.
        notes: closing remarks, one paragraph each.
    """
    sections = [
        _facts(summary),
        *map(_table, tables),
        _section(
            "Training curves",
            '<div class="curves">',
            map(_curve, *zip(*curves.items(), strict=True)),
            "</div>",
        )
        if curves
        else "",
        _section("Pictures", "", map(_panel, panels), "") if panels else "",
        _section("Notes", "", (f"<p>{html.escape(note)}</p>" for note in notes), "") if notes else "",
    ]
    body = "\n".join(filter(None, sections))
    write_text(
        Path(path),
        _PAGE.format(title=html.escape(title), style=_STYLE, body=f"<h1>{html.escape(title)}</h1>\n{body}"),
    )


_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<main>
{body}
</main>
</body>
</html>
"""

_STYLE = """
:root { --ink: #1c1e21; --quiet: #667078; --paper: #fdfdfc; --card: #f3f4f2; --line: #dcdfdc;
  --accent: #b5367a; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e7e4; --quiet: #98a0a6; --paper: #16181a; --card: #202326; --line: #363a3e;
    --accent: #fb8861; }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
main { max-width: 1080px; margin: 0 auto; padding: 2.5rem 1.25rem 4rem; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 1.5rem; overflow-wrap: anywhere; }
h2 { font-size: 1.2rem; margin: 2.5rem 0 0.75rem; }
p { max-width: 46rem; }
.facts { display: grid; gap: 0.75rem; margin: 0;
  grid-template-columns: repeat(auto-fit, minmax(11rem, 1fr)); }
.facts div { background: var(--card); border-radius: 8px; padding: 0.7rem 0.9rem; }
.facts dt, figcaption, .caption, .label { color: var(--quiet); font-size: 0.85rem; }
.facts dd { margin: 0; font-size: 1.05rem; font-weight: 600; overflow-wrap: anywhere; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: 0.45rem 0.7rem; white-space: nowrap;
  border-bottom: 1px solid var(--line); }
th { font-weight: 500; color: var(--quiet); font-size: 0.85rem; }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
td.best { font-weight: 700; color: var(--accent); }
.caption { margin: 0.6rem 0 0; }
.curves { display: grid; grid-template-columns: repeat(auto-fill, minmax(19rem, 1fr)); gap: 1rem; }
figure { margin: 0 0 1.5rem; }
.curves figure { margin: 0; background: var(--card); border-radius: 8px; padding: 0.7rem 0.9rem 0.4rem; }
.curves svg { width: 100%; height: auto; display: block; color: var(--ink); }
.pictures { display: grid; gap: 0.6rem;
  grid-template-columns: repeat(auto-fit, minmax(min(24rem, 100%), 1fr)); }
.pictures:has(> :last-child:nth-child(3)) {
  grid-template-columns: repeat(auto-fit, minmax(min(19rem, 100%), 1fr)); }
.pictures img { width: 100%; height: auto; display: block; border-radius: 6px; }
.pictures .label { display: block; margin-bottom: 0.15rem; }
figcaption { margin-bottom: 0.4rem; color: var(--ink); font-weight: 500; }
"""

_PICTURE_WIDTH = 832
_CURVE_INK = "#0a0b0c"
_CURVE_ACCENT = "#0d0e0f"


def _section(title: str, opening: str, parts: Sequence[str], closing: str) -> str:
    return f"<section>\n<h2>{html.escape(title)}</h2>\n{opening}{''.join(parts)}{closing}\n</section>"


def _facts(summary: Sequence[tuple[str, str]]) -> str:
    cells = (f"<div><dt>{html.escape(label)}</dt><dd>{html.escape(value)}</dd></div>" for label, value in summary)
    return f'<dl class="facts">{"".join(cells)}</dl>' if summary else ""


def _table(table: MetricsTable) -> str:
    metrics = tuple(next(iter(table.rows.values())))
    best = best_by_metric(table.rows) if len(table.rows) > 1 else dict.fromkeys(metrics, frozenset())
    head = "".join(f"<th>{html.escape(metric_label(metric))}</th>" for metric in metrics)
    rows = []
    for name, values in table.rows.items():
        cells = (
            f'<td class="{"best" if name in best[metric] else ""}">{values[metric]:.3f}</td>' for metric in metrics
        )
        rows.append(f"<tr><td>{html.escape(name)}</td>{''.join(cells)}</tr>")
    caption = f'<p class="caption">{html.escape(table.caption)}</p>' if table.caption else ""
    body = f"<table><thead><tr><th></th>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
    return _section(table.title, '<div class="wide">', [body], f"</div>{caption}")


def _panel(row: PictureRow) -> str:
    cells = (
        f'<div><span class="label">{html.escape(label)}</span>'
        f'<img alt="{html.escape(f"{label}. {row.caption}")}" src="data:image/png;base64,{_embedded(picture)}"></div>'
        for label, picture in row.pictures
    )
    return (
        f'<figure><figcaption>{html.escape(row.caption)}</figcaption><div class="pictures">{"".join(cells)}'
        "</div></figure>"
    )


def _embedded(picture: np.ndarray) -> str:
    image = Image.fromarray(picture)
    if image.width > _PICTURE_WIDTH:
        height = round(image.height * _PICTURE_WIDTH / image.width)
        image = image.resize((_PICTURE_WIDTH, height), Image.Resampling.LANCZOS)
    return base64.b64encode(_png(image)).decode("ascii")


def _curve(title: str, curve: Curve) -> str:
    """An inline SVG; its ink follows the page's colours, light or dark."""
    steps, values = np.asarray(curve, dtype=float).reshape(-1, 2).T
    options = {"svg.fonttype": "none", "svg.hashsalt": printable(title), "font.family": "sans-serif", "font.size": 9}
    with rc_context(options):
        figure = Figure(figsize=(4.2, 2.3), layout="constrained")
        axes = figure.subplots()
        smooth = _smoothed(values)
        if smooth is None:
            axes.plot(
                steps,
                values,
                color=_CURVE_ACCENT,
                linewidth=1.6,
                marker="o" if len(steps) < 12 else None,
                ms=3,
            )
        else:
            axes.plot(steps, values, color=_CURVE_ACCENT, linewidth=0.6, alpha=0.3)
            axes.plot(steps, smooth, color=_CURVE_ACCENT, linewidth=1.6)
        axes.set_xlabel("step", color=_CURVE_INK)
        axes.tick_params(colors=_CURVE_INK, width=0.6, length=3)
        axes.grid(color=_CURVE_INK, alpha=0.12, linewidth=0.6)
        for side, spine in axes.spines.items():
            spine.set(visible=side in ("left", "bottom"), color=_CURVE_INK, linewidth=0.6)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :].replace(_CURVE_INK, "currentColor").replace(_CURVE_ACCENT, "var(--accent)")
    svg = svg.replace("<svg", f'<svg role="img" aria-label="{html.escape(_in_words(title, steps, values))}"', 1)
    return f"<figure><figcaption>{html.escape(title)}</figcaption>{svg}</figure>"


def _in_words(title: str, steps: np.ndarray, values: np.ndarray) -> str:
    """A curve for those who do not see it."""
    known = np.isfinite(values)
    if not known.any():
        return f"{title}: no values"
    steps, values = steps[known], values[known]
    ends = f"from {values[0]:.3g} at step {steps[0]:.0f} to {values[-1]:.3g} at step {steps[-1]:.0f}"
    return f"{title}: {ends}, lowest {values.min():.3g}, highest {values.max():.3g}"


def _smoothed(values: np.ndarray) -> np.ndarray | None:
    """The mean over a twentieth of the curve around each value; None where a curve is short or has gaps."""
    if len(values) < 60 or not np.isfinite(values).all():
        return None
    window = len(values) // 20
    kernel = np.ones(2 * (window // 2) + 1)
    return np.convolve(values, kernel, "same") / np.convolve(np.ones_like(values), kernel, "same")
