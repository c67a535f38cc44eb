import itertools
import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from egodepth.geometry.stereo_volume import disparity_levels, expected_disparity, reproject, synthesise_other_view

REFERENCE = json.loads((Path(__file__).parents[1] / "reference" / "sdfa_net.json").read_text())
LEVELS = disparity_levels(7, 1.0, 20.0)


def row(values: object) -> Tensor:
    """A picture (1, 1, 3, W) of three equal rows."""
    return torch.as_tensor(values, dtype=torch.float32).expand(1, 1, 3, -1).contiguous()


def by_grid(values: Tensor, shift: float, padding: str) -> Tensor:
    """Values at x + shift: sampled by a grid, as the published code does it."""
    height, width = values.shape[-2:]
    columns = torch.linspace(-1, 1, width, dtype=values.dtype) + shift / (width / 2)
    rows = torch.linspace(-1, 1, height, dtype=values.dtype)
    grid = torch.stack(torch.meshgrid(rows, columns, indexing="ij")[::-1], -1).expand(len(values), -1, -1, -1)
    return F.grid_sample(values, grid, padding_mode=padding, align_corners=True)


def all_at_once(image: Tensor, logits: Tensor, levels: tuple[float, ...], factor: float) -> Tensor:
    """Equation 7 as it is written, with all shifted images in memory."""
    shifted = torch.cat(
        [by_grid(logits[:, [place]], factor * level, "zeros") for place, level in enumerate(levels)], dim=1
    )
    images = torch.stack([by_grid(image, factor * level, "border") for level in levels], dim=1)
    return (shifted.softmax(1)[:, :, None] * images).sum(1)


def random_volume(height: int = 4, width: int = 24, levels: int = 7) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(11)
    image = torch.rand(3, 3, height, width, generator=generator, dtype=torch.float64)
    return image, 3 * torch.randn(3, levels, height, width, generator=generator, dtype=torch.float64)


def test_levels_grow_by_one_ratio() -> None:
    levels = disparity_levels(49, 2.0, 300.0)
    assert {place: levels[int(place)] for place in REFERENCE["levels"]} == pytest.approx(REFERENCE["levels"])
    assert sum(levels) == pytest.approx(REFERENCE["level_sum"])
    ratios = [larger / smaller for smaller, larger in itertools.pairwise(levels)]
    assert ratios == pytest.approx([REFERENCE["level_ratio"]] * 48)


@pytest.mark.parametrize("disparity", [1, 4])
def test_one_level_shifts_the_picture_and_repeats_its_border(disparity: int) -> None:
    view = synthesise_other_view(row(torch.arange(8.0)), torch.zeros(1, 1, 3, 8), (disparity,))
    for line in view[0, 0]:
        assert line.tolist() == pytest.approx(REFERENCE[f"shifted_image_by_{disparity}"])


def test_logits_are_zero_outside_the_picture() -> None:
    """Beside an unshifted level of logit zero, the view tells the shifted logit by the weight it gives."""
    ramp, logits = row(torch.arange(8.0)), row(torch.arange(32.0, 40.0))
    view = synthesise_other_view(ramp, torch.cat([torch.zeros_like(logits), logits / 10], dim=1), (0.0, 2.0))
    weight = torch.sigmoid(torch.tensor(REFERENCE["shifted_logits_32_to_39_by_2"]) / 10)
    assert torch.allclose(view, (1 - weight) * ramp + weight * by_grid(ramp, 2.0, "border"), atol=1e-5)


