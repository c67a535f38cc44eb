"""The terms that ManyDepth trains its multi-frame network and its single-frame teacher with.

Source: Watson et al., "The Temporal Opportunist: Self-Supervised Multi-Frame Monocular Depth" (CVPR 2021), sections
3.4 and 3.5; specification section B5. Photometric errors are those of `photometric`.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from egodepth.geometry.precision import in_float32
from egodepth.losses.photometric import mean_where


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean of `values` where `mask`, bool of the same shape, is true; 0 where it is nowhere."""
    return torch.where(mask, values, 0).sum() / (mask.sum() + 1e-7)


def motion_mask(matching_depth: Tensor, teacher_depth: Tensor) -> Tensor:
    """Where matching and teacher agree within a factor of two, so that nothing seems to move there on its own.

    Args:
        matching_depth, teacher_depth: positive, of the same shape; the result is bool of that shape.
    """
    farther = (matching_depth - teacher_depth) / teacher_depth < 1
    nearer = (teacher_depth - matching_depth) / matching_depth < 1
    return farther & nearer


@torch.no_grad()
def trust_mask(matching_depth: Tensor, confidence: Tensor, teacher_depth: Tensor, augmented: Tensor) -> Tensor:
    """Where the photometric error may teach the multi-frame network: (B, 1, H, W) bool.

    Args:
        matching_depth: (B, 1, h, w), depth of lowest cost.
        confidence: (B, 1, h, w) bool.
        teacher_depth: (B, 1, H, W), of the single-frame teacher's finest scale.
        augmented: (B,) bool, samples whose lookup frames were withheld or replaced; trusted nowhere.
    """
    size = teacher_depth.shape[-2:]
    matching_depth = F.interpolate(matching_depth.float(), size, mode="nearest")
    confidence = F.interpolate(confidence.float(), size, mode="nearest") > 0
    return confidence & motion_mask(matching_depth, teacher_depth.float()) & ~augmented[:, None, None, None]


@in_float32
def multi_frame_reprojection(errors: Tensor, trust: Tensor) -> Tensor:
    """Mean error of the best source over the trusted pixels, without auto-masking; a scalar.

    Args:
        errors: (S, B, H, W), photometric error of each warped source.
        trust: (B, 1, H, W) bool.
    """
    best = errors.amin(0)
    return masked_mean(best, trust[:, 0] & best.isfinite())


@in_float32
def consistency(depth: Tensor, teacher_depth: Tensor, trust: Tensor, mask: Tensor | None = None) -> Tensor:
    """How far the multi-frame network strays from its teacher where matching is not trusted; a scalar, a depth.

    The mean runs over all pixels, the trusted ones too. The teacher gets no gradient.

    Args:
        depth, teacher_depth: (B, 1, H, W), of the same scale.
        trust: (B, 1, H, W) bool.
        mask: (B, 1, H, W) bool, the pixels that show the scene, over which the mean runs; none is all of them.
    """
    return mean_where((depth - teacher_depth.detach()).abs() * ~trust, mask)


@in_float32
def teacher_reprojection(errors: Tensor, identity: Tensor, mask: Tensor | None = None) -> Tensor:
    """The teacher's photometric term: Monodepth2's, as a mean over the auto-mask; a scalar.

    `photometric.minimum_error` counts the masked pixels too; here they leave the mean, and a tie stays in it.

    Args:
        errors: (S, B, H, W), photometric error of each warped source.
        identity: (S, B, H, W), of each source as it is, ties broken.
        mask: (B, H, W) bool, the pixels that count besides; none is all of them.
    """
    best = errors.amin(0)
    reprojected = best <= identity.amin(0)
    return masked_mean(best, reprojected if mask is None else reprojected & mask)
