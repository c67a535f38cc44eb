"""SDFA-Net's training: a volume of disparities that paints the other camera's view, then teaches itself.

Source: Zhou & Dong, "Self-Distilled Feature Aggregation for Self-Supervised Monocular Depth Estimation" (ECCV 2022),
sections 3.3 and 3.4. First the raw path alone learns to synthesise the other view. Then the distilled path, decoding
mirrored features, learns from what is good of the raw path's depth.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from egodepth.data.configurations import AugmentationConfig
from egodepth.data.samples import Batch
from egodepth.data.transforms import Views, without_augmentation
from egodepth.errors import UserError
from egodepth.geometry.stereo_volume import expected_disparity, reproject, synthesise_other_view
from egodepth.losses.photometric import patch_moments, photometric_error
from egodepth.losses.self_distilled import (
    curvature_aware_smoothness,
    distillation_loss,
    photometric_mask,
    synthesis_loss,
    visible_mask,
)
from egodepth.methods.configurations import OptimiserConfig, SelfDistilledConfig
from egodepth.methods.method import Method
from egodepth.networks.perceptual import PerceptualFeatures
from egodepth.networks.sdfa_net import SDFANet


@dataclass(frozen=True)
class Raw:
    """What the raw path says of a batch.

    Attributes:
        loss: L_syn and the raw smoothness, scalar.
        values: scalars for the log.
        disparity: (B, 1, H, W) in pixels of these views.
        synthesised: (B, 3, H, W), the other view.
    """

    loss: Tensor
    values: dict[str, Tensor]
    disparity: Tensor
    synthesised: Tensor


@dataclass(frozen=True)
class Distilled:
    """What the distilled path says of a batch.

    Attributes:
        loss: distillation and the distilled smoothness, scalar.
        values: scalars for the log.
        disparity: (B, 1, H, W) in pixels of these views.
        mask: (B, 1, H, W) bool, where the raw depth taught.
    """

    loss: Tensor
    values: dict[str, Tensor]
    disparity: Tensor
    mask: Tensor


class SelfDistilledMethod(Method):
    """Training of SDFA-Net from stereo pairs.

    Args:
        network: with the paths `raw` and `distilled`; without the latter (the ablations) there is no distillation.
        perceptual: frozen features in which views are compared, besides their colours. They are no part of the
            trained model.
    """

    uses_every_parameter = False

    def __init__(
        self,
        network: SDFANet,
        perceptual: PerceptualFeatures | None,
        config: SelfDistilledConfig,
        augmentation: AugmentationConfig,
        optimiser: OptimiserConfig,
        seed: int,
    ) -> None:
        super().__init__(optimiser, seed)
        self.depth_network = network
        self.config = config
        self.augmentation = augmentation
        # In a tuple, so that checkpoints do not carry the 20 million weights that never change.
        self._perceptual = (perceptual,)

    def on_fit_start(self) -> None:
        super().on_fit_start()
        if self.trainer.precision == "16-mixed":
            raise UserError("--precision 16-mixed: its loss scale would be applied twice here. Take bf16-mixed.")
        if self._perceptual[0] is not None:
            self._perceptual[0].to(self.device)

    def augmentation_of(self, frame_size: tuple[int, int]) -> AugmentationConfig:
        return self.augmentation

    def losses(self, batch: Batch) -> Iterator[Tensor]:
        """Equation 18 in parts: the raw path, the distilled path, and what both want of the encoder.

        Each path is differentiated as far as the features, so that the two decoders' activations, which take most of
        the memory, are never held together; then the encoder follows the sum of their wishes.
        """
        views = self.augmented(batch)
        encoded = self.depth_network.encode(views.target_jittered)
        features = [feature.detach().requires_grad_() for feature in encoded]
        raw = self.raw_loss(features, views)
        yield raw.loss
        values, disparity, pictures = raw.values, raw.disparity.detach(), {"other view": raw.synthesised}
        del raw
        if self.distils(self.global_step, self.trainer.max_steps):
            distilled = self.distilled_loss(features, views, disparity)
            yield distilled.loss
            values, disparity = values | distilled.values, distilled.disparity.detach()
            pictures["mask"] = distilled.mask.float()
            del distilled
        wishes = sum((own * wish.grad).sum() for own, wish in zip(encoded, features, strict=True))
        # Its gradient is all that counts; as a value it would falsify the logged loss.
        yield wishes - wishes.detach()
        self.log_training({name: value.detach() for name, value in values.items()}, len(batch))
        self.watch_depth(1 / disparity)
        if self.wants_panels():
            self.show_panels({"input": views.target, "depth": 1 / disparity} | pictures)

    def validation_step(self, batch: Batch, _: int) -> None:
        views = without_augmentation(batch)
        raw = self.raw_loss(self.depth_network.encode(views.target), views)
        self.log("validation_loss", raw.loss, batch_size=len(batch), sync_dist=True)

    def networks(self) -> dict[str, nn.Module]:
        return {"depth": self.depth_network}

    def distils(self, step: int, steps: int) -> bool:
        """Whether the distilled path is trained at this step."""
        return "distilled" in self.depth_network.paths and step >= self.config.distil_from * steps

    def raw_loss(self, features: list[Tensor], views: Views) -> Raw:
        """L_syn (equation 14) and L_sm of the raw path."""
        network, config, factor = self.depth_network, self.config, self.factor(views)
        logits = network.decode(features, views.size, "raw")
        other = views.sources_jittered[:, 0]
        synthesised = synthesise_other_view(views.target_jittered, logits, network.levels, factor)
        synthesis = self._synthesis_loss(synthesised, other)
        disparity = expected_disparity(logits, network.levels, factor)
        smoothness = curvature_aware_smoothness(disparity, views.target)
        values = {"synthesis": synthesis, "raw_smoothness": smoothness}
        loss = synthesis + config.raw_smoothness_weight * smoothness
        return Raw(loss, values, disparity, synthesised.detach())

    def _synthesis_loss(self, synthesised: Tensor, real: Tensor) -> Tensor:
        (features,) = self._perceptual
        if features is None:
            return (synthesised - real).abs().mean()
        with torch.no_grad():
            wanted = features(real)
        return synthesis_loss(synthesised, real, features(synthesised), wanted, self.config.perceptual_weight)

    def distilled_loss(self, features: list[Tensor], views: Views, raw_disparity: Tensor) -> Distilled:
        """L_sd (equation 15) and L_sm of the distilled path."""
        network, config, factor = self.depth_network, self.config, self.factor(views)
        logits = network.decode(features, views.size, "distilled", mirror=config.mirror)
        disparity = expected_disparity(logits, network.levels, factor)
        mask = self._mask(views, raw_disparity, disparity.detach(), factor)
        reach = (views.intrinsics[:, 0, 0] * views.baseline_m)[:, None, None, None]
        distillation = distillation_loss(reach / disparity, reach / raw_disparity, mask)
        smoothness = curvature_aware_smoothness(disparity, views.target)
        values = {
            "distillation": distillation,
            "distilled_smoothness": smoothness,
            "distilled_share": mask.float().mean(),
        }
        loss = config.distillation_weight * distillation + config.distilled_smoothness_weight * smoothness
        return Distilled(loss, values, disparity, mask)

    @torch.no_grad()
    def _mask(self, views: Views, raw: Tensor, distilled: Tensor, factor: Tensor) -> Tensor:
        """M_p and M_v (equations 11 and 13), (B, 1, H, W) bool, as far as they are wanted."""
        moments, other = patch_moments(views.target), views.sources[:, 0]
        of_raw, of_distilled = reproject(other, raw, factor), reproject(other, distilled, factor)
        mask = torch.ones_like(raw, dtype=torch.bool)
        if self.config.photometric_mask:
            images = torch.stack([of_raw.image, of_distilled.image])
            raw_error, distilled_error = photometric_error(images, moments, self.config.ssim_weight)
            mask &= photometric_mask(raw_error, distilled_error).view_as(mask)
        if self.config.visible_mask:
            mask &= visible_mask(distilled, of_distilled.inside, factor)
        return mask

    def factor(self, views: Views) -> Tensor:
        """(B,): +1 for a left target with the reference baseline, -1 for a right one."""
        return -views.stereo_offset * views.baseline_m / self.config.reference_baseline_m


def perceptual_features(source: str, seed: int) -> PerceptualFeatures:
    """The frozen features that views are compared in.

    Args:
        source: imagenet (torchvision's), none, or the path of a file of weights.
        seed: of random ones, which must be the same when the run is resumed.
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        features = PerceptualFeatures()
    features.load_pretrained(source)
    return features
