"""The pieces that a prediction is handed out in, what became of each, and the record by which a later run knows it."""

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from egodepth.checked_json import Fault, ListOf, Object, Text, parsed_text
from egodepth.cluster.storage import Store, input_of
from egodepth.data.footage.stretches import Stretch
from egodepth.errors import UserError
from egodepth.inference.inputs import Input, VideoInput
from egodepth.inference.options import PredictionOptions
from egodepth.inference.pictures import sequences_of
from egodepth.inference.writers import SUFFIXES

RECORDS = ".egodepth"
"""Folder of the output that has a record of each piece that is done, written after its last file."""

RECORD = Object({"format": Text(), "files": ListOf(Text())})

WHOLE = ".json"
PART = re.compile(r"\.\d+-\d+\.part$")
"""How the names of records end: of what is predicted in one go, and of a stretch of a video."""


@dataclass(frozen=True)
class Piece:
    """A video, a stretch of one, or the pictures of one folder: what is predicted together and without looking at
    anything else.

    Attributes:
        name: of its record, and of its depth where that is one video.
        inputs: with paths in their store.
        in_one_go: whether a long video may not come back as stretches to be predicted apart.
    """

    name: Path
    inputs: tuple[Input, ...]
    in_one_go: bool = False

    @property
    def stretch(self) -> Stretch | None:
        """The frames of the video that the piece is; None where it is all of what it names."""
        first = self.inputs[0]
        return first.stretch if isinstance(first, VideoInput) else None

    @property
    def record(self) -> str:
        """The name of its record in the output, by which the piece is known."""
        end = WHOLE if self.stretch is None else f".{self.stretch.start:06d}-{self.stretch.stop:06d}.part"
        return f"{RECORDS}/{self.name.as_posix()}{end}"

    def parts(self, stretches: Sequence[Stretch]) -> list["Piece"]:
        """The stretches of its video, as pieces."""
        [video] = self.inputs
        return [replace(self, inputs=(replace(video, stretch=stretch),)) for stretch in stretches]

    def to_row(self) -> dict[str, str]:
        """What Ray carries; as text, because the rows of one table have values of one type."""
        stretch = None if self.stretch is None else asdict(self.stretch)
        inputs = [(str(each.path), str(each.name)) for each in self.inputs]
        content = {"name": str(self.name), "inputs": inputs, "stretch": stretch, "in_one_go": self.in_one_go}
        return {"piece": json.dumps(content)}

    @classmethod
    def of_row(cls, row: dict[str, str]) -> "Piece":
        """What `to_row` made a row of."""
        content = json.loads(row["piece"])
        inputs = (input_of(Path(path), Path(name)) for path, name in content["inputs"])
        piece = cls(Path(content["name"]), tuple(each for each in inputs if each), content["in_one_go"])
        return piece.parts([Stretch(**content["stretch"])])[0] if content["stretch"] else piece


@dataclass(frozen=True)
class PieceResult:
    """What became of a piece.

    Attributes:
        record: of the piece, whether there is one by now or not.
        files: names of what was written, in the output.
        pictures: how many went through the network.
        skipped: path and reason of inputs that could not be used, or not all of them.
        failure: why nothing of the piece is done; None where it is.
        focal_ratios, without_camera: as `PredictionReport` has them.
        stretches: first and last frame, the last not counted, of those to predict in place of the piece.
        differs: whether the piece is a stretch that does not give what its video gives in one go.
    """

    record: str
    files: tuple[str, ...] = ()
    pictures: int = 0
    skipped: tuple[tuple[str, str], ...] = ()
    failure: str | None = None
    focal_ratios: tuple[float, float] | None = None
    without_camera: int = 0
    stretches: tuple[tuple[int, int], ...] = ()
    differs: bool = False

    def to_row(self) -> dict[str, str]:
        """What Ray carries."""
        return {"result": json.dumps(asdict(self))}

    @classmethod
    def of_row(cls, row: dict[str, str]) -> "PieceResult":
        """What `to_row` made a row of."""
        return cls(**json.loads(row["result"]))

    @classmethod
    def joined(cls, piece: Piece, parts: Sequence["PieceResult"]) -> "PieceResult":
        """What became of a video by what became of its stretches, or of those that were left to do."""
        failures = [each.failure for each in parts if each.failure is not None]
        more = f" (and {len(failures) - 1} more of its parts)" if len(failures) > 1 else ""
        ratios = [ratio for each in parts for ratio in each.focal_ratios or ()]
        return cls(
            piece.record,
            tuple(file for each in parts for file in each.files),
            sum(each.pictures for each in parts),
            tuple(skipped for each in parts for skipped in each.skipped),
            f"{failures[0]}{more}" if failures else None,
            (min(ratios), max(ratios)) if ratios else None,
            sum(each.without_camera for each in parts),
        )


def pieces_of(inputs: Sequence[Input]) -> list[Piece]:
    """Inputs, in the pieces that one machine predicts each without the others."""
    return [Piece(name, tuple(sequence)) for sequence, name in sequences_of(inputs)]


def record_of(files: Sequence[str], format: str) -> bytes:
    """The record of a piece that is done."""
    return json.dumps({"format": format, "files": files}).encode()


def left_to_do(pieces: Sequence[Piece], out: Store, format: str) -> list[Piece]:
    """The pieces of which there is no record of this format, or not any more all files that it tells of."""
    there = out.list_names()
    begun = [each for each in pieces if each.record in there]
    records = zip(begun, out.read([each.record for each in begun]), strict=True)
    done = {each.record for each, record in records if _is_done(record, format, there)}
    return [each for each in pieces if each.record not in done]


def forget(pieces: Sequence[Piece], out: Store, with_parts: bool = False) -> None:
    """Remove the records of pieces that are about to be done again: interrupted, they would be old and new depth mixed,
    and count as done.

    Args:
        with_parts: also those of stretches of their videos.
    """
    records = {each.record for each in pieces}
    there = out.list_names()
    parts = {name for name in there if with_parts and PART.sub(WHOLE, name) in records}
    out.remove(sorted((records & there) | parts))


def join_records(piece: Piece, parts: Sequence[Piece], out: Store, format: str) -> None:
    """Put the record of a video in place of those of its stretches, which are all done."""
    files = [name for part in parts for name in _names_of(part, format)]
    with TemporaryDirectory(prefix="egodepth-") as folder:
        record = Path(folder, "record")
        record.write_bytes(record_of(files, format))
        out.put(record, piece.record)
    forget(parts, out)


def discard(parts: Sequence[Piece], out: Store, format: str, kept: Sequence[str] = ()) -> None:
    """Remove the records of stretches, and whatever they wrote, of which not all need be recorded.

    Args:
        kept: names that are the depth of the video in one go.
    """
    forget(parts, out)
    names = {name for part in parts for name in _names_of(part, format)} - set(kept)
    out.remove(sorted(names & out.list_names()))


def _names_of(part: Piece, format: str) -> list[str]:
    """The names of the depth of a stretch, one for each frame."""
    [video] = part.inputs
    frames = range(part.stretch.start, part.stretch.stop)
    return [f"{(video.name / f'{number:06d}').as_posix()}{SUFFIXES[format]}" for number in frames]


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
