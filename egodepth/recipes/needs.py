"""What a training needs besides its data."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from torch import nn

from egodepth.data.configurations import Source
from egodepth.methods.anchor import Anchor
from egodepth.methods.distillation import Teacher
from egodepth.methods.frozen import FrozenNetwork
from egodepth.methods.rich_teachers import RichTeacher
from egodepth.methods.solved_motions import SolvedMotions
from egodepth.networks.prior import ReferenceSet


class OpenedModel(Protocol):
    """A released model, as far as a recipe asks it for a teacher."""

    @property
    def size(self) -> tuple[int, int]:
        """Height and width at which its depth network sees a picture."""
        ...

    @property
    def licence(self) -> str | None:
        """Licence of the weights; None where none is stated."""
        ...

    def depth_network(self) -> nn.Module:
        """The depth network, ready for use."""
        ...

    def rich_teacher(self) -> RichTeacher:
        """The model as RPrDepth's teacher."""
        ...

    def rich_size(self, student: tuple[int, int]) -> tuple[int, int]:
        """Height and width at which frames are read where it is that of a student of some height and width."""
        ...


OpenModel = Callable[[str], OpenedModel]


@dataclass(frozen=True)
class Needs:
    """What a training needs besides its data.

    Attributes:
        views: beside the target.
        size: height and width at which frames are read.
        teacher: where the recipe has one.
        references: RPrDepth's reference set.
        licence: of RPrDepth's teacher; None where none is stated.
        start: the depth network that training starts from, where a part of the loss goes back to it.
        anchor: what holds depth to it.
        solved: what gives the motions.
    """

    views: tuple[Source, ...]
    size: tuple[int, int]
    teacher: Teacher | RichTeacher | None = None
    references: ReferenceSet | None = None
    licence: str | None = None
    start: FrozenNetwork | None = None
    anchor: Anchor | None = None
    solved: SolvedMotions | None = None
