"""RPrDepth's training: a single-image student that looks up a prior, guided by a teacher with richer input.

Source: RPrDepth (ECCV 2024), section on the rich-resource guided loss; specification sections 5 and 6. Frames are read
at the teacher's size. The student sees them at its own, and is judged at the teacher's.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import log
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from egodepth.data.configurations import Source
from egodepth.data.samples import Batch
from egodepth.data.transforms import Views, resize, resized, without_augmentation
from egodepth.errors import UserError
from egodepth.geometry.depth import enlarged_depth, sigmoid_to_depth
from egodepth.losses.distillation import auxiliary_loss, gradient_consistency
from egodepth.methods.configurations import OptimiserConfig, PriorGuidedConfig
from egodepth.methods.photometric import photometric_loss
from egodepth.methods.view_synthesis import StepResult, TrainingSetup, ViewSynthesisMethod
from egodepth.networks.configurations import offsets_to
from egodepth.networks.disparity import DisparityNetwork
from egodepth.networks.manydepth import Lookups, ManyDepth, look_up
from egodepth.networks.pose import PoseNetwork
from egodepth.networks.prior import network_hash
from egodepth.networks.rprdepth import RPrDepth, evenly_spaced
from egodepth.networks.sdfa_net import SDFANet

REFERENCE_STRIDE = 4
"""Stride of the teacher's feature that a reference set is made of."""


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
    """

    sources: tuple[Source, ...]

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
        raise UserError("reliability mask: this teacher has no second opinion to compare with. Leave it off.")


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


def _at_reference_stride(features: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
    wanted = tuple(length // REFERENCE_STRIDE for length in size)
    for feature in features:
        if tuple(feature.shape[-2:]) == wanted:
            return feature
    raise UserError(f"teacher: has no feature at stride {REFERENCE_STRIDE}, which a prior is made of. Give another.")


class PriorGuidedMethod(ViewSynthesisMethod):
    """Training of RPrDepth.

    Args:
        depth_network: with its reference set loaded.
        pose_network: sees the student's pictures; None where stereo pairs are the only sources.
        teacher: frozen; batches have its size and its sources.
        setup: `height` and `width` are the student's. Without pyramid.
    """

    depth_network: RPrDepth

    def __init__(
        self,
        depth_network: RPrDepth,
        pose_network: PoseNetwork | None,
        teacher: RichTeacher,
        config: PriorGuidedConfig,
        setup: TrainingSetup,
        optimiser: OptimiserConfig,
        seed: int,
    ) -> None:
        super().__init__(depth_network, pose_network, setup, optimiser, seed)
        self.config = config
        self.teacher = teacher

    def on_fit_start(self) -> None:
        super().on_fit_start()
        self.teacher.to(self.device)

    def validation_step(self, batch: Batch, _: int) -> None:
        result = self.step_result(without_augmentation(batch))
        self.log("validation_loss", result.loss, batch_size=len(batch), sync_dist=True)

    def step_result(self, views: Views, seen: Views | None = None) -> StepResult:
        """L = alpha L_vp + beta L_c + L_aux, for views at the teacher's size."""
        config, network, seen = self.config, self.depth_network, seen or resized(views, *self._size())
        with network.only_references(self._places()):
            disparities, features = network.with_features(seen.target_jittered)
        depth_range = network.min_depth, network.max_depth
        synthesis = photometric_loss(
            views.target,
            views.sources.transpose(0, 1),
            disparities,
            self.transforms(seen),
            views.intrinsics,
            config.photometric,
            depth_range,
        )
        depth, hint = enlarged_depth(disparities[0], self._size(), *depth_range), features.hint_depth
        taught, reliable = self._taught(views)
        gradient, auxiliary = guidance(depth, hint, taught, reliable)
        values = {
            "synthesis": synthesis.total,
            "gradient_consistency": gradient,
            "auxiliary": auxiliary,
            "hint_change": (hint.float().std((2, 3)) / hint.float().mean((2, 3))).mean(),
        }
        if reliable is not None:
            values["reliable_share"] = reliable.mean()
        loss = (
            config.photometric_weight * synthesis.total
            + config.gradient_weight * gradient
            + config.auxiliary_weight * auxiliary
        )
        pictures = {f"warped {source}": x for source, x in zip(views.source_ids, synthesis.warped, strict=True)}
        pictures["mask"] = synthesis.reprojected[:, None].float()
        return StepResult(loss, values, disparities, features, synthesis.depth, pictures)

    def _taught(self, views: Views) -> tuple[Tensor, Tensor | None]:
        """The teacher's depth at the student's size, and how far it is to be trusted there, in [0, 1]."""
        rich = self.teacher.pseudo_depth(views)
        reliable = None
        if self.config.reliable_only:
            reliable = resize(self.teacher.reliable(views, rich).float(), *self._size())
        return F.interpolate(rich.float(), self._size(), mode="bilinear", align_corners=False), reliable

    def _places(self) -> Tensor | None:
        """The references of this step; for validation the same ones each time."""
        count, wanted = len(self.depth_network.fusion.references.depths), self.config.references_per_step
        if count <= wanted:
            return None
        if self.training:
            return torch.randperm(count, device=self.device)[:wanted]
        return evenly_spaced(count, wanted).to(self.device)


def guidance(depth: Tensor, hint: Tensor, taught: Tensor, reliable: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """L_c and L_aux, scalars.

    Args:
        depth: (B, 1, H, W), the student's.
        hint: (B, 1, h, w), D_c.
        taught: (B, 1, H, W), the teacher's; a constant.
        reliable: (B, 1, H, W) in [0, 1], how much each pixel counts.
    """
    hint = F.interpolate(hint.float(), taught.shape[-2:], mode="bilinear", align_corners=False)
    if reliable is not None:
        # Where the teacher is not to be trusted it is said to agree.
        hint = torch.lerp(taught, hint, reliable)
    return gradient_consistency(depth, taught, reliable), auxiliary_loss(taught, hint)
