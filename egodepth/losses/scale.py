"""The unit of depth, where video alone is trained on: what holds it, and how near depths are to the range's ends.

View synthesis from video is the same for all depths and translations times one factor, so nothing holds that factor in
the range that the sigmoid spans. The remedy of Wang et al., "Learning Depth from Monocular Videos using Direct Methods"
(CVPR 2018), section 4.1, is to divide the inverse depth by its mean before the synthesis, which gives each image a unit
of its own. Here the unit of all images together is pulled to a fixed one.
"""

import math

from torch import Tensor

from egodepth.geometry.precision import in_float32
from egodepth.losses.photometric import mean_where


@in_float32
def scale_anchor(depth: Tensor, anchor_depth: float, mask: Tensor | None = None) -> Tensor:
    """Squared logarithm of the ratio of a batch's typical depth to a fixed one; a scalar.

    The typical depth is the geometric mean of the middle half of all depths: as indifferent to sky and bonnet as the
    median, but with a gradient that is spread over the pixels, not that of a single one.

    Args:
        depth: (B, 1, H, W), positive.
        anchor_depth: where it is pulled to, in the same units.
        mask: (B, 1, H, W) bool, the pixels that count; none counts all.
    """
    log_depth = depth.log() if mask is None else depth[mask].log()
    if not log_depth.numel():
        return depth.sum() * 0
    ordered = log_depth.detach().flatten().sort().values
    low, high = ordered[len(ordered) // 4], ordered[(3 * len(ordered) - 1) // 4]
    middle = mean_where(log_depth, (log_depth >= low) & (log_depth <= high))
    return (middle - math.log(anchor_depth)).square()


def border_shares(sigmoid_disparity: Tensor, margin: float = 0.02, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Shares of pixels at the near and at the far end of the range that a sigmoid spans; two scalars.

    Args:
        sigmoid_disparity: (B, 1, H, W) in (0, 1).
        margin: how much of the sigmoid's range is its end.
        mask: (B, 1, H, W) bool, the pixels that count; none counts all.
    """
    disparity = sigmoid_disparity.detach()
    near, far = (disparity > 1 - margin).float(), (disparity < margin).float()
    return mean_where(near, mask), mean_where(far, mask)
