"""Pictures on their way through a prediction run: what is known of them, what belongs together, what makes a batch."""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, islice
from pathlib import Path
from typing import TypeVar

import numpy as np

from egodepth.data.footage.video import video_info
from egodepth.errors import UserError
from egodepth.inference.inputs import ImageInput, Input, distinct_names, named_path

Item = TypeVar("Item")


@dataclass(frozen=True)
class Source:
    """What is known of a picture beside its pixels.

    Attributes:
        name: of its output.
        seconds: of a frame, since the first one of its video.
        run: number of the piece without a cut that a frame belongs to.
    """

    name: Path
    seconds: float | None = None
    run: int = 0


@dataclass(frozen=True)
class Picture:
    """A picture on its way through a run: as it is, at the network's size, and what is around it there."""

    source: Source
    image: np.ndarray | None
    reduced: np.ndarray
    height: int
    width: int
    neighbours: Mapping[int, np.ndarray] = field(default_factory=dict)


def count_pictures(inputs: Sequence[Input]) -> int | None:
    """Images and frames of the inputs; None where a video does not tell its own or cannot be read."""
    total = 0
    for each in inputs:
        frames: int | None = 1
        if not isinstance(each, ImageInput):
            try:
                frames = video_info(each.path).frames
            except UserError:
                frames = None
        if not frames:
            return None
        total += frames
    return total


def with_neighbours(sequence: Iterable[Picture], time_offsets: Sequence[int]) -> Iterator[Picture]:
    """Each picture with those at `time_offsets` from it. No more are held than lie between the first and the last."""
    behind, ahead = -min((0, *time_offsets)), max((0, *time_offsets))
    # Nothing lies before the first picture and after the last one.
    nothing = [None] * ahead
    held: deque[Picture | None] = deque([None] * (behind + ahead), maxlen=behind + 1 + ahead)
    for following in chain(sequence, nothing):
        held.append(following)
        if (picture := held[behind]) is not None:
            around = {offset: held[behind + offset] for offset in time_offsets}
            yield replace(picture, neighbours={offset: each.reduced for offset, each in around.items() if each})


def sequences_of(inputs: Sequence[Input]) -> list[tuple[list[Input], Path]]:
    """What makes one video each, with its output name: a video, or the pictures of one folder."""
    sequences: dict[Path, list[Input]] = {}
    for each in inputs:
        path = named_path(each.path)
        sequences.setdefault(path.parent if isinstance(each, ImageInput) else path, []).append(each)
    names = distinct_names(list(sequences), [Path(path.stem if path.is_file() else path.name) for path in sequences])
    return list(zip(sequences.values(), names, strict=True))


def batches(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch
