"""From a batch of 8-bit images to the float images that a training step sees: flip, crop, colour jitter.

Runs on the device that trains, by what `draws` gives each sample. Frames that are read at their scale were cut by the
loader (`cutting`), so that the intrinsics alone follow here; whole frames are enlarged, bilinearly, and cut here.

Source: Monodepth2 specification, section 7.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.transforms.v2 import functional

from egodepth.data.configurations import AugmentationConfig, Source
from egodepth.data.draws import Draw, Window, draw, draw_colours
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
        teacher_disparity: (B, 1, H, W), a teacher's inverse depth, see `Sample`; None where there is none.
        learned_cameras: of the B samples, see `Batch`.
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
    teacher_disparity: Tensor | None = None
    learned_cameras: tuple[str | None, ...] | None = None

    @property
    def size(self) -> tuple[int, int]:
        return self.target.shape[-2], self.target.shape[-1]


ALL_USED = 1 - 1e-4
"""A resampled pixel is used where all that it is made of are."""


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


def augment(batch: Batch, config: AugmentationConfig, seed: int, key: int) -> Views:
    """Flip, cut and jitter a batch, each sample by its own draw and all its views alike.

    Args:
        batch: on any device; the result is on the same.
        seed: of the run.
        key: what sets this visit of a sample apart from the others: the epoch, or the step.

    Raises:
        ValueError: the loader cut the frames by other draws.
    """
    draws = [draw(config, seed, key, index) for index in batch.indices.tolist()]
    images = torch.cat([batch.target[:, None], batch.sources], dim=1)
    flipped = torch.tensor([drawn.flip for drawn in draws], device=images.device)
    turned = images.flip(-1)
    if config.swap_pairs and batch.source_ids == ("stereo",):
        turned, stereo_offset = turned.flip(1), batch.stereo_offset
        batch = _without_maps(batch, flipped)
    else:
        stereo_offset = -batch.stereo_offset
    batch = replace(batch, stereo_offset=torch.where(flipped, stereo_offset, batch.stereo_offset))
    images = torch.where(flipped[:, None, None, None, None], turned, images)
    jittered = images.clone()
    for row, drawn in enumerate(draws):
        if drawn.operations:
            jittered[row] = jitter(images[row], drawn)
    views = _as_views(batch, images, jittered, flipped)
    if not config.cuts:
        return views
    windows = [Window.drawn(drawn, batch.frame_size, config.crop or batch.frame_size) for drawn in draws]
    if batch.windows is None:
        views = _cut(views, windows)
    elif list(batch.windows) != windows:
        raise ValueError("The frames were cut by other draws than these: another seed, step or augmentation.")
    return _seen_through(views, windows, batch.frame_size)


def _without_maps(batch: Batch, swapped: Tensor) -> Batch:
    """Maps belong to the targets as they were before these samples' pairs changed places."""
    if batch.teacher_disparity is None:
        return batch
    unknown = torch.full_like(batch.teacher_disparity, torch.nan)
    maps = torch.where(swapped[:, None, None, None], unknown, batch.teacher_disparity)
    return replace(batch, teacher_disparity=maps)


def _cut(views: Views, windows: Sequence[Window]) -> Views:
    """Cut views that were read as whole frames."""

    def cut_each(images: Tensor) -> Tensor:
        return torch.stack([cut(image, window) for window, image in zip(windows, images, strict=True)])

    return replace(
        views,
        target=cut_each(views.target),
        sources=cut_each(views.sources),
        target_jittered=cut_each(views.target_jittered),
        sources_jittered=cut_each(views.sources_jittered),
        mask=None if views.mask is None else cut_each(views.mask.float()) > ALL_USED,
        teacher_disparity=None
        if views.teacher_disparity is None
        else torch.stack(
            [_cut_map(each, window) for each, window in zip(views.teacher_disparity, windows, strict=True)]
        ),
    )


def _seen_through(views: Views, windows: Sequence[Window], frame: tuple[int, int]) -> Views:
    """The views with the intrinsics of their windows in place of those of whole frames."""
    cameras = [
        window.camera(Camera(intrinsics, *frame)) for window, intrinsics in zip(windows, views.intrinsics, strict=True)
    ]
    return replace(views, intrinsics=torch.stack([camera.intrinsics for camera in cameras]), centred=False)


def cut(images: Tensor, window: Window) -> Tensor:
    """Cut a window out of images (..., H, W), which are enlarged bilinearly."""
    enlarged = resize(images, *window.enlarged)
    return enlarged[..., window.top : window.top + window.size[0], window.left : window.left + window.size[1]]


def _cut_map(values: Tensor, window: Window) -> Tensor:
    """`cut` of a map (1, H, W) by its nearest values: between front and background lies nothing."""
    enlarged = resize_map(values[None], *window.enlarged)[0]
    return enlarged[..., window.top : window.top + window.size[0], window.left : window.left + window.size[1]]


def resize_map(values: Tensor, height: int, width: int) -> Tensor:
    """A map (B, 1, H, W) at another size, by the nearest values, so that NaN stays where it is."""
    return F.interpolate(values, (height, width), mode="nearest-exact")


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
        teacher_disparity=None
        if views.teacher_disparity is None
        else resize_map(views.teacher_disparity, height, width),
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
        teacher_disparity=None if views.teacher_disparity is None else views.teacher_disparity.flip(-1),
    )


def recoloured(views: Views, config: AugmentationConfig, seed: int, key: int) -> Views:
    """The same views with the colours of each sample changed anew; losses see the changed colours, too."""
    target, sources = [], []
    for row in range(len(views.names)):
        drawn = Draw(False, draw_colours(config, np.random.default_rng([seed, key, row])))
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
    camera = Camera.from_normalised(batch.intrinsics, *batch.frame_size)
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
        mask=_mirrored_where(flipped, batch.mask),
        teacher_disparity=_mirrored_where(flipped, batch.teacher_disparity),
        learned_cameras=batch.learned_cameras,
    )


def _mirrored_where(flipped: Tensor, maps: Tensor | None) -> Tensor | None:
    return None if maps is None else torch.where(flipped[:, None, None, None], maps.flip(-1), maps)
