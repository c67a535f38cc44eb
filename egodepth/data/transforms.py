"""From a batch of 8-bit images to the float images that a training step sees: flip, scale and crop, colour jitter.

Runs on the device that trains. What is drawn for a sample depends on the seed, a key (the epoch or the step) and
the sample's index alone, so that a run that was stopped and resumed, or spread over processes, draws the same.

Source: Monodepth2 specification, section 7.
"""

from dataclasses import dataclass, field, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.transforms.v2 import functional

from egodepth.data.configurations import AugmentationConfig, Source
from egodepth.data.samples import Batch
from egodepth.geometry.cameras import Camera


@dataclass(frozen=True)
class Views:
    """A batch as a method trains on it: RGB in [0, 1], losses on the clean images, networks on the jittered ones.

    Attributes:
        names: of the B samples.
        target, target_jittered: (B, 3, H, W) float32.
        sources, sources_jittered: (B, S, 3, H, W) float32.
        source_ids: the S sources' time offsets or `stereo`.
        intrinsics: (B, 3, 3) in pixels at this size, right for the mirrored samples too.
        stereo_offset: (B,), in units of the baseline, its sign turned where the sample is mirrored.
        baseline_m: (B,), NaN where not known.
        centred: see `Sample`.
        mask: (B, 1, H, W) bool, the pixels that show the scene, in target and sources; None where all do.
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
    centred: bool
    mask: Tensor | None = None

    @property
    def size(self) -> tuple[int, int]:
        return self.target.shape[-2], self.target.shape[-1]


ALL_USED = 1 - 1e-4
"""A resampled pixel is used where all that it is made of are."""

Operation = tuple[str, float | tuple[float, float, float]]
"""Name and amount of a change of colours."""


@dataclass(frozen=True)
class Draw:
    """What chance decided for one sample.

    Attributes:
        flip: mirror left to right.
        operations: colour operations and their amounts, in the order in which they are applied; none without jitter.
        scale: what the views are enlarged by before the crop.
        place: vertical and horizontal place of the crop, as shares of the room there is for it.
    """

    flip: bool
    operations: tuple[Operation, ...] = field(default=())
    scale: float = 1.0
    place: tuple[float, float] = (0.0, 0.0)


def _adjust_channels(images: Tensor, gains: tuple[float, float, float]) -> Tensor:
    channels = zip(images.unbind(-3), gains, strict=True)
    return torch.stack(
        [functional.adjust_brightness(channel[..., None, :, :], gain)[..., 0, :, :] for channel, gain in channels],
        dim=-3,
    )


COLOUR_OPERATIONS = {
    "brightness": functional.adjust_brightness,
    "contrast": functional.adjust_contrast,
    "saturation": functional.adjust_saturation,
    "hue": functional.adjust_hue,
    "gamma": functional.adjust_gamma,
    "channels": _adjust_channels,
}


def draw(config: AugmentationConfig, seed: int, key: int, index: int) -> Draw:
    """Draw one sample's augmentation, a pure function of its arguments (all three numbers not negative)."""
    generator = np.random.default_rng([seed, key, index])
    jitter = generator.random() < config.jitter_probability
    flip = bool(generator.random() < config.flip_probability)
    operations = _draw_colours(config, generator) if jitter else ()
    if not config.cuts:
        return Draw(flip, operations)
    scale = float(generator.uniform(config.min_scale, config.max_scale))
    return Draw(flip, operations, scale, (float(generator.random()), float(generator.random())))


def _draw_colours(config: AugmentationConfig, generator: np.random.Generator) -> tuple[Operation, ...]:
    if config.colours == "tone":
        gamma, gain = float(generator.uniform(0.8, 1.2)), float(generator.uniform(0.5, 2.0))
        channels = tuple(map(float, generator.uniform(0.8, 1.2, 3)))
        return ("gamma", gamma), ("brightness", gain), ("channels", channels)
    amounts = {
        "brightness": generator.uniform(1 - config.brightness, 1 + config.brightness),
        "contrast": generator.uniform(1 - config.contrast, 1 + config.contrast),
        "saturation": generator.uniform(1 - config.saturation, 1 + config.saturation),
        "hue": generator.uniform(-config.hue, config.hue),
    }
    names = list(amounts)
    return tuple((names[place], float(amounts[names[place]])) for place in generator.permutation(4))


def augment(batch: Batch, config: AugmentationConfig, seed: int, key: int) -> Views:
    """Flip, cut and jitter a batch, each sample by its own draw and all its views alike.

    Args:
        batch: on any device; the result is on the same.
        seed: of the run.
        key: what sets this visit of a sample apart from the others: the epoch, or the step.
    """
    draws = [draw(config, seed, key, index) for index in batch.indices.tolist()]
    images = torch.cat([batch.target[:, None], batch.sources], dim=1)
    flipped = torch.tensor([drawn.flip for drawn in draws], device=images.device)
    turned = images.flip(-1)
    if config.swap_pairs and batch.source_ids == ("stereo",):
        turned, stereo_offset = turned.flip(1), batch.stereo_offset
    else:
        stereo_offset = -batch.stereo_offset
    batch = replace(batch, stereo_offset=torch.where(flipped, stereo_offset, batch.stereo_offset))
    images = torch.where(flipped[:, None, None, None, None], turned, images)
    jittered = images.clone()
    for row, drawn in enumerate(draws):
        if drawn.operations:
            jittered[row] = jitter(images[row], drawn)
    views = _as_views(batch, images, jittered, flipped)
    return _cut(views, draws, config.crop or views.size) if config.cuts else views


