"""A log of speeds or places, whichever program wrote it."""

from pathlib import Path

from egodepth.data.motion_logs.csv_logs import EXPECTED, read_csv
from egodepth.data.motion_logs.gpx import read_gpx
from egodepth.data.motion_logs.track import Track
from egodepth.errors import UserError


def read_track(file: Path) -> Track:
    """The track of a GPX file or of a table.

    Raises:
        UserError: the file is missing, or has no form that is known.
    """
    if not file.is_file():
        raise UserError(f"{file}: no such file. Check the path.")
    if file.suffix.lower() == ".gpx":
        return read_gpx(file)
    if file.suffix.lower() in (".csv", ".txt"):
        return read_csv(file)
    raise UserError(f"{file}: is no log that is known. Give a GPX file, or a CSV file with {EXPECTED}.")