@pytest.mark.parametrize("factor", [1.0, -1.0, 0.4074, -2.5])
def test_level_by_level_is_the_same_as_all_at_once(factor: float) -> None:
    image, logits = (values.requires_grad_() for values in random_volume())
    weight = torch.randn(image.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    results = []
    for function in (synthesise_other_view, all_at_once):
        view = function(image, logits, LEVELS, factor)
        results.append((view, *torch.autograd.grad((view * weight).sum(), (image, logits))))
    for ours, expected in zip(*results, strict=True):
        assert torch.allclose(ours, expected, atol=1e-9)


def test_gradients_are_those_of_finite_differences() -> None:
    image, logits = (values[:1, :, :2, :9].clone().requires_grad_() for values in random_volume())
    assert torch.autograd.gradcheck(lambda *tensors: synthesise_other_view(*tensors, LEVELS), (image, logits))


def test_each_sample_has_its_own_factor() -> None:
    image, logits = random_volume()
    factors = [1.0, -1.0, 0.4074]
    mixed = synthesise_other_view(image, logits, LEVELS, torch.tensor(factors, dtype=torch.float64))
    disparity = expected_disparity(logits, LEVELS, torch.tensor(factors, dtype=torch.float64))
    for place, factor in enumerate(factors):
        single = [place]
        assert torch.allclose(mixed[single], synthesise_other_view(image[single], logits[single], LEVELS, factor))
        plain = expected_disparity(logits[single], LEVELS)
        assert torch.allclose(disparity[single], abs(factor) * plain)


def test_synthesis_keeps_one_volume_for_the_backward_pass() -> None:
    image, logits = random_volume(levels=49, height=8, width=32)
    logits.requires_grad_()
    kept: list[Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tensor) or tensor, lambda tensor: tensor):
        synthesise_other_view(image, logits, disparity_levels(49, 2.0, 30.0))
    volumes = sum(tensor.numel() for tensor in kept) / logits.numel()
    assert 1 <= volumes < 1.3


def test_synthesis_under_autocast_stays_in_float32() -> None:
    image, logits = (values.bfloat16() for values in random_volume())
    with torch.autocast("cpu", torch.bfloat16):
        view = synthesise_other_view(image, logits, LEVELS)
        assert view.dtype == expected_disparity(logits, LEVELS).dtype == torch.float32
    assert torch.equal(view, synthesise_other_view(image.float(), logits.float(), LEVELS))


def test_a_certain_volume_gives_its_level() -> None:
    logits = torch.full((1, 7, 2, 3), -100.0)
    logits[:, 4] = 100
    assert torch.allclose(expected_disparity(logits, LEVELS), torch.tensor(LEVELS[4]))


def test_reprojection_takes_the_pixel_to_the_left() -> None:
    back = reproject(row(torch.arange(8.0)), torch.full((1, 1, 3, 8), 2.0))
    assert back.image[0, 0, 1].tolist() == pytest.approx(REFERENCE["reprojected_by_2"], abs=1e-6)
    assert back.inside[0, 0, 1].int().tolist() == REFERENCE["inside_by_2"]


def test_a_right_target_is_the_mirrored_case() -> None:
    image, logits = random_volume()
    mirrored = [values.flip(-1) for values in (image, logits)]
    left, right = synthesise_other_view(*mirrored, LEVELS), synthesise_other_view(image, logits, LEVELS, -1.0)
    assert torch.allclose(left.flip(-1), right)
    disparity = expected_disparity(logits, LEVELS)
    back, other = reproject(image, disparity, -torch.ones(3)), reproject(mirrored[0], disparity.flip(-1))
    assert torch.allclose(other.image.flip(-1), back.image)
    assert torch.equal(other.inside.flip(-1), back.inside)


def test_synthesis_and_reprojection_undo_each_other() -> None:
    """A flat wall: the other view, sampled back with the same disparity, is the picture again where both see it."""
    generator = torch.Generator().manual_seed(2)
    image = F.interpolate(torch.rand(1, 3, 4, 16, generator=generator), size=(16, 128), mode="bilinear")
    levels = disparity_levels(5, 2.0, 32.0)
    logits = torch.full((1, 5, 16, 128), -50.0)
    logits[:, 2] = 50
    view = synthesise_other_view(image, logits, levels)
    back = reproject(view, expected_disparity(logits, levels))
    difference = (back.image - image).abs().amax(1, keepdim=True)[back.inside]
    assert difference.max() < 0.02
    assert (reproject(view, 2 * expected_disparity(logits, levels)).image - image).abs().mean() > 0.02
