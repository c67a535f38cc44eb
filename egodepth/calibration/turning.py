"""The focal length of a camera from footage in which it turns, with the depth that a network sees.

A camera that turns by r moves the picture by f r (1 + X²), X being the tangent of the angle off the axis: the same turn
moves the border of a wide view more than its middle. So of all focal lengths the right one lets a turn and a shift
explain best where the points of one picture went in the next. Going straight on tells nothing, so that pictures count
by the square of their turn. Where there are no turns, all focal lengths explain them alike, and which one is best
differs from one choice of pictures to the next: that is how it is known whether to believe it.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from egodepth.geometry.cameras import Camera, field_of_view_degrees
from egodepth.geometry.matches import Matches, matches
from egodepth.geometry.resection import resection, seen_from
from egodepth.networks.disparity import DisparityNetwork

Pair = tuple[Tensor, Tensor, Tensor | None]
"""Two pictures (B, 3, H, W) in [0, 1] of one camera, and the pixels (B, 1, H, W) that show the scene; none is all."""

DEGREES = tuple(range(30, 125, 4))
"""Fields of view that are tried."""

SPREAD = 1 / 320
"""Misses beyond this share of the picture's width count hardly more than it (Geman and McClure's loss)."""

RESAMPLES = 200


@dataclass(frozen=True)
class TurningCamera:
    """What turns say of a camera.

    Attributes:
        focal: in widths of the picture; the best of those that were tried.
        spread: of its logarithm, half the distance between the quantiles of 16 and 84 %, from one choice of pictures to
            another.
    """

    focal: float
    spread: float

    @property
    def degrees(self) -> float:
        return field_of_view_degrees(self.focal)


@torch.no_grad()
def focal_of_turns(pairs: Iterable[Pair], network: DisparityNetwork, start: Tensor) -> TurningCamera | None:
    """The focal length that explains pairs of pictures best; None where the best is the widest or the narrowest view.

    Args:
        network: sees the first one's depth, in any unit.
        start: (3, 3), normalised: the principal point, and how fy goes with fx.
    """
    found = [
        _explained(matches(first, second, network.predict_depth(first), mask), first.shape, start)
        for first, second, mask in pairs
    ]
    if not found:
        return None
    # Each pair is a row: its errors, one for each field of view, and its squared turn.
    errors, weights = (torch.cat(each).numpy() for each in zip(*found, strict=True))
    whole = _mean(errors, weights)
    if whole.argmin() in (0, len(DEGREES) - 1):
        return None
    random, drawn = np.random.default_rng(0), []
    for _ in range(RESAMPLES):
        rows = random.integers(len(errors), size=len(errors))
        drawn.append(_best(_mean(errors[rows], weights[rows])))
    low, high = np.quantile(drawn, (0.16, 0.84))
    return TurningCamera(math.exp(_best(whole)), float(high - low) / 2)


def _mean(errors: np.ndarray, weights: np.ndarray) -> np.ndarray:
    return (errors * weights[:, None]).sum(0) / weights.sum()


def _explained(found: Matches, shape: torch.Size, start: Tensor) -> tuple[Tensor, Tensor]:
    """How badly each field of view explains each pair, (B, len(DEGREES)) from 0 to 1, and squared turns (B,)."""
    height, width = shape[-2:]
    columns, turns = [], []
    for focal in _FOCALS:
        camera = Camera.from_normalised(with_focal(start, focal), height, width)
        intrinsics = camera.intrinsics.expand(len(found.depth), 3, 3)
        points = found.points(intrinsics)
        motion = resection(points, found.places, found.valid, intrinsics)
        miss = (seen_from(motion, points, intrinsics) - found.places).norm(dim=-1) / (SPREAD * width)
        lost = miss.square() / (1 + miss.square())
        columns.append((lost * found.valid).sum(1) / found.valid.sum(1).clamp(min=1))
        # What moves the picture up, down and sideways; a roll tells nothing of the focal length.
        turns.append(motion[:, :2, 2].square().sum(1) * focal**2)
    return torch.stack(columns, dim=1), torch.stack(turns).median(dim=0).values


def with_focal(start: Tensor, focal: float) -> Tensor:
    """Normalised intrinsics (3, 3) with another focal length in widths, fy changed in proportion."""
    found = start.clone()
    found[0, 0], found[1, 1] = focal, focal * start[1, 1] / start[0, 0]
    return found


_FOCALS = tuple(0.5 / math.tan(math.radians(degrees) / 2) for degrees in DEGREES)


def _best(errors: np.ndarray) -> float:
    """Logarithm of the focal length with the least error, between those that were tried where it has neighbours."""
    place, logs = int(errors.argmin()), np.log(_FOCALS)
    if place in (0, len(logs) - 1):
        return float(logs[place])
    a, b, _ = np.polyfit(logs[place - 1 : place + 2] - logs[place], errors[place - 1 : place + 2], 2)
    return float(logs[place] - b / (2 * a)) if a > 0 else float(logs[place])
