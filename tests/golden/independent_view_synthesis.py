"""The training step of view synthesis written once more, straight from the formulas, to make the golden numbers with.

Nothing of the package is used but the batch and the networks, as functions from images to disparities, features and
motions: their forward passes are pinned elsewhere. Warping, SSIM, masks, smoothness, L_cr, pyramid loss and APX are
written out here with plain loops, in float64, augmentation in `independent_views`, and every constant is a number of
these two files.

Sections named below are those of the specifications of Monodepth2 (M), of FA-Depth (F) and of the losses (L). Where
these leave something open, the comment says "ours", and docs/systems names the choice.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from egodepth.data.samples import Batch
from tests.golden.independent_views import SEED, Seen, at_size, augmented, in_form, resized
from tests.golden.steps import Step, gradient_norms
from tests.golden.view_synthesis_cases import STEPS, TEACHER_SIZE, Case

PHOTOMETRIC = "monodepth2", "dna-depth-b0", "diffnet"
"""Recipes with Monodepth2's loss and augmentation; the others have FA-Depth's."""

LEVELS = {  # F 4, table IX: alpha, beta, gamma.
    "low": (0.5, 1.0, 0.5),
    "high": (0.5, 0.5, 0.1),
    "flip": (1.0, 0.1, 0.5),
    "colour": (1.0, 0.1, 0.1),
}

APX_WEIGHTS = {"distilled_encoder": 0.02, "distilled_decoder": 0.02, "distilled_disparity": 0.02}  # ours


# --- geometry (M 2) --------------------------------------------------------------------------------------------


def rodrigues(vector: Tensor) -> Tensor:
    """M 2.5, one rotation (3, 3) from one axis-angle (3,)."""
    angle = vector.square().sum().sqrt()
    x, y, z = vector / (angle + 1e-7)
    zero = torch.zeros_like(x)
    cross = torch.stack([torch.stack([zero, -z, y]), torch.stack([z, zero, -x]), torch.stack([-y, x, zero])])
    axis = torch.stack([x, y, z])
    identity = torch.eye(3, dtype=vector.dtype)
    return angle.cos() * identity + angle.sin() * cross + (1 - angle.cos()) * torch.outer(axis, axis)


def motions(seen: Seen, sources: tuple, pose: nn.Module | None) -> list[tuple[Tensor, Tensor]]:
    """Rotations (B, 3, 3) and translations (B, 3) from the target to each source, M 2.5 and 2.6."""
    count = seen.clean.shape[1]
    target, moving = seen.jittered[0], [place for place, source in enumerate(sources) if source != "stereo"]
    found = {}
    if moving:
        pairs = [
            (seen.jittered[1 + place], target) if sources[place] < 0 else (target, seen.jittered[1 + place])
            for place in moving
        ]
        angles, shifts = pose(torch.cat([first for first, _ in pairs]), torch.cat([second for _, second in pairs]))
        for order, place in enumerate(moving):
            rows = range(order * count, (order + 1) * count)
            rotation = torch.stack([rodrigues(angles[row, 0].double()) for row in rows])
            shift = torch.stack([shifts[row, 0].double() for row in rows])
            if sources[place] < 0:
                rotation, shift = inverse(rotation, shift)
            found[place] = rotation, shift
    for place, source in enumerate(sources):
        if source == "stereo":
            zero = torch.zeros_like(seen.offset)
            shift = torch.stack([seen.offset, zero, zero], dim=-1)
            found[place] = torch.eye(3, dtype=torch.float64).repeat(count, 1, 1), shift
    return [found[place] for place in range(len(sources))]


def inverse(rotation: Tensor, shift: Tensor) -> tuple[Tensor, Tensor]:
    back = rotation.transpose(1, 2)
    return back, -torch.einsum("bij,bj->bi", back, shift)


def pixel_places(height: int, width: int) -> Tensor:
    """(3, H, W): column, row and one."""
    rows = torch.arange(height, dtype=torch.float64)[:, None].expand(height, width)
    columns = torch.arange(width, dtype=torch.float64)[None].expand(height, width)
    return torch.stack([columns, rows, torch.ones(height, width, dtype=torch.float64)])


def seen_from(depth: Tensor, intrinsics: Tensor, motion: tuple[Tensor, Tensor]) -> Tensor:
    """M 2.3: homogeneous pixels (B, 3, H, W) in the source of the points at a depth (B, H, W)."""
    rays = torch.einsum("bij,jhw->bihw", intrinsics.inverse(), pixel_places(*depth.shape[-2:]))
    points = torch.einsum("bij,bjhw->bihw", motion[0], depth[:, None] * rays) + motion[1][:, :, None, None]
    return torch.einsum("bij,bjhw->bihw", intrinsics, points)


def bilinear(image: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """M 2.4: an image (B, C, H, W) at columns and rows (B, h, w); beyond the border, the border."""
    count, channels, height, width = image.shape
    x, y = x.clamp(0, width - 1), y.clamp(0, height - 1)
    left, top = x.detach().floor().clamp(max=width - 2), y.detach().floor().clamp(max=height - 2)
    right_share, lower_share = x - left, y - top
    flat = image.reshape(count, channels, -1)

    def at(row: Tensor, column: Tensor) -> Tensor:
        index = (row * width + column).long().reshape(count, 1, -1).expand(-1, channels, -1)
        return flat.gather(2, index).reshape(count, channels, *x.shape[1:])

    upper = at(top, left) * (1 - right_share)[:, None] + at(top, left + 1) * right_share[:, None]
    lower = at(top + 1, left) * (1 - right_share)[:, None] + at(top + 1, left + 1) * right_share[:, None]
    return upper * (1 - lower_share)[:, None] + lower * lower_share[:, None]


def enlarged(disparity: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(disparity, tuple(size), mode="bilinear", align_corners=False)


def inverse_depth(sigmoid: Tensor) -> Tensor:
    return 0.01 + 9.99 * sigmoid  # M 2.2


# --- photometric error, smoothness (M 4, M 5.6) ----------------------------------------------------------------


def box(image: Tensor) -> Tensor:
    """3x3 mean (B, C, H, W), the border mirrored without its own pixel."""
    return F.avg_pool2d(F.pad(image, (1, 1, 1, 1), mode="reflect"), 3, stride=1)


def photometric_error(a: Tensor, b: Tensor) -> Tensor:
    """(B, H, W) of two images (B, 3, H, W)."""
    mean_a, mean_b = box(a), box(b)
    variance_a, variance_b = box(a * a) - mean_a**2, box(b * b) - mean_b**2
    covariance = box(a * b) - mean_a * mean_b
    ssim = (2 * mean_a * mean_b + 1e-4) * (2 * covariance + 9e-4)
    ssim = ssim / ((mean_a**2 + mean_b**2 + 1e-4) * (variance_a + variance_b + 9e-4))
    return 0.85 * ((1 - ssim) / 2).clamp(0, 1).mean(1) + 0.15 * (a - b).abs().mean(1)


def smoothness(disparity: Tensor, image: Tensor) -> Tensor:
    """Of sigmoid disparities (N, 1, h, w) beside images (N, 3, H, W), which block means bring to their size."""
    factor = image.shape[-1] // disparity.shape[-1]
    image = F.avg_pool2d(image, factor) if factor > 1 else image
    relative = disparity / (disparity.mean(dim=(2, 3), keepdim=True) + 1e-7)
    step_x = (relative[..., :, 1:] - relative[..., :, :-1]).abs()
    step_y = (relative[..., 1:, :] - relative[..., :-1, :]).abs()
    edge_x = (image[..., :, 1:] - image[..., :, :-1]).abs().mean(1, keepdim=True)
    edge_y = (image[..., 1:, :] - image[..., :-1, :]).abs().mean(1, keepdim=True)
    return (step_x * (-edge_x).exp()).mean() + (step_y * (-edge_y).exp()).mean()


# --- a look at one form of the views ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Outcome:
    """Loss and figures for the log of one form; the target's disparities, encoder and decoder features, in float64."""

    loss: Tensor
    values: dict[str, Tensor]
    disparities: list[Tensor]
    encoder: list[Tensor]
    decoder: list[Tensor]


