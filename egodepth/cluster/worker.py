"""What each worker of a cluster does: fetch a piece, predict it as one machine would, and put its depth in place."""

import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any

from egodepth.cluster.pieces import Piece, PieceResult, record_of
from egodepth.cluster.storage import Store
from egodepth.data.footage.stretches import StretchDiffers, stretches_of
from egodepth.errors import UserError, first_line
from egodepth.inference.configurations import RuntimeName
from egodepth.inference.inputs import Input, VideoInput
from egodepth.inference.options import PredictionOptions
from egodepth.inference.predict import PredictionReport, predict_inputs
from egodepth.inference.predictor import Predictor
from egodepth.inference.writers import SUFFIXES

MOST_ATTEMPTS = 3
"""At one piece, before it counts as failed: a worker may be lost, a store may be away for a while."""

LOST = f"its worker was lost at each of {MOST_ATTEMPTS} attempts: it was killed, crashed, or had too little memory"


@dataclass(frozen=True)
class CameraFile:
    """A calibration that the user named, which the machines of the workers need not have.

    Attributes:
        name: of the file.
        camera: name of one camera in it, where it holds several.
    """

    name: str
    content: bytes
    camera: str | None


@dataclass(frozen=True)
class Work:
    """What all pieces share.

    Attributes:
        model, device, runtime: as `open_for_use` takes them.
        source: address that says which store the inputs are in.
        out: address of the folder for depth.
        least_frames: of a stretch in which a long video is predicted apart.
        camera: of all inputs, where it is a file.
    """

    model: str
    device: str
    runtime: RuntimeName | None
    options: PredictionOptions
    source: str
    out: str
    least_frames: int
    camera: CameraFile | None = None


class Attempts:
    """Counts how often each piece was begun; kept apart from the workers, because they are what may be lost."""

    def __init__(self) -> None:
        self._begun: Counter[str] = Counter()

    def begin(self, piece: str) -> int:
        """The number of the attempt that begins now, from 1 on."""
        self._begun[piece] += 1
        return self._begun[piece]


class Worker:
    """One model on one device, that predicts piece after piece.

    Args:
        begin: counts the attempts at a piece, see `Attempts.begin`.
    """

    def __init__(self, work: Work, begin: Callable[[str], int]) -> None:
        # There is one worker for each processor. Engines read this when they are made.
        os.environ["OMP_NUM_THREADS"] = "1"
        self.work, self.begin = work, begin

    @cached_property
    def predictor(self) -> Predictor:
        """Opened for the first piece: a model that is not there is said of the pieces, not of a worker."""
        from egodepth.models.opening import open_for_use

        return open_for_use(self.work.model, self.work.device, self.work.runtime).predictor

    def __call__(self, row: dict[str, Any]) -> dict[str, str]:
        return self.attempted(Piece.of_row(row)).to_row()

    def attempted(self, piece: Piece) -> PieceResult:
        """Predict a piece, again where something failed that may not fail the next time."""
        address = self._source.address(piece.inputs[0].path)
        reason = f"{address}: {LOST}"
        while self.begin(piece.record) <= MOST_ATTEMPTS:
            try:
                return self._predicted(piece)
            except StretchDiffers:
                return PieceResult(piece.record, differs=True)
            except UserError as error:  # the input or the call is at fault, the next time too
                reason = str(error)
                break
            except Exception as error:  # stores and engines raise types of their own
                reason = f"{address}: {type(error).__name__}: {first_line(error)}"
        return PieceResult(piece.record, failure=reason)

    @cached_property
    def _source(self) -> Store:
        return Store(self.work.source)

    @cached_property
    def _out(self) -> Store:
        return Store(self.work.out)

    def _predicted(self, piece: Piece) -> PieceResult:
        with TemporaryDirectory(prefix="egodepth-") as folder:
            place = Path(folder)
            inputs = [
                replace(each, path=place / "in" / each.path.parent.name / each.path.name) for each in piece.inputs
            ]
            self._fetch(piece, inputs)
            options = replace(self.work.options, intrinsics=self._intrinsics(place))
            try:
                if stretches := self._stretches(piece, inputs[0]):
                    return PieceResult(piece.record, stretches=stretches)
                report = predict_inputs(self.predictor, inputs, place / "out", options, progress=False)
            except UserError as error:
                raise UserError(self._as_named(str(error), piece, inputs)) from error
            files = [self._put(piece, file, place / "out") for file in report.written]
            result = self._result(piece, inputs, report, files)
            (place / "record").write_bytes(record_of(files, options.format))
            self._out.put(place / "record", piece.record)
            return result

    def _fetch(self, piece: Piece, inputs: list[Input]) -> None:
        for each, local in zip(piece.inputs, inputs, strict=True):
            self._source.fetch(PurePosixPath(each.path), local.path)
        if self.work.options.intrinsics is None:
            first = piece.inputs[0]
            for path in self._source.beside(PurePosixPath(first.path), isinstance(first, VideoInput)):
                self._source.fetch(path, inputs[0].path.with_name(path.name))

    def _stretches(self, piece: Piece, first: Input) -> tuple[tuple[int, int], ...]:
        """The stretches of a long video that are to be predicted apart; none where it is predicted in one go."""
        options = self.work.options
        # What depends on frames before, or beside, is that of one go in one go alone.
        is_joined = options.format == "video" or options.steady or self.predictor.time_offsets
        if piece.in_one_go or piece.stretch or is_joined or not isinstance(first, VideoInput):
            return ()
        return tuple((each.start, each.stop) for each in stretches_of(first.path, self.work.least_frames))

    def _intrinsics(self, place: Path) -> str | None:
        """The camera as the options say it, or the file that was sent along."""
        camera = self.work.camera
        if camera is None:
            return self.work.options.intrinsics
        file = place / "camera" / camera.name
        file.parent.mkdir()
        file.write_bytes(camera.content)
        return str(file) if camera.camera is None else f"{file}#{camera.camera}"

    def _put(self, piece: Piece, file: Path, folder: Path) -> str:
        """Put a file in place, and say its name there."""
        if self.work.options.format == "video":  # named after the piece, which knows the names of all others
            name = f"{piece.name.as_posix()}{SUFFIXES['video']}"
        else:
            name = file.relative_to(folder).as_posix()
        self._out.put(file, name)
        return name

    def _result(self, piece: Piece, inputs: list[Input], report: PredictionReport, files: list[str]) -> PieceResult:
        paths = {local.path: each.path for each, local in zip(piece.inputs, inputs, strict=True)}
        skipped = [(str(paths[each.path]), self._as_named(each.reason, piece, inputs)) for each in report.skipped]
        return PieceResult(
            piece.record,
            tuple(files),
            report.pictures,
            tuple(skipped),
            None,
            report.focal_ratios,
            report.without_camera,
        )

    def _as_named(self, text: str, piece: Piece, inputs: list[Input]) -> str:
        """A message with the inputs' own addresses in place of where they lay for a while."""
        for each, local in zip(piece.inputs, inputs, strict=True):
            text = text.replace(str(local.path), self._source.address(each.path))
        return text
