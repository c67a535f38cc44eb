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


@dataclass(frozen=True)
class SolvedMotions:
    """The motions that follow from the depth of the network as it was before training."""

    start: FrozenNetwork

    def in_place_of(
        self, predicted: Sequence[Tensor], views: Views, places: Sequence[int], unit_of: Tensor | None = None
    ) -> tuple[list[Tensor], Tensor]:
        """The motions that flow gives, and how far a pose network is from them.

        Args:
            predicted: (B, 4, 4) for each source, target to source, the pose network's.
            places: the sources' places in the views.
            unit_of: depth (B, 1, h, w) of the target whose median the start's is given, where something else than the
                start holds the unit; what is near and what is far stays as the start saw it. None keeps its unit.

        Returns:
            the motions, without gradient; and the mean distance at which the pose network's show the points that were
            found, in widths of the picture.
        """
        width = views.size[1]
        intrinsics = views.intrinsics.detach().float()
        depth = resize(self.start.inverse_depth(views.target), *views.size).reciprocal()
        if unit_of is not None:
            ratio = resize(unit_of.detach(), *views.size) / depth
            depth = depth * ratio.flatten(1).median(dim=1).values[:, None, None, None]
        motions, behind = [], []
        for own, place in zip(predicted, places, strict=True):
            found = matches(views.target, views.sources[:, place], depth, views.mask, EVERY_PX)
            points = found.points(intrinsics)
            # Beside pairs, motions that fit what the start saw are what keeps it: see docs/decisions.md.
            solve = solved_motion if unit_of is None else resection
            motion = solve(points, found.places, found.valid, intrinsics)
            apart = (seen_from(own.float(), points, intrinsics) - seen_from(motion, points, intrinsics)).norm(dim=-1)
            # A point that one of them puts beside the camera is as wrong as it can be.
            share = (apart / width).clamp(max=1)
            behind.append((share * found.valid).sum() / found.valid.sum().clamp(min=1))
            motions.append(motion)
        return motions, torch.stack(behind).mean()
