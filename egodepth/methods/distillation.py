"""FA-Depth's distillation (APX): a small network learns to approximate what a large one makes of an image.

Source: FA-Depth, equation 28. Teacher and student are any two disparity networks.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from egodepth.geometry.depth import sigmoid_to_disparity
from egodepth.losses.distillation import axis_divergence, near_mask
from egodepth.losses.photometric import at_size
from egodepth.methods.configurations import DistillationConfig
from egodepth.networks.disparity import DisparityNetwork, Features


class Teacher:
    """A trained depth network that sees the student's images, at its own size.

    It is no module, so that its weights are neither trained nor kept in the student's checkpoints.
    """

    def __init__(self, network: DisparityNetwork, height: int, width: int, config: DistillationConfig) -> None:
        self.network = network.eval().requires_grad_(False)
        self.size = height, width
        self.config = config

    def to(self, device: torch.device) -> None:
        self.network.to(device)

    def loss(
        self, image: Tensor, disparities: Sequence[Tensor], features: Features, mask: Tensor | None = None
    ) -> Tensor:
        """How far a student's disparities and features are from the teacher's.

        Args:
            image: (B, 3, H, W).
            mask: (B, 1, H, W) bool, the pixels that show the scene; none is all of them.
        """
        with torch.no_grad():
            seen = F.interpolate(image, self.size, mode="bilinear", align_corners=False, antialias=True)
            taught = self.network.with_features(seen)
        return distillation_loss(taught, (disparities, features), self.config, mask)


def bounded(distillation: Tensor, loss: Tensor, share: float) -> Tensor:
    """A distillation of which at most a share of the loss beside it is left; the factor has no gradient.

    As the student comes near its teacher the bound is no longer met, and what pulls it fades.
    """
    limit = share * loss.detach()
    return distillation * (limit / distillation.detach().clamp(min=1e-12)).clamp(max=1)


def distillation_loss(
    teacher: tuple[Sequence[Tensor], Features],
    student: tuple[Sequence[Tensor], Features],
    config: DistillationConfig,
    used: Tensor | None = None,
) -> Tensor:
    """Equation 28: features of encoder and decoder, and disparities where the teacher sees something near.

    The teacher's maps are brought to the student's size. Features are compared by their channel means, so that the
    widths may differ; each of the student's disparities is compared with the teacher's finest one. Where `used`,
    (B, 1, H, W) bool, is false, teacher and student are said to agree.
    """
    encoder = _feature_divergence(teacher[1].encoder, student[1].encoder, used)
    decoder = _feature_divergence(teacher[1].decoder, student[1].decoder, used)
    finest = sigmoid_to_disparity(teacher[0][0])
    disparity = sum(
        _disparity_divergence(finest, sigmoid_to_disparity(map_), config.near_share, used) for map_ in student[0]
    )
    return config.encoder_weight * encoder + config.decoder_weight * decoder + config.disparity_weight * disparity


def _feature_divergence(teacher: Sequence[Tensor], student: Sequence[Tensor], used: Tensor | None) -> Tensor:
    means = [(theirs.mean(1, keepdim=True), ours.mean(1, keepdim=True)) for theirs, ours in zip(teacher, student)]  # noqa: B905, heads differ in number
    return sum(_divergence(_resized(theirs, ours), ours, at_size(used, ours.shape[-2:])) for theirs, ours in means)


def _divergence(teacher: Tensor, student: Tensor, mask: Tensor | None) -> Tensor:
    if mask is None:
        return axis_divergence(teacher, student)
    return axis_divergence(torch.where(mask, teacher, 0), torch.where(mask, student, 0))


def _disparity_divergence(teacher: Tensor, student: Tensor, near_share: float, used: Tensor | None) -> Tensor:
    teacher = _resized(teacher, student)
    mask = near_mask(teacher, near_share)
    if used is not None:
        mask = mask & at_size(used, mask.shape[-2:])
    return axis_divergence(mask * teacher, mask * student)


def _resized(teacher: Tensor, student: Tensor) -> Tensor:
    return F.interpolate(teacher.float(), student.shape[-2:], mode="bilinear", align_corners=False)
