"""RPrDepth's training: a single-image student that looks up a prior, guided by a teacher with richer input.

Source: RPrDepth (ECCV 2024), section on the rich-resource guided loss; specification sections 5 and 6. Frames are read
at the teacher's size. The student sees them at its own, and is judged at the teacher's.
"""

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from egodepth.data.samples import Batch
from egodepth.data.transforms import Views, resize, resized, without_augmentation
from egodepth.geometry.depth import enlarged_depth
from egodepth.losses.distillation import auxiliary_loss, gradient_consistency
from egodepth.losses.photometric import at_size
from egodepth.methods.configurations import OptimiserConfig, PriorGuidedConfig
from egodepth.methods.method import ParameterGroup
from egodepth.methods.photometric import photometric_loss
from egodepth.methods.rich_teachers import RichTeacher
from egodepth.methods.view_synthesis import StepResult, TrainingSetup, ViewSynthesisMethod
from egodepth.networks.disparity import DisparityNetwork
from egodepth.networks.pose import PoseNetwork
from egodepth.networks.rprdepth import RPrDepth, evenly_spaced


class PriorGuidedMethod(ViewSynthesisMethod):
    """Training of RPrDepth.

    Args:
        depth_network: with its reference set loaded; a student without a prior is guided by the teacher alone.
        pose_network: sees the student's pictures; None where stereo pairs are the only sources.
        teacher: frozen; batches have its size and its sources.
        setup: `height` and `width` are the student's. Without pyramid.
    """

    def __init__(
        self,
        depth_network: DisparityNetwork,
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

    def parameter_groups(self) -> list[ParameterGroup]:
        """The encoder, the affinity, and the rest, which is first."""
        config, epochs = self.config, self.optimiser.epochs
        network = self.depth_network
        affinity = network.fusion.affinity_parameters() if isinstance(network, RPrDepth) else []
        encoder = _without(network.encoder.parameters(), affinity)
        rest = _without(self.network_parameters(), [*affinity, *encoder])

        def others(step: int, total: int) -> float:
            return float(not affinity or step >= config.affinity_alone * total)

        def of_encoder(step: int, total: int) -> float:
            first = step < config.encoder_epochs / epochs * total
            return others(step, total) * (config.encoder_rate if first else 1.0)

        groups = [ParameterGroup(rest, others), ParameterGroup(encoder, of_encoder)]
        return [*groups, ParameterGroup(affinity, lambda step, total: config.affinity_rate)] if affinity else groups

    def validation_step(self, batch: Batch, _: int) -> None:
        result = self.step_result(without_augmentation(batch))
        self.log("validation_loss", result.loss, batch_size=len(batch), sync_dist=True)

    def step_result(self, views: Views, seen: Views | None = None) -> StepResult:
        """L = alpha L_vp + beta L_c + L_aux, for views at the teacher's size; L_aux where there is a prior."""
        config, network, seen = self.config, self.depth_network, seen or resized(views, *self._size())
        depth_range = network.min_depth, network.max_depth
        taught, reliable = self._taught(views)
        found: dict[str, Tensor] = {}
        if isinstance(network, RPrDepth):
            with network.only_references(self._places()):
                disparities, features = network.with_features(seen.target_jittered)
            hint = features.hint_depth
            found["effective_references"] = features.effective_references
            found |= hint_errors(hint, taught)
            found["hint_change"] = (hint.float().std((2, 3)) / hint.float().mean((2, 3))).mean()
        else:
            disparities, features = network.with_features(seen.target_jittered)
            hint = None
        judged = views if config.rich_synthesis else seen
        synthesis = photometric_loss(
            judged.target,
            judged.sources.transpose(0, 1),
            disparities,
            self.transforms(seen),
            judged.intrinsics,
            config.photometric,
            depth_range,
            judged.mask,
        )
        depth = enlarged_depth(disparities[0], self._size(), *depth_range)
        compared = self._compared(taught)
        consistency = gradient_consistency(self._compared(depth), compared, reliable)
        parts = {"synthesis": synthesis.total, "gradient_consistency": consistency}
        weights = {"synthesis": config.photometric_weight, "gradient_consistency": config.gradient_weight}
        if hint is not None:
            parts["auxiliary"] = hint_loss(self._compared(hint), compared, reliable)
            weights["auxiliary"] = config.auxiliary_weight
        if reliable is not None:
            found["reliable_share"] = reliable.mean()
        loss = sum(weights[name] * part for name, part in parts.items())
        pictures = {f"warped {source}": x for source, x in zip(views.source_ids, synthesis.warped, strict=True)}
        pictures["mask"] = synthesis.reprojected[:, None].float()
        return StepResult(loss, parts | found, disparities, features, synthesis.depth, pictures)

    def _taught(self, views: Views) -> tuple[Tensor, Tensor | None]:
        """The teacher's depth at the student's size, and how far it is to be trusted there, in [0, 1]."""
        rich = self.teacher.pseudo_depth(views)
        reliable = None
        if self.config.reliable_only:
            reliable = resize(self.teacher.reliable(views, rich).float(), *self._size())
        if views.mask is not None:
            used = at_size(views.mask, self._size()).float()
            reliable = used if reliable is None else reliable * used
        return F.interpolate(rich.float(), self._size(), mode="bilinear", align_corners=False), reliable

    def _compared(self, depth: Tensor) -> Tensor:
        """A depth as losses compare it with the teacher's.

        A shift of inverse depth leaves the steps of that as they are. In depth it decides how far all that is far is:
        a right student had an L_c of 0.4 to 1.7 there, and of 0.05 at most in inverse depth (docs/decisions.md).
        """
        return depth.float().reciprocal() if self.teacher.inverse else depth

    def _places(self) -> Tensor | None:
        """The references of this step; for validation the same ones each time."""
        count, wanted = len(self.depth_network.fusion.references.depths), self.config.references_per_step
        if count <= wanted:
            return None
        if self.training:
            return torch.randperm(count, device=self.device)[:wanted]
        return evenly_spaced(count, wanted).to(self.device)


@torch.no_grad()
def hint_errors(hint: Tensor, taught: Tensor) -> dict[str, Tensor]:
    """How far the depth found in the prior is from the teacher's, relative to that, and how far the best answer that
    says the same everywhere is.

    Args:
        hint: (B, 1, h, w), D_c.
        taught: (B, 1, H, W).

    Returns:
        `hint_abs_rel`, and `median_abs_rel` of each image's own median depth, scalars.
    """
    hint = F.interpolate(hint.float(), taught.shape[-2:], mode="bilinear", align_corners=False)
    median = taught.flatten(1).median(dim=1).values[:, None, None, None]
    found = {"hint": hint, "median": median}
    return {f"{name}_abs_rel": ((depth - taught).abs() / taught).mean() for name, depth in found.items()}


def _without(parameters: Iterable[nn.Parameter], left_out: Iterable[nn.Parameter]) -> list[nn.Parameter]:
    known = {id(parameter) for parameter in left_out}
    return [parameter for parameter in parameters if id(parameter) not in known]


def hint_loss(hint: Tensor, taught: Tensor, reliable: Tensor | None = None) -> Tensor:
    """L_aux, a scalar.

    Args:
        hint: (B, 1, h, w), D_c, or its inverse.
        taught: (B, 1, H, W), the teacher's, likewise; a constant.
        reliable: (B, 1, H, W) in [0, 1], how much each pixel counts.
    """
    hint = F.interpolate(hint.float(), taught.shape[-2:], mode="bilinear", align_corners=False)
    if reliable is not None:
        # Where the teacher is not to be trusted it is said to agree.
        hint = torch.lerp(taught, hint, reliable)
    return auxiliary_loss(taught, hint)
