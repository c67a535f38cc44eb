"""Models of transformers as RPrDepth's teachers.

Source: RPrDepth (ECCV 2024), whose outlook asks for stronger teachers. These see the target alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from egodepth.data.configurations import Source
from egodepth.data.transforms import Views, resize
from egodepth.errors import UserError
from egodepth.methods.rich_teachers import NO_SECOND_OPINION, Reading, reference_size
from egodepth.models.foreign import Answer, ForeignModel, is_foreign, weights_hash
from egodepth.models.released import ReleasedModel
from egodepth.networks.configurations import SIZE_MULTIPLE
from egodepth.recipes.needs import OpenedModel

RICH_WIDTH = 1024
"""Frames are read in the student's form and at this width: the paper's 1024x320 for a student of 640x192."""

SAME_SHAPE = 0.02
"""As a share: pixels that are so nearly square are left as they are."""

FARTHEST = 20.0
"""How many times as far as the picture's mean inverse depth says anything is. A relative model gives 0 to the sky, and
what it gives to all that is far depends on a shift that nobody knows; DepthPro says up to 10 km."""

NEAREST = 1e-3
"""As a share of the picture's mean depth: resampling can leave a metric model's depth at 0 or below."""


class ForeignTeacher:
    """A depth model of transformers as rich-resource teacher, frozen.

    Its units: metric models give metres. Of models whose numbers are right up to a factor for each picture, each
    picture's depth has the unit in which its mean inverse depth is 1, because D_c of one picture is found among the
    depths of others. Where there is a shift too, 0 counts as infinitely far, as in these models' training, and losses
    compare inverse depth (`inverse`). The student takes its own unit from view synthesis in each case.

    It sees square pixels, whatever the form of the views, and none less than these show; through its own preprocessing.
    Its feature is the finest map before its head (`FEATURES`), resampled bilinearly.
    """

    sources: tuple[Source, ...] = ()

    def __init__(self, model: ForeignModel) -> None:
        self._model = model
        self.inverse = model.predicts.units == "scale-and-shift"
        self._hash: str | None = None

    def read(self, views: Views) -> Reading:
        rows, answers = self._answers(views)
        feature = torch.cat([_resampled(each.feature, reference_size(views.size)) for each in answers])
        return Reading(self._depth(rows, answers), feature[rows])

    def pseudo_depth(self, views: Views) -> Tensor:
        return self._depth(*self._answers(views))

    def reliable(self, views: Views, depth: Tensor) -> Tensor:
        raise UserError(NO_SECOND_OPINION)

    def to(self, device: torch.device) -> None:
        self._model.to(device)

    def hash(self) -> str:
        """By the files, not by names of tensors, which transformers changes from version to version."""
        if self._hash is None:
            self._hash = weights_hash(self._model.folder)
        return self._hash

    def _answers(self, views: Views) -> tuple[list[int], list[Answer]]:
        """What the model says of pictures of one shape at a time, and the place of each row of the views in that."""
        shapes = [self._shape(views.size, camera) for camera in views.intrinsics.detach().cpu()]
        groups = [[row for row, each in enumerate(shapes) if each == shape] for shape in dict.fromkeys(shapes)]
        answers = []
        for group in groups:
            pictures = resize(views.target[group], *shapes[group[0]])
            answers.append(self._model.answer((255 * pictures).round().clamp(0, 255).to(torch.uint8), views.size))
        order = [row for group in groups for row in group]
        return [order.index(row) for row in range(len(shapes))], answers

    def _shape(self, size: tuple[int, int], intrinsics: Tensor) -> tuple[int, int]:
        """Height and width at which pixels are square and nothing of the views is lost."""
        height, width = size
        stretch = float(intrinsics[0, 0] / intrinsics[1, 1])
        if abs(stretch - 1) > SAME_SHAPE:
            height, width = height * max(1, stretch), width * max(1, 1 / stretch)
        return self._model.shown_size(height, width)

    def _depth(self, rows: Sequence[int], answers: Sequence[Answer]) -> Tensor:
        predicts = self._model.predicts
        values = torch.cat([each.values for each in answers])[rows, None]
        return teacher_depth(values, predicts.inverse, predicts.units == "metres")


def teacher_depth(values: Tensor, inverse: bool, metric: bool) -> Tensor:
    """The depth (B, 1, H, W) that a model's values (B, 1, H, W) teach; see `ForeignTeacher`.

    Args:
        inverse: they are inverse depth.
        metric: their unit is kept.
    """
    if inverse:
        disparity = values.clamp(min=0)
    else:
        least = NEAREST * values.clamp(min=0).mean((-2, -1), keepdim=True)
        disparity = values.clamp(min=least.clamp(min=torch.finfo(values.dtype).tiny)).reciprocal()
    mean = disparity.mean((-2, -1), keepdim=True)
    # A picture without anything in it, all sky, is equally far everywhere.
    relative = torch.where(mean > 0, disparity / mean, 1).clamp(min=1 / FARTHEST)
    return 1 / (relative * mean if metric else relative)


def _resampled(feature: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinearly, and averaged where it becomes smaller."""
    return F.interpolate(feature, size, mode="bilinear", align_corners=False, antialias=True)


@dataclass(frozen=True)
class OpenedForeign:
    """A model of transformers, as far as a recipe asks it for a teacher.

    Attributes:
        name: what the user called it.
    """

    name: str

    @property
    def licence(self) -> str:
        return self._model.licence

    def depth_network(self) -> nn.Module:
        """Raises UserError: its layers are not those of a disparity network, whose features APX compares."""
        raise UserError(
            f"--teacher {self.name}: a model of transformers teaches this recipe by its depth maps. Write them once "
            f"with egodepth teach {self.name} DATA --out MAPS, then train with --teacher-depth MAPS."
        )

    def rich_teacher(self) -> ForeignTeacher:
        """Raises UserError: it cannot be had, is broken, or of a type that is not known."""
        return ForeignTeacher(self._model)

    def rich_size(self, student: tuple[int, int]) -> tuple[int, int]:
        """It takes any size: the student's form at `RICH_WIDTH`, or the student's own where that is larger."""
        larger = max(1, RICH_WIDTH / student[1])
        height, width = (SIZE_MULTIPLE * round(larger * side / SIZE_MULTIPLE) for side in student)
        return height, width

    @cached_property
    def _model(self) -> ForeignModel:
        return ForeignModel(self.name, torch.device("cpu"))


def open_as_teacher(model: str) -> OpenedModel:
    """The model that a recipe's `--teacher` names: one of ours, or one of transformers.

    Raises:
        UserError: there is no such model.
    """
    return OpenedForeign(model) if is_foreign(model) else ReleasedModel.open(model)
