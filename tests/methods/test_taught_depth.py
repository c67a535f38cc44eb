"""Training beside depth maps: maps move with their pictures, and metres belong to a focal length."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from egodepth.data.configurations import AugmentationConfig, DataConfig, TeacherMapsConfig
from egodepth.data.cutting import Cutting
from egodepth.data.opening import open_training_sets
from egodepth.data.samples import Batch
from egodepth.data.taught_dataset import taught_sets
from egodepth.data.teacher_maps import open_maps
from egodepth.data.transforms import augment, resized, without_augmentation
from egodepth.errors import UserError
from egodepth.geometry.depth import sigmoid_to_disparity
from egodepth.geometry.poses import stereo_transform
from egodepth.methods.configurations import TaughtDepthConfig
from egodepth.methods.taught_depth import TaughtDepth
from egodepth.networks.configurations import Monodepth2Config, PoseConfig
from egodepth.recipes import recipe_named
from tests.command_line import TINY
from tests.methods.batches import random_batch

SIZE = 64, 192
DEPTH_RANGE = 0.1, 100.0
LARGER = AugmentationConfig(flip_probability=0, jitter_probability=0, min_scale=1.3, max_scale=1.3)


@pytest.fixture(scope="module")
def street(drive, tmp_path_factory):
    """The simulated drive at its own size, with its exact depth."""
    sets = open_training_sets(drive, DataConfig(), "calibrated", (-1, 1), *SIZE, tmp_path_factory.mktemp("cache"))
    return taught_sets(sets.training, sets.validation, open_maps("exact", drive, TeacherMapsConfig()))[0]


def batch_of(dataset, indices=(0, 5, 9)):
    return Batch.of([dataset[index] for index in indices], list(indices), dataset.source_ids)


def method_of(crop=None, **changes):
    """Monodepth2 with maps in metres; a focal length of 0.58 widths, as the street's camera has."""
    recipe = replace(
        recipe_named("monodepth2"),
        network=Monodepth2Config(encoder=TINY),
        pose=PoseConfig(encoder=TINY),
        height=SIZE[0],
        width=SIZE[1],
        augmentation=AugmentationConfig(crop=crop),
        teacher_depth="maps",
        teacher_maps=TeacherMapsConfig("depth", "metres"),
        **changes,
    )
    method = recipe.build_method(recipe.build_networks())
    method.focal = 0.58
    return method


# --- maps move with their pictures ---


def shown(batch):
    """The batch with what its pictures show for maps: a grey slope over rows and columns, and another for each row."""
    rows, columns = torch.meshgrid(torch.linspace(0, 90, SIZE[0]), torch.linspace(0, 150, SIZE[1]), indexing="ij")
    grey = torch.stack([rows + columns + place for place in range(len(batch))])[:, None]
    images = grey.round().to(torch.uint8)
    return replace(
        batch, target=images.repeat(1, 3, 1, 1), sources=images[:, None].repeat(1, 2, 3, 1, 1), teacher_disparity=grey
    )


@pytest.mark.parametrize("flip", [0, 1])
@pytest.mark.parametrize(
    ("scale", "crop"), [((1, 1), None), ((1.3, 1.3), None), ((1, 1), (32, 96)), ((1, 2), (32, 96))]
)
def test_a_map_is_mirrored_and_cut_with_its_picture(flip, scale, crop):
    config = AugmentationConfig(
        flip_probability=flip, jitter_probability=0, min_scale=scale[0], max_scale=scale[1], crop=crop
    )
    views = augment(shown(random_batch(SIZE, (-1, 1), 3)), config, 0, 4)
    assert views.teacher_disparity.shape[-2:] == views.target.shape[-2:] == (crop or SIZE)
    # Half a pixel of the map beside half a pixel of the picture, and half a grey level.
    assert (255 * views.target[:, :1] - views.teacher_disparity).abs().max() < 2.5
    smaller = resized(views, 16, 48)
    assert (255 * smaller.target[:, :1] - smaller.teacher_disparity).abs().max() < 6


def test_a_map_that_the_loader_cut_is_that_of_the_whole_picture(street):
    """Both ways of cutting show the same depth; at borders they may differ by a pixel."""
    config = replace(LARGER, flip_probability=0.5, native=True)
    cutting = Cutting(config, 3, SIZE)
    indices = list(range(6))
    read = Batch.of([cutting.read(street, index, 2) for index in indices], indices, street.source_ids)
    cut = augment(read, config, 3, 2)
    whole = augment(batch_of(street, indices), config, 3, 2)
    assert torch.equal(cut.intrinsics, whole.intrinsics)
    assert (cut.teacher_disparity == whole.teacher_disparity).float().mean() > 0.95
    mirrored = augment(batch_of(street, indices), replace(config, flip_probability=0), 3, 2)
    assert not torch.equal(mirrored.teacher_disparity, whole.teacher_disparity)


