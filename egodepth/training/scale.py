"""How the depth of a trained model gets its metres: from a stereo baseline, or from poses that the data know.

A network that is trained from video alone finds depth and motion up to one factor, the same for both. Where the data
know the true motion, the factor is the true distance over the distance that the pose network finds; no depth is
looked at.
"""

import torch
from torch import Tensor, nn

from egodepth.data.samples import Batch, PosedDataset, Sample, spread_samples
from egodepth.data.transforms import resized, without_augmentation
from egodepth.geometry.scale import STANDING_M, Scale
from egodepth.networks.modes import evaluating
from egodepth.networks.pose import motion_to

SAMPLES = 64
"""How many samples the scale is taken from, spread over the training set."""


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
    moved, found = [], []
    with evaluating(pose_network), torch.no_grad():
        for index, sample in spread_samples(dataset, samples):
            distances = dict(zip(dataset.source_ids, dataset.moved_m(index), strict=True))
            # One frame away is what pose networks are trained on.
            neighbours = [source for source in dataset.source_ids if source in (-1, 1)]
            moved += [distances[source] for source in neighbours]
            found += _found_distances(pose_network, dataset, sample, neighbours, height, width)
    value = scale_of_motion(torch.tensor(moved), torch.tensor(found))
    return None if value is None else Scale(value, "poses")


def _found_distances(
    pose_network: nn.Module, dataset: PosedDataset, sample: Sample, offsets: list[int], height: int, width: int
) -> list[float]:
    """Length of the motion to the frames at `offsets`, in units of training."""
    device = next(pose_network.parameters()).device
    views = resized(without_augmentation(Batch.of([sample], [0], dataset.source_ids).to(device)), height, width)
    frames = dict(zip(views.source_ids, views.sources.unbind(1), strict=True))
    motions = (motion_to(pose_network, views.target, frames, offset) for offset in offsets)
    return [float(motion[0, :3, 3].norm()) for motion in motions]
