"""Several data sets as one: several videos, or joint training (SDFA-Net's CS+K).

Each sample keeps its own camera and its own baseline; an epoch shows every sample of every set once, so that sets count
by their size. Source: Zhou & Dong, ECCV 2022, section 4.1 (KITTI's 22,600 pairs and Cityscapes' 22,972).
"""

from collections.abc import Iterator, Sequence
from itertools import chain

import numpy as np
from torch.utils.data import ConcatDataset

from egodepth.data.samples import Sample, TrainingDataset, read_drawn
from egodepth.errors import UserError


class JointDataset(ConcatDataset[Sample]):
    """Training sets one after the other (a `DrawingDataset`).

    Args:
        parts: with the same sources and the same size of picture.

    Attributes:
        datasets: the parts as given; the first is the one that the run is about.

    Raises:
        UserError: the sets have other sources or sizes, or disagree about what a flip does to the camera.
    """

    def __init__(self, parts: Sequence[TrainingDataset]) -> None:
        super().__init__(parts)
        self.source_ids = tuple(parts[0].source_ids)
        first = parts[0][0]
        for part in parts[1:]:
            self._check(first, part)

    @property
    def parts(self) -> np.ndarray | None:
        """The part of all that each sample is of; None where one of the sets may be read in any order."""
        found = [getattr(part, "parts", None) for part in self.datasets]
        if any(each is None for each in found):
            return None
        firsts = np.cumsum([0, *(each.max() + 1 for each in found[:-1])])
        return np.concatenate([each + first for each, first in zip(found, firsts, strict=True)])

    def sample_names(self) -> Iterator[str]:
        return chain.from_iterable(part.sample_names() for part in self.datasets)

    def read_drawn(self, index: int, shares: Sequence[float]) -> Sample:
        return read_drawn(*self.place(index), shares)

    def place(self, index: int) -> tuple[TrainingDataset, int]:
        """The part that a sample is of, and its place in it."""
        for part in self.datasets:
            if index < len(part):
                return part, index
            index -= len(part)
        raise IndexError(index)

    def _check(self, first: Sample, part: TrainingDataset) -> None:
        other = part[0]
        if tuple(part.source_ids) != self.source_ids or other.target.shape != first.target.shape:
            raise UserError(f"{other.name}: differs in views or size from {first.name}. Pack both alike.")
        if other.centred != first.centred:
            raise UserError(
                f"one of {first.name} and {other.name} has a principal point that a flip moves, and the "
                "other does not. Take the same --intrinsics for both."
            )
