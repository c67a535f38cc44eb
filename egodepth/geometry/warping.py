"""Cameras, poses, view synthesis, disparity and depth: pure functions on tensors.

Conventions. Camera axes: x right, y down, z forward. Pixel centres have integer coordinates, the top-left one
is (0, 0). A transform is a 4x4 matrix that maps points of the target camera to points of the source camera.
Everything here runs in float32 at least, also under autocast: a half-precision pixel coordinate is off by
half a pixel at the right edge of a KITTI image.

Source: Monodepth2 (Godard et al., ICCV 2019), sections 3.1 and 3.2; numbers in tests/reference/monodepth2.json.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from egodepth.geometry.precision import in_float32

# --- cameras ---------------------------------------------------------------------------------------------------


# --- poses -----------------------------------------------------------------------------------------------------


# --- projection and view synthesis -----------------------------------------------------------------------------


def pixel_grid(height: int, width: int, device: torch.device, dtype: torch.dtype = torch.float32) -> Tensor:
    """Homogeneous pixel coordinates (3, H, W): u, v and one."""
    v, u = torch.meshgrid(
        torch.arange(height, device=device, dtype=dtype),
        torch.arange(width, device=device, dtype=dtype),
        indexing="ij",
    )
    return torch.stack([u, v, torch.ones_like(u)])


@in_float32
def project(points: Tensor, intrinsics: Tensor, transform: Tensor) -> Tensor:
    """Pixel coordinates (B, 2, H, W) of points (B, 3, H, W) seen by the camera that `transform` leads to.

    Points behind the camera are not masked, as in the reference.
    """
    matrix = intrinsics @ transform[:, :3, :3]
    offset = intrinsics @ transform[:, :3, 3:]
    projected = (matrix @ points.flatten(2) + offset).unflatten(-1, points.shape[-2:])
    return projected[:, :2] / (projected[:, 2:] + 1e-7)


@dataclass(frozen=True)
class EpipolarRays:
    """What the reprojection of a target pixel needs besides its depth.

    A pixel p with depth d falls on K (d R K^-1 p + t) = d direction + offset in the source image. Both parts
    depend on the pose alone, so that all scales of one training step share them.

    Attributes:
        direction: (..., B, 3, H, W), homogeneous source pixel per unit of depth.
        offset: (..., B, 3, 1, 1), homogeneous source pixel of the target camera's centre.
    """

    direction: Tensor
    offset: Tensor

    @property
    def size(self) -> tuple[int, int]:
        return self.direction.shape[-2], self.direction.shape[-1]


@in_float32
def epipolar_rays(intrinsics: Tensor, transform: Tensor, height: int, width: int) -> EpipolarRays:
    """Rays of every pixel for cameras (B, 3, 3) in pixels and target-to-source transforms (..., B, 4, 4).

    The leading axis, if there is one, counts the sources.
    """
    homography = intrinsics @ transform[..., :3, :3] @ torch.linalg.inv(intrinsics)
    pixels = pixel_grid(height, width, intrinsics.device, intrinsics.dtype).flatten(1)
    offset = intrinsics @ transform[..., :3, 3:]
    return EpipolarRays((homography @ pixels).unflatten(-1, (height, width)), offset[..., None])


@in_float32
def sampling_grid(depth: Tensor, rays: EpipolarRays) -> Tensor:
    """Where to sample the source for each target pixel: (..., B, H, W, 2) in [-1, 1], `align_corners=True`.

    Args:
        depth: (B, 1, H, W), in the unit of the transform's translation.
    """
    height, width = rays.size
    projected = depth * rays.direction + rays.offset
    pixels = projected[..., :2, :, :] / (projected[..., 2:, :, :] + 1e-7)
    scale = pixels.new_tensor([2 / (width - 1), 2 / (height - 1)])
    return pixels.movedim(-3, -1) * scale - 1


@in_float32
def sample(source: Tensor, grid: Tensor, align_corners: bool = True) -> Tensor:
    """Sample sources (..., B, C, H, W) bilinearly at a grid (..., B, H, W, 2), border pixels repeated outside.

    Args:
        align_corners: True is what the grid is made for. False repeats what the published Monodepth2 code does
            on PyTorch 1.3 and later, a slight zoom towards the centre.
    """
    # PyTorch's backward pass on a CPU reads outside memory at a coordinate that is not a number. A run that has
    # diverged must live to say so: its loss or its gradient is still not a number elsewhere.
    grid = grid.nan_to_num(nan=2.0)
    sampled = F.grid_sample(
        source.flatten(0, -4),
        grid.flatten(0, -4),
        mode="bilinear",
        padding_mode="border",
        align_corners=align_corners,
    )
    return sampled.unflatten(0, source.shape[:-3])
