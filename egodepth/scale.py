"""How the depth of a trained model gets its metres: from a stereo baseline, or from poses that the data know.

A network that is trained from video alone finds depth and motion up to one factor, the same for both. Where the data
know the true motion, the factor is the true distance over the distance that the pose network finds; no depth is
looked at.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from egodepth.data.samples import Batch, PosedDataset, Sample
from egodepth.data.transforms import resized, without_augmentation
from egodepth.errors import UserError

Origin = Literal["stereo baseline", "poses"]

SAMPLES = 64
"""That the scale is taken from, spread over the training set."""

STANDING_M = 0.2
"""A camera that moved less between two frames says nothing but noise; 2 m/s at 10 Hz."""


@dataclass(frozen=True)
class Scale:
    """The length of a network's unit of depth.

    Attributes:
        metres_per_unit: above 0.
        origin: how it was obtained.
    """

    metres_per_unit: float
    origin: Origin


def scale_of_motion(moved_m: Tensor, found: Tensor) -> float | None:
    """Metres per unit: the median of the true over the found distances (N,), where the camera moved.

    Args:
        moved_m: in metres.
        found: of the same pairs of frames, in units of training.

    Returns:
        None where the camera never moved, or the network sees no motion.
    """
    moves = (moved_m > STANDING_M) & (found > 0)
    if not moves.any():
        return None
    # quantile takes the middle of an even number, as the median of the evaluation does.
    return float((moved_m[moves].double() / found[moves].double()).quantile(0.5))


def scale_from_poses(
    pose_network: nn.Module, dataset: PosedDataset, height: int, width: int, samples: int = SAMPLES
) -> Scale | None:
    """The scale of networks that were trained together, one of which finds the motion.

    Args:
        pose_network: see `PoseNetwork`; it is left in the mode that it was in.
        dataset: trained on. Samples that cannot be read are passed over.
        height, width: at which the network sees a picture.
        samples: that are looked at.

    Returns:
        None where the samples tell nothing; see `scale_of_motion`.
    """
    # One frame away is what pose networks are trained on.
    places = [place for place, source in enumerate(dataset.source_ids) if source in (-1, 1)]
    moved, found = [], []
    with _evaluating(pose_network), torch.no_grad():
        for index, sample in _spread(dataset, samples):
            distances = dataset.moved_m(index)
            moved += [distances[place] for place in places]
            found += _found_distances(pose_network, dataset, sample, places, height, width)
    value = scale_of_motion(torch.tensor(moved), torch.tensor(found))
    return None if value is None else Scale(value, "poses")


def _found_distances(
    pose_network: nn.Module, dataset: PosedDataset, sample: Sample, places: list[int], height: int, width: int
) -> list[float]:
    """Length of the motion to each of the sources at `places`, in units of training."""
    device = next(pose_network.parameters()).device
    views = resized(without_augmentation(Batch.of([sample], [0], dataset.source_ids).to(device)), height, width)
    distances = []
    for place in places:
        pair = (views.target, views.sources[:, place])
        earlier, later = reversed(pair) if dataset.source_ids[place] < 0 else pair
        _, translation = pose_network(earlier, later)
        distances.append(float(translation[0, 0].norm()))
    return distances


def _spread(dataset: PosedDataset, count: int) -> Iterator[tuple[int, Sample]]:
    """Up to `count` samples and their places; those that cannot be read are passed over."""
    count = min(count, len(dataset))
    for index in (number * len(dataset) // count for number in range(count)):
        try:
            yield index, dataset[index]
        except UserError:
            continue


@contextmanager
def _evaluating(network: nn.Module) -> Iterator[None]:
    """The network with its running statistics, which it does not change meanwhile."""
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
