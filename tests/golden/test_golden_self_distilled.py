"""Training steps of SDFA-Net against numbers from a second implementation of its losses, and against published ones.

A change of a loss, a mask, a weight, a stage or of what a network sees fails here. If it is meant, change
`independent_self_distilled.py` by the formula, and write the numbers anew with `write_self_distilled.py`.
"""

import json
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from egodepth.networks.configurations import SDFANetConfig
from egodepth.networks.pretrained import import_weights, only_checkpoint, sdfa_net_place
from egodepth.networks.sdfa_net import SDFANet
from tests.golden.numbers import FOLDER, assert_matches, read_cases
from tests.golden.self_distilled_cases import CASES, STEPS, Case, batch_of, method_of, parts_of
from tests.golden.steps import attach_trainer, golden_batch, gradient_norms, take_step
from tests.golden.write_self_distilled import expected_step
from tests.seeded_weights import seeded_state

REFERENCE = read_cases("self_distilled")
PUBLISHED = json.loads((FOLDER / "sdfa_net.json").read_text())["step"]
KEYS = json.loads((FOLDER / "sdfa-net-keys.json").read_text())["model"]
LOSSES, GRADIENTS = 1e-6, 5e-6
"""Tolerances. SSIM, which float32 knows less well, decides about masks alone."""

HEIGHT, WIDTH, REACH = 64, 192, 400.0


@pytest.mark.parametrize("name", CASES)
def test_a_training_step_gives_the_losses_and_gradients_of_the_formulas(name: str) -> None:
    case = CASES[name]
    method = method_of(case)
    found = take_step(method, batch_of(case), case.step, STEPS)
    norms = gradient_norms(parts_of(method.depth_network))
    assert_matches(replace(found, gradient_norms=norms), REFERENCE[name], LOSSES, GRADIENTS)


def test_the_stored_numbers_are_those_of_the_second_implementation() -> None:
    assert REFERENCE.keys() == CASES.keys()
    name = "second stage without augmentation"
    assert_matches(expected_step(CASES[name]), REFERENCE[name], LOSSES, GRADIENTS)


def test_each_mask_and_each_pixel_s_teaching_counts_in_the_second_stage() -> None:
    """Where no pixel teaches, or all do, a wrong mask would pass."""
    shares = [step.logged.get("distilled_share") for step in REFERENCE.values()]
    assert all(0.02 < share < 0.9 for share in shares if share is not None)
    assert sum(share is not None for share in shares) == 4


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> SDFANet:
    """With key-seeded weights in the authors' layout."""
    folder = tmp_path_factory.mktemp("published")
    torch.save({"model_params": seeded_state(KEYS)}, folder / "SDFA-Net_384.pth")
    network = SDFANetConfig().build()
    import_weights(network, sdfa_net_place(only_checkpoint(folder)), folder, "Choose the recipe.")
    return network


def random_pair() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(99)
    left, right = (torch.rand(2, 3, HEIGHT, WIDTH, generator=generator) - 0.43 for _ in range(2))
    return left, right


def analytic_pair() -> tuple[Tensor, Tensor]:
    x, y, channel = (
        torch.arange(float(WIDTH)),
        torch.arange(float(HEIGHT))[:, None],
        torch.arange(1.0, 4)[:, None, None],
    )
    left, right = (0.4 * torch.sin(0.05 * channel * (x + shift) + 0.07 * y) for shift in (0, 12))
    return left.repeat(2, 1, 1, 1), right.repeat(2, 1, 1, 1)


@pytest.mark.parametrize(("name", "pair"), [("random", random_pair), ("analytic", analytic_pair)])
def test_the_method_s_own_step_gives_the_published_values(published: SDFANet, name: str, pair: object) -> None:
    """Section 11.4: the training forward with all modules in evaluation mode; the pictures come without their mean."""
    case = Case("sdfa-net", STEPS - 1, augmented=False, crop=(HEIGHT, WIDTH))
    method = method_of(case, published).eval()
    left, right = (255 * (image + torch.tensor([0.411, 0.432, 0.45])[:, None, None]) for image in pair())
    batch = replace(
        golden_batch((HEIGHT, WIDTH), ("stereo",)),
        target=left,
        sources=right[:, None],
        intrinsics=torch.tensor([[REACH / 0.54 / WIDTH, 0, 0.5], [0, 1, 0.5], [0, 0, 1]]).repeat(2, 1, 1),
        stereo_offset=-torch.ones(2),
        baseline_m=torch.full((2,), 0.54),
    )
    logged, expected = attach_trainer(method, case.step, STEPS), PUBLISHED[name]
    method.training_step(batch, 0)
    weighed = {
        "synthesis": expected["l1"] + sum(expected["perceptual"]),
        "raw_smoothness": expected["raw_smoothness"] / 0.0008,
        "distilled_smoothness": expected["distilled_smoothness"] / 0.0016,
        "distillation": expected["distillation"] / 0.01,
    }
    assert {key: logged[key] for key in weighed} == pytest.approx(weighed, rel=1e-5, abs=1e-10)
    assert logged["loss"] == pytest.approx(expected["total"], abs=6e-7)