def test_a_pair_that_changes_places_has_no_map():
    batch = replace(random_batch(SIZE, ("stereo",)), teacher_disparity=torch.ones(2, 1, *SIZE))
    config = AugmentationConfig(flip_probability=1, jitter_probability=0, swap_pairs=True)
    assert torch.isnan(augment(batch, config, 0, 0).teacher_disparity).all()


# --- metres belong to a focal length ---


def test_an_enlarged_picture_is_nearer_by_as_much(street):
    """What looks alike has one depth in units: 1.3 times as large is 1.3 times as near, where the wall is the same."""
    method = method_of()
    batch = batch_of(street)
    plain, large = without_augmentation(batch), augment(batch, LARGER, 0, 0)
    enlarged = int(1.3 * SIZE[0]), int(1.3 * SIZE[1])
    ratio = enlarged[1] / SIZE[1]
    assert method.focal_ratio(plain).tolist() == pytest.approx([1] * 3, rel=1e-3)
    assert method.focal_ratio(large).tolist() == pytest.approx([ratio] * 3, rel=1e-3)
    in_units = large.teacher_disparity * method._unit_m(large)[:, None, None, None]
    # The row of the window in the whole picture, by the camera: y = (v - cy) / fy is the same ray.
    for row in range(3):
        v = torch.arange(SIZE[0]) - large.intrinsics[row, 1, 2]
        u = torch.arange(SIZE[1]) - large.intrinsics[row, 0, 2]
        v = v / large.intrinsics[row, 1, 1] * plain.intrinsics[row, 1, 1] + plain.intrinsics[row, 1, 2]
        u = u / large.intrinsics[row, 0, 0] * plain.intrinsics[row, 0, 0] + plain.intrinsics[row, 0, 2]
        there = plain.teacher_disparity[row, 0][v.round().long()[:, None], u.round().long()]
        expected = ratio * there * method._unit_m(plain)[row]
        agree = torch.isclose(in_units[row, 0], expected, rtol=1e-3, atol=1e-6)
        assert agree.float().mean() > 0.9  # but for the borders of things, where rounding takes the neighbour


def test_a_window_that_is_not_enlarged_keeps_its_depth(street):
    config = replace(LARGER, min_scale=1, max_scale=1, crop=(32, 96))
    views = augment(batch_of(street), config, 0, 0)
    assert views.size == (32, 96)
    method = method_of(crop=(32, 96))
    assert method.focal_ratio(views).tolist() == pytest.approx([1] * 3, rel=1e-3)
    larger = augment(batch_of(street), replace(config, min_scale=1.5, max_scale=1.5), 0, 0)
    assert method.focal_ratio(larger).tolist() == pytest.approx([1.5] * 3, rel=1e-3)


def test_pictures_of_a_longer_lens_have_a_longer_unit():
    batch = random_batch(SIZE, (-1, 1))
    batch.intrinsics[1, :2] *= 2
    views = without_augmentation(batch)
    method = method_of(metres_per_unit=5.4)
    assert method._unit_m(views).tolist() == pytest.approx([5.4, 10.8])
    method.focal = None  # all pictures for of one camera, as published
    assert method._unit_m(views).tolist() == pytest.approx([5.4, 5.4])


# --- the loss ---


