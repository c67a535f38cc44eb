"""The terms of ManyDepth's losses, against the published values and by what they must do."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from egodepth.geometry.depth import sigmoid_to_depth
from egodepth.geometry.warping import epipolar_rays, sample, sampling_grid
from egodepth.losses.multi_frame import (
    consistency,
    masked_mean,
    motion_mask,
    multi_frame_reprojection,
    teacher_reprojection,
    trust_mask,
)
from egodepth.losses.photometric import patch_moments, photometric_error
from egodepth.losses.smoothness import edge_aware_smoothness, mean_normalised
from tests.photometric_inputs import HEIGHT, WIDTH, default_intrinsics, reference_inputs

REFERENCE = json.loads((Path(__file__).parents[1] / "reference" / "manydepth.json").read_text())["losses"]
FULL = (HEIGHT, WIDTH)
FLAGS = torch.tensor([False, True])
SMOOTHNESS = 1e-3


@dataclass(frozen=True)
class MatchingInputs:
    """Disparities of a teacher, and what a matching found, seeded."""

    teacher: tuple[Tensor, ...]
    lowest_cost: Tensor
    confidence: Tensor


def matching_inputs() -> MatchingInputs:
    """What the generator of `reference_inputs` draws after those."""
    generator = torch.Generator().manual_seed(2024)

    def draw(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator)

    def pyramid() -> tuple[Tensor, ...]:
        return tuple(draw(2, 1, HEIGHT >> scale, WIDTH >> scale) for scale in range(4))

    images = [draw(2, 3, HEIGHT, WIDTH) for _ in range(3)]
    pyramid(), draw(2, 2, 1, 3), draw(2, 2, 1, 3)
    assert torch.equal(images[2], reference_inputs().c)
    teacher = pyramid()
    lowest_cost = 0.05 + 2 * draw(2, 1, HEIGHT, WIDTH)
    return MatchingInputs(teacher, lowest_cost, draw(2, 1, HEIGHT, WIDTH) > 0.3)


def full_depths(disparities: Sequence[Tensor]) -> list[Tensor]:
    return [
        sigmoid_to_depth(F.interpolate(disparity, FULL, mode="bilinear", align_corners=False))
        for disparity in disparities
    ]


def errors(depth: Tensor) -> Tensor:
    inputs = reference_inputs()
    rays = epipolar_rays(default_intrinsics(), inputs.transforms(), *FULL)
    warped = sample(torch.stack([inputs.b, inputs.c]), sampling_grid(depth, rays))
    return photometric_error(warped, patch_moments(inputs.a))


def smoothness(disparity: Tensor, scale: int) -> Tensor:
    colour = F.avg_pool2d(reference_inputs().a, 2**scale)
    return SMOOTHNESS / 2**scale * edge_aware_smoothness(mean_normalised(disparity), colour)


def close(expected: float | list[float], tolerance: float = 2e-6) -> object:
    return pytest.approx(expected, abs=tolerance)


def test_the_seeded_inputs_are_those_of_the_reference() -> None:
    inputs = matching_inputs()
    assert inputs.teacher[0].flatten()[:2].tolist() == close(REFERENCE["M0"])
    assert inputs.lowest_cost.flatten()[:2].tolist() == close(REFERENCE["LC"])
    assert float(inputs.confidence.float().mean()) == close(REFERENCE["mean_CM"])


def test_the_masks_trust_the_published_shares() -> None:
    inputs = matching_inputs()
    depth, teacher = 1 / inputs.lowest_cost, sigmoid_to_depth(inputs.teacher[0])
    assert float(motion_mask(depth, teacher).float().mean()) == close(REFERENCE["motion_mask_mean"])
    trust = trust_mask(depth, inputs.confidence, teacher, torch.zeros(2, dtype=torch.bool))
    assert float(trust.float().mean()) == close(REFERENCE["trust_without_flags"])


def test_the_teacher_has_the_published_loss() -> None:
    inputs, disparities = reference_inputs(), matching_inputs().teacher
    identity = photometric_error(torch.stack([inputs.b, inputs.c]), patch_moments(inputs.a))
    terms = [teacher_reprojection(errors(depth), identity) for depth in full_depths(disparities)]
    losses = [term + smoothness(disparities[scale], scale) for scale, term in enumerate(terms)]
    # One pixel can change sides by rounding, which moves a term by 1e-5.
    assert [float(term) for term in terms] == close(REFERENCE["teacher_reprojection"], 2e-5)
    assert [float(loss) for loss in losses] == close(REFERENCE["teacher"], 2e-5)
    assert float(torch.stack(losses).mean()) == close(REFERENCE["teacher_total"], 2e-5)


def test_the_multi_frame_network_has_the_published_loss() -> None:
    disparities, inputs = reference_inputs().disparities, matching_inputs()
    depths, teacher = full_depths(disparities), full_depths(inputs.teacher)
    trust = trust_mask(1 / inputs.lowest_cost, inputs.confidence, teacher[0], FLAGS)
    terms = [multi_frame_reprojection(errors(depth), trust) for depth in depths]
    strayed = [consistency(ours, theirs, trust) for ours, theirs in zip(depths, teacher, strict=True)]
    losses = [
        term + stray + smoothness(disparities[scale], scale)
        for scale, (term, stray) in enumerate(zip(terms, strayed, strict=True))
    ]
    assert [float(term) for term in terms] == close(REFERENCE["multi_reprojection"])
    assert [float(stray) for stray in strayed] == close(REFERENCE["consistency"])
    assert [float(loss) for loss in losses] == close(REFERENCE["multi"])
    assert float(torch.stack(losses).mean()) == close(REFERENCE["multi_total"])


def test_depths_within_a_factor_of_two_agree() -> None:
    matching = torch.tensor([0.4, 0.6, 1.0, 1.9, 2.1])
    assert motion_mask(matching, torch.ones(5)).tolist() == [False, True, True, True, False]
    assert torch.equal(motion_mask(matching, torch.ones(5)), motion_mask(torch.ones(5), matching))


def test_trust_ends_where_a_sample_was_augmented_or_matching_was_not_confident() -> None:
    confidence = torch.tensor([[[[True, False]]]]).expand(2, 1, 1, 2)
    trust = trust_mask(torch.ones(2, 1, 1, 2), confidence, torch.ones(2, 1, 4, 8), FLAGS)
    assert trust.shape == (2, 1, 4, 8)
    assert trust[0, 0, :, :4].all()
    assert trust.sum() == 16


def test_nothing_trusted_costs_nothing_and_has_finite_gradients() -> None:
    error = torch.rand(2, 1, 4, 4, requires_grad=True)
    loss = multi_frame_reprojection(error, torch.zeros(1, 1, 4, 4, dtype=torch.bool))
    loss.backward()
    assert float(loss.detach()) == 0
    assert torch.equal(error.grad, torch.zeros_like(error))


def test_the_masked_mean_is_that_of_the_chosen_values() -> None:
    values = torch.rand(3, 5, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(masked_mean(values, values > 0.5), values[values > 0.5].mean())


def test_consistency_teaches_the_network_only_where_matching_is_not_trusted() -> None:
    depth, teacher = (torch.rand(1, 1, 2, 2).add(shift).requires_grad_() for shift in (2, 0))
    trust = torch.tensor([[[[True, False], [False, True]]]])
    consistency(depth, teacher, trust).backward()
    assert teacher.grad is None
    assert depth.grad.flatten().tolist() == [0, 0.25, 0.25, 0]


def test_the_teacher_learns_on_a_tie_and_where_warping_wins() -> None:
    warped = torch.tensor([[[[0.3, 0.2, 0.1]]]], requires_grad=True)
    loss = teacher_reprojection(warped, torch.full((1, 1, 1, 3), 0.2))
    assert float(loss.detach()) == pytest.approx(0.15)
    loss.backward()
    assert warped.grad.flatten().tolist() == pytest.approx([0, 0.5, 0.5])