def monodepth2_look(seen: Seen, sources: tuple, networks: dict[str, nn.Module]) -> Outcome:
    """M 5: the least error over warped and un-warped sources, at every scale, at full size."""
    disparities, features = networks["depth"].with_features(seen.jittered[0])
    moves = motions(seen, sources, networks.get("pose"))
    images = seen.clean.double()
    target, size = images[0], images.shape[-2:]
    disparities = [disparity.double() for disparity in disparities]
    losses, values = [], {}
    for scale, disparity in enumerate(disparities):
        depth = 1 / inverse_depth(enlarged(disparity, size))[:, 0]
        warped_errors = []
        for source, motion in zip(images[1:], moves, strict=True):
            place = seen_from(depth, seen.intrinsics, motion)
            x, y = place[:, 0] / (place[:, 2] + 1e-7), place[:, 1] / (place[:, 2] + 1e-7)
            warped_errors.append(photometric_error(bilinear(source, x, y), target))
        # The noise is drawn as training draws it: float32, all sources at once, anew for every scale.
        noise = 1e-5 * torch.randn(len(sources), *depth.shape).double()
        static_errors = [
            photometric_error(source, target) + ties for source, ties in zip(images[1:], noise, strict=True)
        ]
        errors = torch.stack([*static_errors, *warped_errors])
        least, winner = errors.min(0)
        losses.append(least.mean() + 1e-3 * smoothness(disparity, target) / 2**scale)
        values[f"loss_scale_{scale}"] = losses[-1]
        values[f"reprojected_scale_{scale}"] = (winner >= len(sources)).double().mean()
    return Outcome(sum(losses) / len(losses), values, disparities, *in_double(features))


