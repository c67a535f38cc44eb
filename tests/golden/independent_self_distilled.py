"""A training step of SDFA-Net from the formulas of its specification, sections 4 to 7, in float64.

Only the network, the weights of the classifier and the augmented views come from outside; which picture the network
sees, both passes through the decoder, levels, masks, losses and weights are written out here. The whole loss is
differentiated at once.

Two things that the specification leaves to an implementation: a pair's own baseline scales its disparities over 0.54 m
(the factor b of section 4.2, applied once: section 10, item 4), and depth is focal length times baseline over disparity
with the camera of the views as they are resized and cut.
departs: the published code keeps one number, of the full width, for all of them (section 4.3), which would divide the
distillation term of each sample by its random scale.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.golden.plain_losses import finished_step, photometric
from tests.golden.steps import Step

LEVELS = [300 * (300 / 2) ** (n / 48 - 1) for n in range(49)]
MEAN = torch.tensor([0.411, 0.432, 0.45], dtype=torch.float64).reshape(3, 1, 1)
BETA, LAMBDA_1, LAMBDA_2, LAMBDA_3, GAMMA = 0.01, 0.0008, 0.01, 0.0016, 2
T_1, T_2, T_3, SEARCH = 1e-5, 0.2, 0.5, 61
STAGE = 0.5
"""Share of the training after which the distilled path joins: 25 of 50 epochs."""


@dataclass(frozen=True)
class PairViews:
    """What a step sees of a batch, float64: `target` and `other` clean, as the errors and the smoothness take them.

    Attributes:
        target, other, target_jittered, other_jittered: (B, 3, H, W) in [0, 1].
        focal_px, baseline_m, side: (B,); the side is +1 for a left target.
    """

    target: Tensor
    other: Tensor
    target_jittered: Tensor
    other_jittered: Tensor
    focal_px: Tensor
    baseline_m: Tensor
    side: Tensor


def shifted(rows: Tensor, shift: float, outside: str) -> Tensor:
    """Rows (..., W) at x + shift (W - 1) / W, linearly; outside there are zeros, or the border goes on."""
    width = rows.shape[-1]
    place = torch.arange(width, dtype=torch.float64) + shift * (width - 1) / width
    low = place.floor()
    share = place - low
    total = 0
    for where, weight in ((low, 1 - share), (low + 1, share)):
        inside = ((where >= 0) & (where < width)).double() if outside == "zeros" else torch.ones_like(where)
        total = total + rows[..., where.clamp(0, width - 1).long()] * weight * inside
    return total


def other_view(image: Tensor, logits: Tensor, factor: Tensor) -> Tensor:
    """Equation 7, (B, 3, H, W)."""
    views = []
    for colours, volume, b in zip(image, logits, factor.tolist(), strict=True):
        moved = torch.stack([shifted(layer, b * d, "zeros") for layer, d in zip(volume, LEVELS, strict=True)])
        weights = torch.softmax(moved, 0)
        views.append(sum(w * shifted(colours, b * d, "border") for w, d in zip(weights, LEVELS, strict=True)))
    return torch.stack(views)


def disparity_of(logits: Tensor, factor: Tensor) -> Tensor:
    """Equation 8, (B, 1, H, W)."""
    share = torch.softmax(logits, 1)
    return sum(d * share[:, n : n + 1] for n, d in enumerate(LEVELS)) * factor.abs().reshape(-1, 1, 1, 1)


def classifier_features(weights: dict[str, Tensor], image: Tensor) -> list[Tensor]:
    """VGG-19 after its first three max-poolings, of the image less its mean; no division by a deviation."""
    state, pooled = image - MEAN, []
    for block in ((0, 2), (5, 7), (10, 12, 14, 16)):
        for place in block:
            kernel, bias = weights[f"{place}.weight"].double(), weights[f"{place}.bias"].double()
            state = F.conv2d(state, kernel, bias, padding=1).clamp(min=0)
        state = F.max_pool2d(state, 2)
        pooled.append(state)
    return pooled


def curvature_smoothness(disparity: Tensor, image: Tensor) -> Tensor:
    """Equations 16 and 17."""
    grey = 0.299 * image[:, :1] + 0.587 * image[:, 1:2] + 0.114 * image[:, 2:]
    total = 0
    for axis in (2, 3):
        last = disparity.shape[axis] - 1
        place = torch.arange(last + 1)
        before, after = (place - 1).clamp(min=0), (place + 1).clamp(max=last)
        d_before, d_after = disparity.index_select(axis, before), disparity.index_select(axis, after)
        g_before, g_after = grey.index_select(axis, before), grey.index_select(axis, after)
        steps = (disparity - d_before).abs() + (disparity - d_after).abs()
        total = total + steps * torch.exp(-GAMMA * (2 * grey - g_before - g_after).abs())
    return total.mean()


def reprojected(other: Tensor, disparity: Tensor, side: Tensor) -> tuple[Tensor, Tensor]:
    """Equation 9: the target from the other view, (B, 3, H, W), and whether the place is inside, (B, 1, H, W)."""
    width = other.shape[-1]
    images, insides = [], []
    for colours, moved, sign in zip(other, disparity, side.tolist(), strict=True):
        place = torch.arange(width, dtype=torch.float64) - sign * moved[0] * (width - 1) / width
        insides.append(((place >= 0) & (place <= width - 1))[None])
        cut = place.clamp(0, width - 1)
        low = cut.floor().long()
        high, share = (low + 1).clamp(max=width - 1), cut - low
        rows = torch.arange(other.shape[-2])[:, None]
        images.append(colours[:, rows, low] * (1 - share) + colours[:, rows, high] * share)
    return torch.stack(images), torch.stack(insides)


def not_occluded(disparity: Tensor, side: Tensor) -> Tensor:
    """Equation 12, (B, 1, H, W) bool; a right target's rows are mirrored, treated alike, and mirrored back."""
    masks = []
    for rows, sign in zip(disparity[:, 0], side.tolist(), strict=True):
        rows = rows.flip(-1) if sign < 0 else rows
        height, width = rows.shape
        above, below = rows[[0, *range(height - 1)]], rows[[*range(1, height), height - 1]]
        further = [width - 1] * (SEARCH + 1)
        mean = ((above + rows + below) / 3)[:, [*range(width), *further]]
        own = (mean[:, :width] + mean[:, 1 : width + 1]) / 2
        gaps = [(own - mean[:, i + 2 : i + 2 + width] + (i + 1)).abs() for i in range(SEARCH)]
        visible = torch.stack(gaps).amin(0).clamp(0, 1) > T_3
        masks.append(visible.flip(-1) if sign < 0 else visible)
    return torch.stack(masks)[:, None]


