"""Curves as inline SVG, written directly: a plotting library takes longer to draw them than a short training runs."""

import html
import math
from collections.abc import Iterator, Sequence

import numpy as np

Curve = Sequence[tuple[float, float]]
"""Steps and values, in order."""

WIDTH, HEIGHT = 302, 166
TOP, RIGHT, BOTTOM = 6, 12, 32
FONT, CHARACTER = 9, 5.2
"""Height of the labels, and the width that one of their characters takes."""

MARGIN = 0.05
"""Of the range of the values, kept free at either end."""

MARKED = 12
"""A curve with fewer values than this shows each of them as a dot."""


def svg_curve(curve: Curve) -> str:
    """A curve with its axes; its ink is `currentColor` and `var(--accent)`, so that it follows the page.

    Long curves are drawn smoothed over the values as they are. Values that are not finite leave a gap.
    """
    steps, values = np.asarray(curve, dtype=float).reshape(-1, 2).T
    finite = values[np.isfinite(values)]
    first, last = _range(steps)
    low, high = _range(finite)
    step_ticks, value_ticks = _ticks(first, last, 6, least=1), _ticks(low, high, 5)
    left = 12 + CHARACTER * max(map(len, map(_label, value_ticks)))
    across = (WIDTH - left - RIGHT) / (last - first)
    down = (HEIGHT - TOP - BOTTOM) / (high - low)

    def x(step: np.ndarray) -> np.ndarray:
        return left + (step - first) * across

    def y(value: np.ndarray) -> np.ndarray:
        return TOP + (high - value) * down

    floor = HEIGHT - BOTTOM
    parts = []
    for tick in value_ticks:
        parts += [_line(left, y(tick), WIDTH - RIGHT, y(tick)), _text(left - 5, y(tick) + 3, _label(tick), "end")]
    for tick in step_ticks:
        parts += [_line(x(tick), TOP, x(tick), floor), _text(x(tick), floor + 13, _label(tick), "middle")]
    parts.append(_text((left + WIDTH - RIGHT) / 2, HEIGHT - 4, "step", "middle"))
    parts.append(f'<path d="M{left:.1f} {TOP}V{floor}H{WIDTH - RIGHT}" fill="none" stroke="currentColor"/>')
    smooth = _smoothed(values)
    points = np.stack([x(steps), y(values)], axis=1)
    if smooth is None:
        parts += _polylines(points, 'stroke-width="1.6"')
        if len(points) < MARKED:
            parts += [f'<circle cx="{a:.1f}" cy="{b:.1f}" r="2" fill="var(--accent)"/>' for a, b in _finite(points)]
    else:
        parts += _polylines(points, 'stroke-width="0.6" opacity="0.3"')
        parts += _polylines(np.stack([x(steps), y(smooth)], axis=1), 'stroke-width="1.6"')
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-size="{FONT}" '
        f'font-family="sans-serif" fill="currentColor">{"".join(parts)}</svg>'
    )


def _range(values: np.ndarray) -> tuple[float, float]:
    """What an axis shows: the values and a margin; something of a width even where they are all the same."""
    low, high = (values.min(), values.max()) if len(values) else (0.0, 1.0)
    margin = MARGIN * ((high - low) or abs(high) or 1.0)
    return low - margin, high + margin


def _ticks(low: float, high: float, most: int, least: float = 0) -> list[float]:
    """At most so many round numbers between two numbers, `least` or more apart."""
    coarse = (high - low) / most
    unit = 10.0 ** math.floor(math.log10(coarse))
    distance = max(least, next(unit * factor for factor in (1, 2, 5, 10) if unit * factor >= coarse))
    return [number * distance for number in range(math.ceil(low / distance), math.floor(high / distance) + 1)]


def _label(tick: float) -> str:
    return f"{tick:.10g}"


def _line(left: float, top: float, right: float, bottom: float) -> str:
    return (
        f'<path d="M{left:.1f} {top:.1f}L{right:.1f} {bottom:.1f}" stroke="currentColor" stroke-width="0.6" '
        'opacity="0.12"/>'
    )


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{html.escape(text)}</text>'


def _finite(points: np.ndarray) -> np.ndarray:
    return points[np.isfinite(points).all(axis=1)]


def _polylines(points: np.ndarray, style: str) -> Iterator[str]:
    """One line through the points (N, 2), or several where some are not finite."""
    gaps = np.flatnonzero(~np.isfinite(points).all(axis=1))
    for part in np.split(points, gaps):
        drawn = " ".join(f"{a:.1f},{b:.1f}" for a, b in _thinned(_finite(part)))
        if drawn:
            yield f'<polyline points="{drawn}" fill="none" stroke="var(--accent)" stroke-linejoin="round" {style}/>'


def _thinned(points: np.ndarray) -> np.ndarray:
    """The lowest and the highest point of each pixel's width, where there are many: one sees no more of them."""
    if len(points) <= 4 * WIDTH:
        return points
    kept = set()
    for column in np.split(np.arange(len(points)), np.flatnonzero(np.diff(points[:, 0].astype(int))) + 1):
        heights = points[column, 1]
        kept |= {column[heights.argmin()], column[heights.argmax()]}
    return points[sorted(kept)]


def _smoothed(values: np.ndarray) -> np.ndarray | None:
    """The mean over a twentieth of the curve around each value; None where a curve is short or has gaps."""
    if len(values) < 60 or not np.isfinite(values).all():
        return None
    window = len(values) // 20
    kernel = np.ones(2 * (window // 2) + 1)
    return np.convolve(values, kernel, "same") / np.convolve(np.ones_like(values), kernel, "same")
