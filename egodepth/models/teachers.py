"""Who can write depth maps: a model of ours, or one of transformers."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from egodepth.data.configurations import MapUnits, Source
from egodepth.data.images import resize_image
from egodepth.data.samples import Sample
from egodepth.data.taught_dataset import native_aspect, nearest
from egodepth.errors import UserError, first_line
from egodepth.inference.predictor import Predictor
from egodepth.models.foreign import ForeignModel, is_foreign, weight_files, weights_hash
from egodepth.models.released import ReleasedModel

SEEN_SIZE = 576, 1024
"""Height and width at which frames are read for a model that takes any size, at least; then each gets its own shape."""

USUAL_WIDTH = 640
"""The width of such a model's maps. One of 640x193 is read in a third of the time of one of 1024x309."""

SAME_SHAPE = 0.02
"""As a share: a picture whose shape differs by less is not stretched once more."""


class Teacher(Protocol):
    """Who writes maps.

    Attributes:
        folder: of its weights.
        size: height and width at which it wants to read frames.
        width: of its maps.
        units: up to what its inverse depth is known.
        licence: of its weights, where anything says so.
    """

    folder: Path
    size: tuple[int, int]
    width: int
    units: MapUnits
    licence: str | None

    def inverse_depth(self, sample: Sample, source_ids: tuple[Source, ...]) -> np.ndarray:
        """A sample's target in the shape of the frame as it was taken, (H, W) float32; NaN is unknown."""


def open_teacher(model: str, device: torch.device, width: int | None, known_camera: bool) -> Teacher:
    """The teacher that a user names.

    Args:
        model: a released model, a run, a hub id of one, or a model of transformers (`hf:owner/name`, a folder).
        width: of the maps of a model of transformers; None takes the usual one.
        known_camera: the focal length of the frames is known.

    Raises:
        UserError: there is no such model, or it cannot teach.
    """
    if is_foreign(model):
        return _ForeignTeacher.of(ForeignModel(model, device), width or USUAL_WIDTH)
    if width is not None:
        raise UserError(f"--width {width}: {model} sees pictures of its own size. Leave it out.")
    return _OwnTeacher.of(ReleasedModel.open(model), device, known_camera)


def fingerprint(teacher: Teacher) -> str:
    """What tells the weights of one teacher from those of others, wherever they lie."""
    return weights_hash(teacher.folder)[:16]


def weights_bytes(teacher: Teacher) -> int:
    """How large the files of a teacher's weights are."""
    return sum(file.stat().st_size for file in weight_files(teacher.folder))


@dataclass(frozen=True)
class _OwnTeacher:
    """A model of egodepth.

    Attributes:
        focal: focal length of its camera in widths, where its metres are to be brought to other cameras.
    """

    folder: Path
    size: tuple[int, int]
    width: int
    units: MapUnits
    licence: str | None
    predictor: Predictor
    focal: float | None

    @classmethod
    def of(cls, model: ReleasedModel, device: torch.device, known_camera: bool) -> "_OwnTeacher":
        predictor = model.predictor(device)
        # Metres belong to the camera that the model was trained with: without either camera they are a factor off.
        focal = model.config.get("focal") if predictor.is_metric and known_camera else None
        units = "scale" if focal is None or predictor.metres_of_width else "metres"
        return cls(model.folder, model.size, model.size[1], units, model.licence, predictor, focal)

    def inverse_depth(self, sample: Sample, source_ids: tuple[Source, ...]) -> np.ndarray:
        offsets = [offset for offset in self.predictor.time_offsets if offset in source_ids]
        neighbours = {offset: _picture(sample.sources[source_ids.index(offset)]) for offset in offsets}
        size = _shape(sample, self.size)
        [enlarged] = self.predictor.enlargements([_picture(sample.target)], [size], [neighbours])
        depth = enlarged()
        if self.units == "metres":
            depth = depth * np.float32(float(sample.intrinsics[0, 0]) / self.focal)
        return 1 / depth


@dataclass(frozen=True)
class _ForeignTeacher:
    """A model of transformers."""

    folder: Path
    size: tuple[int, int]
    width: int
    units: MapUnits
    licence: str | None
    model: ForeignModel

    @classmethod
    def of(cls, model: ForeignModel, width: int) -> "_ForeignTeacher":
        larger = max(1, width / SEEN_SIZE[1])
        size = tuple(round(larger * side) for side in SEEN_SIZE)
        return cls(model.folder, size, width, model.predicts.units, model.licence, model)

    def inverse_depth(self, sample: Sample, source_ids: tuple[Source, ...]) -> np.ndarray:
        image, size = _picture(sample.target), _shape(sample, self.size)
        shown = self.model.shown_size(*size)
        found = self.model.inverse_depth(image if image.shape[:2] == shown else resize_image(image, *shown))
        return nearest(found, (0, 0, 1, 1), max(1, round(size[0] * self.width / size[1])), self.width)


def _shape(sample: Sample, size: tuple[int, int]) -> tuple[int, int]:
    """Height and width of a sample's frame as it was taken, at the width of `size`."""
    height, width = size
    native = round(width / native_aspect(sample.intrinsics))
    return (height if abs(native / height - 1) < SAME_SHAPE else max(1, native)), width


def _picture(image: torch.Tensor) -> np.ndarray:
    return image.permute(1, 2, 0).contiguous().numpy()


def known_device(name: str) -> torch.device:
    """The device of a name.

    Raises:
        UserError: it is not there.
    """
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"--device {name}: is not there ({first_line(error)}). Use --device cpu.") from error
    return device
