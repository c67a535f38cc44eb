"""Pictures from which the ranges of eight bits are found: the user's own."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from egodepth.data.footage.video import read_video_frames, video_info
from egodepth.data.images import read_image, resize_image
from egodepth.errors import UserError
from egodepth.inference.inputs import Input, VideoInput, expand_inputs

MOST = 200
"""Pictures that are looked at, spread over what is given."""

FEWEST = 8


@dataclass(frozen=True)
class Pictures:
    """Pictures for calibration at a network's size.

    Attributes:
        images: (N, height, width, 3) uint8.
    """

    images: np.ndarray

    def batches(self) -> Iterator[np.ndarray]:
        """Each as the network takes it, (1, 3, height, width) float32 in [0, 1]."""
        for image in self.images:
            yield image.transpose(2, 0, 1)[None].astype(np.float32) / 255


def calibration_pictures(data: Sequence[str | Path], height: int, width: int) -> Pictures:
    """Pictures spread over images, folders, globs and videos.

    Raises:
        UserError: there are too few.
    """
    inputs = expand_inputs(data)
    images = [resize_image(image, height, width) for image in _spread(inputs)]
    if len(images) < FEWEST:
        raise UserError(
            f"--data {' '.join(map(str, data))}: gives {len(images)} pictures; ranges need {FEWEST} at least, and some "
            "hundred of the places where the model will be used are better."
        )
    return Pictures(np.stack(images))


def _spread(inputs: Sequence[Input]) -> Iterator[np.ndarray]:
    """At most `MOST` pictures, evenly spread over all of the inputs' pictures and frames."""
    counts = [max(1, video_info(each.path).frames) if isinstance(each, VideoInput) else 1 for each in inputs]
    step = max(1, -(-sum(counts) // MOST))
    place = 0
    for each, count in zip(inputs, counts, strict=True):
        first = -place % step
        place += count
        if isinstance(each, VideoInput):
            yield from islice(read_video_frames(each.path), first, None, step)
        elif first == 0:
            yield read_image(each.path)
