"""Looking into the files of a data set for what would spoil training: empty and damaged files, swapped cameras."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image

from egodepth.data.images import read_image
from egodepth.errors import UserError

Item = TypeVar("Item")

# Pairs are compared at this size, where KITTI's nearest things are shifted by about 25 pixels, in blocks of this size.
PROBE_HEIGHT, PROBE_WIDTH = 96, 320
BLOCK = 16
LARGEST_SHIFT = 32

# A block says something if its best shift fits clearly better than the other direction's best.
CLEAR_RATIO = 0.8
VOTES_NEEDED = 8


def evenly(items: Sequence[Item], count: int) -> list[Item]:
    """At most `count` of the items, spread over all of them, with the first and the last."""
    if len(items) <= count:
        return list(items)
    return [items[round(place)] for place in np.linspace(0, len(items) - 1, count)]


def empty_files(files: Iterable[Path]) -> list[Path]:
    """Files of 0 bytes: what an unpacking leaves that ran out of space."""
    return [file for file in files if file.stat().st_size == 0]


def unreadable(items: Iterable[Item], read: Callable[[Item], object]) -> list[str]:
    """One message for each item that `read` refuses with a `UserError`."""
    messages = []
    for item in items:
        try:
            read(item)
        except UserError as error:
            messages.append(str(error))
    return messages


def cameras_look_swapped(pairs: Iterable[tuple[Path, Path]]) -> bool:
    """Whether images (left, right) of rectified pairs show things shifted the wrong way.

    What a left camera sees at x, the right one sees at x - d with d at least 0. Blocks of all pairs vote by the shift
    at which they fit best; pairs that show nothing distinct say nothing.
    """
    right_way = wrong_way = 0
    for left, right in pairs:
        try:
            votes = _votes(_probe(left), _probe(right))
        except UserError:
            continue  # reported as unreadable
        right_way += votes[0]
        wrong_way += votes[1]
    return wrong_way >= VOTES_NEEDED and wrong_way > 2 * right_way


def _probe(file: Path) -> np.ndarray:
    grey = Image.fromarray(read_image(file)).convert("L")
    return np.asarray(grey.resize((PROBE_WIDTH, PROBE_HEIGHT), Image.Resampling.BOX), dtype=np.float32)


def _votes(left: np.ndarray, right: np.ndarray) -> tuple[int, int]:
    """The blocks of the left image that fit best as the left, and as the right image of the pair."""
    inner = slice(LARGEST_SHIFT, PROBE_WIDTH - LARGEST_SHIFT)
    costs = {
        shift: _block_means(np.abs(left[:, inner] - np.roll(right, shift, axis=1)[:, inner]))
        for shift in range(-LARGEST_SHIFT, LARGEST_SHIFT + 1)
        if shift
    }
    as_left = np.min([cost for shift, cost in costs.items() if shift > 0], axis=0)
    as_right = np.min([cost for shift, cost in costs.items() if shift < 0], axis=0)
    return int((as_left < CLEAR_RATIO * as_right).sum()), int((as_right < CLEAR_RATIO * as_left).sum())


def _block_means(values: np.ndarray) -> np.ndarray:
    rows, columns = values.shape[0] // BLOCK, values.shape[1] // BLOCK
    return values.reshape(rows, BLOCK, columns, BLOCK).mean(axis=(1, 3))
