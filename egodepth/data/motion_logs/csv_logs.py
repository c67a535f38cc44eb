"""A log of speeds or places as a table with a header."""

import csv
from pathlib import Path

import numpy as np

from egodepth.data.motion_logs.tables import SHOWN, filled_lines, in_order
from egodepth.data.motion_logs.track import Track
from egodepth.errors import UserError

TIMES = ("time", "seconds", "timestamp")
SPEEDS_M_S = ("speed", "speed_m_s")
SPEEDS_KM_H = ("speed_kmh", "speed_km_h")
LATITUDES = ("latitude", "lat")
LONGITUDES = ("longitude", "lon", "lng")

EXPECTED = "a header of time,speed (s, m/s), time,speed_kmh or time,latitude,longitude"
KM_H = 3.6


def read_csv(file: Path) -> Track:
    """The track of a table whose first line names its columns; others than those that are needed are left out.

    A line without a value is left out: a receiver without a fix writes such. What it leaves out is a gap.

    Raises:
        UserError: the header names no such columns, or a value is no number.
    """
    (_, header), *lines = filled_lines(file)
    names = [name.strip().strip('"').lower() for name in header.split(",")]
    time = _column(names, TIMES)
    speed, speed_kmh = _column(names, SPEEDS_M_S), _column(names, SPEEDS_KM_H)
    latitude, longitude = _column(names, LATITUDES), _column(names, LONGITUDES)
    speed_column = speed if speed is not None else speed_kmh
    if time is None or (speed_column is None and (latitude is None or longitude is None)):
        raise UserError(f"{file}: its first line is `{header[:SHOWN]}`. Expected {EXPECTED}.")
    wanted = [time, latitude, longitude] if speed_column is None else [time, speed_column]
    values = _values(file, lines, wanted)
    values = values[in_order(file, values[:, 0])]
    if speed_column is None:
        return Track.of_places(file, *values.T)
    if (values[:, 1] < 0).any():
        raise UserError(f"{file}: holds a speed below 0. Give the speed without its direction.")
    return Track.of_speeds(file, values[:, 0], values[:, 1] / (1 if speed is not None else KM_H))


def _column(names: list[str], known: tuple[str, ...]) -> int | None:
    return next((names.index(name) for name in known if name in names), None)


def _values(file: Path, lines: list[tuple[int, str]], wanted: list[int]) -> np.ndarray:
    rows = []
    for number, line in lines:
        [cells] = csv.reader([line])
        chosen = [cells[place].strip() if place < len(cells) else "" for place in wanted]
        if not all(chosen):
            continue
        try:
            row = [float(cell) for cell in chosen]
        except ValueError:
            row = [np.nan]
        if not np.isfinite(row).all():
            raise UserError(f"{file}, line {number}: holds no number in `{line[:SHOWN]}`. Correct the line.")
        rows.append(row)
    if not rows:
        raise UserError(f"{file}: no line has all of its values. Check the file.")
    return np.array(rows, dtype=np.float64)
