from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from egodepth.data.configurations import AugmentationConfig
from egodepth.data.draws import Draw, draw
from egodepth.data.kitti.raw import fixed_intrinsics
from egodepth.data.samples import Batch, Sample
from egodepth.data.transforms import augment, jitter, without_augmentation
from egodepth.geometry.cameras import Camera, pinhole
from egodepth.geometry.warping import project

HEIGHT, WIDTH = 16, 24
ALWAYS_FLIP = AugmentationConfig(flip_probability=1, jitter_probability=0)
ALWAYS_JITTER = AugmentationConfig(flip_probability=0, jitter_probability=1)
PLAIN = AugmentationConfig(flip_probability=0, jitter_probability=0)


def batch_of(indices=(0, 1, 2), camera=None, centred=False):
    camera = camera or Camera(torch.from_numpy(pinhole(20, 21, 9, 7)), HEIGHT, WIDTH)
    samples = []
    for index in indices:
        generator = torch.Generator().manual_seed(index)
        images = torch.randint(0, 256, (4, 3, HEIGHT, WIDTH), generator=generator, dtype=torch.uint8)
        intrinsics = fixed_intrinsics(HEIGHT, WIDTH) if centred else camera.normalised()
        offset = -1.0 if index % 2 else 1.0
        samples.append(Sample(f"frame {index}", images[0], images[1:], intrinsics, offset, 0.54, centred))
    return Batch.of(samples, indices, (-1, 1, "stereo"))


def test_validation_images_are_unchanged():
    batch = batch_of()
    views = without_augmentation(batch)
    assert views.target.equal(batch.target / 255)
    assert views.sources.equal(batch.sources / 255)
    assert views.target_jittered.equal(views.target)
    assert views.intrinsics[0].flatten().tolist() == pytest.approx([20, 0, 9, 0, 21, 7, 0, 0, 1], abs=1e-5)
    assert views.stereo_offset.equal(batch.stereo_offset)


def test_without_any_chance_augmentation_changes_nothing():
    plain, augmented = without_augmentation(batch_of()), augment(batch_of(), PLAIN, seed=0, key=0)
    for field in fields(plain):
        first, second = getattr(plain, field.name), getattr(augmented, field.name)
        assert first.equal(second) if isinstance(first, torch.Tensor) else first == second


def test_a_flip_mirrors_every_view_and_turns_the_stereo_offset():
    batch = batch_of()
    views = augment(batch, ALWAYS_FLIP, seed=0, key=0)
    assert views.target.equal(batch.target.flip(-1) / 255)
    assert views.sources.equal(batch.sources.flip(-1) / 255)
    assert views.stereo_offset.equal(-batch.stereo_offset)


def test_fixed_intrinsics_keep_their_centre_under_a_flip():
    views = augment(batch_of(centred=True), ALWAYS_FLIP, seed=0, key=0)
    assert views.intrinsics[:, 0, 2].tolist() == pytest.approx([WIDTH / 2] * 3)
    assert views.intrinsics[:, 1, 2].tolist() == pytest.approx([HEIGHT / 2] * 3)


@given(
    fx=st.floats(5, 100),
    cx=st.floats(-5, 30),
    point=st.tuples(st.floats(-5, 5), st.floats(-5, 5), st.floats(1, 50)),
)
def test_a_mirrored_camera_sees_a_mirrored_point_at_the_mirrored_pixel(fx, cx, point):
    camera = Camera(torch.from_numpy(pinhole(fx, 20, cx, 7)), HEIGHT, WIDTH)
    plain = without_augmentation(batch_of((0,), camera)).intrinsics
    mirrored = augment(batch_of((0,), camera), ALWAYS_FLIP, seed=0, key=0).intrinsics
    x, y, z = point
    place = project(torch.tensor([x, y, z]).view(1, 3, 1, 1), plain, torch.eye(4)[None]).flatten()
    mirror = project(torch.tensor([-x, y, z]).view(1, 3, 1, 1), mirrored, torch.eye(4)[None]).flatten()
    assert (WIDTH - 1 - place[0]).item() == pytest.approx(mirror[0].item(), abs=2e-3)
    assert place[1].item() == pytest.approx(mirror[1].item(), abs=1e-4)


