"""The focal length from how the picture turns: right where the camera turns, and not believed where it does not."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn

from egodepth.calibration.turning import focal_of_turns
from egodepth.geometry.matches import matches
from egodepth.methods.configurations import LearnedCameraConfig
from tests.data.trees import moving_scene, turning_scene

SIZE = 96, 192
START = torch.tensor([[0.87, 0, 0.5], [0, 1.74, 0.5], [0, 0, 1.0]])
LARGEST = LearnedCameraConfig().largest_uncertainty


class Wall(nn.Module):
    """Sees everything ten units away."""

    def predict_depth(self, image: torch.Tensor) -> torch.Tensor:
        return torch.full_like(image[:, :1], 10.0)


def tensor(picture: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(picture).permute(2, 0, 1)[None].float() / 255


def pairs(pictures: list[np.ndarray]):
    for first, second in pairwise(pictures):
        yield tensor(first), tensor(second), None


@pytest.mark.parametrize("fov", [70.0, 85.0, 100.0])
def test_a_camera_that_turns_shows_its_focal_length(fov):
    pictures = [turning_scene(12 * math.sin(number / 2), SIZE, fov) for number in range(9)]
    found = focal_of_turns(pairs(pictures), Wall(), START)
    assert found.focal == pytest.approx(0.5 / math.tan(math.radians(fov) / 2), rel=0.06)
    assert found.degrees == pytest.approx(fov, rel=0.06)
    assert found.spread < LARGEST


def test_a_narrow_view_that_hardly_turns_is_not_believed():
    pictures = [turning_scene(4 * math.sin(number / 2), SIZE, 45) for number in range(9)]
    assert focal_of_turns(pairs(pictures), Wall(), START).spread > LARGEST


def test_a_camera_that_slides_along_a_wall_does_not():
    found = focal_of_turns(pairs([moving_scene(number, *SIZE) for number in range(9)]), Wall(), START)
    assert found is None or found.spread > LARGEST


def test_nothing_is_found_in_nothing():
    assert focal_of_turns([], Wall(), START) is None


def test_points_are_where_the_scene_has_gone_and_those_that_left_do_not_count():
    first, second = tensor(moving_scene(0, *SIZE)), tensor(moving_scene(2, *SIZE))  # six pixels to the left
    mask = torch.ones(1, 1, *SIZE, dtype=torch.bool)
    mask[..., :48, :] = False
    found = matches(first, second, Wall().predict_depth(first), mask)
    valid = found.valid[0]
    moved = (found.places[0] - found.pixels)[valid]
    assert moved.median(dim=0).values.tolist() == pytest.approx([-6, 0], abs=0.2)
    assert not valid[found.pixels[:, 1] < 48].any()
    assert not valid[found.pixels[:, 0] < 5].any()
    assert valid[found.pixels[:, 1] >= 48].float().mean() > 0.6
    camera = torch.tensor([[[100.0, 0, 95.5], [0, 100.0, 47.5], [0, 0, 1]]])
    points = found.points(camera)
    assert torch.equal(points[..., 2], torch.full_like(points[..., 2], 10.0))
    np.testing.assert_allclose((points[0] @ camera[0].T)[:, :2] / 10, found.pixels, atol=1e-3)
