"""SSIM, the photometric error, the minimum over sources and smoothness, against the published values."""

import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from egodepth.losses.photometric import (
    minimum_error,
    patch_moments,
    photometric_error,
    structural_dissimilarity,
    tie_break,
)
from egodepth.losses.smoothness import edge_aware_smoothness, mean_normalised
from tests.photometric_inputs import analytic_image, reference_inputs

REFERENCE = json.loads((Path(__file__).parents[1] / "reference" / "monodepth2.json").read_text())
STATISTICS = {"mean": torch.mean, "min": torch.min, "max": torch.max}


def check_values(values: torch.Tensor, expected: dict[str, float]) -> None:
    for place, value in expected.items():
        found = STATISTICS[place](values) if place in STATISTICS else values[tuple(json.loads(place))]
        assert float(found) == pytest.approx(value, abs=1e-5), place  # float32 cancels in SSIM


def test_the_seeded_inputs_are_those_of_the_reference():
    inputs, expected = reference_inputs(), REFERENCE["inputs"]
    assert inputs.a.flatten()[:3].tolist() == pytest.approx(expected["A"], abs=1e-6)
    assert inputs.b.flatten()[:3].tolist() == pytest.approx(expected["B"], abs=1e-6)
    assert inputs.disparities[0].flatten()[:3].tolist() == pytest.approx(expected["D0"], abs=1e-6)
    assert inputs.axis_angle.flatten()[:3].tolist() == pytest.approx(expected["axis_angle"], abs=1e-7)
    assert inputs.translation.flatten()[-3:].tolist() == pytest.approx(expected["translation_end"], abs=1e-7)


def test_structural_dissimilarity_gives_the_published_values():
    inputs = reference_inputs()
    check_values(structural_dissimilarity(inputs.a, patch_moments(inputs.b)), REFERENCE["dssim_A_B"])
    smooth = structural_dissimilarity(analytic_image(0), patch_moments(analytic_image(0.3)))
    check_values(smooth, REFERENCE["dssim_S"])
    assert float(structural_dissimilarity(inputs.a, patch_moments(inputs.a)).max()) == 0


def test_the_photometric_error_gives_the_published_values():
    inputs = reference_inputs()
    check_values(photometric_error(inputs.a, patch_moments(inputs.b)), REFERENCE["pe_A_B"])
    check_values(photometric_error(analytic_image(0), patch_moments(analytic_image(0.3))), REFERENCE["pe_S"])


def test_the_photometric_error_without_ssim_is_the_mean_absolute_difference():
    inputs = reference_inputs()
    error = photometric_error(inputs.a, patch_moments(inputs.b), ssim_weight=0)
    torch.testing.assert_close(error, (inputs.a - inputs.b).abs().mean(1))


def test_stacked_sources_have_the_errors_of_single_ones():
    inputs = reference_inputs()
    together = photometric_error(torch.stack([inputs.b, inputs.c]), patch_moments(inputs.a))
    torch.testing.assert_close(together[0], photometric_error(inputs.b, patch_moments(inputs.a)))
    torch.testing.assert_close(together[1], photometric_error(inputs.c, patch_moments(inputs.a)))


def test_ssim_stays_in_float32_under_autocast():
    inputs = reference_inputs()
    exact = photometric_error(inputs.a, patch_moments(inputs.b))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = photometric_error(inputs.a, patch_moments(inputs.b))
    assert torch.equal(mixed, exact)


def test_smoothness_gives_the_published_values():
    inputs = reference_inputs()
    finest = inputs.disparities[0]
    assert float(edge_aware_smoothness(finest, inputs.a)) == pytest.approx(REFERENCE["smoothness_D0"]["raw"], abs=2e-6)
    colour = inputs.a
    for disparity, expected in zip(inputs.disparities, REFERENCE["smoothness_scales"], strict=True):
        assert float(edge_aware_smoothness(mean_normalised(disparity), colour)) == pytest.approx(expected, abs=3e-6)
        colour = F.avg_pool2d(colour, 2)


def test_smoothness_of_the_normalised_disparity_does_not_depend_on_its_scale():
    inputs = reference_inputs()
    one = edge_aware_smoothness(mean_normalised(inputs.disparities[0]), inputs.a)
    other = edge_aware_smoothness(mean_normalised(7 * inputs.disparities[0]), inputs.a)
    torch.testing.assert_close(one, other)


def test_each_pixel_takes_its_best_source():
    errors = torch.tensor([[[[0.3, 0.1]]], [[[0.2, 0.4]]]])
    assert minimum_error(errors).error.flatten().tolist() == pytest.approx([0.2, 0.1])
    assert minimum_error(errors).reprojected.all()


def test_a_pixel_that_an_unwarped_source_explains_gets_no_gradient_but_counts():
    reprojection = torch.tensor([[[[0.3, 0.1]]]], requires_grad=True)
    best = minimum_error(reprojection, torch.tensor([[[[0.2, 0.2]]]]))
    assert best.reprojected.flatten().tolist() == [False, True]
    best.error.mean().backward()
    assert float(best.error.detach().mean()) == pytest.approx(0.15)
    assert reprojection.grad.flatten().tolist() == pytest.approx([0, 0.5])


def test_ties_go_to_the_identity_without_noise_and_to_either_with_it():
    errors = torch.full((1, 1, 50, 50), 0.25)
    assert not minimum_error(errors, errors).reprojected.any()
    torch.manual_seed(0)
    share = minimum_error(errors, tie_break(errors)).reprojected.float().mean()
    assert 0.4 < float(share) < 0.6