def test_all_views_that_a_network_sees_are_jittered_alike_and_losses_see_clean_ones():
    batch = batch_of()
    same = replace(batch, sources=batch.target[:, None].expand(-1, 3, -1, -1, -1))
    views = augment(same, ALWAYS_JITTER, seed=0, key=0)
    assert views.target.equal(batch.target / 255)
    assert not views.target_jittered.equal(views.target)
    for source in views.sources_jittered.unbind(1):
        assert source.equal(views.target_jittered)


def test_samples_of_a_batch_are_drawn_apart():
    draws = {draw(ALWAYS_JITTER, 0, 0, index).operations for index in range(20)}
    orders = {tuple(name for name, _ in operations) for operations in draws}
    assert len(draws) == 20
    assert len(orders) > 8


@given(st.integers(0, 2**31), st.integers(0, 2**31), st.integers(0, 2**31))
def test_a_draw_depends_on_seed_key_and_index_alone_and_stays_in_range(seed, key, index):
    drawn = draw(ALWAYS_JITTER, seed, key, index)
    assert drawn == draw(ALWAYS_JITTER, seed, key, index)
    amounts = dict(drawn.operations)
    assert set(amounts) == {"brightness", "contrast", "saturation", "hue"}
    assert all(0.8 <= amounts[name] <= 1.2 for name in ("brightness", "contrast", "saturation"))
    assert -0.1 <= amounts["hue"] <= 0.1


def test_a_sample_is_augmented_alike_in_whatever_batch_it_stands():
    config = AugmentationConfig()
    together = augment(batch_of((0, 1, 2, 3)), config, seed=5, key=9)
    for index in range(4):
        alone = augment(batch_of((index,)), config, seed=5, key=9)
        assert alone.target_jittered[0].equal(together.target_jittered[index])
        assert alone.intrinsics[0].equal(together.intrinsics[index])


def test_chances_are_met():
    draws = [draw(AugmentationConfig(), 1, 2, index) for index in range(2000)]
    assert np.mean([drawn.flip for drawn in draws]) == pytest.approx(0.5, abs=0.04)
    assert np.mean([bool(drawn.operations) for drawn in draws]) == pytest.approx(0.5, abs=0.04)


@pytest.mark.parametrize(
    ("name", "amount", "expected"),
    [
        # By the definitions of the specification: L = 124 of (200, 100, 50), and the mean of L is 124 too.
        ("brightness", 1.2, (240, 120, 60)),
        ("contrast", 0.8, (184.8, 104.8, 64.8)),
        ("saturation", 1.2, (215.2, 95.2, 35.2)),
        ("brightness", 2.0, (255, 200, 100)),
        # A sixth of the colour circle further, red at hue 20 degrees turns to hue 80 degrees.
        ("hue", 1 / 6, (150, 200, 50)),
    ],
)
def test_colour_operations_follow_their_definitions_on_8_bits(name, amount, expected):
    image = torch.tensor([200, 100, 50], dtype=torch.uint8).view(3, 1, 1).expand(3, 4, 4)
    changed = jitter(image, Draw(False, ((name, amount),)))
    assert changed.dtype == torch.uint8
    assert changed[:, 0, 0].tolist() == pytest.approx(expected, abs=1.01)


def test_names_sources_and_baselines_are_passed_on():
    views = augment(batch_of(), AugmentationConfig(), seed=0, key=0)
    assert views.names == ("frame 0", "frame 1", "frame 2")
    assert views.source_ids == (-1, 1, "stereo")
    assert views.baseline_m.tolist() == pytest.approx([0.54] * 3)
