"""Which targets teach nothing of motion: around them the camera stands still, or the scene changes."""

import json
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np

from egodepth.checked_json import Flag, MapOf, read_checked
from egodepth.data.images import read_thumbnail
from egodepth.data.motion import STANDING, THUMBNAIL_WIDTH, is_flat, motion_between
from egodepth.data.samples import NoUsableFrames
from egodepth.errors import UserError
from egodepth.files import write_text
from egodepth.processors import available_processors
from egodepth.progress import tracked

log = logging.getLogger("egodepth")

Frame = TypeVar("Frame")
Target = TypeVar("Target")

MOVES = MapOf(Flag(), key=lambda key: key.isascii() and key.isdecimal() and len(key) < 19, keys="numbers of frames")


def thumbnail_of(file: Path) -> np.ndarray:
    """The thumbnail that motion is measured in, of an image file."""
    return read_thumbnail(file, THUMBNAIL_WIDTH)


@dataclass(frozen=True)
class MovingParts(Generic[Frame]):
    """How sequences move; each pair of frames is looked at once and remembered in a cache folder.

    Attributes:
        frames_of: from a sequence, as messages call it, to its frames by number.
        cache_folder: where what was found is kept for a run that is resumed.
        step: how many numbers a target and its neighbours lie apart.
        read: the thumbnail (h, `THUMBNAIL_WIDTH`) uint8 of a frame; raises `UserError` where it cannot be read.
    """

    frames_of: Callable[[str], Mapping[int, Frame]]
    cache_folder: Path
    step: int = 1
    read: Callable[[Frame], np.ndarray] = thumbnail_of

    def select(
        self, targets: Sequence[Target], place_of: Callable[[Target], tuple[str, int]]
    ) -> tuple[list[Target], list[str]]:
        """The targets at which the picture moves from the frame before to the one after, in their order.

        Args:
            place_of: the sequence of a target and its number there.

        Returns:
            also a message for each sequence that lost some.
        """
        numbers: dict[str, set[int]] = {}
        for sequence, number in map(place_of, targets):
            numbers.setdefault(sequence, set()).update((number, number + self.step))
        moves = {sequence: self._moves(sequence, wanted) for sequence, wanted in numbers.items()}
        kept, left = [], Counter()
        for target in targets:
            sequence, number = place_of(target)
            # What was not compared, at the ends of a sequence or beside a broken frame, is not for this to judge.
            if all(moves[sequence].get(each, True) for each in (number, number + self.step)):
                kept.append(target)
            else:
                left[sequence] += 1
        said = "frames around which the camera stands still, or the scene changes, are left out"
        return kept, [f"{sequence}: {count} {said}" for sequence, count in left.items()]

    def select_some(
        self, root: Path | str, targets: Sequence[Target], place_of: Callable[[Target], tuple[str, int]], what: str
    ) -> tuple[list[Target], list[str]]:
        """`select`, for data of which something must remain.

        Args:
            root: of the data, for the message.
            what: is to be given in place of targets of which none moves: `footage`.

        Raises:
            NoUsableFrames: none of the targets moves.
        """
        kept, said = self.select(targets, place_of)
        if targets and not kept:
            raise NoUsableFrames(f"{root}: {said[0]}. Give {what} in which the camera moves.")
        return kept, said

    def _moves(self, sequence: str, wanted: Iterable[int]) -> dict[int, bool]:
        """For each of the numbers whether the picture moved there since the frame a step before."""
        frames = self.frames_of(sequence)
        name = "-".join(Path(sequence).parts)
        file = self.cache_folder / f"motion-{name}-{len(frames)}-{self.step}.json"
        known = _remembered(file)
        new = [each for each in wanted if each not in known and each in frames and each - self.step in frames]
        found = self._compared(new, frames, name)
        if found:
            known |= found
            write_text(file, json.dumps(known))
        return known

    def _compared(self, numbers: Sequence[int], frames: Mapping[int, Frame], name: str) -> dict[int, bool]:
        """Whether the picture moved at these numbers; where it cannot be told, they are not among those given."""
        needed = sorted({*numbers, *(number - self.step for number in numbers)})
        compared, found = set(numbers), {}
        latest: dict[int, np.ndarray | None] = {}
        with ThreadPoolExecutor(available_processors()) as pool:
            thumbnails = pool.map(self._thumbnail, (frames[number] for number in needed))
            for number, seen in tracked(zip(needed, thumbnails, strict=True), f"Motion in {name}", len(needed)):
                before = latest.get(number - self.step)
                if number in compared and before is not None and seen is not None:
                    motion = motion_between(before, seen)
                    found[number] = not motion.is_cut and motion.shift >= STANDING
                latest[number] = seen
                latest.pop(number - 2 * self.step, None)
        return found

    def _thumbnail(self, frame: Frame) -> np.ndarray | None:
        """None where a frame shows too little to tell, or is broken, which the loader reports."""
        try:
            seen = self.read(frame)
        except UserError:
            return None
        return None if is_flat(seen) else seen


def _remembered(file: Path) -> dict[int, bool]:
    if not file.is_file():
        return {}
    try:
        known = read_checked(file, MOVES, "Its frames are looked at anew.")
    except UserError as error:
        log.warning("%s", error)
        return {}
    return {int(number): moves for number, moves in known.items()}
