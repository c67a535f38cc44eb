"""Holding depth to what the network saw when training began: view synthesis must not unlearn what it cannot tell.

Near the point that the camera drives towards, where the picture stands still and where something moves, any depth
explains the views, or a wrong one explains them best. A network that starts from trained weights knows better there.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from egodepth.data.transforms import Views, resize
from egodepth.geometry.depth import sigmoid_to_disparity
from egodepth.losses.photometric import at_size, mean_where
from egodepth.losses.teacher_depth import gradient_matching, log_residual
from egodepth.methods.frozen import FrozenNetwork

GRADIENT_SHARE = 0.5


@dataclass(frozen=True)
class Anchor:
    """What holds depth to the network as it was before training.

    Attributes:
        start: that network, of the same unit of depth as the one in training.
        weight: of the distance from it.
    """

    start: FrozenNetwork
    weight: float

    def loss(
        self, disparities: Sequence[Tensor], views: Views, depth_range: tuple[float, float]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """How far disparities are from those of the start, in the logarithm of depth, meaned over the scales.

        Args:
            disparities: of the target, sigmoid, fine to coarse.
            depth_range: that they span.

        Returns:
            the weighed sum, and the distance for the log.
        """
        first = self.start.inverse_depth(views.target)
        distances, gradients = [], []
        for own in disparities:
            start = resize(first, *own.shape[-2:])
            used = at_size(views.mask, own.shape[-2:])
            known = torch.ones_like(own, dtype=torch.bool) if used is None else used
            residual = log_residual(sigmoid_to_disparity(own, *depth_range), start, known)
            distances.append(mean_where(residual.abs(), known))
            gradients.append(gradient_matching(residual, known))
        distance, gradient = (sum(parts) / len(parts) for parts in (distances, gradients))
        return self.weight * (distance + GRADIENT_SHARE * gradient), {"anchor_distance": distance}
