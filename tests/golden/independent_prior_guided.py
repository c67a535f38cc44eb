"""A training step of RPrDepth from the formulas of its specification, sections 3 to 6, in float64.

The student's and the pose network's layers and the augmented views come from outside. The fusion (normalised features,
affinity, depth hint, relative disparity, joining) is computed here from its weights, with the whole matrix of the
attention; so are the losses, the teacher's motions and the reliability.

departs: by the corrections at the head of the specification the gradient of L_aux stops at the tap. Here it goes on
into the student, as section 5 first had it, because the package does so.
Two things are the package's own (networks/rprdepth.py): the fusion has a bias in place of a batch norm, and its kernel
is the difference to the identity. The specification does not say what the mask of section 5, item 5, does to a loss:
here a step of the depth counts as its own pixel does, and where the teacher is not trusted it is said to agree with the
depth that was found.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from egodepth.networks.manydepth import Lookups
from egodepth.networks.rprdepth import Fused
from tests.golden.plain_losses import depth_of, enlarged, finished_step, motion, photometric, smoothness, warped
from tests.golden.steps import Step

ALPHA, BETA, AUXILIARY, SMOOTHNESS, NOISE, AGREEMENT, HEADS = 1.0, 0.1, 1.0, 1e-3, 1e-5, 1.25, 4


@dataclass(frozen=True)
class RichViews:
    """What a step sees of a batch, float64, at the teacher's size.

    Attributes:
        target, target_jittered: (B, 3, H, W) in [0, 1].
        sources, sources_jittered: those of offsets -1 and 1, likewise.
        intrinsics: (B, 3, 3) in pixels.
    """

    target: Tensor
    target_jittered: Tensor
    sources: dict[int, Tensor]
    sources_jittered: dict[int, Tensor]
    intrinsics: Tensor


def smaller(image: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear with averaging, as pictures are resized; in float32, as the networks get them."""
    return F.interpolate(image.float(), size, mode="bilinear", align_corners=False, antialias=True)


# --- prior depth fusion ----------------------------------------------------------------------------------------


def linear(weights: dict[str, Tensor], name: str, rows: Tensor) -> Tensor:
    kernel = weights[f"{name}.weight"]
    return rows @ kernel.reshape(len(kernel), -1).T + weights[f"{name}.bias"]


def fuse(weights: dict[str, Tensor], features: Tensor, depths: Tensor, chosen: Tensor, x18: Tensor) -> Fused:
    """Section 4, for the student's feature (B, 64, h, w).

    Args:
        weights: of the fusion, by name.
        features, depths: (N, 64), (N,), the whole set's, as they are.
        chosen: (K,), which of them take part in this step.
    """
    batch, channels, height, width = x18.shape
    # Section 3: the statistics are those of the set.
    mean, deviation = features.mean(0), ((features - features.mean(0)) ** 2).mean(0).sqrt()
    f_r, d_r = ((features - mean) / deviation)[chosen], depths[chosen]
    rows = x18.permute(0, 2, 3, 1).reshape(-1, channels)

    f_s, aligned = linear(weights, "align", rows), linear(weights, "references.align", f_r)
    f_s = f_s / (f_s**2).sum(1, keepdim=True).sqrt()
    aligned = aligned / (aligned**2).sum(1, keepdim=True).sqrt()
    affinity = torch.softmax(weights["temperature"] * f_s @ aligned.T, dim=1)
    f_c, d_c = affinity @ f_r, affinity @ d_r

    centred = rows - rows.mean(1, keepdim=True)
    normal = centred / ((centred**2).mean(1, keepdim=True) + 1e-5).sqrt()
    normal = normal * weights["norm.weight"] + weights["norm.bias"]
    query = linear(weights, "query", normal)
    key, value = linear(weights, "references.key", f_r), linear(weights, "references.value", f_r)
    heads = []
    for part in range(HEADS):
        own = slice(16 * part, 16 * (part + 1))
        heads.append(torch.softmax(query[:, own] @ key[:, own].T / math.sqrt(16), dim=1) @ value[:, own])
    f_d = linear(weights, "output", torch.cat(heads, 1))

    relative = depths.mean() / d_c
    joined = torch.cat([rows, f_c, relative[:, None], f_d], dim=1)
    joined = joined.reshape(batch, height, width, -1).permute(0, 3, 1, 2)
    fused = x18 + F.conv2d(joined, weights["change.weight"], weights["change.bias"], padding=1)
    return Fused(fused.clamp(min=0), d_c.reshape(batch, 1, height, width))


# --- losses ----------------------------------------------------------------------------------------------------


