"""APX of FA-Depth and the guidance losses of RPrDepth: reference values, invariances, gradient rules."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from egodepth.losses.distillation import (
    auxiliary_loss,
    axis_divergence,
    gradient_consistency,
    near_mask,
    normalised_gradient,
)
from tests.hashed_inputs import BATCH, HEIGHT, WIDTH, hashed_depth, hashed_disparity, hashed_features, hashed_uniform

REFERENCE = json.loads((Path(__file__).parents[1] / "reference" / "losses.json").read_text())
DISTILLATION = REFERENCE["distillation"]
SIX_DIGITS = 5e-6
SEEDS = st.integers(0, 2**31)
DTYPES = pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float64, SIX_DIGITS), (torch.float32, 1e-3)], ids=["float64", "float32"]
)


def teacher_disparity() -> Tensor:
    return hashed_disparity(3)


def student_disparity() -> Tensor:
    return 1.2 * hashed_disparity(4) + 0.01 * hashed_uniform((BATCH, 1, HEIGHT, WIDTH), 9)


def with_far_columns() -> Tensor:
    disparity = teacher_disparity()
    disparity[..., :26] *= 0.1
    return disparity


def masked(scale: float = 1.0) -> tuple[Tensor, Tensor]:
    teacher = with_far_columns()
    mask = near_mask(teacher)
    return scale * mask * teacher, scale * mask * student_disparity()


PAIRS = {
    "disparities": lambda: (teacher_disparity(), student_disparity()),
    "scaled disparities": lambda: (10 * teacher_disparity() + 0.01, 10 * student_disparity() + 0.01),
    "far columns without mask": lambda: (with_far_columns(), student_disparity()),
    "far columns masked": masked,
    "far columns masked, times 100": lambda: masked(100),
    "features": lambda: (hashed_features(5), hashed_features(6)),
    "features the other way": lambda: (hashed_features(6), hashed_features(5)),
    "channel means of features": lambda: tuple(hashed_features(seed).mean(1, keepdim=True) for seed in (5, 6)),
}


def noise(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def depths(dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    """The student's D_o and the teacher's D_p."""
    return hashed_depth(3).to(dtype), (3.7 * hashed_depth(4)).to(dtype)


# --- APX -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "expected"), DISTILLATION["axis_divergence"].items())
def test_the_divergence_gives_the_reference_values(name: str, expected: float):
    pair = PAIRS[name]()
    assert axis_divergence(*pair).item() == pytest.approx(expected, rel=SIX_DIGITS)
    if expected > 1e-4:
        assert axis_divergence(*(x.float() for x in pair)).item() == pytest.approx(expected, rel=1e-3)


def test_the_divergence_is_one_sided():
    one, other = PAIRS["features"]()
    assert abs(axis_divergence(one, other) - axis_divergence(other, one)) > 1e-6


@given(SEEDS, SEEDS, st.floats(-20, 20))
def test_the_divergence_is_zero_only_for_equal_maps_up_to_a_constant(first: int, second: int, offset: float):
    teacher, student = noise(first, 2, 3, 4, 5), noise(second, 2, 3, 4, 5)
    assert axis_divergence(teacher, teacher + offset).abs() < 1e-12
    assert axis_divergence(teacher, student) > 1e-3 or first == second


@given(SEEDS, st.floats(-20, 20))
def test_an_offset_of_the_student_does_not_change_the_divergence(seed: int, offset: float):
    teacher, student = noise(seed, 2, 3, 4, 5), noise(seed + 1, 2, 3, 4, 5)
    torch.testing.assert_close(axis_divergence(teacher, student + offset), axis_divergence(teacher, student))


def test_an_offset_of_single_rows_is_seen_along_the_height_alone():
    """Softmax along the width takes each row by itself: only the other axis can see that rows moved."""
    teacher = noise(0, 1, 1, 4, 5)
    moved = teacher + torch.arange(4.0, dtype=torch.float64)[:, None]
    along_height = torch.nn.functional.kl_div(
        moved.log_softmax(-2), teacher.log_softmax(-2), log_target=True, reduction="none"
    )
    torch.testing.assert_close(axis_divergence(teacher, moved), along_height.sum(-2).mean() / 2)


@DTYPES
@pytest.mark.parametrize(
    ("name", "disparity"), [("median", teacher_disparity), ("median_with_far_columns", with_far_columns)]
)
def test_the_mask_begins_above_a_share_of_the_lower_median(name: str, disparity: Callable, dtype, tolerance: float):
    for image, median in zip(disparity().to(dtype), DISTILLATION[name], strict=True):
        mask = near_mask(image[None], 1.0)[0]
        assert image[~mask].max().item() == pytest.approx(median, rel=tolerance)
        assert mask.sum() == image.numel() // 2
        smaller = near_mask(image[None], 0.8)[0]
        assert image[~smaller].max() <= 0.8 * image[~mask].max() < image[smaller].min()


def test_the_mask_keeps_all_that_is_near_and_drops_far_columns():
    assert near_mask(teacher_disparity()).all()
    mask = near_mask(with_far_columns())
    assert mask.float().mean() == DISTILLATION["mask_share_with_far_columns"]
    assert not mask[..., :26].any()


def test_the_mask_knows_each_image_s_own_median():
    disparity = torch.tensor([1.0, 100.0])[:, None, None, None] * torch.linspace(0.5, 1.5, 12).view(1, 1, 3, 4)
    assert near_mask(disparity).all()


def test_only_the_student_is_trained():
    teacher, student = (x.requires_grad_() for x in PAIRS["scaled disparities"]())
    mask = near_mask(teacher)
    assert not mask.requires_grad
    axis_divergence(mask * teacher, mask * student).backward()
    assert teacher.grad is None
    assert student.grad.any()


def test_minimising_the_divergence_brings_the_student_s_shape_but_not_its_level():
    teacher, student = noise(1, 1, 1, 4, 5), (noise(2, 1, 1, 4, 5) + 7).requires_grad_()
    optimiser = torch.optim.Adam([student], lr=0.1)
    for _ in range(300):
        optimiser.zero_grad()
        axis_divergence(teacher, student).backward()
        optimiser.step()
    difference = (student - teacher).detach()
    assert difference.std() < 0.02
    assert difference.mean() > 5


def test_large_values_stay_finite():
    teacher = 1e4 * noise(1, 1, 2, 4, 5).float()
    student = (1e4 * noise(2, 1, 2, 4, 5).float()).requires_grad_()
    divergence = axis_divergence(teacher, student)
    divergence.backward()
    assert torch.isfinite(divergence)
    assert torch.isfinite(student.grad).all()


# --- gradient consistency --------------------------------------------------------------------------------------


@DTYPES
def test_gradient_consistency_gives_the_reference_values(dtype: torch.dtype, tolerance: float):
    depth, pseudo_depth = depths(dtype)
    depth.requires_grad_()
    loss = gradient_consistency(depth, pseudo_depth)
    (gradient,) = torch.autograd.grad(loss, depth)
    expected = REFERENCE["gradient_consistency"]
    assert loss.item() == pytest.approx(expected["value"], rel=tolerance)
    assert gradient.norm().item() == pytest.approx(expected["gradient_norm"], rel=tolerance)


@given(st.floats(0.05, 200), st.floats(0.05, 200))
def test_gradient_consistency_knows_no_scale(student_scale: float, teacher_scale: float):
    depth, pseudo_depth = depths()
    scaled = gradient_consistency(student_scale * depth, teacher_scale * pseudo_depth)
    assert scaled.item() == pytest.approx(REFERENCE["gradient_consistency"]["value"], rel=1e-4)


@given(SEEDS)
def test_equal_shapes_have_no_gradient_difference(seed: int):
    depth = 1 + noise(seed, 2, 1, 5, 6).abs()
    assert gradient_consistency(depth, depth) == 0
    assert gradient_consistency(depth, 3 * depth) < 1e-5
    assert gradient_consistency(depth, 3 * depth.flip(-1)) > 1e-3


def test_the_normalised_gradient_of_a_ramp_is_one():
    ramp = torch.arange(6.0).expand(1, 1, 4, 6)
    gradient = normalised_gradient(torch.cat([ramp, 100 * ramp]))
    torch.testing.assert_close(gradient, torch.ones(2, 1, 3, 5))


def test_the_normalised_gradient_adds_the_steps_to_the_right_and_down():
    depth = torch.tensor([[1.0, 3.0, 3.0], [2.0, 2.0, 2.0], [9.0, 9.0, 9.0]])[None, None]
    steps = torch.tensor([[2.0 + 1.0, 0.0 + 1.0], [0.0 + 7.0, 0.0 + 7.0]])
    torch.testing.assert_close(normalised_gradient(depth)[0, 0], steps / steps.mean())


def test_a_constant_depth_has_finite_gradients():
    depth = torch.full((1, 1, 5, 6), 2.0, requires_grad=True)
    loss = gradient_consistency(depth, hashed_depth(3)[:1, :, :5, :6].float())
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(depth.grad).all()


def test_gradient_consistency_trains_the_student_alone():
    depth, pseudo_depth = (x.requires_grad_() for x in depths())
    gradient_consistency(depth, pseudo_depth).backward()
    assert depth.grad.any()
    assert pseudo_depth.grad is None


# --- auxiliary loss --------------------------------------------------------------------------------------------


def hint_depth(dtype: torch.dtype = torch.float64) -> Tensor:
    """D_c of the reference, (2, 1, 6, 20): reference depths averaged by softmax affinity."""
    queries = hashed_uniform((2, 8, 6, 20), 10).flatten(2).transpose(1, 2)
    affinity = (queries @ hashed_uniform((50, 8), 11).T).softmax(-1)
    assert affinity[0, 0].max().item() == pytest.approx(REFERENCE["affinity"]["largest_of_first_query"], rel=SIX_DIGITS)
    depth = (affinity @ (1 + 9 * hashed_uniform((50, 1), 12))).transpose(1, 2).unflatten(-1, (6, 20))
    assert depth.mean().item() == pytest.approx(REFERENCE["affinity"]["depth"]["mean"], rel=SIX_DIGITS)
    return depth.to(dtype)


@DTYPES
def test_the_auxiliary_loss_gives_the_reference_value(dtype: torch.dtype, tolerance: float):
    loss = auxiliary_loss(depths(dtype)[1], hint_depth(dtype), relative=False)
    assert loss.item() == pytest.approx(REFERENCE["auxiliary"]["absolute"], rel=tolerance)


@given(st.floats(0.01, 100))
def test_the_relative_auxiliary_loss_does_not_depend_on_the_teacher_s_unit(scale: float):
    pseudo_depth, hint = depths()[1], hint_depth()
    loss = auxiliary_loss(scale * pseudo_depth, scale * hint)
    torch.testing.assert_close(loss, auxiliary_loss(pseudo_depth, hint))


def test_the_relative_auxiliary_loss_is_divided_by_each_image_s_mean():
    pseudo_depth = torch.tensor([2.0, 10.0])[:, None, None, None].expand(2, 1, 6, 8)
    hint = torch.tensor([3.0, 15.0])[:, None, None, None].expand(2, 1, 3, 4)
    assert auxiliary_loss(pseudo_depth, hint).item() == pytest.approx(0.5)
    assert auxiliary_loss(pseudo_depth, hint, relative=False).item() == pytest.approx(3.0)


def test_the_auxiliary_loss_trains_the_hint_alone():
    pseudo_depth, hint = depths()[1].requires_grad_(), hint_depth().requires_grad_()
    auxiliary_loss(pseudo_depth, hint).backward()
    assert hint.grad.any()
    assert pseudo_depth.grad is None


# --- all -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("function", [axis_divergence, gradient_consistency, auxiliary_loss])
def test_half_precision_is_raised_to_float32(function):
    first, second = (x.bfloat16() for x in depths())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = function(first, second)
    assert torch.equal(found, function(first.float(), second.float()))
