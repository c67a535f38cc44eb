"""The motion of a camera from points whose depth is known: exact where they are, and deaf to what moves by itself."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from egodepth.geometry.poses import pose_to_transform
from egodepth.geometry.resection import resection, seen_from

CAMERA = torch.tensor([[[90.0, 0.0, 95.5], [0.0, 90.0, 31.5], [0.0, 0.0, 1.0]]])
degrees = st.floats(-6, 6)
units = st.floats(-0.4, 0.4)


def scene(count: int = 300, seed: int = 0) -> torch.Tensor:
    """(1, N, 3), points all over the picture, 2 to 30 units away."""
    random = torch.Generator().manual_seed(seed)
    pixels = torch.rand(count, 2, generator=random) * torch.tensor([192.0, 64.0])
    depth = 2 + 28 * torch.rand(count, 1, generator=random)
    return torch.cat([(pixels - CAMERA[0, :2, 2]) / 90 * depth, depth], dim=1)[None]


@settings(deadline=None)
@given(st.tuples(degrees, degrees, degrees), st.tuples(units, units, units))
def test_the_motion_that_moved_the_points_is_found(turn, shift):
    expected = pose_to_transform(torch.deg2rad(torch.tensor([turn])), torch.tensor([shift]))
    points = scene()
    places = seen_from(expected, points, CAMERA)
    found = resection(points, places, torch.ones(1, 300, dtype=torch.bool), CAMERA)
    torch.testing.assert_close(found, expected, atol=2e-3, rtol=0)


def test_points_that_move_by_themselves_or_do_not_count_have_little_say():
    expected = pose_to_transform(torch.tensor([[0.0, 0.03, 0.0]]), torch.tensor([[0.05, 0.0, -0.5]]))
    points = scene()
    places = seen_from(expected, points, CAMERA)
    places[:, :60] += torch.tensor([12.0, 0.0])  # a car that drives by
    places[:, 60:120] = torch.nan
    valid = torch.ones(1, 300, dtype=torch.bool)
    valid[:, 60:120] = False
    found = resection(points, places.nan_to_num(), valid, CAMERA)
    torch.testing.assert_close(found, expected, atol=3e-3, rtol=0)


def test_each_of_a_batch_is_found_by_itself_in_the_unit_of_its_depth():
    motions = pose_to_transform(torch.tensor([[0.0, 0.02, 0.0], [0.01, 0.0, 0.0]]), torch.tensor([[0, 0, -0.4]] * 2))
    points = scene().repeat(2, 1, 1)
    places = seen_from(motions, points, CAMERA)
    scales = torch.tensor([1.0, 5.0])
    valid = torch.ones(2, 300, dtype=torch.bool)
    found = resection(points * scales[:, None, None], places, valid, CAMERA.repeat(2, 1, 1))
    torch.testing.assert_close(found[:, :3, :3], motions[:, :3, :3], atol=1e-3, rtol=0)
    torch.testing.assert_close(found[:, :3, 3], motions[:, :3, 3] * scales[:, None], atol=1e-2, rtol=0)


def test_without_points_the_camera_stands_still():
    points = scene()
    found = resection(points, points[..., :2], torch.zeros(1, 300, dtype=torch.bool), CAMERA)
    assert torch.equal(found[0], torch.eye(4))


def test_a_point_that_the_camera_passes_is_seen_somewhere():
    behind = pose_to_transform(torch.zeros(1, 3), torch.tensor([[0.0, 0.0, -40.0]]))
    seen = seen_from(behind, scene(), CAMERA)
    assert seen.isfinite().all()
