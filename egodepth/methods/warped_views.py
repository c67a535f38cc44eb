"""How well the views of a sample, warped by some depth, look like its target."""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from egodepth.data.transforms import Views
from egodepth.geometry.warping import EpipolarRays, epipolar_rays, sample, sampling_grid
from egodepth.losses.photometric import PatchMoments, mean_where, patch_moments, photometric_error


@dataclass(frozen=True)
class WarpedViews:
    """The views of a sample under one motion, to be warped by any depth; made once for all of them."""

    views: Views
    rays: EpipolarRays
    moments: PatchMoments

    @classmethod
    def of(cls, views: Views, transforms: Tensor) -> Self:
        """With motions (S, B, 4, 4) from target to source, in the units of the depths that are to come."""
        rays = epipolar_rays(views.intrinsics, transforms, *views.size)
        return cls(views, rays, patch_moments(views.target))

    def error(self, depth: Tensor) -> Tensor:
        """Photometric error (B, H, W) of the view that explains each pixel best; infinite where none shows it.

        Args:
            depth: (B, 1, H, W) of the target.
        """
        grid = sampling_grid(depth, self.rays)
        inside = (grid.abs() <= 1).all(-1)
        if self.views.mask is not None:
            inside = inside & self.views.mask[:, 0]
        warped = photometric_error(sample(self.views.sources.transpose(0, 1), grid), self.moments)
        return warped.masked_fill(~inside, torch.inf).amin(0)


def synthesis_error(views: Views, depth: Tensor, transforms: Tensor) -> Tensor:
    """How badly depth and motion explain the views, a scalar: mean error of the best warped view at each pixel.

    Every pixel counts, unlike in the loss, whose auto-mask takes the view as it is wherever the warped one is worse, so
    that any depth, right or wrong, lowers it. A pixel that no view shows counts as the views as they are explain it,
    so that nothing is gained by moving pixels out of sight.

    Args:
        depth: (B, 1, H, W) of the target.
        transforms: (S, B, 4, 4), target to source.
    """
    judged = WarpedViews.of(views, transforms)
    warped = judged.error(depth)
    identity = photometric_error(views.sources.transpose(0, 1), judged.moments).amin(0)
    error = torch.where(warped.isfinite(), warped, identity)
    return mean_where(error, None if views.mask is None else views.mask[:, 0])
