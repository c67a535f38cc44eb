"""How far the picture moved, against pictures that were moved by known amounts."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from egodepth.data.motion import (
    FARTHEST,
    WANTED,
    SequenceMotion,
    drawn_between,
    farthest_by_motion,
    is_flat,
    motion_between,
    neighbours_by_motion,
    thumbnail,
)


def scene(seed, height=120, width=500):
    """Blobs of many sizes, as streets have."""
    random = np.random.default_rng(seed)
    layers = [
        np.asarray(
            Image.fromarray(random.integers(0, 256, (height // size, width // size), dtype=np.uint8)).resize(
                (width, height), Image.Resampling.BICUBIC
            ),
            np.float32,
        )
        for size in (4, 8, 16)
    ]
    return np.repeat(np.mean(layers, axis=0)[..., None], 3, axis=2).astype(np.uint8)


def view(picture, left, top=10, height=100, width=384):
    return picture[top : top + height, left : left + width]


@settings(max_examples=15, deadline=None)
# Of longer ways one in some hundred pictures is not found again (seed 368, 23 to the left).
@given(shift=st.integers(-18, 18), seed=st.integers(0, 1000))
def test_a_picture_that_slides_moved_by_what_it_slid(shift, seed):
    picture = scene(seed)
    motion = motion_between(thumbnail(view(picture, 50)), thumbnail(view(picture, 50 + shift)))
    assert motion.shift == pytest.approx(abs(shift) / 384, abs=0.1 / 100)
    assert not motion.is_cut


def test_noise_of_a_sensor_is_no_motion():
    picture = view(scene(1), 50)
    noisy = np.clip(picture + np.random.default_rng(0).normal(0, 6, picture.shape), 0, 255).astype(np.uint8)
    assert motion_between(thumbnail(picture), thumbnail(noisy)).shift < 0.0005


def test_other_things_that_move_are_no_motion_of_the_camera():
    """A car that crosses a third of a standing picture."""
    before, after = view(scene(1), 50).copy(), view(scene(1), 50).copy()
    car = scene(2)[:100, :120]
    before[:, 60:180], after[:, 75:195] = car, car
    assert motion_between(thumbnail(before), thumbnail(after)).shift < 0.001


@pytest.mark.parametrize("seed", range(5))
def test_another_scene_is_a_cut(seed):
    one, other = view(scene(seed), 50), view(scene(seed + 100), 50)
    assert motion_between(thumbnail(one), thumbnail(other)).is_cut


def test_nothing_can_be_said_of_pictures_without_contrast():
    flat = np.full((100, 384, 3), 90, np.uint8)
    assert is_flat(thumbnail(flat))
    assert not is_flat(thumbnail(view(scene(0), 50)))


# --- which frames are neighbours ---


def test_neighbours_are_the_first_by_which_the_picture_moved_enough():
    way = np.arange(30) * WANTED / 4
    found = neighbours_by_motion(way, [0] * 30, (-1, 1))
    assert found[10] == (6, 14)
    assert found[3] is None
    assert found[4] == (0, 8)
    assert found[26] is None


def test_a_fast_picture_takes_the_next_frame_and_a_second_step_another():
    way = np.arange(10) * WANTED * 2
    assert neighbours_by_motion(way, [0] * 10, (-2, -1, 1, 2))[5] == (3, 4, 6, 7)


def test_neighbours_are_of_one_run():
    way = np.arange(10) * WANTED
    found = neighbours_by_motion(way, [0] * 5 + [1] * 5, (-1, 1))
    assert [place for place, each in enumerate(found) if each] == [1, 2, 3, 6, 7, 8]


def test_neighbours_are_drawn_up_to_the_farthest_useful_one_within_a_run():
    way = np.arange(60) * FARTHEST / 16
    runs = [0] * 32 + [1] * 28
    nearest = neighbours_by_motion(way, runs, (-1, 1))
    farthest = farthest_by_motion(way, runs, (-1, 1), nearest)
    assert farthest[16] == (0, 31)
    assert farthest[12] == (0, 28)
    assert farthest[42] == (32, 58)
    assert nearest[31] is farthest[31] is None
    fast = np.arange(10) * FARTHEST * 0.7
    nearest = neighbours_by_motion(fast, [0] * 10, (-1, 1))
    assert farthest_by_motion(fast, [0] * 10, (-1, 1), nearest) == nearest


def test_each_position_on_the_way_is_as_likely():
    shares = np.arange(0, 1, 1 / 12)
    assert [drawn_between(10, 13, share) for share in shares] == [10] * 3 + [11] * 3 + [12] * 3 + [13] * 3
    assert [drawn_between(5, 3, share) for share in shares] == [5] * 4 + [4] * 4 + [3] * 4
    assert drawn_between(7, 7, 0.99) == 7


def test_a_run_says_what_neighbours_are_drawn_from():
    way = np.arange(60) * 0.0025
    nearest = neighbours_by_motion(way, [0] * 60, (-1, 1))
    seconds = [place / 10 for place in range(60)]
    fixed = SequenceMotion("a.mp4", way, [0] * 60, seconds, nearest)
    assert "neighbours lie 4 frames, 0.40 s apart (median), in which" in fixed.said()
    assert fixed.said().endswith("moves by 1.0% to 1.0% of its width")
    farthest = farthest_by_motion(way, [0] * 60, (-1, 1), nearest)
    drawn = SequenceMotion("a.mp4", way, [0] * 60, seconds, nearest, farthest)
    assert "are drawn for each sample and epoch from 4 frames, 0.40 s to 16 frames, 1.60 s away" in drawn.said()
    assert drawn.said().endswith("moves by 1.0% to 4.0% of its width")


@settings(deadline=None)
@given(
    steps=st.lists(st.floats(0, 0.1), min_size=2, max_size=40),
    offsets=st.lists(st.sampled_from([-3, -2, -1, 1, 2, 3]), min_size=1, max_size=4, unique=True),
)
def test_neighbours_moved_enough_and_none_nearer_did(steps, offsets):
    way = np.concatenate([[0], np.cumsum(steps)])
    for place, each in enumerate(neighbours_by_motion(way, [0] * len(way), offsets)):
        for offset, other in zip(offsets, each or (), strict=False):
            assert (other - place) * offset > 0
            assert abs(other - place) >= abs(offset)
            assert abs(way[other] - way[place]) >= abs(offset) * WANTED - 1e-6
            nearer = other - int(np.sign(offset))
            moved = abs(way[nearer] - way[place])
            assert moved < abs(offset) * WANTED + 1e-6 or abs(nearer - place) < abs(offset)


@settings(deadline=None)
@given(
    steps=st.lists(st.floats(0, 0.03), min_size=2, max_size=40),
    cut=st.integers(0, 40),
    offsets=st.lists(st.sampled_from([-2, -1, 1, 2]), min_size=1, max_size=4, unique=True),
)
def test_neighbours_are_drawn_from_all_between_the_nearest_and_the_farthest_useful_one(steps, cut, offsets):
    way = np.concatenate([[0], np.cumsum(steps)])
    runs = [int(place >= cut) for place in range(len(way))]
    nearest = neighbours_by_motion(way, runs, offsets)
    farthest = farthest_by_motion(way, runs, offsets, nearest)
    for place, (near, far) in enumerate(zip(nearest, farthest, strict=True)):
        assert (near is None) == (far is None)
        for offset, first, last in zip(offsets, near or (), far or (), strict=False):
            assert (last - first) * offset >= 0
            assert runs[last] == runs[place]
            assert last == first or abs(way[last] - way[place]) <= abs(offset) * FARTHEST + 1e-6
            beyond = last + int(np.sign(offset))
            if 0 <= beyond < len(way) and runs[beyond] == runs[place]:
                assert abs(way[beyond] - way[place]) > abs(offset) * FARTHEST - 1e-6
