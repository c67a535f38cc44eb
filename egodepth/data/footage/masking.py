"""Which pixels of footage are trained on: found in its frames, given as a picture, or all."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from egodepth.data.footage.static_regions import MOST_FRAMES, used_pixels
from egodepth.data.images import image_size, read_image, read_resized_image
from egodepth.data.transforms import ALL_USED, resize
from egodepth.errors import UserError

DARK, BRIGHT = 64, 192
"""Grey levels up to which a mask is black, and from which on it is white."""

LEAST_CLEAR = 0.95
"""Share of a mask's pixels that are the one or the other; a drawn edge may be soft."""


def footage_mask(option: str, frames: Sequence[Path], native: tuple[int, int], size: tuple[int, int]) -> Tensor | None:
    """The pixels that show the scene, (1, H, W) bool at the training size; None where all do.

    Args:
        option: `auto` finds them, `none` takes all, anything else is the path of a picture: white is used, black is
            left out.
        frames: unpacked ones, in order of time.
        native: height and width of the footage itself, that a picture must have.
        size: height and width in training.

    Raises:
        UserError: the picture cannot be read, or has another size or other colours.
    """
    if option == "none":
        return None
    if option != "auto":
        return resize(_read_mask(option, native)[None].float(), *size) > ALL_USED
    used = torch.from_numpy(used_pixels(_spread(frames, size)))[None]
    return None if used.all() else used


def _spread(frames: Sequence[Path], size: tuple[int, int]) -> np.ndarray:
    """So many frames as are looked at, (N, H, W, 3) uint8."""
    count = min(len(frames), MOST_FRAMES)
    places = np.linspace(0, len(frames) - 1, count).round().astype(int)
    return np.stack([read_resized_image(frames[place], *size) for place in places])


def _read_mask(option: str, native: tuple[int, int]) -> Tensor:
    """(H, W) bool."""
    file = Path(option)
    said = f"--mask {option}"
    if not file.is_file():
        raise UserError(f"{said}: no such file. Give a picture, white where the scene is, or auto, or none.")
    height, width = image_size(file)
    if (height, width) != native:
        raise UserError(
            f"{said}: is {width}x{height}, but the frames are {native[1]}x{native[0]}. Give a mask of the frames' own "
            "size."
        )
    grey = np.asarray(Image.fromarray(read_image(file)).convert("L"))
    clear = ((grey <= DARK) | (grey >= BRIGHT)).mean()
    if clear < LEAST_CLEAR:
        raise UserError(
            f"{said}: {1 - clear:.0%} of it is neither black nor white. Paint white what is used, black what is left "
            "out."
        )
    used = grey >= BRIGHT
    if not used.any():
        raise UserError(f"{said}: is black everywhere, which leaves nothing to train on. White is used.")
    return torch.from_numpy(used)
