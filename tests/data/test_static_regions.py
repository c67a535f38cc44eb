"""What is always in the picture, on frames of which it is known."""

import numpy as np
import pytest
import torch
from PIL import Image

from egodepth.data.footage.static_regions import _parts, used_pixels

HEIGHT, WIDTH = 96, 160


def scene(count=24, seed=0, step=9, low=40, high=220):
    """A texture that slides past, (N, H, W, 3)."""
    rough = np.random.default_rng(seed).integers(low, high, (HEIGHT // 4, (WIDTH + step * count) // 4), dtype=np.uint8)
    whole = Image.fromarray(rough).resize((WIDTH + step * count, HEIGHT), Image.Resampling.BICUBIC)
    whole = np.repeat(np.asarray(whole)[..., None], 3, axis=-1)
    return np.stack([whole[:, step * number :][:, :WIDTH] for number in range(count)]).copy()


def noisy(frames, seed=1):
    noise = np.random.default_rng(seed).normal(0, 2, frames.shape)
    return (frames + noise).clip(0, 255).astype(np.uint8)


def bonnet():
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    return rows > 82 + 8 * ((columns - WIDTH / 2) / WIDTH * 2) ** 2


def assert_found(used, truth, margin=4):
    """All of the truth is left out, and of the rest what is near it at most."""
    assert not used[truth].any()
    near = np.zeros_like(truth)
    rows, columns = np.nonzero(truth)
    for row in range(-margin, margin + 1):
        for column in range(-margin, margin + 1):
            near[(rows + row).clip(0, HEIGHT - 1), (columns + column).clip(0, WIDTH - 1)] = True
    assert used[~near].all()


def test_a_scene_that_moves_is_used_whole():
    assert used_pixels(noisy(scene())).all()


@pytest.mark.parametrize("mirrors", [0, 25])
def test_a_smooth_bonnet_is_left_out_whatever_it_mirrors_a_little(mirrors):
    frames, truth = scene(), bonnet()
    for number, frame in enumerate(frames):
        frame[truth] = 15 + mirrors * (number % 3 == 0)
    assert_found(used_pixels(noisy(frames)), truth)


def test_a_logo_with_letters_is_left_out():
    frames, truth = scene(), np.zeros((HEIGHT, WIDTH), bool)
    truth[6:20, 110:150] = True
    for frame in frames:
        frame[6:20, 110:150] = 250
        frame[9:17, 114:146:6] = 5
    assert_found(used_pixels(noisy(frames)), truth)


def test_black_borders_are_left_out():
    frames, truth = scene(), np.zeros((HEIGHT, WIDTH), bool)
    truth[:10] = truth[-10:] = True
    frames[:, truth] = 0
    assert_found(used_pixels(frames), truth)


def test_bonnet_and_logo_together_are_left_out():
    frames, truth = scene(), bonnet()
    truth[6:18, 10:40] = True
    frames[:, truth] = 240
    assert_found(used_pixels(noisy(frames)), truth)


@pytest.mark.parametrize("sky", [3, 252])
def test_a_sky_of_one_brightness_stays_in(sky):
    frames = scene()
    for number, frame in enumerate(frames):
        # Its lower border is that of trees and houses that pass, and a camera that nods.
        columns = np.arange(WIDTH) + 9 * number
        border = 30 + 8 * np.sin(columns / 9.0) + 3 * np.sin(number)
        frame[np.arange(HEIGHT)[:, None] < border] = sky
    assert used_pixels(noisy(frames)).all()


def test_a_camera_that_stands_leaves_nothing_out():
    still = np.repeat(scene(1), 24, axis=0)
    assert used_pixels(noisy(still)).all()
    for number, frame in enumerate(still):  # but for one car that passes
        frame[60:75, 6 * number : 6 * number + 30] = 200
    assert used_pixels(noisy(still)).all()


def test_a_night_in_which_hardly_anything_is_seen_is_used_whole():
    assert used_pixels(noisy(scene(low=8, high=14))).all()


def test_specks_and_thin_lines_stay_in():
    frames = scene()
    frames[:, 40, 20:140] = 255
    frames[:, 70:72, 70:72] = 255
    assert used_pixels(noisy(frames)).all()


def test_of_a_few_frames_nothing_is_said():
    frames = scene(6)
    frames[:, bonnet()] = 15
    assert used_pixels(frames).all()


def test_the_parts_of_a_region_are_those_that_touch():
    drawn = ["##..#", "#...#", ".#..#", "....#", "#####", ".....", "##.##"]
    region = torch.tensor([[mark == "#" for mark in row] for row in drawn])
    parts = _parts(region)
    assert sorted(int(part.sum()) for part in parts) == [2, 2, 4, 9]
    assert torch.equal(torch.stack(parts).sum(0).bool(), region)
