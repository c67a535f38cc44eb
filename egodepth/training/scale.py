"""How the depth of a trained model gets its metres: from a stereo baseline, or from poses that the data know.

A network that is trained from video alone finds depth up to one factor. Where the data know the true motion, the factor
is the true distance over the one at which points of a picture, as far away as its depth says, went where the next one
shows them. For a network that needs several frames to see depth, it is the distance that the pose network finds.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from egodepth.data.samples import Batch, PosedDataset, spread_samples
from egodepth.data.transforms import Views, resized, without_augmentation
from egodepth.geometry.camera_motion import camera_motion
from egodepth.geometry.scale import STANDING_M, Scale
from egodepth.networks.disparity import DisparityNetwork
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


def motion_by_depth(network: DisparityNetwork, views: Views, offset: int) -> Tensor:
    """The motion (B, 4, 4) from the target to the frame at a time offset, by where points of the target went."""
    source = views.sources[:, views.source_ids.index(offset)]
    return camera_motion(views.target, source, network.predict_depth(views.target), views.intrinsics, views.mask)


def motion_by_pose_network(network: nn.Module, views: Views, offset: int) -> Tensor:
    """The same as a pose network says it; see `PoseNetwork`."""
    return motion_to(network, views.target, dict(zip(views.source_ids, views.sources.unbind(1), strict=True)), offset)


def scale_of_posed_samples(
    network: nn.Module,
    motion: Callable[[Any, Views, int], Tensor],
    dataset: PosedDataset,
    height: int,
    width: int,
    samples: int = SAMPLES,
) -> Scale | None:
    """The scale of networks that were trained together, by what one of them says of the motion.

    Args:
        network: it is left in the mode that it was in.
        motion: what it says: `motion_by_depth` or `motion_by_pose_network`.
        dataset: trained on. Samples that cannot be read are passed over.
        height, width: at which the network sees a picture.
        samples: that are looked at.

    Returns:
        None where the samples tell nothing; see `scale_of_motion`.
    """
    device = next(network.parameters()).device
    moved, found = [], []
    with evaluating(network), torch.no_grad():
        for index, sample in spread_samples(dataset, samples):
            batch = Batch.of([sample], [0], dataset.source_ids).to(device)
            views = resized(without_augmentation(batch), height, width)
            distances = dict(zip(dataset.source_ids, dataset.moved_m(index), strict=True))
            # One frame away is what pose networks are trained on.
            neighbours = [source for source in dataset.source_ids if source in (-1, 1)]
            moved += [distances[source] for source in neighbours]
            found += [float(motion(network, views, offset)[0, :3, 3].norm()) for offset in neighbours]
    value = scale_of_motion(torch.tensor(moved), torch.tensor(found))
    return None if value is None else Scale(value, "poses")
