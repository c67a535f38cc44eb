"""Cameras, poses and view synthesis, against the published values and against what must hold for any camera."""

import json
import math
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from egodepth.geometry.cameras import Camera, pinhole
from egodepth.geometry.depth import sigmoid_to_depth, sigmoid_to_disparity
from egodepth.geometry.poses import pose_to_transform, stereo_transform
from egodepth.geometry.warping import (
    epipolar_rays,
    pixel_grid,
    project,
    sample,
    sampling_grid,
)
from tests.photometric_inputs import HEIGHT, WIDTH, default_intrinsics, reference_inputs
from tests.view_synthesis import back_project, synthesise_view

REFERENCE = json.loads((Path(__file__).parents[1] / "reference" / "monodepth2.json").read_text())

sizes = st.integers(8, 400)
focal = st.floats(20, 2000)
fraction = st.floats(0.2, 0.8)


def close(value: object, expected: object, tolerance: float = 2e-6) -> None:
    torch.testing.assert_close(
        torch.as_tensor(value, dtype=torch.float32),
        torch.tensor(expected, dtype=torch.float32),
        rtol=1e-5,
        atol=tolerance,
    )


def camera_and_point(height, width, fx, fy, horizontal, vertical):
    camera = Camera(torch.from_numpy(pinhole(fx, fy, horizontal * width, vertical * height)), height, width)
    return camera, torch.tensor([0.3, -0.2, 4.0])


def pixel_of(camera: Camera, point: torch.Tensor) -> torch.Tensor:
    projected = camera.intrinsics @ point
    return projected[:2] / projected[2]


@given(sizes, sizes, focal, focal, fraction, fraction, sizes, sizes)
def test_a_point_stays_at_its_place_in_the_picture_when_the_camera_is_resized(h, w, fx, fy, cx, cy, new_h, new_w):
    camera, point = camera_and_point(h, w, fx, fy, cx, cy)
    before = pixel_of(camera, point) + 0.5
    after = pixel_of(camera.resize(new_h, new_w), point) + 0.5
    torch.testing.assert_close(
        after / torch.tensor([new_w, new_h]), before / torch.tensor([w, h]), rtol=1e-4, atol=1e-4
    )


