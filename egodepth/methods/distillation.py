"""FA-Depth's distillation (APX): a small network learns to approximate what a large one makes of an image.

Source: FA-Depth, equation 28. Teacher and student are any two disparity networks.
"""

from collections.abc import Callable, Sequence
from math import log2

import torch
import torch.nn.functional as F
from torch import Tensor

from egodepth.data.transforms import resize
from egodepth.losses.distillation import axis_divergence, near_mask, spread
from egodepth.losses.photometric import at_size
from egodepth.methods.configurations import DistillationConfig
from egodepth.methods.frozen import FrozenNetwork
from egodepth.networks.disparity import DisparityNetwork, Features

Seen = tuple[Sequence[Tensor], Features]
"""What a network makes of an image: sigmoid disparities and features."""


class Teacher(FrozenNetwork):
    """A trained depth network that a student is to approximate."""

    def __init__(self, network: DisparityNetwork, height: int, width: int, config: DistillationConfig) -> None:
        super().__init__(network, height, width)
        self.config = config

    @torch.no_grad()
    def taught(self, image: Tensor) -> Seen:
        """Disparities and features of an image (B, 3, H, W), which is best no smaller than the teacher's size."""
        return self.network.with_features(resize(image, *self.size))

    @torch.no_grad()
    def depth(self, image: Tensor, student: Tensor) -> tuple[Tensor, Tensor]:
        """What the teacher sees in an image (B, 3, H, W), and that it sees all of it.

        Args:
            student: depth (B, 1, H, W), to whose median the teacher's is brought: they share no unit.
        """
        depth = resize(self.inverse_depth(image), *student.shape[-2:]).reciprocal()
        ratio = (student / depth).flatten(1).median(dim=1).values
        return depth * ratio[:, None, None, None], torch.ones_like(depth, dtype=torch.bool)

    def loss(
        self, image: Tensor, student: Seen, width: int, used: Tensor | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """How far a student is from the teacher.

        Args:
            image: (B, 3, H, W), what both see, at the size at which it was read.
            width: of the image as the student sees it.
            used: (B, 1, H, W) bool, the pixels that show the scene; none is all of them.

        Returns:
            the weighed sum of the parts, and each part for the log.
        """
        parts = distillation_parts(self.taught(image), student, (self.size[1], width), self.config.near_share, used)
        config = self.config
        weights = (config.encoder_weight, config.decoder_weight, config.disparity_weight)
        total = sum(weight * part for weight, part in zip(weights, parts.values(), strict=True))
        return total, {f"distilled_{name}": part for name, part in parts.items()}


def distillation_parts(
    teacher: Seen, student: Seen, widths: tuple[int, int], near_share: float = 0.3, used: Tensor | None = None
) -> dict[str, Tensor]:
    """The parts of equation 28: features of `encoder` and `decoder`, and `disparity` where the teacher sees near.

    Each of the student's maps is compared with the teacher's at the same stride, or at the nearest stride that it has;
    the teacher's is brought to the student's size. Features are compared by their channel means, so that the numbers of
    channels may differ. A part is the mean over the student's maps.

    Args:
        teacher, student: what they made of the same image.
        widths: of the image as the teacher and as the student sees it.
        near_share: see `near_mask`.
        used: (B, 1, H, W) bool, the pixels that show the scene; none is all of them.
    """

    def mean(divergence: Callable, theirs: Sequence[Tensor], ours: Sequence[Tensor]) -> Tensor:
        pairs = paired(theirs, ours, *widths)
        return sum(divergence(_resized(taught, own), own.float()) for taught, own in pairs) / len(pairs)

    def of_features(taught: Tensor, own: Tensor) -> Tensor:
        return _divergence(taught, own, used)

    def of_disparities(taught: Tensor, own: Tensor) -> Tensor:
        near = near_mask(taught, near_share)
        return _divergence(near * taught, near * own, used)

    theirs, ours = teacher[1], student[1]
    return {
        "encoder": mean(of_features, _channel_means(theirs.encoder), _channel_means(ours.encoder)),
        "decoder": mean(of_features, _channel_means(theirs.decoder), _channel_means(ours.decoder)),
        "disparity": mean(of_disparities, teacher[0], student[0]),
    }


def paired(
    teacher: Sequence[Tensor], student: Sequence[Tensor], teacher_width: int, student_width: int
) -> list[tuple[Tensor, Tensor]]:
    """Each of the student's maps with the teacher's of the nearest stride; the finer one of two that are as near."""

    def octave(image_width: int, each: Tensor) -> float:
        return log2(image_width / each.shape[-1])

    return [
        (min(teacher, key=lambda taught: abs(octave(teacher_width, taught) - octave(student_width, own))), own)
        for own in student
    ]


def _divergence(teacher: Tensor, student: Tensor, used: Tensor | None) -> Tensor:
    """The divergence of maps that each vary by one.

    It then depends on no unit of either, and no map pulls much more than another.

    Where `used` is false the two are said to agree.
    """
    if used is not None:
        mask = at_size(used, student.shape[-2:])
        teacher, student = torch.where(mask, teacher, 0), torch.where(mask, student, 0)
    return axis_divergence(teacher / spread(teacher), student / spread(student))


def _channel_means(maps: Sequence[Tensor]) -> list[Tensor]:
    return [each.float().mean(1, keepdim=True) for each in maps]


def _resized(teacher: Tensor, student: Tensor) -> Tensor:
    size = student.shape[-2:]
    return F.interpolate(teacher.float(), size, mode="bilinear", align_corners=False, antialias=True)
