"""Depth that does not flicker: what stands is joined over time, what moves and what is new keeps its own depth."""

import itertools

import numpy as np
import pytest
from PIL import Image

from egodepth.inference.steady import Steady

HEIGHT, WIDTH, FOCAL = 96, 320, 0.8
CAMERA_HEIGHT = 1.6


def street(travelled: float, end: float = 70.0) -> tuple[np.ndarray, np.ndarray]:
    """A picture (H, W, 3) and inverse depth (H, W) of a road between walls, from a camera that travelled so far."""
    rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH]
    focal_px = FOCAL * WIDTH
    x, y = (columns - (WIDTH - 1) / 2) / focal_px, (rows - (HEIGHT - 1) / 2) / focal_px
    sides = np.abs(x) / 4.0
    road = np.maximum(y, 0) / CAMERA_HEIGHT
    inverse_depth = np.maximum(np.maximum(sides, road), 1 / (end - travelled))
    depth = 1 / inverse_depth
    along, across = depth + travelled, x * depth
    down = y * depth
    noise = np.sin(along * 2.1) + np.sin(across * 3.7 + 1) + np.sin(down * 4.3 + 2) + np.sin(along * 0.7 + across * 1.3)
    grey = np.clip(128 + 28 * noise, 0, 255).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2), inverse_depth.astype(np.float32)


def errors(scales: np.ndarray, steady: Steady | None, step: float = 0.5) -> list[np.ndarray]:
    """Logarithmic errors of depths whose scale jumps from frame to frame."""
    found = []
    for number, scale in enumerate(scales):
        image, exact = street(step * number)
        noisy = exact * np.float32(scale)
        joined = noisy if steady is None else steady(image, noisy)
        found.append(np.log(joined / exact))
    return found


def flicker(found: list[np.ndarray]) -> float:
    return float(np.mean([np.abs(after - before).mean() for before, after in itertools.pairwise(found[4:])]))


def test_depth_whose_scale_jumps_is_held():
    scales = np.exp(np.random.default_rng(0).normal(0, 0.1, 24))
    plain, steady = errors(scales, None), errors(scales, Steady(FOCAL))
    assert flicker(steady) < 0.5 * flicker(plain)
    assert np.mean([np.abs(each).mean() for each in steady]) < 1.05 * np.mean([np.abs(each).mean() for each in plain])


@pytest.mark.parametrize("step", [0.0, 0.5, 1.0])
def test_depth_that_is_right_stays_right(step):
    assert max(np.abs(each).mean() for each in errors(np.ones(24), Steady(FOCAL), step)) < 0.01


def test_a_wall_that_comes_near_stays_right():
    steady = Steady(FOCAL)
    for number in range(10):
        image, exact = street(1.0 * number, end=20.0)
        assert np.abs(np.log(steady(image, exact) / exact)).mean() < 0.01


def test_noise_of_patches_becomes_less():
    random, patch = np.random.default_rng(1), np.ones((4, 4))
    noises = [np.exp(np.kron(random.normal(0, 0.1, (HEIGHT // 4, WIDTH // 4)), patch)) for _ in range(12)]
    noises = [noise.astype(np.float32) for noise in noises]
    steady = Steady(FOCAL)
    left = []
    for number, noise in enumerate(noises):
        image, exact = street(0.5 * number)
        left.append(np.log(steady(image, exact * noise) / exact).std())
    assert np.mean(left[4:]) < 0.75 * 0.1


def test_another_scene_keeps_its_own_depth():
    steady = Steady(FOCAL)
    for number in range(4):
        steady(*street(0.5 * number))
    random = np.random.default_rng(2)
    small = Image.fromarray(random.integers(0, 256, (12, 40, 3), dtype=np.uint8))
    other = np.asarray(small.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC))
    flat = np.full((HEIGHT, WIDTH), 0.9, np.float32)
    np.testing.assert_allclose(steady(other, flat), flat, rtol=0.02)


def test_a_restart_forgets():
    steady = Steady(FOCAL)
    steady(*street(0.0))
    steady.restart()
    image, exact = street(0.5)
    assert steady(image, 2 * exact) == pytest.approx(2 * exact)


def test_little_of_what_is_wrong_far_away_is_carried_to_what_is_near():
    """Depth that is right within 8 m, and ever farther off beyond, up to 20 %."""
    steady = Steady(FOCAL)
    for number in range(12):
        image, exact = street(0.5 * number)
        wrong = exact * np.exp(-np.clip((1 / exact - 8) / 40, 0, 0.2)).astype(np.float32)
        joined = steady(image, wrong)
    near = exact > 1 / 8
    assert np.abs(np.log(joined / exact))[near].mean() < 0.038