@given(sizes, sizes, focal, focal, fraction, fraction)
def test_a_mirrored_camera_sees_the_mirrored_point_at_the_mirrored_pixel(h, w, fx, fy, cx, cy):
    camera, point = camera_and_point(h, w, fx, fy, cx, cy)
    mirrored = pixel_of(camera.flip(), point * torch.tensor([-1.0, 1, 1]))
    u, v = pixel_of(camera, point)
    torch.testing.assert_close(mirrored, torch.stack([w - 1 - u, v]), rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(camera.flip().flip().intrinsics, camera.intrinsics)


@given(sizes, sizes, focal, focal, fraction, fraction, st.integers(-5, 50), st.integers(-5, 50))
def test_a_crop_moves_pixels_by_its_corner(h, w, fx, fy, cx, cy, top, left):
    camera, point = camera_and_point(h, w, fx, fy, cx, cy)
    cropped = pixel_of(camera.crop(top, left, 5, 7), point)
    torch.testing.assert_close(cropped, pixel_of(camera, point) - torch.tensor([left, top]), rtol=1e-4, atol=1e-3)


@given(sizes, sizes, focal, focal, fraction, fraction)
def test_normalised_intrinsics_give_the_camera_back(h, w, fx, fy, cx, cy):
    camera, _ = camera_and_point(h, w, fx, fy, cx, cy)
    again = Camera.from_normalised(camera.normalised(), h, w)
    torch.testing.assert_close(again.intrinsics, camera.intrinsics, rtol=1e-4, atol=1e-3)


def test_plain_scaling_of_the_fixed_intrinsics_gives_the_published_pyramid():
    for size, levels in REFERENCE["pyramid_intrinsics"].items():
        height, width = map(int, size.split("x"))
        fixed = pinhole(0.58 * width, 1.92 * height, 0.5 * width, 0.5 * height)
        finest = Camera(torch.from_numpy(fixed), height, width)
        for level, (fx, cx, fy, cy) in enumerate(levels):
            scaled = finest.resize(height // 2**level, width // 2**level, half_pixel=False).intrinsics
            close(scaled, [[fx, 0, cx], [0, fy, cy], [0, 0, 1]], 1e-3)


def test_pose_matrices_are_the_published_ones_and_inverses_of_each_other():
    pose = REFERENCE["pose"]
    axis_angle, translation = torch.tensor([pose["axis_angle"]]), torch.tensor([pose["translation"]])
    forward = pose_to_transform(axis_angle, translation)
    inverse = pose_to_transform(axis_angle, translation, invert=True)
    close(forward[0, :3], pose["forward"])
    close(inverse[0, :3], pose["inverse"])
    torch.testing.assert_close(forward @ inverse, torch.eye(4)[None], rtol=0, atol=1e-6)
    zero = torch.zeros(1, 3)
    assert torch.equal(pose_to_transform(zero, zero), torch.eye(4)[None])


@given(st.lists(st.floats(-3, 3), min_size=3, max_size=3))
def test_rotations_are_orthonormal(axis_angle):
    rotation = pose_to_transform(torch.tensor([axis_angle]), torch.zeros(1, 3))[0, :3, :3]
    torch.testing.assert_close(rotation @ rotation.T, torch.eye(3), rtol=0, atol=1e-5)
    assert math.isclose(float(torch.linalg.det(rotation)), 1, abs_tol=1e-5)


def test_disparity_and_depth_follow_the_published_table():
    for sigmoid, disparity, depth in REFERENCE["disparity_and_depth"]:
        value = torch.tensor([float(sigmoid)])
        assert float(sigmoid_to_disparity(value)) == pytest.approx(disparity, rel=1e-5)
        assert float(sigmoid_to_depth(value)) == pytest.approx(depth, rel=2e-5)


def test_back_projection_and_projection_give_the_published_values():
    inputs = reference_inputs()
    depth, intrinsics = sigmoid_to_depth(inputs.disparities[0]), default_intrinsics()
    points = back_project(depth, intrinsics)
    close(points[0, :, 0, 0], REFERENCE["back_projection"]["first"])
    close(points[1, :, -1, -1], REFERENCE["back_projection"]["last"])

    pixels = project(points, intrinsics, torch.eye(4).repeat(2, 1, 1))
    grid = pixel_grid(HEIGHT, WIDTH, torch.device("cpu"))[:2].expand(2, -1, -1, -1)
    torch.testing.assert_close(pixels / WIDTH, grid / WIDTH, rtol=0, atol=2.2e-6)


def test_the_sampling_grid_of_a_stereo_pair_is_the_published_one():
    inputs = reference_inputs()
    rays = epipolar_rays(default_intrinsics(), stereo_transform(torch.tensor([-0.1, -0.1])), HEIGHT, WIDTH)
    grid = sampling_grid(sigmoid_to_depth(inputs.disparities[0]), rays)
    expected = REFERENCE["stereo_grid"]
    close(grid[0, 0, 0], expected["[0,0,0]"], 3e-6)
    close(grid[0, 16, 32], expected["[0,16,32]"], 3e-6)
    assert float(grid.mean()) == pytest.approx(expected["mean"], abs=2e-6)


@settings(deadline=None)
@given(st.floats(1, 50), st.integers(0, 5))
def test_a_stereo_shift_moves_the_picture_by_focal_length_times_baseline_over_depth(depth, shift):
    """A baseline chosen to make a whole number of pixels must give exactly shifted columns."""
    image = torch.rand(1, 3, 16, 32, generator=torch.Generator().manual_seed(0))
    intrinsics = torch.from_numpy(pinhole(30.0, 30.0, 15.5, 7.5))[None]
    transform = stereo_transform(torch.tensor([-shift * depth / 30]))
    view = synthesise_view(image, torch.full((1, 1, 16, 32), depth), intrinsics, transform)
    torch.testing.assert_close(view[..., shift:], image[..., : 32 - shift], rtol=0, atol=2e-4)


def test_sources_on_a_leading_axis_are_warped_like_one_by_one():
    inputs = reference_inputs()
    sources = torch.stack([inputs.b, inputs.c])
    transforms = inputs.transforms()
    depth = sigmoid_to_depth(inputs.disparities[0])
    together = sample(sources, sampling_grid(depth, epipolar_rays(default_intrinsics(), transforms, HEIGHT, WIDTH)))
    for warped, source, transform in zip(together, sources, transforms, strict=True):
        alone = synthesise_view(source, depth, default_intrinsics(), transform)
        torch.testing.assert_close(warped, alone)


def test_geometry_stays_in_float32_under_autocast():
    inputs = reference_inputs()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        depth = sigmoid_to_depth(inputs.disparities[0].bfloat16())
        rays = epipolar_rays(default_intrinsics(), inputs.transforms()[0], HEIGHT, WIDTH)
        grid = sampling_grid(depth, rays)
    assert depth.dtype == rays.direction.dtype == grid.dtype == torch.float32
    exact = sampling_grid(depth, epipolar_rays(default_intrinsics(), inputs.transforms()[0], HEIGHT, WIDTH))
    assert torch.equal(grid, exact)
