"""View synthesis in single steps, for tests that hold depth and pose against each other."""

import torch
from torch import Tensor

from egodepth.geometry.warping import epipolar_rays, pixel_grid, sample, sampling_grid


def back_project(depth: Tensor, intrinsics: Tensor) -> Tensor:
    """Points (B, 3, H, W) in camera coordinates from depth (B, 1, H, W) and pixel intrinsics (B, 3, 3)."""
    pixels = pixel_grid(*depth.shape[-2:], depth.device, depth.dtype).flatten(1)
    rays = torch.linalg.inv(intrinsics) @ pixels
    return depth * rays.unflatten(-1, depth.shape[-2:])


def synthesise_view(source: Tensor, depth: Tensor, intrinsics: Tensor, transform: Tensor) -> Tensor:
    """The target view (B, C, H, W) painted with the colours of a source view, Monodepth2 equation 2.

    Args:
        source: (B, C, H, W).
        depth: (B, 1, H, W), of the target view.
        intrinsics: (B, 3, 3) in pixels, of both views.
        transform: (B, 4, 4), target to source.
    """
    rays = epipolar_rays(intrinsics, transform, *depth.shape[-2:])
    return sample(source, sampling_grid(depth, rays))
