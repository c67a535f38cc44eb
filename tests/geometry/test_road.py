"""The road's plane: planted planes are found, with noise and with much that is no road."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from egodepth.geometry.road import camera_rays, fit_ground

INTRINSICS = np.array([[400.0, 0, 319.5], [0, 420.0, 90.0], [0, 0, 1]])


def planted(height, pitch_degrees, roll_degrees, count=3000, seed=0):
    """Rays through the lower part of a picture, and the depth of a plane under a camera that is turned a little."""
    random = np.random.default_rng(seed)
    rays = camera_rays(INTRINSICS, random.uniform(100, 540, count), random.uniform(160, 380, count))
    pitch, roll = math.radians(pitch_degrees), math.radians(roll_degrees)
    normal = np.array([math.sin(roll), math.cos(roll) * math.cos(pitch), math.cos(roll) * math.sin(pitch)])
    return rays, height / (rays @ normal), normal, random


@given(
    height=st.floats(0.05, 20),
    pitch=st.floats(-4, 15),
    roll=st.floats(-8, 8),
    seed=st.integers(0, 1000),
)
@settings(max_examples=25)
def test_a_plane_is_found_with_noise_and_forty_percent_of_outliers(height, pitch, roll, seed):
    rays, depth, normal, random = planted(height, pitch, roll, seed=seed)
    depth = depth * random.normal(1, 0.01, len(depth))
    wrong = random.random(len(depth)) < 0.4
    depth[wrong] = depth[wrong] * random.uniform(0.2, 0.9, wrong.sum())
    plane = fit_ground(rays, depth, 25, seed)
    assert plane.distance == pytest.approx(height, rel=0.01)
    assert plane.normal @ normal > math.cos(math.radians(0.7))
    assert 0.5 < plane.inliers < 0.75


def test_a_plane_without_noise_is_exact():
    rays, depth, normal, _ = planted(1.65, 5, -3)
    plane = fit_ground(rays, depth, 25)
    assert plane.distance == pytest.approx(1.65, rel=1e-9)
    np.testing.assert_allclose(plane.normal, normal, atol=1e-9)
    assert plane.inliers == 1
    assert plane.tilt_degrees == pytest.approx(math.degrees(math.acos(normal[1])), abs=1e-4)


def test_noise_of_depth_does_not_bend_the_plane():
    """A fit to points, not to inverse depths, is 2 % off here: its variables have errors."""
    rays, depth, _, random = planted(1.65, 0, 0, count=20_000)
    noisy = 1 / (1 / depth * random.normal(1, 0.03, len(depth)))
    assert fit_ground(rays, noisy, 25).distance == pytest.approx(1.65, rel=0.004)


def test_depth_in_other_units_gives_the_same_plane_in_other_units():
    rays, depth, _, _ = planted(1.65, 5, -3)
    assert fit_ground(rays, depth / 31.7, 25).distance == pytest.approx(1.65 / 31.7, rel=1e-9)


def test_the_same_seed_gives_the_same_plane():
    rays, depth, _, random = planted(1.65, 5, -3)
    depth = depth * random.normal(1, 0.05, len(depth))
    one, same = (fit_ground(rays, depth, 25, seed=3) for _ in range(2))
    assert one.distance == same.distance


def test_a_wall_is_no_road():
    rays, _, _, random = planted(1.65, 0, 0)
    assert fit_ground(rays, random.normal(8, 0.01, len(rays)), 25) is None


def test_a_steep_ramp_is_no_road():
    rays, depth, _, _ = planted(1.65, 30, 0)
    assert fit_ground(rays, depth, 25) is None
    assert fit_ground(rays, depth, 35).distance == pytest.approx(1.65)


def test_a_road_is_found_beside_a_larger_wall():
    rays, depth, _, random = planted(1.65, 2, 0)
    wall = random.random(len(depth)) < 0.6
    depth = np.where(wall, random.normal(3, 0.02, len(depth)), depth)
    assert fit_ground(rays, depth, 25).distance == pytest.approx(1.65, rel=0.01)


def test_too_few_points_give_nothing():
    rays, depth, _, _ = planted(1.65, 0, 0)
    assert fit_ground(rays[:2], depth[:2], 25) is None
    assert fit_ground(np.repeat(rays[:1], 50, axis=0), np.repeat(depth[:1], 50), 25) is None


def test_a_ray_goes_through_its_pixel():
    np.testing.assert_allclose(camera_rays(INTRINSICS, np.array([319.5, 719.5]), np.array([90, 510.0]))[1], [1, 1, 1])
