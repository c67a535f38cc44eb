"""Camera motion as 4x4 transforms, which map points of the target camera to points of the source camera.

Camera axes: x right, y down, z forward. Source: Monodepth2 (Godard et al., ICCV 2019), section 3.2.
"""

import torch
from torch import Tensor

from egodepth.geometry.precision import in_float32


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
