"""Training steps of ManyDepth against numbers from a second implementation of its losses.

A change of a loss, of a weight, of the matching augmentation or of what a network sees fails here. If it is meant,
change `independent_multi_frame.py` by the formula, and write the numbers anew with `write_multi_frame.py`.
"""

from dataclasses import replace

import pytest
import torch
from torch import nn

from tests.golden.multi_frame_cases import BINS, CASES, SIZE, STEPS, Case, batch_of, method_of
from tests.golden.numbers import assert_matches, read_cases
from tests.golden.plain_losses import seed_of_step
from tests.golden.steps import Step, take_step
from tests.golden.write_multi_frame import expected_step

REFERENCE = read_cases("multi_frame")
FIRST_FROZEN = 15


def step_of(case: Case) -> tuple[nn.Module, Step]:
    """The method after the step, and its figures with the bins among what is logged."""
    method = method_of(case)
    found = take_step(method, batch_of(case), case.step, STEPS)
    encoder = method.depth_network.encoder
    bins = {key: float(getattr(encoder, key)) for key in ("min_depth_bin", "max_depth_bin")}
    return method, replace(found, logged=found.logged | bins)


@pytest.mark.parametrize("name", CASES)
def test_a_training_step_gives_the_losses_gradients_and_bins_of_the_formulas(name: str) -> None:
    case = CASES[name]
    method, found = step_of(case)
    assert_matches(found, REFERENCE[name])
    modes = method.depth_network.training, method.teacher_network.training, method.pose_network.training
    learning = case.step < FIRST_FROZEN
    assert modes == (True, learning, learning)


def test_the_stored_numbers_are_those_of_the_second_implementation() -> None:
    assert REFERENCE.keys() == CASES.keys()
    name = "still camera, first step after freezing"
    assert_matches(expected_step(CASES[name]), REFERENCE[name])


def test_the_cases_hold_what_their_names_say() -> None:
    """Still and missing frames before and after freezing, bins that move and that stay, some pixels trusted."""
    for case, step in zip(CASES.values(), (REFERENCE[name] for name in CASES), strict=True):
        bins = step.logged["min_depth_bin"], step.logged["max_depth_bin"]
        assert (bins == pytest.approx(BINS, rel=1e-6)) == (case.step >= FIRST_FROZEN)
        assert 0.02 < step.logged["trusted_share"] < 0.9
        assert (step.gradient_norms["teacher"] > 0) == (step.gradient_norms["pose"] > 0) == (case.step < FIRST_FROZEN)
        assert draws_of(case.step) == case.draws


def draws_of(step: int) -> tuple[str, ...]:
    """What becomes of each sample's lookup frames (section B6): drawn after the noise of the teacher's four scales."""
    torch.manual_seed(seed_of_step(0, step))
    if step < FIRST_FROZEN:
        for _ in range(4):
            torch.randn(2, 2, *SIZE)
    return tuple("static" if u < 0.25 else "missing" if u < 0.5 else "kept" for u in torch.rand(2).tolist())
