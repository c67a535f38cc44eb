"""phi of FA-Depth's pyramid loss: reference values, what it is blind to, and the sign of the printed form."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from egodepth.losses.consistency import mean_absolute_difference, symmetric_divergence
from tests.hashed_inputs import BATCH, HEIGHT, WIDTH, hashed_disparity, hashed_features, hashed_uniform

REFERENCE = json.loads((Path(__file__).parents[1] / "reference" / "losses.json").read_text())["consistency"]
SEEDS = st.integers(0, 2**31)


def resized_features() -> Tensor:
    small = hashed_uniform((BATCH, 8, 24, 80), 8)
    return F.interpolate(small, (HEIGHT, WIDTH), mode="bilinear", align_corners=False)


PAIRS = {
    "features": lambda: (hashed_features(5), hashed_features(6)),
    "features and mirrored features": lambda: (hashed_features(5), hashed_features(6).flip(-1)),
    "features and resized features": lambda: (hashed_features(5), resized_features()),
    "sigmoid disparities": lambda: (hashed_disparity(3), hashed_disparity(4)),
    "scaled disparities": lambda: (10 * hashed_disparity(3) + 0.01, 10 * hashed_disparity(4) + 0.01),
}


def printed_form(first: Tensor, second: Tensor) -> Tensor:
    """Equation 22 as it is printed."""

    def along(axis: int) -> Tensor:
        logs = first.log_softmax(axis), second.log_softmax(axis)
        return (logs[0].exp() * logs[1] + logs[1].exp() * logs[0]).sum(axis).mean() / 2

    return (along(-2) + along(-1)) / 2


def noise(seed: int, spread: float = 1.0, dtype: torch.dtype = torch.float64) -> Tensor:
    return spread * torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def assert_close_to_reference(function: Callable, name: str, expected: float) -> None:
    pair = PAIRS[name]()
    assert function(*pair).item() == pytest.approx(expected, rel=5e-6)
    if expected > 1e-4:
        assert function(*(x.float() for x in pair)).item() == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize(("name", "expected"), REFERENCE["symmetric_divergence"].items())
def test_the_symmetric_divergence_gives_the_reference_values(name: str, expected: float):
    assert_close_to_reference(symmetric_divergence, name, expected)


@pytest.mark.parametrize(("name", "expected"), REFERENCE["mean_absolute_difference"].items())
def test_the_mean_absolute_difference_gives_the_reference_values(name: str, expected: float):
    assert_close_to_reference(mean_absolute_difference, name, expected)


def test_the_printed_form_gives_the_reference_value():
    assert printed_form(*PAIRS["features"]()).item() == pytest.approx(REFERENCE["printed_features"], rel=5e-6)


@given(SEEDS, SEEDS, st.floats(0.01, 20))
def test_the_divergence_is_symmetric_and_never_negative(first: int, second: int, spread: float):
    one, other = noise(first, spread), noise(second, spread)
    found = symmetric_divergence(one, other)
    assert found >= 0
    torch.testing.assert_close(found, symmetric_divergence(other, one))
    assert found > 1e-7 or first == second


@given(SEEDS, st.floats(-50, 50))
def test_maps_that_differ_by_a_constant_have_no_divergence(seed: int, offset: float):
    values = noise(seed)
    assert symmetric_divergence(values, values) == 0
    assert symmetric_divergence(values, values + offset).abs() < 1e-12


def test_large_values_stay_finite():
    one, other = (noise(seed, 1e4, torch.float32).requires_grad_() for seed in (1, 2))
    divergence = symmetric_divergence(one, other)
    divergence.backward()
    assert torch.isfinite(divergence)
    assert torch.isfinite(one.grad).all()
    assert torch.isfinite(other.grad).all()


@pytest.mark.parametrize("function", [symmetric_divergence, mean_absolute_difference])
def test_both_arguments_get_a_gradient_unless_detached(function: Callable):
    one, other = noise(1).requires_grad_(), noise(2).requires_grad_()
    function(one, other).backward()
    assert one.grad.any()
    assert other.grad.any()
    one.grad = None
    function(one.detach(), other).backward()
    assert one.grad is None


@pytest.mark.parametrize("function", [symmetric_divergence, mean_absolute_difference])
def test_half_precision_is_raised_to_float32(function: Callable):
    one, other = noise(1).bfloat16(), noise(2).bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = function(one, other)
    assert torch.equal(found, function(one.float(), other.float()))


def total_variation(first: Tensor, second: Tensor) -> float:
    return (first.softmax(-1) - second.softmax(-1)).abs().sum(-1).mean().item() / 2


def test_the_printed_sign_moves_maps_apart_and_ours_together():
    def distance_after(function: Callable[[Tensor, Tensor], Tensor]) -> float:
        fixed, moved = noise(1), noise(2).requires_grad_()
        optimiser = torch.optim.Adam([moved], lr=0.1)
        for _ in range(100):
            optimiser.zero_grad()
            function(fixed, moved).backward()
            optimiser.step()
        return total_variation(fixed, moved.detach())

    before = total_variation(noise(1), noise(2))
    assert distance_after(printed_form) > 1.5 * before
    assert distance_after(symmetric_divergence) < 0.1 * before
