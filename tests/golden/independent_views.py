"""Frames to the views of a training step, written once more from the formulas, for `independent_view_synthesis`.

What colours, mirroring, enlarging and the forms of the pyramid loss make of a batch (sections 7 of Monodepth2's
specification, M, 4 and 9 of FA-Depth's, F). What is drawn in which order is ours.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.transforms.v2 import functional

from egodepth.data.samples import Batch

SEED = 0
METRES_PER_UNIT = 5.4  # M 2.6: KITTI's 0.54 m is 0.1 units.
LARGEST_ENLARGEMENT = 1.15  # F 9, ours.


@dataclass(frozen=True)
class Seen:
    """Views of a step: frames (1 + S, B, 3, H, W) float32, the target first.

    Attributes:
        clean, jittered: for the losses, for the networks.
        intrinsics: (B, 3, 3) float64 in pixels.
        offset: (B,), x of the target camera in the other one, in units of the network.
    """

    clean: Tensor
    jittered: Tensor
    intrinsics: Tensor
    offset: Tensor


def augmented(batch: Batch, step: int, enlarges: bool) -> Seen:
    size = batch.target.shape[-2:]
    clean, jittered, cameras, offsets = [], [], [], []
    for row, index in enumerate(batch.indices.tolist()):
        generator = np.random.default_rng([SEED, step, index])
        changes_colours, mirrors = generator.random() < 0.5, generator.random() < 0.5
        colours = drawn_colours(generator) if changes_colours else []
        images = torch.cat([batch.target[row][None], batch.sources[row]])
        fx, fy, cx, cy = (batch.intrinsics[row].double()[place] for place in ((0, 0), (1, 1), (0, 2), (1, 2)))
        camera = [fx * size[1], fy * size[0], cx * size[1] - 0.5, cy * size[0] - 0.5]
        offset = float(batch.stereo_offset[row]) * float(batch.baseline_m[row]) / METRES_PER_UNIT
        if mirrors:
            images, offset = images.flip(-1), -offset
            camera[2] = size[1] - 1 - camera[2]
        changed = recoloured(images, colours)
        images, changed = images.float() / 255, changed.float() / 255
        if enlarges:
            factor = generator.uniform(1.0, LARGEST_ENLARGEMENT)
            down, right = generator.random(), generator.random()
            large = int(size[0] * factor), int(size[1] * factor)
            top, left = int(down * (large[0] - size[0] + 1)), int(right * (large[1] - size[1] + 1))
            images, changed = (
                resized(frames, large)[..., top : top + size[0], left : left + size[1]] for frames in (images, changed)
            )
            camera = scaled(camera, size, large)
            camera = [camera[0], camera[1], camera[2] - left, camera[3] - top]
        clean.append(images)
        jittered.append(changed)
        cameras.append(matrix(camera))
        offsets.append(offset)
    offset = torch.tensor(offsets, dtype=torch.float64)
    return Seen(torch.stack(clean, 1), torch.stack(jittered, 1), torch.stack(cameras), offset)


def drawn_colours(generator: np.random.Generator) -> list[tuple]:
    amounts = [generator.uniform(0.8, 1.2), generator.uniform(0.8, 1.2), generator.uniform(0.8, 1.2)]
    amounts.append(generator.uniform(-0.1, 0.1))
    changes = (
        functional.adjust_brightness,
        functional.adjust_contrast,
        functional.adjust_saturation,
        functional.adjust_hue,
    )
    return [(changes[place], float(amounts[place])) for place in generator.permutation(4)]


def recoloured(images: Tensor, colours: list[tuple]) -> Tensor:
    for change, amount in colours:
        images = change(images, amount)
    return images


def resized(images: Tensor, size: tuple[int, int]) -> Tensor:
    if tuple(images.shape[-2:]) == tuple(size):
        return images
    flat = images.flatten(0, -4)
    return F.interpolate(flat, size, mode="bilinear", align_corners=False, antialias=True).view(
        *images.shape[:-2], *size
    )


def scaled(camera: list, size: tuple[int, int], new: tuple[int, int]) -> list:
    """Focal lengths and principal point of a resized picture: its border stays its border."""
    x, y = new[1] / size[1], new[0] / size[0]
    return [camera[0] * x, camera[1] * y, (camera[2] + 0.5) * x - 0.5, (camera[3] + 0.5) * y - 0.5]


def matrix(camera: list) -> Tensor:
    fx, fy, cx, cy = map(float, camera)
    return torch.tensor([[fx, 0, cx], [0, fy, cy], [0, 0, 1]], dtype=torch.float64)


def at_size(seen: Seen, size: tuple[int, int]) -> Seen:
    old = seen.clean.shape[-2:]
    cameras = [
        matrix(scaled([k[0, 0], k[1, 1], k[0, 2], k[1, 2]], old, size)) if tuple(old) != tuple(size) else k
        for k in seen.intrinsics
    ]
    return Seen(resized(seen.clean, size), resized(seen.jittered, size), torch.stack(cameras), seen.offset)


def in_form(seen: Seen, level: str, size: tuple[int, int], step: int) -> Seen:
    """F 4: smaller, larger, mirrored, in other colours."""
    if level in ("low", "high"):
        factor = {"low": 0.8, "high": 1.2}[level]
        return at_size(seen, tuple(32 * max(1, round(factor * length / 32)) for length in size))
    seen = at_size(seen, size)
    if level == "flip":
        intrinsics = seen.intrinsics.clone()
        intrinsics[:, 0, 2] = size[1] - 1 - intrinsics[:, 0, 2]
        return Seen(seen.clean.flip(-1), seen.jittered.flip(-1), intrinsics, -seen.offset)
    rows = [
        recoloured(seen.clean[:, row], drawn_colours(np.random.default_rng([SEED, step, row])))
        for row in range(seen.clean.shape[1])
    ]
    return replace(seen, clean=torch.stack(rows, 1), jittered=torch.stack(rows, 1))