def sigmoids(disparity):
    """Sigmoid disparities of a network that predicts this inverse depth, at four scales."""
    least, most = 1 / DEPTH_RANGE[1], 1 / DEPTH_RANGE[0]
    sigmoid = (disparity.clamp(least, most) - least) / (most - least)
    return [sigmoid[..., step // 2 :: step, step // 2 :: step] for step in (1, 2, 4, 8)]


def loss(units, maps, disparities, mask=None, unit_m=1.0):
    views = replace(without_augmentation(random_batch(SIZE, (-1, 1))), teacher_disparity=maps, mask=mask)
    taught = TaughtDepth(TaughtDepthConfig(), units)
    return taught.loss(disparities, views, torch.full((2,), unit_m), DEPTH_RANGE)


@pytest.fixture
def inverse_depth():
    return 0.02 + torch.rand(2, 1, 8, 24, generator=torch.Generator().manual_seed(3)).repeat_interleave(
        8, -1
    ).repeat_interleave(8, -2)


@pytest.mark.parametrize(
    ("units", "change"),
    [
        ("metres", lambda maps: maps / 5.4),
        ("scale", lambda maps: 300 * maps),
        ("scale-and-shift", lambda maps: 40 * maps + 9),
    ],
)
def test_a_student_that_agrees_up_to_the_units_of_the_maps_is_right(units, change, inverse_depth):
    total, parts = loss(units, change(inverse_depth), sigmoids(inverse_depth), unit_m=5.4)
    assert total < 1e-4
    assert parts["taught_abs_rel"] < 1e-4
    wrong, _ = loss(units, change(inverse_depth.flip(-1)), sigmoids(inverse_depth), unit_m=5.4)
    assert wrong > 0.05


def test_the_logged_error_is_that_of_depth(inverse_depth):
    _, parts = loss("metres", inverse_depth, sigmoids(inverse_depth / 1.1))
    assert float(parts["taught_abs_rel"]) == pytest.approx(0.1, abs=1e-3)


@pytest.mark.parametrize("units", ["metres", "scale", "scale-and-shift"])
def test_pixels_without_a_map_and_outside_the_mask_are_not_taught(units, inverse_depth):
    maps = inverse_depth.clone()
    maps[0] = torch.nan
    maps[1, :, :16] = torch.nan
    mask = torch.ones(2, 1, *SIZE, dtype=torch.bool)
    mask[:, :, -16:] = False
    disparities = [each.clone().requires_grad_() for each in sigmoids(inverse_depth.flip(-1))]
    total, _ = loss(units, maps, disparities, mask)
    total.backward()
    assert total > 0
    for each in disparities:
        rows = each.shape[-2] // 4
        assert torch.isfinite(each.grad).all()
        assert each.grad[1, :, rows:-rows].any()
        assert not each.grad[0].any()
        assert not each.grad[1, :, :rows].any()
        assert not each.grad[1, :, -rows:].any()


def test_a_batch_without_any_map_costs_nothing(inverse_depth):
    for units in ("metres", "scale", "scale-and-shift"):
        disparities = [each.clone().requires_grad_() for each in sigmoids(inverse_depth)]
        total, _ = loss(units, torch.full((2, 1, *SIZE), torch.nan), disparities)
        total.backward()
        assert total == 0
        assert not any(each.grad.any() for each in disparities)


def test_the_sky_is_as_far_as_the_network_can_say(inverse_depth):
    maps = inverse_depth.clone()
    maps[:, :, :16] = 0
    student = maps.clamp(min=1 / DEPTH_RANGE[1])
    assert loss("metres", maps, sigmoids(student))[0] < 1e-4
    assert np.isclose(float(sigmoid_to_disparity(sigmoids(student)[0], *DEPTH_RANGE).min()), 0.01)


# --- maps that the views contradict ---


@pytest.fixture(scope="module")
def pairs(drive, tmp_path_factory):
    """Three stereo pairs of the street with their exact inverse depth, and the motion between the cameras in metres."""
    folder = tmp_path_factory.mktemp("pairs")
    sets = open_training_sets(drive, DataConfig(), "calibrated", ("stereo",), *SIZE, folder)
    dataset = taught_sets(sets.training, sets.validation, open_maps("exact", drive, TeacherMapsConfig()))[0]
    views = without_augmentation(batch_of(dataset))
    return views, stereo_transform(views.stereo_offset * views.baseline_m)[None]


def believed(pairs, depth, maps, units="metres"):
    """Where a student of this depth believes these maps of inverse depth."""
    views, transforms = pairs
    taught = TaughtDepth(TaughtDepthConfig(checked=True), units)
    return taught.believed(
        depth, replace(views, teacher_disparity=maps), transforms, torch.ones(len(depth)), DEPTH_RANGE
    )


@pytest.mark.parametrize("units", ["metres", "scale"])
def test_maps_that_explain_the_views_are_believed(pairs, units):
    exact = pairs[0].teacher_disparity
    factor = 1.0 if units == "metres" else 70.0
    depth = 1 / exact.clamp(min=1 / DEPTH_RANGE[1])
    assert believed(pairs, depth, factor * exact, units).float().mean() > 0.99
    flat = torch.full_like(depth, float(depth.median()))
    assert believed(pairs, flat, exact).float().mean() > 0.9


def test_a_student_that_knows_better_does_not_believe_a_map(pairs):
    exact = pairs[0].teacher_disparity.clamp(min=1 / DEPTH_RANGE[1])
    mirrored = exact.flip(-1)
    wrong = (mirrored / exact).log().abs() > 0.3
    assert believed(pairs, 1 / exact, mirrored)[wrong].float().mean() < 0.25


def test_what_is_not_believed_is_not_learnt(pairs, inverse_depth):
    views, _ = pairs
    taught = TaughtDepth(TaughtDepthConfig(checked=True), "metres")
    left = torch.zeros(3, 1, *SIZE, dtype=torch.bool)
    left[..., : SIZE[1] // 2] = True
    disparities = [each[:1].repeat(3, 1, 1, 1).requires_grad_() for each in sigmoids(inverse_depth)]
    total, parts = taught.loss(disparities, views, torch.ones(3), DEPTH_RANGE, left)
    total.backward()
    assert parts["taught_believed"] == 0.5
    for each in disparities:
        half = each.shape[-1] // 2
        assert each.grad[..., :half].any()
        assert not each.grad[..., half:].any()


def test_checking_maps_without_view_synthesis_is_refused():
    recipe = replace(
        recipe_named("monodepth2"), teacher_depth="maps", taught=TaughtDepthConfig(checked=True, synthesis_weight=0)
    )
    with pytest.raises(UserError, match="without view synthesis nothing contradicts a map"):
        recipe.needs(None)
