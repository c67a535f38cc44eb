import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from egodepth.errors import UserError
from egodepth.networks.drop import RAMP_SHARE, SampleDrop, drop_rate, scale_survivors, set_drop_rates

REFERENCE = json.loads((Path(__file__).parents[1] / "reference" / "small_depth.json").read_text())
STEPS = 50_000


def hashed(shape: tuple[int, ...], seed: int) -> Tensor:
    """The deterministic numbers in [0, 1) of the losses' specification, section 0."""
    mixed = (np.arange(math.prod(shape), dtype=np.uint64) + np.uint64(1 + 1000003 * seed)).astype(np.uint32)
    mixed *= np.uint32(2654435761)
    mixed ^= mixed >> np.uint32(15)
    mixed *= np.uint32(2246822519)
    mixed ^= mixed >> np.uint32(13)
    return torch.from_numpy(mixed / 2.0**32).reshape(shape)


def printed_drop_rate(step: int, total: int, maximum: float, ramp_share: float) -> float:
    """Equation 5 as it is printed: its second half counts the steps from the start of training."""
    turning_point = math.floor(total * ramp_share)
    if step < turning_point:
        return (1 - math.cos(math.pi * step / turning_point)) * maximum / 2
    return (1 - math.cos(math.pi * step / (total - turning_point) + math.pi)) * maximum / 2


# --- schedule --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("step", "rates"), REFERENCE["drop_rates"]["turning point at 0.5"].items())
def test_the_rate_is_that_of_equation_5(step: str, rates: dict[str, float]) -> None:
    for maximum, expected in rates.items():
        assert drop_rate(int(step), STEPS, float(maximum), 0.5) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("step", "expected"), REFERENCE["drop_rates"]["turning point at 0.4"].items())
def test_the_rise_may_take_another_share(step: str, expected: float) -> None:
    assert drop_rate(int(step), STEPS, 0.9, 0.4) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("share", [0.5, 0.4])
def test_the_printed_equation_jumps_where_ours_goes_on(share: float) -> None:
    printed = REFERENCE["drop_rates"][f"printed, turning point at {share}"]
    for step, expected in printed.items():
        assert printed_drop_rate(int(step), STEPS, 0.9, share) == pytest.approx(expected, rel=1e-5, abs=1e-8)
    turn = int(STEPS * share)
    assert abs(printed_drop_rate(turn, STEPS, 0.9, share) - printed_drop_rate(turn - 1, STEPS, 0.9, share)) > 0.5
    assert abs(drop_rate(turn, STEPS, 0.9, share) - drop_rate(turn - 1, STEPS, 0.9, share)) < 1e-4


@pytest.mark.parametrize("step", [0, 1, 10_000, 33_331, 33_334, 41_000, 49_997])
def test_with_the_default_share_the_printed_equation_does_not_jump_and_is_ours(step: int) -> None:
    printed = printed_drop_rate(step, STEPS, 0.9, RAMP_SHARE)
    assert drop_rate(step, STEPS, 0.9) == pytest.approx(printed, abs=1e-4)
    assert drop_rate(step, STEPS - 2, 0.9) == pytest.approx(printed_drop_rate(step, STEPS - 2, 0.9, RAMP_SHARE))


@pytest.mark.parametrize("step", [0, 25_000, 49_999])
def test_without_a_share_the_rate_is_constant(step: int) -> None:
    network = nn.Sequential(SampleDrop(0.9, None))
    set_drop_rates(network, step, STEPS)
    assert network[0].rate == drop_rate(step, STEPS, 0.9, None) == 0.9


@given(
    step=st.integers(0, 5000),
    total=st.integers(1, 3000),
    maximum=st.floats(0, 0.99),
    share=st.floats(0, 1),
)
def test_the_rate_stays_in_its_range_for_any_training(step: int, total: int, maximum: float, share: float) -> None:
    assert 0 <= drop_rate(step, total, maximum, share) <= maximum
    assert drop_rate(total, total, maximum, share) == 0


def test_every_drop_of_a_network_gets_the_rate_of_its_own_maximum() -> None:
    network = nn.Sequential(SampleDrop(0.9), nn.Sequential(nn.Identity(), SampleDrop(0.5)), SampleDrop(0))
    network[1][1].ramp_share = 0.5
    set_drop_rates(network, 12_500, STEPS)
    expected = [drop_rate(12_500, STEPS, 0.9), 0.25, 0]
    assert [network[0].rate, network[1][1].rate, network[2].rate] == pytest.approx(expected)


def test_the_rate_follows_from_the_step_and_is_no_state() -> None:
    network = nn.Sequential(SampleDrop(0.9))
    assert network.state_dict() == {}
    for step in range(100):
        set_drop_rates(network, step, 200)
    resumed = nn.Sequential(SampleDrop(0.9))
    set_drop_rates(resumed, 99, 200)
    assert resumed[0].rate == network[0].rate > 0


# --- drop ------------------------------------------------------------------------------------------------------


def test_survivors_have_the_reference_sum() -> None:
    assert hashed((4,), 0).tolist() == pytest.approx([0.36358, 0.83194, 0.058441, 0.187078], rel=1e-5)
    case = REFERENCE["drop"]
    features = hashed(tuple(case["shape"]), case["seed"])
    keep = torch.tensor(case["keep"]).reshape(-1, 1, 1, 1)
    assert scale_survivors(features, keep, case["rate"]).sum().item() == pytest.approx(case["sum"], rel=1e-5)


@pytest.mark.parametrize("rate", [0.25, 0.9])
def test_whole_samples_are_dropped_at_the_rate_and_the_mean_is_kept(rate: float) -> None:
    torch.manual_seed(0)
    drop = SampleDrop(0.95).train()
    drop.rate = rate
    out = drop(torch.ones(20_000, 2, 1, 3))
    values = out.flatten(1)
    assert (values == values[:, :1]).all()
    assert torch.unique(values).tolist() == pytest.approx([0, 1 / (1 - rate)])
    assert (values[:, 0] == 0).float().mean().item() == pytest.approx(rate, abs=0.02)


def test_gradients_reach_the_survivors_alone() -> None:
    torch.manual_seed(0)
    drop = SampleDrop(0.5).train()
    drop.rate = 0.5
    features = torch.ones(64, 1, 2, 2, requires_grad=True)
    out = drop(features)
    out.sum().backward()
    assert torch.equal(features.grad, out.detach())
    assert 0 < (features.grad == 0).float().mean() < 1


def test_evaluation_and_a_rate_of_zero_leave_the_features_untouched() -> None:
    features = torch.rand(3, 2, 4, 4)
    drop = SampleDrop(0.9).train()
    assert drop(features) is features
    drop.rate = 0.9
    assert drop.eval()(features) is features


def test_half_precision_stays_half_precision() -> None:
    drop = SampleDrop(0.9).train()
    drop.rate = 0.5
    assert drop(torch.ones(2, 1, 1, 1, dtype=torch.bfloat16)).dtype == torch.bfloat16


@pytest.mark.parametrize("maximum", [1.0, 1.5, -0.1, math.nan])
def test_a_rate_that_leaves_no_survivors_is_refused(maximum: float) -> None:
    with pytest.raises(UserError, match=r"drop rate.*below one"):
        SampleDrop(maximum)
