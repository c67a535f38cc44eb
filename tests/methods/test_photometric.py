"""The whole loss of Monodepth2 on seeded inputs, against the published trainer's values."""

import json
from pathlib import Path

import pytest
import torch

from egodepth.geometry.poses import stereo_transform
from egodepth.methods.configurations import PhotometricConfig
from egodepth.methods.photometric import photometric_loss
from tests.photometric_inputs import analytic_image, default_intrinsics, reference_inputs

REFERENCE = json.loads((Path(__file__).parents[1] / "reference" / "monodepth2.json").read_text())


def pipeline_loss(case: str):
    inputs = reference_inputs()
    content = case.split(",")[0]
    target, sources, transforms = inputs.a, torch.stack([inputs.b, inputs.c]), inputs.transforms()
    if content == "analytic":
        target, sources = analytic_image(0), torch.stack([analytic_image(-0.15), analytic_image(0.15)])
    if content == "stereo":
        sources, transforms = inputs.b[None], stereo_transform(torch.tensor([-0.1, -0.1]))[None]
    config = PhotometricConfig(tie_break=0, align_corners="no align_corners" not in case)
    return photometric_loss(target, sources, inputs.disparities, transforms, default_intrinsics(), config)


@pytest.mark.parametrize("case", REFERENCE["pipeline"])
def test_the_loss_of_every_scale_is_the_published_one(case):
    loss, expected = pipeline_loss(case), REFERENCE["pipeline"][case]
    assert loss.scales.tolist() == pytest.approx(expected["scales"], abs=3e-6)
    assert float(loss.total) == pytest.approx(expected["total"], abs=3e-6)


def test_warped_images_masks_and_depth_are_the_published_ones():
    loss, expected = pipeline_loss("random, align_corners"), REFERENCE["pipeline_details"]
    assert loss.warped.mean((1, 2, 3, 4)).tolist() == pytest.approx(expected["mean_warped"], abs=2e-6)
    assert loss.reprojected_share.tolist() == pytest.approx(expected["reprojected_share"], abs=5e-4)
    assert float(loss.depth.mean()) == pytest.approx(expected["mean_depth"], abs=2e-6)


def test_without_the_auto_mask_every_pixel_is_trained_by_a_reprojection():
    inputs = reference_inputs()
    loss = photometric_loss(
        inputs.a,
        torch.stack([inputs.b, inputs.c]),
        inputs.disparities,
        inputs.transforms(),
        default_intrinsics(),
        PhotometricConfig(auto_mask=False),
    )
    assert loss.reprojected_share.tolist() == [1, 1, 1, 1]
    assert float(loss.total) > REFERENCE["pipeline"]["random, align_corners"]["total"]


def test_the_loss_falls_towards_the_true_depth():
    """A plane in front of a stereo pair: the disparity that made the second image costs least."""
    generator = torch.Generator().manual_seed(3)
    target = torch.rand(1, 3, 32, 64, generator=generator)
    target = torch.nn.functional.avg_pool2d(torch.nn.functional.pad(target, (2,) * 4, mode="reflect"), 5, 1)
    intrinsics = default_intrinsics()[:1]
    shift = 3
    source = torch.roll(target, -shift, dims=-1)
    true_depth = float(intrinsics[0, 0, 0]) * 0.1 / shift

    def loss_at(depth: float) -> float:
        sigmoid = torch.full((1, 1, 32, 64), (1 / depth - 0.01) / 9.99)
        transforms = stereo_transform(torch.tensor([-0.1]))[None]
        return float(photometric_loss(target, source[None], [sigmoid], transforms, intrinsics).total)

    assert loss_at(true_depth) < min(loss_at(0.7 * true_depth), loss_at(1.4 * true_depth))
