"""How good depth is where nobody knows the truth: by what it explains of frames that are held out.

A view that is warped by a model's depth and motion should look like the target, better than the view as it is does. Two
frames of one place should have depths that agree.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from egodepth.data.samples import Batch, TrainingDataset
from egodepth.data.transforms import Views, resized, without_augmentation
from egodepth.geometry.depth import enlarged_depth
from egodepth.geometry.warping import epipolar_rays, sample, sampling_grid
from egodepth.losses.photometric import patch_moments, photometric_error
from egodepth.methods.view_synthesis import ViewSynthesisMethod
from egodepth.networks.modes import evaluating

SAMPLES = 60
"""Of the held-out ones, spread over them; more take longer and tell no more."""

SHOWN = 3


@dataclass(frozen=True)
class Judgement:
    """What held-out frames say of a model. Errors are photometric, SSIM and L1 of colours in [0, 1].

    Attributes:
        synthesis: mean error of the views warped by the model, at each pixel of the one that explains it best.
        identity: the same of the views as they are.
        flicker: how far median depths of neighbouring frames lie apart, as a share; the median over pairs.
        near, far: shares of the pixels whose depth lies at an end of the network's range.
        depths: (H, W) of the frames that are shown, in units of training.
        pictures: (H, W, 3) uint8, these frames.
        names: of these frames.
    """

    synthesis: float
    identity: float
    flicker: float
    near: float
    far: float
    depths: tuple[np.ndarray, ...]
    pictures: tuple[np.ndarray, ...]
    names: tuple[str, ...]


@torch.no_grad()
def judge(method: ViewSynthesisMethod, dataset: TrainingDataset, samples: int = SAMPLES) -> Judgement:
    """Look at held-out samples with the networks of a training; the networks are left in the mode that they were in.

    Args:
        dataset: that was not trained on; samples that cannot be read are refused by it.
    """
    size = method.training_setup.height, method.training_setup.width
    places = sorted(
        {number * len(dataset) // min(samples, len(dataset)) for number in range(min(samples, len(dataset)))}
    )
    shown = set(places[:: max(1, len(places) // SHOWN)][:SHOWN])
    device = next(method.parameters()).device
    errors: list[tuple[float, float, float]] = []
    borders: list[Tensor] = []
    pictures, depths, names = [], [], []
    with evaluating(method):
        for place in places:
            batch = Batch.of([dataset[place]], [place], dataset.source_ids).to(device)
            views = resized(without_augmentation(batch), *size)
            depth = _depth(method, views.target)
            errors.append((*_errors(method, views, depth), _flicker(method, views, depth)))
            method.watch_depth(depth, method.depth_network.min_depth, method.depth_network.max_depth)
            borders.append(method.border_shares)
            if place in shown:
                depths.append(depth[0, 0].cpu().numpy())
                pictures.append((views.target[0].permute(1, 2, 0) * 255).byte().cpu().numpy())
                names.append(batch.names[0])
    synthesis, identity, flicker = (torch.tensor(each) for each in zip(*errors, strict=True))
    near, far = torch.stack(borders).mean(0).tolist()
    return Judgement(
        float(synthesis.mean()),
        float(identity.mean()),
        float(flicker.nanmedian()),
        near,
        far,
        tuple(depths),
        tuple(pictures),
        tuple(names),
    )


def _depth(method: ViewSynthesisMethod, images: Tensor) -> Tensor:
    network = method.depth_network
    return enlarged_depth(network.finest(images), images.shape[-2:], network.min_depth, network.max_depth)


def _errors(method: ViewSynthesisMethod, views: Views, depth: Tensor) -> tuple[float, float]:
    """Mean error of the best warped view, and of the best view as it is, over the pixels that show the scene."""
    sources = views.sources.transpose(0, 1)
    moments = patch_moments(views.target)
    grid = sampling_grid(depth, epipolar_rays(views.intrinsics, method.transforms(views), *views.size))
    inside = (grid.abs() <= 1).all(-1)
    warped = photometric_error(sample(sources, grid), moments).masked_fill(~inside, torch.inf).amin(0)
    identity = photometric_error(sources, moments).amin(0)
    used = warped.isfinite()
    if views.mask is not None:
        used = used & views.mask[:, 0]
    return float(warped[used].mean()), float(identity[used].mean())


def _flicker(method: ViewSynthesisMethod, views: Views, depth: Tensor) -> float:
    """How far the median depth of the next frame lies from this one's; NaN where there is no next frame."""
    if 1 not in views.source_ids:
        return float("nan")
    following = _depth(method, views.sources[:, views.source_ids.index(1)])
    return abs(float((following.median() / depth.median()).log()))


def gain(error: float, reference: float) -> float:
    """How much smaller an error is than another, as a share; below 0 where it is larger."""
    return 1 - error / reference
