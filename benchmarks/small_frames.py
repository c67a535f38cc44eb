"""What a model loses where frames come smaller than it takes them, as a teacher's do that are read for its student.

    python -m benchmarks.small_frames MODEL --data DATA --protocol P --sizes 128x416 64x192

Every frame is made smaller and then as large as it was, so that nothing but its detail is lost.
"""

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console
from tyro.conf import Positional

from egodepth.data.images import resize_image
from egodepth.data.opening import open_evaluation_frames
from egodepth.data.samples import EvaluationFrame, EvaluationFrames
from egodepth.errors import UserError
from egodepth.evaluation.evaluate import results_table
from egodepth.evaluation.protocols import protocol_named
from egodepth.models.evaluating import evaluate_predictor
from egodepth.models.opening import load


@dataclass(frozen=True)
class Options:
    """Evaluate one model on frames of several sizes.

    Attributes:
        sizes: HEIGHTxWIDTH that frames are brought to first.
    """

    model: Annotated[Positional[str], tyro.conf.arg(metavar="MODEL")]
    data: Path
    protocol: str
    sizes: tuple[str, ...]


class SmallFrames(EvaluationFrames):
    """Frames of another collection, without the detail that a size cannot hold."""

    def __init__(self, frames: EvaluationFrames, size: tuple[int, int]) -> None:
        self._frames, self._size = frames, size

    def __len__(self) -> int:
        return len(self._frames)

    def __getitem__(self, index: int) -> EvaluationFrame:
        frame = self._frames[index]
        return replace(frame, image=resize_image(resize_image(frame.image, *self._size), *frame.image.shape[:2]))


def main(options: Options) -> None:
    predictor, protocol = load(options.model), protocol_named(options.protocol)
    frames = open_evaluation_frames(options.data, protocol.frames)
    results = {"frames as they are": evaluate_predictor(predictor, frames, protocol)}
    for size in options.sizes:
        height, _, width = size.partition("x")
        if not (height.isdecimal() and width.isdecimal()):
            raise UserError(f"--sizes {size}: is no size. Give HEIGHTxWIDTH, such as 128x416.")
        results[size] = evaluate_predictor(predictor, SmallFrames(frames, (int(height), int(width))), protocol)
    Console(width=120).print(results_table(results))


if __name__ == "__main__":
    try:
        main(tyro.cli(Options))
    except UserError as error:
        sys.exit(str(error))
