"""How depth is asked for: what a prediction run is told beside its model, its inputs and its place."""

import math
from dataclasses import dataclass
from typing import get_args

from egodepth.data.images import check_bits
from egodepth.errors import UserError
from egodepth.inference.predictor import Predictor
from egodepth.inference.writers import Format

POINT_FORMATS = ("ply", "las", "pcd")


@dataclass(frozen=True)
class PredictionOptions:
    """How depth is predicted and written.

    Attributes:
        format: of the files.
        batch_size: pictures that go through the network at once.
        scale: metres per unit of the network's depth, where the user knows better than the model.
        bits: that pictures of more than 8 bits use; none finds out for those of each folder.
        intrinsics: see `InputCameras`.
        farthest: of points, in metres where the scale is known; by default 80 m, or 8 times the median depth.
        steady: join each frame's depth with the one before, so that it does not flicker, see `Steady`.
    """

    format: Format
    batch_size: int = 4
    scale: float | None = None
    bits: int | None = None
    intrinsics: str | None = None
    farthest: float | None = None
    steady: bool = False

    @property
    def gives_points(self) -> bool:
        """Whether points are written, for which the picture's colours and its camera are needed."""
        return self.format in POINT_FORMATS

    def check(self) -> None:
        """Raises UserError: an option has a value that it cannot have."""
        if self.bits is not None:
            check_bits("--bits", self.bits)
        if self.farthest is not None and (not self.gives_points or not self.farthest > 0):
            raise UserError(
                f"--farthest {self.farthest:g}: is the largest depth of points (--format ply, las or pcd), above 0."
            )
        if self.format not in get_args(Format):
            raise UserError(f"--format {self.format}: unknown; choose one of {', '.join(get_args(Format))}")
        if self.batch_size < 1:
            raise UserError(f"--batch-size {self.batch_size}: must be 1 or more")
        if self.scale is not None and not (math.isfinite(self.scale) and self.scale > 0):
            raise UserError(f"--scale {self.scale}: must be a positive number of metres per unit of depth")

    def applied_to(self, predictor: Predictor) -> Predictor:
        """The predictor with the scale that is asked for.

        Raises:
            UserError: an option cannot be used, by itself or with this model.
        """
        self.check()
        if self.scale is not None:
            predictor = predictor.with_scale(self.scale)
        if self.format == "png16" and not predictor.is_metric:
            raise UserError(
                "--format png16 stores metres, but this model's depth is up to an unknown scale; "
                "use npy or color, or give the metres per unit with --scale"
            )
        return predictor
