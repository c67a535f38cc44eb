import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from egodepth.losses.photometric import patch_moments, photometric_error
from egodepth.losses.self_distilled import (
    curvature_aware_smoothness,
    distillation_loss,
    perceptual_distances,
    photometric_mask,
    synthesis_loss,
    unoccluded,
    visible_mask,
)

REFERENCE = json.loads((Path(__file__).parents[1] / "reference" / "sdfa_net.json").read_text())
RANDOM = REFERENCE["random_images"]


@pytest.fixture
def pictures() -> tuple[Tensor, Tensor, Tensor]:
    """The specification's A, B and D: two images without their mean, and a disparity or depth."""
    generator = torch.Generator().manual_seed(2024)
    first, second = (torch.rand(2, 3, 32, 64, generator=generator) - 0.43 for _ in range(2))
    depth = torch.rand(2, 1, 32, 64, generator=generator) * 50 + 2
    assert depth.flatten()[:2].tolist() == pytest.approx(RANDOM["depth_start"])
    return first, second, depth


def step(near: float, far: float) -> Tensor:
    """A disparity (1, 1, 8, 100) with a step at column 50."""
    disparity = torch.full((1, 1, 8, 100), near)
    disparity[..., 50:] = far
    return disparity


def hidden_columns(disparity: Tensor, factor: Tensor | float) -> list[int]:
    return (~unoccluded(disparity, factor)[0, 0, 4]).nonzero().flatten().tolist()


# --- view synthesis and smoothness -----------------------------------------------------------------------------


def test_synthesis_loss_adds_the_weighed_distances(pictures: tuple[Tensor, Tensor, Tensor]) -> None:
    first, second, _ = pictures
    assert perceptual_distances([first, first], [second, first]).tolist() == pytest.approx([RANDOM["l2"], 0], abs=1e-6)
    loss = synthesis_loss(first, second, [first], [second], perceptual_weight=0.5)
    assert loss.item() == pytest.approx(RANDOM["l1"] + 0.5 * RANDOM["l2"], abs=1e-6)


def test_the_real_image_s_features_get_no_gradient() -> None:
    own, real = torch.rand(1, 2, 3, 4, requires_grad=True), torch.rand(1, 2, 3, 4, requires_grad=True)
    perceptual_distances([own], [real]).sum().backward()
    assert own.grad.any()
    assert real.grad is None


def test_smoothness_has_the_published_value(pictures: tuple[Tensor, Tensor, Tensor]) -> None:
    image, _, disparity = pictures
    assert curvature_aware_smoothness(disparity, image).item() == pytest.approx(RANDOM["smoothness"], abs=1e-5)


def test_stripes_weigh_smoothness_down_and_a_ramp_does_not() -> None:
    """The weight is of second order: brightness that rises evenly is no edge, except where the border repeats."""
    disparity = torch.rand(1, 1, 16, 16, generator=torch.Generator().manual_seed(4))
    columns = torch.arange(16)
    flat, ramp, stripes = (
        curvature_aware_smoothness(disparity, row.float().expand(1, 3, 16, 16)).item()
        for row in (0 * columns, columns / 16, columns % 2)
    )
    assert ramp == pytest.approx(flat, rel=0.02)
    assert stripes < 0.6 * flat


# --- self-distillation -----------------------------------------------------------------------------------------


def test_distillation_has_the_published_value(pictures: tuple[Tensor, Tensor, Tensor]) -> None:
    first, _, distilled = pictures
    generator = torch.Generator().manual_seed(3)
    target = first + 0.43
    of_distilled, of_raw = (target + 0.1 * torch.rand(target.shape, generator=generator) for _ in range(2))
    raw = distilled + torch.rand(2, 1, 32, 64, generator=generator)
    moments = patch_moments(target)
    mask = photometric_mask(*(photometric_error(image, moments)[:, None] for image in (of_raw, of_distilled)))
    assert mask.float().mean().item() == pytest.approx(RANDOM["mask_share"], abs=1e-6)
    assert distillation_loss(distilled, raw, mask).item() == pytest.approx(RANDOM["masked_l1"], abs=1e-6)


def test_only_a_raw_depth_that_explains_the_image_well_is_distilled() -> None:
    raw, distilled = torch.tensor([0.1, 0.1, 0.3, 0.1]), torch.tensor([0.2, 0.05, 0.4, 0.1])
    assert photometric_mask(raw, distilled).tolist() == [True, False, False, True]


def test_the_raw_depth_gets_no_gradient() -> None:
    distilled, raw = torch.rand(1, 1, 2, 2, requires_grad=True), torch.rand(1, 1, 2, 2, requires_grad=True)
    distillation_loss(distilled, raw, torch.tensor([[[[True, False], [False, False]]]])).backward()
    assert distilled.grad.count_nonzero() == 1
    assert raw.grad is None


def test_what_is_left_of_something_near_is_hidden_from_the_right_camera() -> None:
    assert hidden_columns(step(10, 30), 1.0) == list(range(29, 50))
    assert hidden_columns(step(30, 10), 1.0) == []


def test_what_is_right_of_something_near_is_hidden_from_the_left_camera() -> None:
    assert hidden_columns(step(10, 30), -1.0) == []
    assert hidden_columns(step(30, 10), -1.0) == list(range(50, 71))


def test_each_sample_has_its_own_side() -> None:
    both = torch.cat([step(10, 30), step(30, 10)])
    for first, second in ((1.0, -1.0), (-1.0, 1.0)):
        mixed = unoccluded(both, torch.tensor([first, second]))
        assert torch.equal(mixed[:1], unoccluded(both[:1], first))
        assert torch.equal(mixed[1:], unoccluded(both[1:], second))


def test_what_lies_beyond_the_other_picture_is_not_visible() -> None:
    inside = torch.ones(1, 1, 8, 100, dtype=torch.bool)
    inside[..., :10] = False
    visible = visible_mask(step(10, 30), inside)[0, 0, 4]
    assert (~visible).nonzero().flatten().tolist() == [*range(10), *range(29, 50)]
