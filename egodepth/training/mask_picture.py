"""What is left out of training, shown over a frame."""

from pathlib import Path

import numpy as np
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from egodepth.files import replacing

COLOUR = np.array([255, 40, 40])
SHADE = 0.45
"""Share of the colour over what is left out; its outline has the colour alone."""


def write_mask_picture(file: Path, image: Tensor, mask: Tensor) -> None:
    """Write a frame with an outline around what is left out.

    Args:
        image: (3, H, W) uint8.
        mask: (1, H, W) bool, the pixels that are used.
    """
    out = ~mask
    outline = (out & (F.max_pool2d(mask.float(), 3, 1, 1) > 0))[0].numpy()
    picture = image.permute(1, 2, 0).numpy().astype(np.float32)
    left_out = out[0].numpy()
    picture[left_out] = (1 - SHADE) * picture[left_out] + SHADE * COLOUR
    picture[outline] = COLOUR
    with replacing(file) as temporary:
        Image.fromarray(picture.round().astype(np.uint8)).save(temporary, format="PNG")