def l_cr_look(seen: Seen, sources: tuple, networks: dict[str, nn.Module]) -> Outcome:
    """F 5 and L 1: target and each source explain each other both ways, at every scale, at full size."""
    frames, count = seen.jittered.shape[:2]
    disparities, features = networks["depth"].with_features(seen.jittered.flatten(0, 1))
    moves = motions(seen, sources, networks.get("pose"))
    images = seen.clean.double()
    size = images.shape[-2:]
    disparities = [disparity.double() for disparity in disparities]
    encoder, decoder = in_double(features)
    maps = decoder[0].unflatten(0, (frames, count))
    losses, values = [], {}
    for scale, disparity in enumerate(disparities):
        depths = (1 / inverse_depth(enlarged(disparity, size)))[:, 0].unflatten(0, (frames, count))
        terms = []
        for source, motion in enumerate(moves, start=1):
            for a, b, forward in ((0, source, motion), (source, 0, inverse(*motion))):
                terms.append(
                    l_cr_terms(images[a], images[b], depths[a], depths[b], maps[a], maps[b], seen.intrinsics, forward)
                )
        mean = {name: sum(term[name] for term in terms) / len(terms) for name in terms[0]}
        smooth = smoothness(disparity, images.flatten(0, 1)) / 2**scale
        losses.append(mean["photometric"] + 0.5 * mean["depth"] + 0.1 * mean["feature"] + 1e-3 * smooth)
        values |= {f"loss_scale_{scale}": losses[-1]}
        if scale == 0:
            values |= mean
    own = [[each[:count] for each in side] for side in (disparities, encoder, decoder)]
    return Outcome(sum(losses) / len(losses), values, *own)


def l_cr_terms(
    image_a: Tensor,
    image_b: Tensor,
    depth_a: Tensor,
    depth_b: Tensor,
    maps_a: Tensor,
    maps_b: Tensor,
    intrinsics: Tensor,
    motion: tuple[Tensor, Tensor],
) -> dict[str, Tensor]:
    """One direction, L 1: b explains a. Images (B, 3, H, W), depths (B, H, W), features (B, C, h, w)."""
    height, width = depth_a.shape[-2:]
    pixels = pixel_places(height, width)
    x, y, z, in_front = l_cr_places(depth_a, intrinsics, motion)
    valid = in_front & (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)

    back_x, back_y, _, _ = l_cr_places(depth_b, intrinsics, inverse(*motion))
    way = torch.stack([x - pixels[0], y - pixels[1]], 1)
    way_back = bilinear(torch.stack([back_x - pixels[0], back_y - pixels[1]], 1), x, y)
    lengths = way.square().sum(1) + way_back.square().sum(1)
    consistent = (way + way_back).square().sum(1) < 0.01 * lengths + 0.5

    seen_depth = bilinear(depth_b[:, None], x, y)[:, 0]
    difference = (z - seen_depth).abs() / (z + seen_depth)
    trusted = (valid & consistent).double()
    weight = (trusted * (1 - difference)).detach()

    error = photometric_error(bilinear(image_b, x, y), image_a)
    return {
        "photometric": weighted(error, weight),
        "depth": weighted(difference, trusted),
        "feature": l_feat(maps_a, maps_b, x, y, weight),
        "valid_share": valid.double().mean(),
        "flow_share": consistent.double().mean(),
    }


