"""How good depth is where nobody knows the truth: by what it explains of frames that are held out.

A view that is warped by a model's depth and motion should look like the target, better than the view as it is does. Two
frames of one place should have depths that agree.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from egodepth.data.samples import Batch, TrainingDataset, spread_samples
from egodepth.data.transforms import Views, resized, without_augmentation
from egodepth.losses.photometric import photometric_error
from egodepth.methods.view_synthesis import ViewSynthesisMethod
from egodepth.methods.warped_views import WarpedViews
from egodepth.networks.modes import evaluating

SAMPLES = 60
"""So many of the held-out ones are looked at, spread over them; more take longer and tell no more."""

SHOWN = 3

LEAST_ERROR = 1e-6
"""Pictures without any texture are explained by anything, without error."""


@dataclass(frozen=True)
class Judgement:
    """What held-out frames say of a model. Errors are photometric, SSIM and L1 of colours in [0, 1].

    Attributes:
        synthesis: mean error of the views warped by the model, at each pixel of the one that explains it best.
        identity: the same of the views as they are.
        taught: the model's and its teacher's error where the teacher knows the depth, with the model's motion, and with
            the model's scale where the teacher has none; None where none teaches.
        flicker: how far median depths of neighbouring frames lie apart, as a share; the median over pairs.
        near, far: shares of the pixels whose depth lies at an end of the network's range.
        shown: frames from the beginning, the middle and the end.
    """

    synthesis: float
    identity: float
    taught: tuple[float, float] | None
    flicker: float
    near: float
    far: float
    shown: tuple["Shown", ...]


@dataclass(frozen=True)
class Shown:
    """A frame that a report shows: its name, picture (H, W, 3) uint8, and depth (H, W) in units of training."""

    name: str
    picture: np.ndarray
    depth: np.ndarray
    teacher: np.ndarray | None


@dataclass(frozen=True)
class _Found:
    """What one sample says."""

    synthesis: float
    identity: float
    taught: tuple[float, float]
    flicker: float
    borders: Tensor
    shown: Shown


@torch.no_grad()
def judge(method: ViewSynthesisMethod, dataset: TrainingDataset, samples: int = SAMPLES) -> Judgement | None:
    """Look at held-out samples with the networks of a training; the networks are left in the mode that they were in.

    Args:
        dataset: that was not trained on. Samples that cannot be read are passed over.

    Returns:
        None where no sample can be read.
    """
    found = []
    with evaluating(method):
        for place, sample in spread_samples(dataset, samples):
            found.append(_look(method, Batch.of([sample], [place], dataset.source_ids)))
    if not found:
        return None
    near, far = torch.stack([each.borders for each in found]).mean(0).tolist()
    taught = _mean(each.taught[0] for each in found), _mean(each.taught[1] for each in found)
    return Judgement(
        synthesis=_mean(each.synthesis for each in found),
        identity=_mean(each.identity for each in found),
        taught=None if math.isnan(taught[0]) else taught,
        flicker=float(torch.tensor([each.flicker for each in found]).nanmedian()),
        near=near,
        far=far,
        shown=tuple(each.shown for each in found[:: max(1, len(found) // SHOWN)][:SHOWN]),
    )


def _look(method: ViewSynthesisMethod, batch: Batch) -> _Found:
    device = next(method.parameters()).device
    views = without_augmentation(method.on_after_batch_transfer(batch.to(device), 0))
    views = resized(views, method.training_setup.height, method.training_setup.width)
    depth = method.depth_network.predict_depth(views.target)
    teacher = method.teacher_depth(views, depth)
    judged = WarpedViews.of(views, method.transforms(views))
    warped = judged.error(depth)
    identity = photometric_error(views.sources.transpose(0, 1), judged.moments).amin(0)
    taught = math.nan, math.nan
    if teacher is not None:
        of_teacher = judged.error(teacher[0])
        both = warped.isfinite() & of_teacher.isfinite() & teacher[1][:, 0]
        taught = float(warped[both].mean()), float(of_teacher[both].mean())
    used = warped.isfinite()
    method.watch_depth(depth, method.depth_network.min_depth, method.depth_network.max_depth)
    shown = Shown(
        batch.names[0],
        (views.target[0].permute(1, 2, 0) * 255).byte().cpu().numpy(),
        depth[0, 0].cpu().numpy(),
        None if teacher is None else torch.where(teacher[1], teacher[0], torch.nan)[0, 0].cpu().numpy(),
    )
    errors = float(warped[used].mean()), float(identity[used].mean())
    return _Found(*errors, taught, _flicker(method, views, depth), method.border_shares, shown)


def _flicker(method: ViewSynthesisMethod, views: Views, depth: Tensor) -> float:
    """How far the median depth of the next frame lies from this one's; NaN where there is no next frame."""
    if 1 not in views.source_ids:
        return math.nan
    following = method.depth_network.predict_depth(views.sources[:, views.source_ids.index(1)])
    return abs(float((following.median() / depth.median()).log()))


def _mean(values: Iterable[float]) -> float:
    return float(torch.tensor(list(values), dtype=torch.float64).nanmean())


def gain(error: float, reference: float) -> float:
    """How much smaller an error is than another, as a share of the larger one; below 0 where it is larger itself."""
    return (reference - error) / max(reference, error, LEAST_ERROR)
