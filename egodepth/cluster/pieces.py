"""The pieces that a prediction is handed out in, what became of each, and the record by which a later run knows it."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from egodepth.checked_json import Fault, ListOf, Object, Text, parsed_text
from egodepth.cluster.storage import Store, input_of
from egodepth.errors import UserError
from egodepth.inference.inputs import Input, VideoInput
from egodepth.inference.options import PredictionOptions
from egodepth.inference.pictures import sequences_of
from egodepth.inference.writers import SUFFIXES

RECORDS = ".egodepth"
"""Folder of the output that has a record of each piece that is done, written after its last file."""

RECORD = Object({"format": Text(), "files": ListOf(Text())})


@dataclass(frozen=True)
class Piece:
    """A video, or the pictures of one folder: what is predicted together and without looking at anything else.

    Attributes:
        name: of its record, and of its depth where that is one video.
        inputs: with paths in their store.
    """

    name: Path
    inputs: tuple[Input, ...]

    @property
    def record(self) -> str:
        """The name of its record in the output."""
        return f"{RECORDS}/{self.name.as_posix()}.json"

    def to_row(self) -> dict[str, Any]:
        """What Ray carries."""
        paths, names = [str(each.path) for each in self.inputs], [str(each.name) for each in self.inputs]
        return {"name": str(self.name), "paths": paths, "names": names}

    @classmethod
    def of_row(cls, row: dict[str, Any]) -> "Piece":
        """What `to_row` made a row of."""
        pairs = zip(map(Path, row["paths"]), map(Path, row["names"]), strict=True)
        inputs = (input_of(path, name) for path, name in pairs)
        return cls(Path(row["name"]), tuple(each for each in inputs if each))


@dataclass(frozen=True)
class PieceResult:
    """What became of a piece.

    Attributes:
        name: of the piece.
        files: names of what was written, in the output.
        pictures: how many went through the network.
        skipped: path and reason of inputs that could not be used, or not all of them.
        failure: why nothing of the piece is done; None where it is.
        focal_ratios, without_camera: as `PredictionReport` has them.
    """

    name: str
    files: tuple[str, ...] = ()
    pictures: int = 0
    skipped: tuple[tuple[str, str], ...] = ()
    failure: str | None = None
    focal_ratios: tuple[float, float] | None = None
    without_camera: int = 0

    def to_row(self) -> dict[str, str]:
        """What Ray carries; as text, because the rows of one table have values of one type."""
        return {"result": json.dumps(asdict(self))}

    @classmethod
    def of_row(cls, row: dict[str, str]) -> "PieceResult":
        """What `to_row` made a row of."""
        return cls(**json.loads(row["result"]))


def pieces_of(inputs: Sequence[Input]) -> list[Piece]:
    """Inputs, in the pieces that one machine predicts each without the others."""
    return [Piece(name, tuple(sequence)) for sequence, name in sequences_of(inputs)]


def record_of(result: PieceResult, format: str) -> bytes:
    """The record of a piece that is done."""
    return json.dumps({"format": format, "files": result.files}).encode()


def left_to_do(pieces: Sequence[Piece], out: Store, format: str) -> list[Piece]:
    """The pieces of which there is no record of this format, or not any more all files that it tells of."""
    there = out.list_names()
    begun = [each for each in pieces if each.record in there]
    records = zip(begun, out.read([each.record for each in begun]), strict=True)
    done = {each.name for each, record in records if _is_done(record, format, there)}
    return [each for each in pieces if each.name not in done]


def forget(pieces: Sequence[Piece], out: Store) -> None:
    """Remove the records of pieces that are about to be done again: interrupted, they would be old and new depth mixed,
    and count as done.
    """
    out.remove(sorted({each.record for each in pieces} & out.list_names()))


def _is_done(record: bytes | None, format: str, there: set[str]) -> bool:
    if record is None:
        return False
    try:
        content = parsed_text(record.decode(errors="replace"))
        RECORD.check(content, "")
    except (Fault, ValueError):
        return False
    return content["format"] == format and there.issuperset(content["files"])


def check_outputs(pieces: Sequence[Piece], source: Store, out: Store, options: PredictionOptions) -> None:
    """Raises UserError: depth would be written over one of the inputs."""
    inputs = {source.address(each.path) for piece in pieces for each in piece.inputs}
    folders = {source.address(each.path.parent) for piece in pieces for each in piece.inputs}
    suffix = SUFFIXES[options.format]
    for piece in pieces:
        for each in [piece] if options.format == "video" else piece.inputs:
            target = out.address(f"{out.root}/{each.name.as_posix()}")
            has_frames = isinstance(each, VideoInput)
            if (target in folders) if has_frames else (f"{target}{suffix}" in inputs):
                raise UserError(f"{target}{suffix}: is one of the inputs, or among them; choose another --out")
