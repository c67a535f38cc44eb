"""Cameras, poses, view synthesis, disparity and depth: pure functions on tensors.

Conventions. Camera axes: x right, y down, z forward. Pixel centres have integer coordinates, the top-left one
is (0, 0). A transform is a 4x4 matrix that maps points of the target camera to points of the source camera.
Everything here runs in float32 at least, also under autocast: a half-precision pixel coordinate is off by
half a pixel at the right edge of a KITTI image.

Source: Monodepth2 (Godard et al., ICCV 2019), sections 3.1 and 3.2; numbers in tests/reference/monodepth2.json.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import wraps
from typing import ParamSpec, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

MIN_DEPTH = 0.1
MAX_DEPTH = 100.0

P = ParamSpec("P")
R = TypeVar("R")


def in_float32(function: Callable[P, R]) -> Callable[P, R]:
    """Run `function` outside autocast, with its half-precision tensor arguments raised to float32."""

    def raised(value: object) -> object:
        return value.float() if isinstance(value, Tensor) and value.dtype in (torch.half, torch.bfloat16) else value

    @wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        device = next((value.device.type for value in args if isinstance(value, Tensor)), "cpu")
        if not torch.amp.is_autocast_available(device):
            return function(*args, **kwargs)
        with torch.autocast(device, enabled=False):
            return function(*map(raised, args), **{key: raised(value) for key, value in kwargs.items()})

    return wrapper


# --- cameras ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Camera:
    """A pinhole camera: intrinsics in pixels and the image size that they belong to.

    Attributes:
        intrinsics: (..., 3, 3), focal lengths and principal point in pixels.
        height, width: the image size in pixels.
    """

    intrinsics: Tensor
    height: int
    width: int

    @classmethod
    def from_normalised(cls, intrinsics: Tensor, height: int, width: int) -> "Camera":
        """The camera of an image of this size from size-free intrinsics (see `normalised`)."""
        pixel = _scale_rows(intrinsics, width, height)
        return cls(_shift_centre(pixel, -0.5, -0.5), height, width)

    def normalised(self) -> Tensor:
        """Intrinsics (..., 3, 3) in fractions of the image: (fx / W, fy / H, (cx + 1/2) / W, (cy + 1/2) / H).

        The half pixel makes them the same at every size of one picture: the left border of the image, not
        the centre of its first pixel, is zero.
        """
        return _scale_rows(_shift_centre(self.intrinsics, 0.5, 0.5), 1 / self.width, 1 / self.height)

    def resize(self, height: int, width: int, half_pixel: bool = True) -> "Camera":
        """The camera of the same picture resampled to another size.

        Args:
            half_pixel: keep the principal point at the same place of the picture. False multiplies it by the
                scale alone, as the Monodepth2 code and most others do, which is off by up to half a pixel.
        """
        shift = 0.5 if half_pixel else 0.0
        scaled = _scale_rows(_shift_centre(self.intrinsics, shift, shift), width / self.width, height / self.height)
        return Camera(_shift_centre(scaled, -shift, -shift), height, width)

    def crop(self, top: int, left: int, height: int, width: int) -> "Camera":
        """The camera of a window of the picture; the window may reach over the border."""
        return Camera(_shift_centre(self.intrinsics, -left, -top), height, width)

    def flip(self) -> "Camera":
        """The camera of the picture mirrored left to right."""
        mirrored = self.intrinsics.clone()
        mirrored[..., 0, 2] = self.width - 1 - mirrored[..., 0, 2]
        return replace(self, intrinsics=mirrored)


def pinhole(fx: float, fy: float, cx: float, cy: float) -> Tensor:
    """The intrinsics matrix (3, 3) of a pinhole camera without skew."""
    return torch.tensor([[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]])


def _scale_rows(intrinsics: Tensor, horizontal: float, vertical: float) -> Tensor:
    return intrinsics * intrinsics.new_tensor([[horizontal], [vertical], [1.0]])


def _shift_centre(intrinsics: Tensor, horizontal: float, vertical: float) -> Tensor:
    return intrinsics + intrinsics.new_tensor([[0, 0, horizontal], [0, 0, vertical], [0, 0, 0]])


# --- poses -----------------------------------------------------------------------------------------------------


@in_float32
def axis_angle_to_rotation(axis_angle: Tensor) -> Tensor:
    """Rotation matrices (B, 3, 3) from axis-angle vectors (B, 3) in radians, by Rodrigues' formula."""
    angle = axis_angle.norm(dim=-1, keepdim=True)
    x, y, z = (axis_angle / (angle + 1e-7)).unbind(-1)
    zero = torch.zeros_like(x)
    cross = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=-1).unflatten(-1, (3, 3))
    axis = torch.stack([x, y, z], dim=-1)
    outer = axis[..., :, None] * axis[..., None, :]
    angle = angle[..., None]
    identity = torch.eye(3, dtype=axis_angle.dtype, device=axis_angle.device)
    return angle.cos() * identity + angle.sin() * cross + (1 - angle.cos()) * outer