def view_synthesis(
    disparities: tuple[Tensor, ...], motions: dict[int, Tensor], views: RichViews, noise: list[Tensor]
) -> Tensor:
    """L_vp, section 5, item 1: each pixel's least error, still sources included, over all pixels and scales."""
    still = torch.stack([photometric(views.sources[offset], views.target) for offset in (-1, 1)])
    total = 0
    for scale, disparity in enumerate(disparities):
        depth = depth_of(enlarged(disparity.double(), views.target.shape[-2:]))
        moved = [
            photometric(warped(views.sources[offset], depth, views.intrinsics, motions[offset]), views.target)
            for offset in (-1, 1)
        ]
        candidates = torch.cat([torch.stack(moved), still + NOISE * noise[scale].double()])
        total = total + candidates.amin(0).mean()
        total = total + SMOOTHNESS / 2**scale * smoothness(disparity.double(), views.target)
    return total / len(disparities)


def gradient_map(depth: Tensor) -> Tensor:
    """Loss reference, section 6."""
    corner = depth[:, :, :-1, :-1]
    steps = (depth[:, :, :-1, 1:] - corner).abs() + (depth[:, :, 1:, :-1] - corner).abs()
    return steps / (steps.mean((2, 3), keepdim=True) + 1e-6)


# --- teachers --------------------------------------------------------------------------------------------------


@torch.no_grad()
def taught_depth(networks: dict[str, nn.Module], views: RichViews) -> Tensor:
    """D_p at the teacher's size, from clean frames; ManyDepth matches with the frames before and after."""
    image = views.target.float()
    if "network" not in networks:
        return depth_of(networks["alone"].finest(image).double())
    before, after = views.sources[-1].float(), views.sources[1].float()
    motions = []
    for pair, inverted in (((before, image), True), ((image, after), False)):
        axis_angle, translation = networks["pose"](*pair)
        motions.append(motion(axis_angle[:, 0], translation[:, 0], inverted))
    lookups = Lookups(
        torch.stack([before, after], 1),
        torch.stack(motions, 1).float(),
        torch.ones(len(image), 2, dtype=torch.bool),
        views.intrinsics.float(),
    )
    return depth_of(networks["network"].finest(image, lookups).double())


@torch.no_grad()
def reliability(networks: dict[str, nn.Module], views: RichViews, taught: Tensor, size: tuple[int, int]) -> Tensor:
    """Section 5, item 5, averaged to the student's size."""
    alone = depth_of(networks["alone"].finest(views.target.float()).double())
    agrees = torch.log(alone / taught).abs() < math.log(AGREEMENT)
    return smaller(agrees.double(), size).double()


# --- the step --------------------------------------------------------------------------------------------------


def training_step(
    networks: dict[str, nn.Module],
    parts: dict[str, nn.Module],
    teacher: dict[str, nn.Module],
    references: tuple[Tensor, Tensor],
    views: RichViews,
    size: tuple[int, int],
    references_per_step: int,
    reliable_only: bool,
) -> Step:
    """Sections 5 and 6.

    Args:
        networks: `depth` and `pose`, in training mode.
        parts: whose gradient norms are wanted.
        teacher: `alone`, and where it matches `network` and `pose`, in evaluation mode.
        references: features (N, 64) and depths (N,) of the set.
        size: the student's.
        references_per_step: how many of a larger set take part, drawn before the noise of the four scales.
    """
    features, depths = (values.double() for values in references)
    count = len(depths)
    chosen = torch.randperm(count)[:references_per_step] if count > references_per_step else torch.arange(count)

    target = smaller(views.target_jittered, size)
    fusion = networks["depth"].fusion
    weights, hints = dict(fusion.named_parameters()), []

    def fused(feature: Tensor) -> Fused:
        found = fuse(weights, features, depths, chosen, feature)
        hints.append(found.hint_depth)
        return found

    fusion.forward = fused
    disparities, _ = networks["depth"].with_features(target)
    (hint,) = hints

    before, after = (smaller(views.sources_jittered[offset], size) for offset in (-1, 1))
    axis_angle, translation = networks["pose"](torch.cat([before, target]), torch.cat([target, after]))
    pairs = len(target)
    motions = {
        -1: motion(axis_angle[:pairs, 0], translation[:pairs, 0], inverted=True),
        1: motion(axis_angle[pairs:, 0], translation[pairs:, 0], inverted=False),
    }
    shape = (2, pairs, *views.target.shape[-2:])
    synthesis = view_synthesis(disparities, motions, views, [torch.randn(shape) for _ in disparities])

    rich = taught_depth(teacher, views)
    taught = enlarged(rich, size)
    depth = depth_of(disparities[0].double())
    difference = (gradient_map(depth) - gradient_map(taught)).abs()
    found = enlarged(hint, size)
    logged = {"synthesis": synthesis, "hint_change": (hint.std((2, 3)) / hint.mean((2, 3))).mean()}
    if reliable_only:
        trust = reliability(teacher, views, rich, size)
        difference = difference * trust[:, :, :-1, :-1]
        found = taught + trust * (found - taught)
        logged["reliable_share"] = trust.mean()
    logged["gradient_consistency"] = difference.mean()
    logged["auxiliary"] = ((taught - found).abs() / taught.mean((2, 3), keepdim=True)).mean()
    total = ALPHA * synthesis + BETA * logged["gradient_consistency"] + AUXILIARY * logged["auxiliary"]
    return finished_step(parts, total, logged)
