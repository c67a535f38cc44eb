"""Losses against depth maps: what they are invariant to, where they are zero, where they push, what they leave out."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from egodepth.losses.teacher_depth import (
    affine_residual,
    aligned_to,
    fitted_to,
    gradient_matching,
    log_residual,
    moved_to,
    trimmed_mean,
)

SHAPE = 2, 1, 12, 20
ALL = torch.ones(SHAPE, dtype=torch.bool)


def maps(seed, low=0.05, high=5.0):
    return low + (high - low) * torch.rand(SHAPE, generator=torch.Generator().manual_seed(seed))


def some_known(seed):
    known = torch.rand(SHAPE, generator=torch.Generator().manual_seed(seed)) < 0.7
    known[1] = False
    return known


seeds = st.integers(0, 1000)
factors = st.floats(-7, 4).map(lambda power: 10**power)


@given(seeds, factors)
def test_a_teachers_scale_does_not_matter_once_it_is_aligned(seed, factor):
    student, teacher = maps(seed), maps(seed + 1)
    found = aligned_to(student, factor * teacher, ALL)
    assert torch.allclose(found, aligned_to(student, teacher, ALL), rtol=1e-4)
    assert torch.allclose(log_residual(student, found, ALL).flatten(1).median(dim=1).values, torch.zeros(2), atol=1e-4)


@given(seeds, factors, st.floats(-3, 3))
def test_neither_scale_nor_shift_matter_between_standardised_maps(seed, factor, shift):
    student, teacher = maps(seed), maps(seed + 1)
    expected = affine_residual(student, teacher, ALL)
    assert torch.allclose(affine_residual(student, factor * (teacher + shift), ALL), expected, atol=1e-3)
    assert torch.allclose(affine_residual(3 * student + 1, teacher, ALL), expected, atol=1e-3)


@given(seeds, st.floats(-2, 2).map(lambda power: 10**power), st.floats(-3, 3))
def test_a_fitted_map_has_the_factor_and_shift_of_the_start_whatever_a_tenth_of_it_says(seed, factor, shift):
    start = maps(seed)
    wrong = torch.rand(SHAPE, generator=torch.Generator().manual_seed(seed + 1)) < 0.1
    teacher = factor * torch.where(wrong, maps(seed + 2), start) + shift
    fitted, known = fitted_to(start, teacher, ALL)
    assert known.float().mean() > 0.9
    right = known & ~wrong
    assert torch.allclose(fitted[right], start[right], rtol=0.05, atol=5e-3)


def test_a_map_that_runs_the_other_way_or_says_nothing_is_not_used():
    start = maps(0)
    assert not fitted_to(start, 4 - start, ALL)[1].any()
    assert not fitted_to(start, torch.full(SHAPE, 0.3), ALL)[1].any()
    fitted, known = fitted_to(start, 2 * start, some_known(1))
    assert not known[1].any()
    assert torch.isfinite(fitted).all()


@given(seeds, factors)
def test_maps_that_are_equal_cost_nothing(seed, factor):
    student = maps(seed)
    known = some_known(seed + 1)
    for residual in (
        log_residual(student, student, known),
        log_residual(student, aligned_to(student, factor * student, known), known),
        affine_residual(student, factor * student, known),
    ):
        assert residual.abs().max() < 1e-4
        assert trimmed_mean(residual, known) < 1e-4
        assert gradient_matching(residual, known) < 1e-3


@pytest.mark.parametrize("units", ["metres", "scale", "scale-and-shift"])
def test_what_is_too_near_is_pushed_away_and_what_is_too_far_comes_nearer(units):
    teacher = maps(0)
    student = teacher.clone()
    student[0, 0, 3, 4] *= 1.2
    student[0, 0, 8, 9] *= 0.8
    student.requires_grad_()
    if units == "scale-and-shift":
        residual = affine_residual(student, 7 * teacher + 2, ALL)
    else:
        residual = log_residual(student, teacher if units == "metres" else aligned_to(student, 7 * teacher, ALL), ALL)
    residual.abs().mean().backward()
    assert student.grad[0, 0, 3, 4] > 0
    assert student.grad[0, 0, 8, 9] < 0


@pytest.mark.parametrize("name", ["log", "aligned", "affine"])
@pytest.mark.parametrize("filling", [torch.nan, torch.inf, 0.0, -5.0])
def test_what_is_not_known_has_no_part_in_loss_or_gradient(name, filling):
    teacher, known = maps(1), some_known(2)
    results = []
    for unknown in (filling, 1.0):
        student = maps(0).requires_grad_()
        filled = torch.where(known, teacher, unknown)
        if name == "affine":
            residual = affine_residual(student, filled, known)
        else:
            aligned = filled if name == "log" else aligned_to(student, filled, known)
            residual = log_residual(student, aligned, known)
        loss = trimmed_mean(residual, known) + gradient_matching(residual, known)
        loss.backward()
        assert torch.isfinite(loss)
        assert torch.isfinite(student.grad).all()
        assert not student.grad[1].any()
        if name != "affine":  # there median and deviation join all known pixels, and no other
            assert not student.grad[~known].any()
        results.append((loss.detach(), student.grad))
    assert torch.equal(results[0][0], results[1][0])
    assert torch.equal(results[0][1], results[1][1])


@pytest.mark.parametrize("value", [0.0, 0.3, 4e6])
def test_a_flat_map_teaches_no_shape_and_breaks_nothing(value):
    student = maps(0).requires_grad_()
    residual = affine_residual(student, torch.full(SHAPE, value), ALL)
    residual.abs().mean().backward()
    assert torch.isfinite(student.grad).all()
    flat = torch.full(SHAPE, 0.3, requires_grad=True)
    affine_residual(flat, maps(1), ALL).abs().mean().backward()
    assert torch.isfinite(flat.grad).all()


def test_infinitely_far_stays_so_at_any_scale_and_does_not_count_for_the_scale():
    student, teacher = maps(0), maps(1)
    sky = teacher.clone()
    sky[:, :, :3] = 0
    below = ALL.clone()
    below[:, :, :3] = False
    found = aligned_to(student, sky, ALL)
    assert not found[:, :, :3].any()
    assert torch.allclose(found[:, :, 3:], aligned_to(student, teacher, below)[:, :, 3:])


def test_the_alignment_moves_no_gradient_to_the_scale():
    student = maps(0).requires_grad_()
    assert not aligned_to(student, maps(1), ALL).requires_grad


def test_the_largest_fifth_of_the_residuals_is_left_out():
    residual = torch.arange(1.0, 11.0).reshape(1, 1, 2, 5)
    assert trimmed_mean(residual, torch.ones_like(residual, dtype=torch.bool)) == torch.arange(1.0, 9.0).mean()
    assert trimmed_mean(-residual, torch.zeros_like(residual, dtype=torch.bool)) == 0


def test_gradients_are_matched_over_four_scales_between_known_pixels():
    step = torch.zeros(1, 1, 16, 16)
    step[..., 8:] = 1
    known = torch.ones_like(step, dtype=torch.bool)
    # One border in 15, 7, 3 and 1 columns of differences.
    assert gradient_matching(step, known) == pytest.approx(1 / 15 + 1 / 7 + 1 / 3 + 1)
    known[..., 8] = False  # at the border, at each scale
    assert gradient_matching(step, known) == 0
    assert gradient_matching(step[..., :1, :1], known[..., :1, :1]) == 0


@given(st.floats(0.01, 100), st.floats(-5, 5))
def test_a_teacher_that_says_the_same_but_for_scale_and_shift_comes_to_lie_on_the_student(scale, shift):
    student = torch.rand(2, 1, 12, 20, generator=torch.Generator().manual_seed(0), dtype=torch.float64) + 0.1
    known = torch.ones_like(student, dtype=torch.bool)
    known[0, 0, :3] = False
    moved = moved_to(student, torch.where(known, student * scale + shift, 0), known)
    torch.testing.assert_close(moved[known], student[known].to(moved.dtype), rtol=1e-3, atol=1e-3)
    assert (moved >= 0).all()