def l_cr_places(depth: Tensor, intrinsics: Tensor, motion: tuple[Tensor, Tensor]) -> tuple[Tensor, ...]:
    place = seen_from(depth, intrinsics, motion)
    z = place[:, 2].clamp(min=1e-3)
    return place[:, 0] / z, place[:, 1] / z, z, place[:, 2] > 1e-3


def l_feat(maps_a: Tensor, maps_b: Tensor, x: Tensor, y: Tensor, weight: Tensor) -> Tensor:
    """Features may be half as large as the images (ours): places and weights are then means of 2x2.

    A mean of places counts only if all four have a weight; places outside are put on the border before.
    """
    height, width = x.shape[-2:]
    factor = width // maps_a.shape[-1]
    assert factor in (1, 2)
    if factor == 2:
        across, down = ((x + 0.5) / width).clamp(0, 1), ((y + 0.5) / height).clamp(0, 1)
        x = mean_of_four(across) * maps_a.shape[-1] - 0.5
        y = mean_of_four(down) * maps_a.shape[-2] - 0.5
        weight = mean_of_four(weight) * (mean_of_four((weight > 0).double()) == 1)
    return weighted((maps_a - bilinear(maps_b, x, y)).abs().mean(1), weight)


def mean_of_four(values: Tensor) -> Tensor:
    return (values[:, ::2, ::2] + values[:, 1::2, ::2] + values[:, ::2, 1::2] + values[:, 1::2, 1::2]) / 4


def weighted(values: Tensor, weight: Tensor) -> Tensor:
    return (values * weight).sum() / weight.sum().clamp(min=1)


def in_double(features: Any) -> tuple[list[Tensor], list[Tensor]]:
    return [maps.double() for maps in features.encoder], [maps.double() for maps in features.decoder]


# --- pyramid loss (F 4, L 2) and APX (F 7, L 3) ----------------------------------------------------------------


def symmetric_divergence(a: Tensor, b: Tensor) -> Tensor:
    total = 0.0
    for axis in (2, 3):
        p, r = a.softmax(axis), b.softmax(axis)
        total = total + 0.5 * ((p - r) * (p.log() - r.log())).sum(axis).mean()
    return total / 2


def agreement(level: str, own: Outcome, other: Outcome) -> tuple[Tensor, Tensor]:
    """phi of the disparities, mean over the heads, and of the finest decoder and coarsest encoder feature."""

    def phi(expected: Tensor, found: Tensor) -> Tensor:
        if level == "flip":
            found = found.flip(-1)
        found = enlarged(found, expected.shape[-2:])
        return (expected - found).abs().mean() if level == "colour" else symmetric_divergence(expected, found)

    heads = [phi(inverse_depth(a), inverse_depth(b)) for a, b in zip(own.disparities, other.disparities, strict=True)]
    features = [phi(own.decoder[0], other.decoder[0]), phi(own.encoder[-1], other.encoder[-1])]
    return sum(heads) / len(heads), sum(features) / 2


