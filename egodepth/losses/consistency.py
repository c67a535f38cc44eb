"""How far apart the outputs for two views of one picture are: phi of FA-Depth's pyramid loss.

Source: FA-Depth, section on the pyramid loss, equation 22. Its printed sum, half of p log r + r log p, is a negative
cross-entropy: it falls without bound as the maps move apart. The symmetric Kullback-Leibler divergence here is our
reading of it; numbers in tests/reference/losses.json.

Both functions take maps (B, C, H, W) of one size in one frame: what belongs to a mirrored or a resized view is
mirrored or resized back before. Gradients go into both arguments; the caller detaches the one that is not to move.
"""

from torch import Tensor

from egodepth.geometry.precision import in_float32


@in_float32
def symmetric_divergence(first: Tensor, second: Tensor) -> Tensor:
    """phi for mirrored and resized views, a scalar of at least 0.

    Softmax along the height and along the width makes distributions of the columns and the rows of (B, C, H, W); this
    is the mean over both axes of half their symmetric divergence. It does not see a constant offset along an axis, and
    it is quadratic in the range of the values: a disparity wants scaling before.
    """
    return (_axis_divergence(first, second, -2) + _axis_divergence(first, second, -1)) / 2


@in_float32
def mean_absolute_difference(first: Tensor, second: Tensor) -> Tensor:
    """phi for views of other colours, a scalar of at least 0, from maps (B, C, H, W)."""
    return (first - second).abs().mean()


def _axis_divergence(first: Tensor, second: Tensor, axis: int) -> Tensor:
    """Half the sum of the divergences both ways along an axis, mean over all other positions."""
    log_first, log_second = first.log_softmax(axis), second.log_softmax(axis)
    return ((log_first.exp() - log_second.exp()) * (log_first - log_second)).sum(axis).mean() / 2