def training_step(
    network: nn.Module,
    parts: dict[str, nn.Module],
    classifier: dict[str, Tensor],
    views: PairViews,
    step: int,
    steps: int,
    two_paths: bool,
) -> Step:
    """Equation 18: the loss, what is logged, and the gradient norm.

    Args:
        network: with `encode` and `decode`, as in training.
        parts: whose gradient norms are wanted.
        classifier: VGG-19's tensors by the position in its feature list.
        two_paths: the decoder has a distilled path.
    """
    size = views.target.shape[-2:]
    factor = views.side * views.baseline_m / 0.54
    features = network.encode(views.target_jittered.float())
    logits = network.decode(features, size, "raw").double()

    synthesised = other_view(views.target_jittered, logits, factor)
    found = classifier_features(classifier, synthesised)
    wanted = [feature.detach() for feature in classifier_features(classifier, views.other_jittered)]
    synthesis = (synthesised - views.other_jittered).abs().mean()
    synthesis = synthesis + BETA * sum(((a - b) ** 2).mean() for a, b in zip(found, wanted, strict=True))
    raw = disparity_of(logits, factor)
    raw_smoothness = curvature_smoothness(raw, views.target)
    total = synthesis + LAMBDA_1 * raw_smoothness
    logged = {"synthesis": synthesis, "raw_smoothness": raw_smoothness}

    if two_paths and step >= STAGE * steps:
        turned = network.decode([feature.flip(-1) for feature in features], size, "distilled").flip(-1).double()
        distilled = disparity_of(turned, factor)
        of_raw, _ = reprojected(views.other, raw.detach(), views.side)
        of_distilled, inside = reprojected(views.other, distilled.detach(), views.side)
        raw_error = photometric(of_raw, views.target)
        good = (raw_error - photometric(of_distilled, views.target) < T_1) & (raw_error < T_2)
        mask = good[:, None] & not_occluded(distilled.detach(), views.side) & inside
        reach = (views.focal_px * views.baseline_m).reshape(-1, 1, 1, 1)
        distillation = (mask.double() * (reach / distilled - reach / raw.detach()).abs()).mean()
        distilled_smoothness = curvature_smoothness(distilled, views.target)
        total = total + LAMBDA_2 * distillation + LAMBDA_3 * distilled_smoothness
        logged["distillation"] = distillation
        logged["distilled_smoothness"] = distilled_smoothness
        logged["distilled_share"] = mask.double().mean()

    return finished_step(parts, total, logged)
