"""KITTI's oxts folder: GPS and inertial measurements of a drive, one file for each frame."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from egodepth.data.motion_logs.tables import filled_lines, in_order, numbers
from egodepth.data.motion_logs.track import Track
from egodepth.errors import UserError
from egodepth.files import read_text

VELOCITY = slice(8, 11)
"""vf, vl and vu of KITTI's `dataformat.txt`: forward, leftward and upward, in m/s."""

COLUMNS = 11


def read_oxts(folder: Path) -> tuple[Track, dict[int, float]]:
    """The track of a drive, and the time of each frame by its number.

    Raises:
        UserError: the folder lacks its times or its files, or they differ in number.
    """
    files = sorted((folder / "data").glob("*.txt"))
    if not files:
        raise UserError(f"{folder}: has no data/*.txt. Copy the drive's oxts folder.")
    times = read_timestamps(folder / "timestamps.txt")
    count = int(files[-1].stem) + 1
    if len(times) < count:
        raise UserError(f"{folder}: {len(times)} times for {count} entries. Copy the drive's oxts folder again.")
    seconds = {int(file.stem): times[int(file.stem)] for file in files}
    rows = [numbers(file, filled_lines(file)[:1], COLUMNS, f"{COLUMNS} numbers or more") for file in files]
    speeds = np.linalg.norm(np.concatenate(rows)[:, VELOCITY], axis=1)
    moments = np.array(list(seconds.values()))
    order = in_order(folder, moments)
    return Track.of_speeds(folder, moments[order], speeds[order]), seconds


def read_timestamps(file: Path) -> list[float]:
    """Seconds since 1970 of KITTI's `timestamps.txt`, one for each frame.

    Raises:
        UserError: it is missing, or a line is no time.
    """
    if not file.is_file():
        raise UserError(f"{file}: no such file. Copy the drive with its times.")
    found = []
    for number, line in enumerate(read_text(file).split("\n"), 1):
        if not line.strip():
            continue
        try:
            # Nanoseconds, of which Python reads six digits.
            found.append(datetime.fromisoformat(line.strip()[:26]).replace(tzinfo=UTC).timestamp())
        except ValueError:
            raise UserError(f"{file}, line {number}: is no time: `{line.strip()[:60]}`. Copy it again.") from None
    return found
