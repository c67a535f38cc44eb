"""GPX: the places of a GPS receiver with their times."""

import xml.parsers.expat
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from egodepth.data.motion_logs.tables import in_order
from egodepth.data.motion_logs.track import Track
from egodepth.errors import UserError
from egodepth.files import read_text


def read_gpx(file: Path) -> Track:
    """The track of all points of all segments; points without a time are left out.

    Raises:
        UserError: the file is no GPX, or fewer than two points have a time.
    """
    try:
        points = _points(read_text(file))
        values = np.array([(_seconds(time), float(lat), float(lon)) for lat, lon, time in points if time])
    except OSError as error:
        raise UserError(f"{file}: cannot be read ({error.strerror}). Check the path.") from error
    except xml.parsers.expat.ExpatError as error:
        raise UserError(f"{file}: is not XML ({error}). Export the track again.") from error
    except (ValueError, TypeError) as error:
        raise UserError(f"{file}: a point has no place or no time that can be read ({error}). Export again.") from error
    if len(values) < 2:
        raise UserError(f"{file}: {len(values)} points with a place and a time. Export a track (trkpt) with times.")
    return Track.of_places(file, *values[in_order(file, values[:, 0])].T)


def _points(text: str) -> list[tuple[str, str, str]]:
    """Latitude, longitude and time of each `trkpt`, as they are written.

    Entities are refused: expat expands those that a file declares, a few lines of which fill the memory.
    """
    points: list[list[str]] = []
    inside: list[str] = []

    def start(name: str, attributes: dict[str, str]) -> None:
        inside.append(name.rpartition(":")[2])
        if inside[-1] == "trkpt":
            points.append([attributes.get("lat"), attributes.get("lon"), ""])

    def end(name: str) -> None:
        inside.pop()

    def characters(content: str) -> None:
        if inside[-2:] == ["trkpt", "time"]:
            points[-1][2] += content

    def refuse(name: str, *declaration: object) -> None:
        raise ValueError(f"it declares the entity {name}")

    parser = xml.parsers.expat.ParserCreate()
    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.CharacterDataHandler, parser.EntityDeclHandler = characters, refuse
    parser.Parse(text, True)
    return [(lat, lon, time.strip()) for lat, lon, time in points]


def _seconds(time: str) -> float:
    """Since 1970, of an ISO 8601 time; without a zone it is UTC, as GPX says."""
    found = datetime.fromisoformat(time)
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
