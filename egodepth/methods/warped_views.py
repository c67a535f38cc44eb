"""How well the views of a sample, warped by some depth, look like its target."""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from egodepth.data.transforms import Views
from egodepth.geometry.warping import EpipolarRays, epipolar_rays, sample, sampling_grid
from egodepth.losses.photometric import PatchMoments, patch_moments, photometric_error


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
