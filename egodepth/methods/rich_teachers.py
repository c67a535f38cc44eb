"""RPrDepth's teachers: frozen networks with more to see than the student, more pixels or more frames.

Source: RPrDepth (ECCV 2024), sections on the reference dataset and the rich-resource guided loss; specification
sections 2 and 3. A teacher reads views into a depth and a feature at stride 4.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import log
from typing import Protocol

import torch
from torch import Tensor, nn

from egodepth.data.configurations import Source
from egodepth.data.transforms import Views
from egodepth.errors import UserError
from egodepth.geometry.depth import enlarged_depth, sigmoid_to_depth
from egodepth.networks.configurations import offsets_to
from egodepth.networks.disparity import DisparityNetwork
from egodepth.networks.manydepth import Lookups, ManyDepth, look_up
from egodepth.networks.pose import PoseNetwork
from egodepth.networks.prior import network_hash
from egodepth.networks.sdfa_net import SDFANet

REFERENCE_STRIDE = 4
"""Stride of the teacher's feature that a reference set is made of."""

NO_SECOND_OPINION = "reliability mask: this teacher has no second opinion to compare with. Leave it off."


@dataclass(frozen=True)
class Reading:
    """What a teacher makes of views.

    Attributes:
        depth: (B, 1, H, W), in the teacher's units.
        feature: (B, C, H / 4, W / 4), what reference sets are made of.
    """

    depth: Tensor
    feature: Tensor


class RichTeacher(Protocol):
    """A frozen depth network with more to see than the student: more pixels, or more frames.

    Attributes:
        sources: views beside the target that it needs.
        inverse: what it knows is inverse depth up to a factor and a shift, and there it is to be compared.
    """

    sources: tuple[Source, ...]
    inverse: bool

    def read(self, views: Views) -> Reading:
        """Depth and feature of the target, without gradient."""
        ...

    def pseudo_depth(self, views: Views) -> Tensor:
        """The depth (B, 1, H, W) alone."""
        ...

    def reliable(self, views: Views, depth: Tensor) -> Tensor:
        """Where that depth (B, 1, H, W) can be trusted, (B, 1, H, W) bool."""
        ...

    def to(self, device: torch.device) -> None: ...

    def hash(self) -> str:
        """A hash of its weights, by which a reference set knows its teacher."""
        ...


class _Frozen:
    """Networks that are neither trained nor kept in checkpoints, so this is no module."""

    inverse = False

    def __init__(self, *networks: nn.Module) -> None:
        self.parts = tuple(network.eval().requires_grad_(False) for network in networks)
        self._hash: str | None = None

    def to(self, device: torch.device) -> None:
        for network in self.parts:
            network.to(device)

    def hash(self) -> str:
        if self._hash is None:
            self._hash = network_hash(self.parts)
        return self._hash


class SingleImageTeacher(_Frozen):
    """A network that sees the target alone: HQDecv2, SDFA-Net, or any other disparity network at a larger size.

    Raises:
        UserError: it shows no features.
    """

    sources: tuple[Source, ...] = ()

    def __init__(self, network: nn.Module) -> None:
        if not isinstance(network, DisparityNetwork | SDFANet):
            raise UserError(
                f"teacher {type(network).__name__}: shows no features. Give a disparity network or SDFA-Net."
            )
        super().__init__(network)
        self.network = network

    @torch.no_grad()
    def read(self, views: Views) -> Reading:
        image = views.target
        if isinstance(self.network, SDFANet):
            encoded = self.network.encode(image)
            return Reading(self.network.predict_depth(image), _at_reference_stride(encoded, views.size))
        disparities, features = self.network.with_features(image)
        depth = enlarged_depth(disparities[0], views.size, self.network.min_depth, self.network.max_depth)
        return Reading(depth, _at_reference_stride((*features.decoder, *features.encoder), views.size))

    @torch.no_grad()
    def pseudo_depth(self, views: Views) -> Tensor:
        return self.network.predict_depth(views.target)

    def reliable(self, views: Views, depth: Tensor) -> Tensor:
        raise UserError(NO_SECOND_OPINION)


class MatchingTeacher(_Frozen):
    """ManyDepth with the frames around the target and the pose network that was trained beside it.

    Args:
        lookups: time offsets of the frames that it was trained to match with.
        helper: its single-frame network, for the reliability mask.
        agreement: by what factor the two may differ where the depth is trusted.
    """

    def __init__(
        self,
        network: ManyDepth,
        pose_network: PoseNetwork,
        lookups: Sequence[int] = (-1, 1),
        helper: DisparityNetwork | None = None,
        agreement: float = 1.25,
    ) -> None:
        super().__init__(network, pose_network, *(() if helper is None else (helper,)))
        self.network, self.pose_network, self.helper = network, pose_network, helper
        self.lookups, self.agreement = tuple(lookups), agreement
        self.sources: tuple[Source, ...] = offsets_to(lookups)

    def hash(self) -> str:
        if self._hash is None:
            # The helper decides about nothing that goes into a reference set.
            self._hash = network_hash((self.network, self.pose_network))
        return self._hash

    @torch.no_grad()
    def read(self, views: Views) -> Reading:
        disparities, features = self.network.with_features(views.target, self._lookups(views))
        return Reading(self._depth(self.network, disparities[0]), features.fused)

    @torch.no_grad()
    def pseudo_depth(self, views: Views) -> Tensor:
        return self.network.predict_depth(views.target, self._lookups(views))

    @torch.no_grad()
    def reliable(self, views: Views, depth: Tensor) -> Tensor:
        if self.helper is None:
            raise UserError("reliability mask: the teacher has no single-frame network. Leave it off.")
        alone = self._depth(self.helper, self.helper.finest(views.target))
        return (alone / depth).log().abs() < log(self.agreement)

    def _lookups(self, views: Views) -> Lookups:
        frames = dict(zip(views.source_ids, views.sources.unbind(1), strict=True))
        return look_up(self.pose_network, views.target, frames, self.lookups, views.intrinsics)

    @staticmethod
    def _depth(network: DisparityNetwork, disparity: Tensor) -> Tensor:
        return sigmoid_to_depth(disparity, network.min_depth, network.max_depth)


def reference_size(size: tuple[int, int]) -> tuple[int, int]:
    """Height and width of the feature of pictures of a size."""
    return size[0] // REFERENCE_STRIDE, size[1] // REFERENCE_STRIDE


def _at_reference_stride(features: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
    wanted = reference_size(size)
    for feature in features:
        if tuple(feature.shape[-2:]) == wanted:
            return feature
    raise UserError(f"teacher: has no feature at stride {REFERENCE_STRIDE}, which a prior is made of. Give another.")
