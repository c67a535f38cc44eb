"""A small plot of how the footage of a run moves: what the choice of neighbours rests on."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from egodepth.data.motion import WANTED, SequenceMotion
from egodepth.errors import printable
from egodepth.files import replacing

WIDTH, ROW = 7.0, 1.5
"""Width of the figure, and height of each sequence's part in it, in inches."""


def draw_motion(sequences: Sequence[SequenceMotion], file: Path) -> None:
    """Write a PNG: for each sequence, how far the picture moves from each frame to its neighbours."""
    figure = Figure(figsize=(WIDTH, 0.4 + ROW * len(sequences)), layout="constrained")
    for axes, sequence in zip(figure.subplots(len(sequences), squeeze=False)[:, 0], sequences, strict=True):
        _draw(axes, sequence)
    with replacing(file) as temporary:
        figure.savefig(temporary, dpi=110)


def _draw(axes: Axes, sequence: SequenceMotion) -> None:
    timed = None not in sequence.seconds
    place = np.array(sequence.seconds if timed else range(len(sequence.runs)), dtype=float)
    way = np.array(sequence.travelled)
    moved = np.full(len(place), np.nan)
    for number, neighbours in enumerate(sequence.neighbours):
        if neighbours:
            moved[number] = 100 * np.abs(way[list(neighbours)] - way[number]).mean()
    axes.plot(place, moved, linewidth=1.2, color="#1f6f8b")
    axes.axhline(100 * WANTED, linewidth=0.8, linestyle=":", color="#888888")
    for number in np.flatnonzero(np.diff(sequence.runs)):
        axes.axvline((place[number] + place[number + 1]) / 2, linewidth=0.8, color="#c0392b")
    axes.set_ylim(bottom=0)
    title = printable(f"{sequence.name}: motion to the neighbours; red lines are cuts")
    axes.set_title(title, fontsize=8, loc="left", parse_math=False)  # a name with dollars is no formula
    axes.set_xlabel("seconds" if timed else "frames", fontsize=8)
    axes.set_ylabel("% of width", fontsize=8)
    axes.tick_params(labelsize=7)
