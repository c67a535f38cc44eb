"""The frames of a training set as tensors, remembered between epochs where they fit in memory."""

import mmap
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from egodepth.data.draws import Window
from egodepth.data.images import read_cut_image, read_resized_image

DEFAULT_CACHE_BYTES = 2 * 2**30


def channels_first(pixels: np.ndarray) -> Tensor:
    """(H, W, 3) to a tensor (3, H, W) with memory of its own."""
    return torch.from_numpy(pixels.transpose(2, 0, 1).copy())


class FrameStore:
    """The resized frames of a dataset, read by number and remembered where all of them fit in memory.

    One frame serves as target and as source of its neighbours and of the other camera, so each is asked for up
    to four times an epoch. The memory is an anonymous map: worker processes that are forked from this one
    fill and read the same pages, and nothing is spent on frames that are never read. A worker that is spawned
    instead starts with an empty map of its own.

    Args:
        paths: one per frame.
        height, width: the size in pixels that every frame is resized to.
        cache_bytes: the most that may be kept; a set that needs more is decoded anew each time.
    """

    def __init__(self, paths: Sequence[Path], height: int, width: int, cache_bytes: int = DEFAULT_CACHE_BYTES) -> None:
        self.paths = tuple(paths)
        self.height = height
        self.width = width
        self.cache_bytes = cache_bytes
        self._allocate()

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, number: int) -> Tensor:
        """The frame as (3, height, width) uint8; not to be written to.

        Raises:
            UserError: the file cannot be read.
        """
        if self._known is None:
            return self._read(number)
        if not self._known[number]:
            # The mark follows the pixels: another process that sees it finds the frame whole.
            self._frames[number] = self._read(number)
            self._known[number] = True
        return self._frames[number]

    def cut(self, number: int, window: Window) -> Tensor:
        """A window of the frame as (3, *window.size) uint8, in one step from the native frame; not remembered.

        Raises:
            UserError: the file cannot be read.
        """
        return channels_first(read_cut_image(self.paths[number], window.shares(), *window.size))

    def _read(self, number: int) -> Tensor:
        return channels_first(read_resized_image(self.paths[number], self.height, self.width))

    def _allocate(self) -> None:
        shape = (len(self.paths), 3, self.height, self.width)
        if not self.paths or int(np.prod(shape)) > self.cache_bytes:
            self._frames = self._known = None
            return
        self._frames = _shared_zeros(shape)
        self._known = _shared_zeros((len(self.paths),)).numpy()

    def __getstate__(self) -> dict:
        return {key: value for key, value in vars(self).items() if key not in ("_frames", "_known")}

    def __setstate__(self, state: dict) -> None:
        vars(self).update(state)
        self._allocate()


def _shared_zeros(shape: tuple[int, ...]) -> Tensor:
    """A uint8 tensor of zeros whose pages forked processes share; unlike /dev/shm it has no size limit of its own."""
    size = int(np.prod(shape))
    return torch.from_numpy(np.frombuffer(mmap.mmap(-1, size), dtype=np.uint8).reshape(shape))