def _cut(views: Views, draws: list[Draw], size: tuple[int, int]) -> Views:
    """Enlarge each sample by its factor and cut out its window; the intrinsics follow."""
    cameras = [Camera(intrinsics, *views.size) for intrinsics in views.intrinsics]
    windows = [_Window.drawn(drawn, views.size, size) for drawn in draws]

    def cut(images: Tensor) -> Tensor:
        return torch.stack([window.of(image) for window, image in zip(windows, images, strict=True)])

    return replace(
        views,
        target=cut(views.target),
        sources=cut(views.sources),
        target_jittered=cut(views.target_jittered),
        sources_jittered=cut(views.sources_jittered),
        intrinsics=torch.stack(
            [
                camera.resize(*window.enlarged).crop(window.top, window.left, *size).intrinsics
                for window, camera in zip(windows, cameras, strict=True)
            ]
        ),
        centred=False,
        mask=None if views.mask is None else cut(views.mask.float()) > ALL_USED,
    )


@dataclass(frozen=True)
class _Window:
    """Where an enlarged picture is cut: the sizes, and the window's upper left corner, in pixels."""

    enlarged: tuple[int, int]
    size: tuple[int, int]
    top: int
    left: int

    @classmethod
    def drawn(cls, drawn: Draw, native: tuple[int, int], size: tuple[int, int]) -> "_Window":
        # A window larger than the enlarged picture would reach outside, so the picture grows to it.
        height, width = (max(int(length * drawn.scale), window) for length, window in zip(native, size, strict=True))
        top, left = (
            int(share * (length - window + 1))
            for share, length, window in zip(drawn.place, (height, width), size, strict=True)
        )
        return cls((height, width), size, top, left)

    def of(self, images: Tensor) -> Tensor:
        """(..., H, W) to (..., *size)."""
        enlarged = resize(images, *self.enlarged)
        return enlarged[..., self.top : self.top + self.size[0], self.left : self.left + self.size[1]]


def resize(images: Tensor, height: int, width: int) -> Tensor:
    """Resample images (..., H, W) bilinearly, averaging where they become smaller."""
    if images.shape[-2:] == (height, width):
        return images
    flat = images.reshape(1, -1, *images.shape[-2:])
    resized = F.interpolate(flat, (height, width), mode="bilinear", align_corners=False, antialias=True)
    return resized.reshape(*images.shape[:-2], height, width)


def resized(views: Views, height: int, width: int) -> Views:
    """The same views at another size."""
    if views.size == (height, width):
        return views
    return replace(
        views,
        target=resize(views.target, height, width),
        sources=resize(views.sources, height, width),
        target_jittered=resize(views.target_jittered, height, width),
        sources_jittered=resize(views.sources_jittered, height, width),
        intrinsics=Camera(views.intrinsics, *views.size).resize(height, width).intrinsics,
        mask=None if views.mask is None else resize(views.mask.float(), height, width) > ALL_USED,
    )


def mirrored(views: Views) -> Views:
    """The same views mirrored left to right."""
    intrinsics = views.intrinsics if views.centred else Camera(views.intrinsics, *views.size).flip().intrinsics
    return replace(
        views,
        target=views.target.flip(-1),
        sources=views.sources.flip(-1),
        target_jittered=views.target_jittered.flip(-1),
        sources_jittered=views.sources_jittered.flip(-1),
        intrinsics=intrinsics,
        stereo_offset=-views.stereo_offset,
        mask=None if views.mask is None else views.mask.flip(-1),
    )


def recoloured(views: Views, config: AugmentationConfig, seed: int, key: int) -> Views:
    """The same views with the colours of each sample changed anew; losses see the changed colours, too."""
    target, sources = [], []
    for row in range(len(views.names)):
        drawn = Draw(False, _draw_colours(config, np.random.default_rng([seed, key, row])))
        target.append(jitter(views.target[row], drawn))
        sources.append(jitter(views.sources[row], drawn))
    changed = torch.stack(target), torch.stack(sources)
    return replace(
        views, target=changed[0], sources=changed[1], target_jittered=changed[0], sources_jittered=changed[1]
    )


def without_augmentation(batch: Batch) -> Views:
    """The batch as it is, for validation."""
    images = torch.cat([batch.target[:, None], batch.sources], dim=1)
    return _as_views(batch, images, images, torch.zeros(len(batch), dtype=torch.bool, device=images.device))


def jitter(images: Tensor, drawn: Draw) -> Tensor:
    """Apply the drawn colour operations, in order, to images (..., 3, H, W).

    They may be uint8, where each step rounds to 8 bits, or float in [0, 1].
    """
    for name, amount in drawn.operations:
        images = COLOUR_OPERATIONS[name](images, amount)
    return images


def _as_views(batch: Batch, images: Tensor, jittered: Tensor, flipped: Tensor) -> Views:
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
        intrinsics=torch.where(flipped[:, None, None], turned, camera.intrinsics),
        stereo_offset=batch.stereo_offset,
        baseline_m=batch.baseline_m,
        centred=batch.centred,
        mask=None if batch.mask is None else torch.where(flipped[:, None, None, None], batch.mask.flip(-1), batch.mask),
    )
