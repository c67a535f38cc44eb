"""The held-out error that ends a training, on a wall at a distance of one unit."""

from dataclasses import replace

import pytest
import torch

from egodepth.data.transforms import without_augmentation
from egodepth.losses.photometric import patch_moments, photometric_error
from egodepth.methods.warped_views import synthesis_error
from tests.methods.batches import random_batch

SIZE = 64, 96


@pytest.fixture
def views():
    """Two views, in which the wall lies 1 and 2 pixels further left."""
    return without_augmentation(random_batch(SIZE, (-1, 1)))


def motions(views) -> torch.Tensor:
    transforms = torch.eye(4).repeat(2, len(views.names), 1, 1)
    transforms[0, :, 0, 3], transforms[1, :, 0, 3] = -1 / views.intrinsics[0, 0, 0], -2 / views.intrinsics[0, 0, 0]
    return transforms


def error(views, depth: float) -> float:
    return float(synthesis_error(views, torch.full((len(views.names), 1, *SIZE), depth), motions(views)))


def unmoved(views) -> torch.Tensor:
    """The error of the views as they are, at each pixel."""
    return photometric_error(views.sources.transpose(0, 1), patch_moments(views.target)).amin(0)


def test_the_right_depth_explains_best_and_no_wrong_one_is_let_off(views):
    identity = float(unmoved(views).mean())
    assert error(views, 1.0) < 0.2 * identity
    assert error(views, 2.0) > error(views, 1.0)
    assert error(views, 0.1) > identity
    assert error(views, 1e6) == pytest.approx(identity, rel=1e-3)


def test_nothing_is_gained_by_moving_pixels_out_of_sight(views):
    assert error(views, 1e-3) == pytest.approx(float(unmoved(views).mean()), rel=1e-5)


def test_pixels_that_do_not_show_the_scene_do_not_count(views):
    mask = torch.ones(len(views.names), 1, *SIZE, dtype=torch.bool)
    mask[..., 48:, :] = False
    spoilt = replace(views, mask=mask, target=views.target.clone())
    spoilt.target[..., 50:, :] = 0
    assert error(spoilt, 1.0) == pytest.approx(error(replace(views, mask=mask), 1.0), rel=1e-6)
