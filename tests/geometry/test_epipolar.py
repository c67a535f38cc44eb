"""The motion of a camera from where points went: exact whatever depth is believed, and deaf to what moves by itself."""

import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from egodepth.geometry.epipolar import epipolar_motion
from egodepth.geometry.poses import pose_to_transform
from egodepth.geometry.resection import resection, seen_from
from tests.geometry.test_resection import CAMERA, scene

ALL = torch.ones(1, 300, dtype=torch.bool)
STANDING = torch.eye(4)[None]
degrees = st.floats(-4, 4)
units = st.floats(-0.4, 0.4)


def nearer_from_afar(points: torch.Tensor, offset: float = 0.03) -> torch.Tensor:
    """What a network believes that takes the horizon for higher than it is: the same rays, all nearer."""
    depth = points[..., 2:]
    return points / depth / (1 / depth + offset)


def direction(motion: torch.Tensor) -> torch.Tensor:
    return motion[:, :3, 3] / motion[:, :3, 3].norm(dim=-1, keepdim=True)


@settings(deadline=None)
@given(st.tuples(degrees, degrees, degrees), st.tuples(units, units, units))
def test_turn_and_direction_are_right_where_depth_is_wrong(turn, shift):
    assume(sum(each**2 for each in shift) > 0.1**2)
    expected = pose_to_transform(torch.deg2rad(torch.tensor([turn])), torch.tensor([shift]))
    points = scene()
    places = seen_from(expected, points, CAMERA)
    believed = nearer_from_afar(points)
    found = epipolar_motion(believed, places, ALL, CAMERA, resection(believed, places, ALL, CAMERA))
    torch.testing.assert_close(found[:, :3, :3], expected[:, :3, :3], atol=2e-3, rtol=0)
    torch.testing.assert_close(direction(found), direction(expected), atol=2e-2, rtol=0)


@settings(deadline=None)
@given(st.tuples(units, units, units), st.floats(0.2, 5))
def test_the_way_is_as_long_as_depth_says(shift, unit):
    assume(sum(each**2 for each in shift) > 0.1**2)
    expected = pose_to_transform(torch.tensor([[0.0, 0.02, 0.0]]), torch.tensor([shift]))
    points = scene()
    places = seen_from(expected, points, CAMERA)
    found = epipolar_motion(unit * points, places, ALL, CAMERA, resection(unit * points, places, ALL, CAMERA))
    torch.testing.assert_close(found[:, :3, 3], unit * expected[:, :3, 3], atol=0.01 * unit, rtol=0)


def test_points_that_move_by_themselves_or_do_not_count_have_little_say():
    expected = pose_to_transform(torch.tensor([[0.0, 0.03, 0.0]]), torch.tensor([[0.05, 0.0, -0.5]]))
    points, valid = scene(), ALL.clone()
    places = seen_from(expected, points, CAMERA)
    places[:, :60] += torch.tensor([12.0, 0.0])  # a car that drives by
    places[:, 60:120] = 1e4
    valid[:, 60:120] = False
    found = epipolar_motion(points, places, valid, CAMERA, STANDING)
    torch.testing.assert_close(found, expected, atol=5e-3, rtol=0)


def test_a_start_that_took_the_drive_for_a_slide_is_left():
    """What resection finds where little of what is near is matched again, as on KITTI's drive 0013."""
    expected = pose_to_transform(torch.tensor([[0.0, 0.001, 0.0]]), torch.tensor([[0.0, 0.0, -0.8]]))
    slide = pose_to_transform(torch.tensor([[0.0, 0.006, -0.006]]), torch.tensor([[-0.3, 0.0, -0.02]]))
    points = scene()
    found = epipolar_motion(points, seen_from(expected, points, CAMERA), ALL, CAMERA, slide)
    torch.testing.assert_close(found, expected, atol=5e-3, rtol=0)


def test_a_camera_that_turns_on_its_place_goes_nowhere():
    expected = pose_to_transform(torch.tensor([[0.01, 0.04, 0.0]]), torch.zeros(1, 3))
    points = scene()
    found = epipolar_motion(points, seen_from(expected, points, CAMERA), ALL, CAMERA, STANDING)
    torch.testing.assert_close(found, expected, atol=5e-3, rtol=0)


def test_each_of_a_batch_is_found_by_itself_and_one_without_points_stays_at_its_start():
    motions = pose_to_transform(torch.tensor([[0.0, 0.02, 0.0], [0.01, 0.0, 0.0]]), torch.tensor([[0, 0, -0.4]] * 2))
    points, valid = scene().repeat(2, 1, 1), ALL.repeat(2, 1)
    places = seen_from(motions, points, CAMERA.repeat(2, 1, 1))
    starts, cameras = STANDING.repeat(2, 1, 1), CAMERA.repeat(2, 1, 1)
    found = epipolar_motion(points, places, valid, cameras, starts)
    torch.testing.assert_close(found, motions, atol=5e-3, rtol=0)
    valid[1] = False
    alone = epipolar_motion(points, places, valid, cameras, starts)
    torch.testing.assert_close(alone[0], found[0])
    assert torch.equal(alone[1], torch.eye(4))
