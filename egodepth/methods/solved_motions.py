"""Motions of the camera that optical flow and a trained network's depth give, in place of a pose network's.

View synthesis teaches a pose network how far a camera goes, and long not how it turns, since most footage goes straight
on; until then it teaches depth what is not so where the camera turns. Where points of one view are in another gives
turns and the direction of the way at once, and how far away they were for the network that training starts from gives
its length in the unit of that network, so that depth keeps its scale. The pose network learns to say the same, for the
uses of a model that need one.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from egodepth.data.transforms import Views, resize
from egodepth.geometry.epipolar import solved_motion
from egodepth.geometry.matches import matches
from egodepth.geometry.resection import resection, seen_from
from egodepth.methods.frozen import FrozenNetwork

EVERY_PX = 8
"""Distance of the points by which motions are solved: half as many in rows and columns give the same motions."""

LEAST_SHIFT_PX = 0.5
"""By less a point of a pair has not moved: it is too far away, or lost."""


@dataclass(frozen=True)
class Pair:
    """The other camera of a rectified pair.

    Attributes:
        place: of its pictures in the views.
        offset: (B,), where it sees points, to the right of where the target does, in units of depth.
    """

    place: int
    offset: Tensor


@dataclass(frozen=True)
class SolvedMotions:
    """The motions that follow from the depth of the network as it was before training."""

    start: FrozenNetwork

    def in_place_of(
        self, predicted: Sequence[Tensor], views: Views, places: Sequence[int], pair: Pair | None = None
    ) -> tuple[list[Tensor], Tensor]:
        """The motions that flow gives, and how far a pose network is from them.

        Args:
            predicted: (B, 4, 4) for each source, target to source, the pose network's.
            places: the sources' places in the views.
            pair: says the unit, where there is one; what is near and what is far stays as the start saw it. None keeps
                the start's unit.

        Returns:
            the motions, without gradient; and the mean distance at which the pose network's show the points that were
            found, in widths of the picture.
        """
        width = views.size[1]
        intrinsics = views.intrinsics.detach().float()
        depth = resize(self.start.inverse_depth(views.target), *views.size).reciprocal()
        if pair is not None:
            depth = depth * _unit_of_pair(pair, views, depth)[:, None, None, None]
        motions, behind = [], []
        for own, place in zip(predicted, places, strict=True):
            found = matches(views.target, views.sources[:, place], depth, views.mask, EVERY_PX)
            points = found.points(intrinsics)
            # Beside pairs, motions that fit what the start saw are what keeps it: see docs/decisions.md.
            solve = solved_motion if pair is None else resection
            motion = solve(points, found.places, found.valid, intrinsics)
            apart = (seen_from(own.float(), points, intrinsics) - seen_from(motion, points, intrinsics)).norm(dim=-1)
            # A point that one of them puts beside the camera is as wrong as it can be.
            share = (apart / width).clamp(max=1)
            behind.append((share * found.valid).sum() / found.valid.sum().clamp(min=1))
            motions.append(motion)
        return motions, torch.stack(behind).mean()


def _unit_of_pair(pair: Pair, views: Views, depth: Tensor) -> Tensor:
    """How many times as far as depth (B, 1, H, W) says the nearer half of what both cameras see lies, (B,).

    The median; 1 where nothing is found. The depth that is trained must not say it: with motions in its own unit any
    unit explains the frames before and after as well as any other, and the pairs, of which only the best pixels count,
    lose their hold.
    """
    found = matches(views.target, views.sources[:, pair.place], depth, views.mask, EVERY_PX)
    shifts = (found.places[..., 0] - found.pixels[:, 0]) * pair.offset.sign()[:, None]
    ratios = views.intrinsics[:, 0, :1].detach() * pair.offset.abs()[:, None] / shifts / found.depth
    near = found.depth <= torch.where(found.valid, found.depth, torch.nan).nanmedian(dim=1, keepdim=True).values
    seen = found.valid & near & (shifts > LEAST_SHIFT_PX)
    return torch.where(seen, ratios, torch.nan).nanmedian(dim=1).values.nan_to_num(nan=1.0).float()
