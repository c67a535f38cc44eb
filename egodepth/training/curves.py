"""The curves of a run, read back from its logs."""

import csv
from pathlib import Path

FEWEST = 5
"""A curve of fewer values says nothing that a number would not."""


def read_curves(run: Path, names: tuple[str, ...]) -> dict[str, list[tuple[float, float]]]:
    """Columns of a run's CSV logs by step, the parts of a resumed run joined; a later part wins.

    Columns of fewer than `FEWEST` values are left out.
    """
    found: dict[str, dict[int, float]] = {name: {} for name in names}
    for file in sorted(run.glob("logs/part_*/metrics.csv"), key=lambda path: int(path.parent.name.split("_")[1])):
        with file.open(newline="", encoding="utf-8") as handle:
            for row in csv.DictReader(handle):
                for name in names:
                    if row.get(name):
                        found[name][int(row["step"]) + 1] = float(row[name])
    return {name.replace("_", " "): sorted(values.items()) for name, values in found.items() if len(values) >= FEWEST}
