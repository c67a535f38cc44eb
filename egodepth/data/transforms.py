"""From a batch of 8-bit images to the float images that a training step sees: flip and colour jitter.

Runs on the device that trains. What is drawn for a sample depends on the seed, a key (the epoch or the step) and
the sample's index alone, so that a run that was stopped and resumed, or spread over processes, draws the same.

Source: Monodepth2 specification, section 7.
"""

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms.v2 import functional

from egodepth.data.samples import Batch, Source
from egodepth.geometry import Camera


@dataclass(frozen=True)
class AugmentationConfig:
    """How often and how far training images are changed.

    Attributes:
        flip_probability: of mirroring all views of a sample left to right.
        jitter_probability: of changing the colours of all views of a sample in one and the same way.
        brightness, contrast, saturation: factors are drawn from 1 - value to 1 + value.
        hue: a shift is drawn from -value to value, in turns of the colour circle.
    """

    flip_probability: float = 0.5
    jitter_probability: float = 0.5
    brightness: float = 0.2
    contrast: float = 0.2
    saturation: float = 0.2
    hue: float = 0.1


@dataclass(frozen=True)
class Views:
    """A batch as a method trains on it: RGB in [0, 1], losses on the clean images, networks on the jittered ones.

    Attributes:
        names: of the B samples.
        target, target_jittered: (B, 3, H, W) float32.
        sources, sources_jittered: (B, S, 3, H, W) float32. A stereo source stays as it is, because no network
            sees it.
        source_ids: the S sources' time offsets or `stereo`.
        intrinsics: (B, 3, 3) in pixels at this size, right for the mirrored samples too.
        stereo_offset: (B,), in units of the baseline, its sign turned where the sample is mirrored.
        baseline_m: (B,), NaN where not known.
    """

    names: tuple[str, ...]
    target: Tensor
    sources: Tensor
    target_jittered: Tensor
    sources_jittered: Tensor
    source_ids: tuple[Source, ...]
    intrinsics: Tensor
    stereo_offset: Tensor
    baseline_m: Tensor


@dataclass(frozen=True)
class Draw:
    """What chance decided for one sample.

    Attributes:
        flip: mirror left to right.
        operations: colour operations and their amounts, in the order in which they are applied; none without jitter.
    """

    flip: bool
    operations: tuple[tuple[str, float], ...] = field(default=())


COLOUR_OPERATIONS = {
    "brightness": functional.adjust_brightness,
    "contrast": functional.adjust_contrast,
    "saturation": functional.adjust_saturation,
    "hue": functional.adjust_hue,
}


def draw(config: AugmentationConfig, seed: int, key: int, index: int) -> Draw:
    """Draw one sample's augmentation, a pure function of its arguments (all three numbers not negative)."""
    generator = np.random.default_rng([seed, key, index])
    jitter = generator.random() < config.jitter_probability
    flip = bool(generator.random() < config.flip_probability)
    if not jitter:
        return Draw(flip)
    amounts = {
        "brightness": generator.uniform(1 - config.brightness, 1 + config.brightness),
        "contrast": generator.uniform(1 - config.contrast, 1 + config.contrast),
        "saturation": generator.uniform(1 - config.saturation, 1 + config.saturation),
        "hue": generator.uniform(-config.hue, config.hue),
    }
    names = list(amounts)
    return Draw(flip, tuple((names[place], float(amounts[names[place]])) for place in generator.permutation(4)))


def augment(batch: Batch, config: AugmentationConfig, seed: int, key: int) -> Views:
    """Flip and jitter a batch, each sample by its own draw and all views that a network sees alike.

    Args:
        batch: on any device; the result is on the same.
        seed: of the run.
        key: what sets this visit of a sample apart from the others: the epoch, or the step.
    """
    draws = [draw(config, seed, key, index) for index in batch.indices.tolist()]
    images = torch.cat([batch.target[:, None], batch.sources], dim=1)
    mirrored = torch.tensor([drawn.flip for drawn in draws], device=images.device)
    images = torch.where(mirrored[:, None, None, None, None], images.flip(-1), images)
    seen = [0, *(place for place, source in enumerate(batch.source_ids, start=1) if source != "stereo")]
    jittered = images.clone()
    for row, (views, drawn) in enumerate(zip(images, draws, strict=True)):
        if drawn.operations:
            jittered[row, seen] = jitter(views[seen], drawn)
    return _as_views(batch, images, jittered, mirrored)


def without_augmentation(batch: Batch) -> Views:
    """The batch as it is, for validation."""
    images = torch.cat([batch.target[:, None], batch.sources], dim=1)
    return _as_views(batch, images, images, torch.zeros(len(batch), dtype=torch.bool, device=images.device))


def jitter(images: Tensor, drawn: Draw) -> Tensor:
    """Apply the drawn colour operations, in order, to images (..., 3, H, W) uint8; each step rounds to 8 bits."""
    for name, amount in drawn.operations:
        images = COLOUR_OPERATIONS[name](images, amount)
    return images


def _as_views(batch: Batch, images: Tensor, jittered: Tensor, mirrored: Tensor) -> Views:
    camera = Camera.from_normalised(batch.intrinsics, *batch.size)
    turned = camera.intrinsics if batch.centred else camera.flip().intrinsics
    clean = images.float() / 255
    changed = clean if jittered is images else jittered.float() / 255
    return Views(
        names=batch.names,
        target=clean[:, 0],
        sources=clean[:, 1:],
        target_jittered=changed[:, 0],
        sources_jittered=changed[:, 1:],
        source_ids=batch.source_ids,
        intrinsics=torch.where(mirrored[:, None, None], turned, camera.intrinsics),
        stereo_offset=torch.where(mirrored, -batch.stereo_offset, batch.stereo_offset),
        baseline_m=batch.baseline_m,
    )
