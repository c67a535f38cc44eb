"""Colours for depth and error maps: numbers in, RGB pixels out."""

import numpy as np

from egodepth.colour_maps import MAGMA, TURBO

NO_VALUE = (32, 32, 36)
"""RGB of pixels without a value: a grey that neither colour map contains."""


def colour_disparity(disparity: np.ndarray, low: float | None = None, high: float | None = None) -> np.ndarray:
    """Paint an inverse depth: near is bright yellow, far is black (magma, as this field does).

    Args:
        disparity: (H, W), any unit. Pixels that are not finite have no value and become `NO_VALUE`.
        low, high: the values of the darkest and the brightest colour; values beyond them are clipped.
            Default: the minimum and the 95th percentile of the picture, so that a few very near pixels do not
            darken the rest. Give both to keep the colours of a video still.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    finite = disparity[np.isfinite(disparity)]
    if finite.size == 0:
        finite = np.zeros(1)
    low = float(finite.min()) if low is None else low
    high = float(np.percentile(finite, 95)) if high is None else high
    return _paint(disparity, low, high, MAGMA)


def colour_depth(depth: np.ndarray, low: float | None = None, high: float | None = None) -> np.ndarray:
    """Paint a depth (H, W) by its inverse, like `colour_disparity`; `low` and `high` are inverse depths.

    Pixels with a depth of zero or less, or of no finite value, have no value.
    """
    known = np.isfinite(depth) & (depth > 0)
    disparity = np.full(depth.shape, np.nan, dtype=np.float32)
    disparity[known] = 1 / depth[known]
    return colour_disparity(disparity, low, high)


def colour_error(error: np.ndarray, high: float = 0.5) -> np.ndarray:
    """Paint an error map: blue is none, red is `high` or more (turbo).

    Args:
        error: (H, W), from 0 on; pixels that are not finite have no value and become `NO_VALUE`.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    return _paint(error, 0.0, high, TURBO)


def _paint(values: np.ndarray, low: float, high: float, colours: np.ndarray) -> np.ndarray:
    finite = np.isfinite(values)
    span = high - low
    fractions = (np.where(finite, values, low) - low) / (span if span > 0 else 1.0)
    levels = (np.clip(fractions, 0, 1) * 255).round().astype(np.uint8)
    pixels = colours[levels]
    pixels[~finite] = NO_VALUE
    return pixels
