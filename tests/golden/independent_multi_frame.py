"""A training step of ManyDepth from the formulas of its specification, sections B3 to B8, in float64.

Only the networks and the augmented views come from outside; which frames the networks see and in which order, the
motions, both losses, the trust, the draws of the matching augmentation and the bins are written out here. Both losses
are differentiated at once.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from egodepth.networks.manydepth import Lookups
from tests.golden.plain_losses import depth_of, enlarged, finished_step, motion, photometric, smoothness, warped
from tests.golden.steps import Step

SMOOTHNESS, NOISE, STATIC, MISSING, FREEZE, KEPT = 1e-3, 1e-5, 0.25, 0.5, 0.75, 0.99


@dataclass(frozen=True)
class VideoViews:
    """What a step sees of a batch, float64: the current frame, the one before and the one after.

    Attributes:
        current, current_jittered: (B, 3, H, W) in [0, 1].
        frames, frames_jittered: those of offsets -1 and 1, likewise.
        intrinsics: (B, 3, 3) in pixels.
    """

    current: Tensor
    current_jittered: Tensor
    frames: dict[int, Tensor]
    frames_jittered: dict[int, Tensor]
    intrinsics: Tensor


@dataclass(frozen=True)
class MultiFrameStep:
    """The figures of a step, and the range of the bins after it."""

    figures: Step
    bins: tuple[float, float]


def motion_to(pose: nn.Module, views: VideoViews, offset: int) -> Tensor:
    """Section B3: the two frames in temporal order, jittered; inverted where the other one is earlier."""
    other, current = views.frames_jittered[offset].float(), views.current_jittered.float()
    pair = (other, current) if offset < 0 else (current, other)
    axis_angle, translation = pose(*pair)
    return motion(axis_angle[:, 0], translation[:, 0], inverted=offset < 0)


def errors_of(depth: Tensor, motions: dict[int, Tensor], views: VideoViews) -> Tensor:
    """(S, B, H, W), photometric errors of the two frames warped by a depth."""
    return torch.stack(
        [
            photometric(warped(views.frames[offset], depth, views.intrinsics, motions[offset]), views.current)
            for offset in (-1, 1)
        ]
    )


def teacher_loss(disparities: tuple[Tensor, ...], motions: dict[int, Tensor], views: VideoViews) -> Tensor:
    """Section B5: masked means, one draw of noise for each scale; a tie stays in the mask."""
    still = torch.stack([photometric(views.frames[offset], views.current) for offset in (-1, 1)])
    total = 0
    for scale, disparity in enumerate(disparities):
        depth = depth_of(enlarged(disparity.double(), views.current.shape[-2:]))
        best = errors_of(depth, motions, views).amin(0)
        noise = torch.randn(still.shape).double()
        mask = (best <= (still + NOISE * noise).amin(0)).double()
        total = total + (best * mask).sum() / (mask.sum() + 1e-7)
        total = total + SMOOTHNESS / 2**scale * smoothness(disparity.double(), views.current)
    return total / len(disparities)


def training_step(
    networks: dict[str, nn.Module], views: VideoViews, lookups: tuple[int, ...], step: int, steps: int
) -> MultiFrameStep:
    """Sections B4 to B6 and B8.

    Args:
        networks: `depth`, `teacher` and `pose`, in training mode, with the weights and bins from before the step.
        lookups: time offsets of the frames that are matched with.
    """
    size, count = views.current.shape[-2:], len(views.current)
    frozen = step >= FREEZE * steps
    networks["teacher"].train(not frozen)
    networks["pose"].train(not frozen)
    logged: dict[str, Tensor] = {}

    motions = {offset: motion_to(networks["pose"], views, offset) for offset in (-1, 1)}
    taught = networks["teacher"](views.current_jittered.float())
    total = 0
    if not frozen:
        logged["teacher_loss"] = total = teacher_loss(taught, motions, views)
    constant = {offset: matrix.detach() for offset, matrix in motions.items()}
    teacher_depths = [depth_of(enlarged(disparity.detach().double(), size)) for disparity in taught]

    drawn = torch.rand(count).tolist()
    images, valid = [], []
    for sample, number in enumerate(drawn):
        frames = [views.frames_jittered[offset][sample] for offset in lookups]
        images.append(torch.stack([views.current[sample] if number < STATIC else frame for frame in frames]))
        valid.append([not STATIC <= number < MISSING] * len(lookups))
    augmented = torch.tensor([number < MISSING for number in drawn])
    found = Lookups(
        torch.stack(images).float(),
        torch.stack([constant[offset] for offset in lookups], dim=1).float(),
        torch.tensor(valid),
        views.intrinsics.float(),
    )
    disparities, features = networks["depth"].with_features(views.current_jittered.float(), found)

    rows, columns = torch.arange(size[0]) // 4, torch.arange(size[1]) // 4
    matched = features.lowest_cost_depth.double()[:, :, rows][..., columns]
    confident = features.confidence[:, :, rows][..., columns]
    close = ((matched - teacher_depths[0]) / teacher_depths[0] < 1) & ((teacher_depths[0] - matched) / matched < 1)
    trust = (confident & close & ~augmented.reshape(-1, 1, 1, 1)).double()
    reprojections, consistencies, smoothnesses = [], [], []
    for scale, disparity in enumerate(disparities):
        depth = depth_of(enlarged(disparity.double(), size))
        best = errors_of(depth, constant, views).amin(0)
        reprojections.append((best * trust[:, 0]).sum() / (trust.sum() + 1e-7))
        consistencies.append(((depth - teacher_depths[scale]).abs() * (1 - trust)).mean())
        smoothnesses.append(SMOOTHNESS / 2**scale * smoothness(disparity.double(), views.current))
    logged["reprojection"] = sum(reprojections) / len(disparities)
    logged["consistency"] = sum(consistencies) / len(disparities)
    logged["trusted_share"] = trust.mean()
    total = total + logged["reprojection"] + logged["consistency"] + sum(smoothnesses) / len(disparities)

    encoder = networks["depth"].encoder
    nearest, farthest = float(encoder.min_depth_bin), float(encoder.max_depth_bin)
    if not frozen:
        own = depth_of(taught[0].detach().double()).flatten(1)
        nearest = KEPT * nearest + (1 - KEPT) * max(0.1, 0.9 * float(own.min(1).values.mean()))
        farthest = KEPT * farthest + (1 - KEPT) * 1.1 * float(own.max(1).values.mean())
    return MultiFrameStep(finished_step(networks, total, logged), (nearest, farthest))