def apx(image: Tensor, teacher: nn.Module, student: Outcome, student_width: int) -> dict[str, Tensor]:
    """Eq. 28 (F 7 with its corrections), the parts, on an image (B, 3, H, W) as it was read.

    Strides are powers of two of each network's own width. Means over the maps and division by deviations are ours.
    """
    with torch.no_grad():
        disparities, features = teacher.with_features(resized(image, TEACHER_SIZE))
    theirs = in_double(features)
    pairs = {
        "encoder": matched(theirs[0], student.encoder, student_width),
        "decoder": matched(theirs[1], student.decoder, student_width),
        "disparity": matched([each.double() for each in disparities], student.disparities, student_width),
    }
    found = {}
    for part, maps in pairs.items():
        total = 0.0
        for a, b in maps:
            a, b = (a, b) if part == "disparity" else (a.mean(1, keepdim=True), b.mean(1, keepdim=True))
            a = F.interpolate(a.float(), b.shape[-2:], mode="bilinear", align_corners=False, antialias=True).double()
            if part == "disparity":
                middle = a.flatten(1).sort(1).values[:, (a[0].numel() - 1) // 2]
                near = (a > 0.3 * middle[:, None, None, None]).double()
                a, b = near * a, near * b
            total = total + one_sided(*(each / deviation(each).clamp(min=1e-3) for each in (a, b)))
        found[f"distilled_{part}"] = total / len(maps)
    return found


def deviation(each: Tensor) -> Tensor:
    return (each - each.mean((2, 3), keepdim=True)).square().mean((2, 3), keepdim=True).sqrt()


def matched(theirs: list[Tensor], own: list[Tensor], width: int) -> list[tuple[Tensor, Tensor]]:
    """Each of the student's maps with the teacher's of the nearest stride, the finer one where two are as near."""
    pairs = []
    for b in own:
        stride = width // b.shape[-1]
        distances = [abs(math.log2(TEACHER_SIZE[1] // a.shape[-1]) - math.log2(stride)) for a in theirs]
        pairs.append((theirs[distances.index(min(distances))], b))
    return pairs


def one_sided(teacher: Tensor, student: Tensor) -> Tensor:
    total = 0.0
    for axis in (2, 3):
        p, r = teacher.softmax(axis), student.softmax(axis)
        total = total + (p * (p.log() - r.log())).sum(axis).mean()
    return total / 2


# --- the step --------------------------------------------------------------------------------------------------


def independent_step(case: Case, batch: Batch, networks: dict[str, nn.Module], teacher: nn.Module | None) -> Step:
    """The figures of one training step, from networks as the package built them."""
    state = np.random.SeedSequence([SEED, case.step, 0]).generate_state(1, np.uint64)
    torch.manual_seed(int(state[0] >> np.uint64(1)))
    for network in networks.values():
        network.train().zero_grad()
        for module in network.modules():
            if hasattr(module, "maximum") and hasattr(module, "rate"):
                module.rate = drop_rate(case.step, module.maximum)
    values: dict[str, Tensor] = {}
    total = 0.0
    for part in parts(case, batch, networks, teacher, values):
        part.backward()
        total += float(part.detach())
    logged = {name: float(value.detach()) for name, value in values.items()} | {"loss": total}
    return Step(total, logged, gradient_norms(networks))


def drop_rate(step: int, maximum: float) -> float:
    """F 2.3 in its continuous form, the turning point after two thirds, where the printed form is continuous too."""
    turn = 2 * STEPS // 3
    phase = step / turn if step < turn else 1 + (step - turn) / (STEPS - turn)
    return (1 - math.cos(math.pi * phase)) * maximum / 2


def parts(
    case: Case, batch: Batch, networks: dict, teacher: nn.Module | None, values: dict[str, Tensor]
) -> Iterator[Tensor]:
    look = monodepth2_look if case.recipe in PHOTOMETRIC else l_cr_look
    frames = augmented(batch, case.step, enlarges=case.recipe not in PHOTOMETRIC)
    seen = at_size(frames, case.size)
    if case.synthesis_weight:
        own = look(seen, batch.source_ids, networks)
        values |= own.values
    else:
        disparities, features = networks["depth"].with_features(seen.jittered[0])
        disparities = [disparity.double() for disparity in disparities]
        own = Outcome(torch.zeros((), dtype=torch.float64), {}, disparities, *in_double(features))
    loss = case.synthesis_weight * own.loss
    if teacher is not None:
        taught = apx(frames.jittered[0], teacher, own, case.size[1])
        values |= taught
        loss = loss + sum(APX_WEIGHTS[part] * value for part, value in taught.items())
    if not case.pyramid:
        yield loss
        return
    if not case.summed:
        yield loss
        detached = ([maps.detach() for maps in side] for side in (own.disparities, own.encoder, own.decoder))
        own = Outcome(own.loss.detach(), {}, *detached)
    for level, (alpha, beta, gamma) in LEVELS.items():
        other = look(in_form(frames, level, case.size, case.step), batch.source_ids, networks)
        disparity, feature = agreement(level, own, other)
        values |= {f"loss_{level}": other.loss, f"disparity_{level}": disparity, f"feature_{level}": feature}
        part = alpha * other.loss + beta * disparity + gamma * feature
        if case.summed:
            loss = loss + part
        else:
            yield part
    if case.summed:
        yield loss