@in_float32
def pose_to_transform(axis_angle: Tensor, translation: Tensor, invert: bool = False) -> Tensor:
    """Rigid transforms (B, 4, 4) from axis-angle (B, 3) in radians and translation (B, 3).

    Args:
        invert: give the exact inverse, X' = R^T (X - t), instead of X' = R X + t. Used for a source that comes
            before the target, because the pose network always sees its two images in temporal order.
    """
    rotation = axis_angle_to_rotation(axis_angle)
    if invert:
        rotation = rotation.transpose(-1, -2)
        translation = -(rotation @ translation[..., None])[..., 0]
    return rigid_transform(rotation, translation)


def rigid_transform(rotation: Tensor, translation: Tensor) -> Tensor:
    """Stack rotation (B, 3, 3) and translation (B, 3) into transforms (B, 4, 4)."""
    upper = torch.cat([rotation, translation[..., None]], dim=-1)
    last = upper.new_tensor([0.0, 0.0, 0.0, 1.0]).expand(*upper.shape[:-2], 1, 4)
    return torch.cat([upper, last], dim=-2)


def stereo_transform(offset: Tensor) -> Tensor:
    """Transforms (B, 4, 4) to the other camera of a rectified pair, from its signed x offsets (B,).

    The offset is -baseline when the target is the left camera and +baseline when it is the right one; a mirrored
    pair has the opposite sign.
    """
    transform = torch.eye(4, dtype=offset.dtype, device=offset.device).repeat(offset.shape[0], 1, 1)
    transform[:, 0, 3] = offset
    return transform


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
def back_project(depth: Tensor, intrinsics: Tensor) -> Tensor:
    """Points (B, 3, H, W) in camera coordinates from depth (B, 1, H, W) and pixel intrinsics (B, 3, 3)."""
    pixels = pixel_grid(*depth.shape[-2:], depth.device, depth.dtype).flatten(1)
    rays = torch.linalg.inv(intrinsics) @ pixels
    return depth * rays.unflatten(-1, depth.shape[-2:])


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


# --- disparity and depth ---------------------------------------------------------------------------------------


@in_float32
def sigmoid_to_disparity(
    sigmoid_disparity: Tensor, min_depth: float = MIN_DEPTH, max_depth: float = MAX_DEPTH
) -> Tensor:
    """Inverse depth from a network's sigmoid output in (0, 1), linear between 1 / max_depth and 1 / min_depth."""
    return 1 / max_depth + (1 / min_depth - 1 / max_depth) * sigmoid_disparity


def sigmoid_to_depth(sigmoid_disparity: Tensor, min_depth: float = MIN_DEPTH, max_depth: float = MAX_DEPTH) -> Tensor:
    """Depth in [min_depth, max_depth] from a network's sigmoid output in (0, 1)."""
    return 1 / sigmoid_to_disparity(sigmoid_disparity, min_depth, max_depth)
