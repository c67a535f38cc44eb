"""What a student learns from a frozen teacher: FA-Depth's APX, and RPrDepth's guidance by rich depth.

Sources: FA-Depth, equation 28; RPrDepth, section on the rich-resource guided loss. The reduction over positions and the
normalisation of the gradient maps are not stated there and are ours; numbers in tests/reference/losses.json.

The teacher's side is a constant in every function.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from egodepth.geometry.precision import in_float32

FLATTEST = 1e-3
"""Maps that vary less than this, in sigmoid disparity or in features, teach less and less: it may be noise."""

# --- FA-Depth: APX ---------------------------------------------------------------------------------------------


@in_float32
def axis_divergence(teacher: Tensor, student: Tensor) -> Tensor:
    """P(teacher, student), equation 28c, a scalar of at least 0.

    Softmax along the height and along the width makes distributions of the columns and the rows; this is the mean over
    both axes, and over all positions, of the divergence of the student's from the teacher's. It is zero where the two
    differ by a constant, so it cannot pin the level of a disparity, and it is quadratic in the range of the values.

    Args:
        teacher, student: (B, C, H, W), of one size.
    """
    teacher = teacher.detach()
    return (_divergence(teacher, student, -2) + _divergence(teacher, student, -1)) / 2


def near_mask(teacher_disparity: Tensor, share: float = 0.3) -> Tensor:
    """M of equation 28b, (B, 1, H, W) bool: false where the teacher sees something far, or a hole.

    Both arguments of `axis_divergence` are multiplied by it.

    Args:
        teacher_disparity: (B, 1, H, W), at least 0.
        share: of the image's median disparity (the lower of two middle ones) that a pixel must exceed; at 0.3 the
            mask drops what is farther than 3.3 times the median depth.
    """
    with torch.no_grad():
        median = teacher_disparity.flatten(1).median(dim=1).values
        return teacher_disparity > share * median[:, None, None, None]


def spread(each: Tensor) -> Tensor:
    """The standard deviation (B, 1, 1, 1) of a map (B, 1, H, W), at least `FLATTEST`.

    Divided by it, a map's softmax is neither flat nor a single peak, whatever the map's unit.
    """
    variance = each.float().var((1, 2, 3), correction=0, keepdim=True)
    return variance.clamp(min=FLATTEST**2).sqrt()  # the root of zero would have no gradient


def _divergence(teacher: Tensor, student: Tensor, axis: int) -> Tensor:
    """Kullback-Leibler divergence along an axis, mean over all other positions."""
    log_teacher, log_student = teacher.log_softmax(axis), student.log_softmax(axis)
    return (log_teacher.exp() * (log_teacher - log_student)).sum(axis).mean()


# --- RPrDepth: rich-resource guidance --------------------------------------------------------------------------


@in_float32
def normalised_gradient(depth: Tensor) -> Tensor:
    """G(depth), (B, 1, H-1, W-1): the steps to the right and down, divided by their mean over the image.

    The mean makes it independent of the depth's scale. A depth that is the same everywhere has a gradient of zero.

    Args:
        depth: (B, 1, H, W).
    """
    corner = depth[..., :-1, :-1]
    steps = (depth[..., :-1, 1:] - corner).abs() + (depth[..., 1:, :-1] - corner).abs()
    return steps / (steps.mean((-2, -1), keepdim=True) + 1e-6)


@in_float32
def gradient_consistency(depth: Tensor, pseudo_depth: Tensor, reliable: Tensor | None = None) -> Tensor:
    """L_c, a scalar: the L1 distance between the normalised gradient maps of two depths.

    Args:
        depth: (B, 1, H, W), the student's, in any scale.
        pseudo_depth: (B, 1, H, W), the teacher's, in any scale.
        reliable: (B, 1, H, W) in [0, 1], how much each pixel counts.
    """
    difference = (normalised_gradient(depth) - normalised_gradient(pseudo_depth.detach())).abs()
    return difference.mean() if reliable is None else (difference * reliable[..., :-1, :-1]).mean()


@in_float32
def auxiliary_loss(pseudo_depth: Tensor, hint_depth: Tensor, relative: bool = True) -> Tensor:
    """L_aux, a scalar: the L1 distance between the teacher's depth and the one found in the reference set.

    Args:
        pseudo_depth: (B, 1, H, W), the teacher's.
        hint_depth: (B, 1, h, w), in the teacher's scale; resized bilinearly.
        relative: divide by each image's mean pseudo depth, so that the weight of the loss does not depend on the
            teacher's unit. False gives the paper's distance in that unit.
    """
    pseudo_depth = pseudo_depth.detach()
    resized = F.interpolate(hint_depth, pseudo_depth.shape[-2:], mode="bilinear", align_corners=False)
    difference = (pseudo_depth - resized).abs()
    if relative:
        difference = difference / pseudo_depth.mean((-2, -1), keepdim=True)
    return difference.mean()
