"""Depth maps as teachers: the distance of a network's disparities from them, whatever the maps' units.

Where their scale is unknown it is taken from the student, image by image, so that the student's scale is that of its
view synthesis; scale and shift both from the network that training starts from, which, unlike the student, does not
follow them. Sources: MiDaS, see `losses.teacher_depth`; the canonical focal length is Metric3D's (Yin et al., ICCV
2023, section 3.2); that a teacher is believed where it explains the views as well as the student does is from Depth
Hints (Watson et al., "Self-Supervised Monocular Depth Hints", ICCV 2019, section 3.2).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from egodepth.data.configurations import MapUnits
from egodepth.data.transforms import Views, resize, resize_map
from egodepth.geometry.depth import sigmoid_to_disparity
from egodepth.losses.photometric import at_size, mean_where
from egodepth.losses.teacher_depth import (
    affine_residual,
    aligned_to,
    fitted_to,
    gradient_matching,
    log_residual,
    moved_to,
    trimmed_mean,
)
from egodepth.methods.configurations import TaughtDepthConfig
from egodepth.methods.warped_views import WarpedViews

UNCONTRADICTED = 0.01
"""By so much the teacher's photometric error may be the larger one: without texture all errors are alike."""


@dataclass(frozen=True)
class TaughtDepth:
    """What a folder of depth maps teaches.

    Attributes:
        config: what weighs how much.
        units: of the maps.
    """

    config: TaughtDepthConfig
    units: MapUnits

    def loss(
        self,
        disparities: Sequence[Tensor],
        views: Views,
        unit_m: Tensor,
        depth_range: tuple[float, float],
        believed: Tensor | None = None,
        start: Tensor | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """How far a student is from the maps, meaned over its scales; 0 for samples without a map.

        Args:
            disparities: of the target, sigmoid, fine to coarse.
            views: with `teacher_disparity`.
            unit_m: (B,), metres of one unit of the student's depth in these pictures, for maps in metres.
            depth_range: that the sigmoid spans.
            believed: (B, 1, H, W) bool, where the maps are to be believed; None is everywhere.
            start: inverse depth (B, 1, h, w) by the network that training starts from, in its unit, to which maps of
                unknown factor and shift are fitted; none compares them by median and deviation alone.

        Returns:
            the weighed sum, and its parts for the log.
        """
        distances, gradients, errors = zip(
            *(self._parts(disparity, views, unit_m, depth_range, believed, start) for disparity in disparities),
            strict=True,
        )
        distance, gradient = sum(distances) / len(distances), sum(gradients) / len(gradients)
        total = self.config.weight * (distance + self.config.gradient_weight * gradient)
        values = {"taught_distance": distance, "taught_gradient": gradient, "taught_abs_rel": errors[0]}
        return total, values if believed is None else values | {"taught_believed": believed.float().mean()}

    def _parts(
        self,
        sigmoid: Tensor,
        views: Views,
        unit_m: Tensor,
        depth_range: tuple[float, float],
        believed: Tensor | None,
        start: Tensor | None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Distance, disagreement of gradients, and relative error of depth at one scale."""
        disparity = sigmoid_to_disparity(sigmoid, *depth_range)
        maps, known = self._maps(views, sigmoid.shape[-2:])
        if believed is not None:
            known = known & at_size(believed, sigmoid.shape[-2:])
        if self.units == "scale-and-shift" and start is not None:
            maps, known = fitted_to(resize(start, *sigmoid.shape[-2:]), maps, known)
        elif self.units == "scale-and-shift":
            residual = affine_residual(disparity, maps, known)
            return trimmed_mean(residual, known), gradient_matching(residual, known), residual.new_zeros(())
        elif self.units == "scale":
            maps = aligned_to(disparity, maps, known)
        else:
            maps = maps * unit_m[:, None, None, None]
        nearest, farthest = depth_range
        residual = log_residual(disparity, maps.clamp(1 / farthest, 1 / nearest), known)
        with torch.no_grad():
            error = mean_where((residual.neg().exp() - 1).abs(), known)
        return mean_where(residual.abs(), known), gradient_matching(residual, known), error

    @torch.no_grad()
    def depth(
        self, disparity: Tensor, views: Views, unit_m: Tensor, depth_range: tuple[float, float]
    ) -> tuple[Tensor, Tensor]:
        """The teacher's depth (B, 1, H, W) in units of the student, and where it is known.

        Args:
            disparity: the student's inverse depth, which gives it the scale, and the shift, that the maps lack.
        """
        maps, known = self._maps(views, disparity.shape[-2:])
        if self.units == "metres":
            maps = maps * unit_m[:, None, None, None]
        else:
            align = aligned_to if self.units == "scale" else moved_to
            maps = align(disparity, maps, known)
        nearest, farthest = depth_range
        return 1 / maps.clamp(1 / farthest, 1 / nearest), known

    @torch.no_grad()
    def believed(
        self, depth: Tensor, views: Views, transforms: Tensor, unit_m: Tensor, depth_range: tuple[float, float]
    ) -> Tensor:
        """Where the views do not contradict the maps, (B, 1, H, W) bool (Depth Hints, section 3.2).

        There the views look no less like the target when they are warped by the teacher's depth, in the student's
        scale, than by the student's own. What no view shows is believed.

        Args:
            depth: (B, 1, H, W), the student's.
            transforms: (S, B, 4, 4), target to source.
        """
        teacher, known = self.depth(1 / depth, views, unit_m, depth_range)
        warped = WarpedViews.of(views, transforms)
        # Where no view shows what a depth says, its error is infinite: that speaks neither for nor against it.
        own, others = warped.error(depth), warped.error(teacher)
        return (known[:, 0] & (~others.isfinite() | (others <= own + UNCONTRADICTED)))[:, None]

    def _maps(self, views: Views, size: Sequence[int]) -> tuple[Tensor, Tensor]:
        """The maps at a size, 0 where they are not known, and where they are."""
        maps = resize_map(views.teacher_disparity, *size)
        known = torch.isfinite(maps)
        if views.mask is not None:
            known = known & at_size(views.mask, size)
        return torch.where(known, maps, 0), known
