"""Pictures on their way through a prediction run: what is known of them, what belongs together, what makes a batch."""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, islice
from pathlib import Path
from queue import Full, Queue
from threading import Event, Thread
from typing import TypeVar

import numpy as np

from egodepth.data.footage.video import video_info
from egodepth.errors import UserError
from egodepth.inference.inputs import ImageInput, Input, distinct_names, named_path, short_name

Item = TypeVar("Item")

MANY = 1000
"""From so many pictures on every choice of an engine is the same."""

PAUSE_S = 0.1
"""How long a thread waits before it looks whether it is still wanted."""


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

    @property
    def sequence(self) -> tuple[Path, int]:
        """What pictures that follow each other share: their folder, or their video up to a cut."""
        return self.name.parent, self.run


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
    """Images and frames of the inputs; None where a video does not tell its own or cannot be read.

    The count ends at `MANY`, or a thousand videos would be opened twice.
    """
    total = 0
    for each in inputs:
        if total >= MANY:
            break
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


def surrounded(sequence: Iterable[Item], time_offsets: Sequence[int]) -> Iterator[tuple[Item, dict[int, Item]]]:
    """Each item with those that there are at `time_offsets` from it.

    No more are held than lie between the first and the last of these.
    """
    behind, ahead = -min((0, *time_offsets)), max((0, *time_offsets))
    # Nothing lies before the first item and after the last one.
    nothing = [None] * ahead
    held: deque[Item | None] = deque([None] * (behind + ahead), maxlen=behind + 1 + ahead)
    for following in chain(sequence, nothing):
        held.append(following)
        if (item := held[behind]) is not None:
            around = {offset: held[behind + offset] for offset in time_offsets}
            yield item, {offset: each for offset, each in around.items() if each is not None}


def with_neighbours(sequence: Iterable[Picture], time_offsets: Sequence[int]) -> Iterator[Picture]:
    """Each picture with those at `time_offsets` from it, see `surrounded`."""
    for picture, around in surrounded(sequence, time_offsets):
        yield replace(picture, neighbours={offset: each.reduced for offset, each in around.items()})


def sequences_of(inputs: Sequence[Input]) -> list[tuple[list[Input], Path]]:
    """What makes one video each, with its output name: a video, or the pictures of one folder."""
    sequences: dict[Path, list[Input]] = {}
    short: dict[Path, str] = {}
    for each in inputs:
        is_image = isinstance(each, ImageInput)
        path = named_path(each.path).parent if is_image else named_path(each.path)
        sequences.setdefault(path, []).append(each)
        short[path] = path.name if is_image else short_name(path)
    last = list(short.values())
    names = distinct_names(list(sequences), [Path(each) for each in last], last)
    return list(zip(sequences.values(), names, strict=True))


def read_ahead(items: Iterable[Item], most: int) -> Iterator[Item]:
    """The same items, made by a thread of its own: no more than `most` of them wait to be taken.

    What the items raise is raised here. Whoever stops taking closes the iterator, which ends the thread.
    """
    waiting: Queue[tuple[Item | None, BaseException | None]] = Queue(most)
    stopped = Event()

    def put(item: Item | None, error: BaseException | None) -> None:
        while not stopped.is_set():
            try:
                waiting.put((item, error), timeout=PAUSE_S)
            except Full:
                continue
            return

    def make() -> None:
        try:
            for item in items:
                put(item, None)
                if stopped.is_set():
                    return
            put(None, StopIteration())
        except BaseException as error:
            put(None, error)

    thread = Thread(target=make, name="pictures", daemon=True)
    thread.start()
    try:
        while True:
            item, error = waiting.get()
            if isinstance(error, StopIteration):
                return
            if error is not None:
                raise error
            yield item
    finally:
        stopped.set()
        thread.join()


def batches(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch
