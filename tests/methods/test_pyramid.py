"""The pyramid loss around both losses of view synthesis."""

import math
from dataclasses import replace

import pytest
import torch

from egodepth.data.configurations import AugmentationConfig
from egodepth.data.transforms import augment, mirrored, without_augmentation
from egodepth.methods.configurations import Level, PyramidConfig
from egodepth.methods.pyramid import consistency, frozen_statistics, level_views, scaled_size
from egodepth.recipes import RECIPES
from tests.command_line import TINY
from tests.methods.batches import random_batch

CALM = AugmentationConfig(jitter_probability=0, flip_probability=0)


def tiny_recipe(loss: str, **changes):
    recipe = RECIPES["monodepth2"]
    return replace(
        recipe,
        height=96,
        width=96,
        loss=loss,
        mode="mono+stereo",
        pyramid=True,
        network=replace(recipe.network, encoder=TINY),
        pose=replace(recipe.pose, encoder=TINY),
        augmentation=CALM,
        photometric=replace(recipe.photometric, tie_break=0.0),
        **changes,
    )


def tiny_method(recipe):
    torch.manual_seed(0)
    method = recipe.build_method(recipe.build_networks()).eval()
    method.wants_panels = lambda: False
    return method


def gradients(method) -> torch.Tensor:
    return torch.cat([parameter.grad.flatten() for parameter in method.parameters() if parameter.grad is not None])


@pytest.mark.parametrize(
    ("size", "low", "high"),
    [
        ((128, 416), (96, 320), (160, 512)),
        ((192, 640), (160, 512), (224, 768)),
    ],
)
def test_the_levels_have_the_papers_sizes(size, low, high):
    assert scaled_size(*size, 0.8) == low
    assert scaled_size(*size, 1.2) == high


@pytest.mark.parametrize("loss", ["photometric", "bidirectional"])
def test_differentiating_level_by_level_gives_the_gradient_of_the_sum(loss):
    recipe = tiny_recipe(loss)
    method, batch = tiny_method(recipe), random_batch(recipe.frame_size, (-1, 1, "stereo"))
    for part in method.losses(batch):
        part.backward()
    in_turn = gradients(method)
    method.zero_grad()
    sum(method.losses(batch)).backward()
    torch.testing.assert_close(in_turn, gradients(method), rtol=1e-3, atol=1e-6)


def test_the_summed_form_pulls_the_reference_too():
    recipe = tiny_recipe("photometric")
    batch = random_batch(recipe.frame_size, (-1, 1, "stereo"))
    found = {}
    for sequential in (True, False):
        changed = replace(recipe, pyramid_loss=PyramidConfig(sequential=sequential))
        method = tiny_method(changed)
        parts = list(method.losses(batch))
        assert len(parts) == (5 if sequential else 1)
        sum(parts).backward()
        found[sequential] = float(sum(parts).detach()), gradients(method)
    assert found[True][0] == pytest.approx(found[False][0], rel=1e-5)
    assert not torch.allclose(found[True][1], found[False][1], rtol=1e-3, atol=1e-7)


def test_a_level_that_weighs_nothing_costs_nothing():
    off = Level(0, 0, 0)
    recipe = tiny_recipe("photometric", pyramid_loss=PyramidConfig(low=off, high=off, colour=off))
    assert recipe.frame_size == (recipe.height, recipe.width)
    method, looks = tiny_method(recipe), []
    inner = method.depth_network.with_features
    method.depth_network.with_features = lambda image: looks.append(tuple(image.shape[-2:])) or inner(image)
    assert len(list(method.losses(random_batch(recipe.frame_size, (-1, 1, "stereo"))))) == 2
    assert looks == [(96, 96), (96, 96)]


@pytest.mark.parametrize("loss", ["photometric", "bidirectional"])
def test_low_and_high_can_be_judged_at_the_size_of_the_views_as_they_are(loss):
    off = Level(0, 0, 0)
    levels = PyramidConfig(flip=off, colour=off, rescaled=True)
    recipe = tiny_recipe(loss, pyramid_loss=levels)
    method, seen, judged = tiny_method(recipe), [], []
    inner = type(method).step_result

    def step_result(views, other=None):
        judged.append(views.size)
        seen.append((other or views).size)
        return inner(method, views, other)

    method.step_result = step_result
    found = [part.item() for part in method.losses(random_batch(recipe.frame_size, (-1, 1, "stereo")))]
    assert seen == [(96, 96), (64, 64), (128, 128)]
    assert judged == [(96, 96)] * 3
    assert all(map(math.isfinite, found))


def test_a_level_that_says_the_same_costs_nothing():
    torch.manual_seed(0)
    recipe = tiny_recipe("photometric")
    network = tiny_method(recipe).depth_network
    seen = network.with_features(torch.rand(1, 3, 96, 96))
    turned = (
        tuple(value.flip(-1) for value in seen[0]),
        type(seen[1])(*(tuple(value.flip(-1) for value in side) for side in (seen[1].encoder, seen[1].decoder))),
    )
    for name, other in (("colour", seen), ("flip", turned)):
        disparity, feature = consistency(name, Level(1, 1, 1), seen, other, detach=True)
        assert float(disparity.detach()) == pytest.approx(0, abs=1e-9)
        assert float(feature.detach()) == pytest.approx(0, abs=1e-7)


def test_mirrored_twice_is_the_same():
    views = without_augmentation(random_batch((96, 160), (-1, 1, "stereo")))
    again = mirrored(mirrored(views))
    assert again.target.equal(views.target)
    assert again.stereo_offset.equal(views.stereo_offset)
    torch.testing.assert_close(again.intrinsics, views.intrinsics)


def test_each_level_keeps_the_camera_of_its_picture():
    views = augment(random_batch((96, 160), (-1, 1)), CALM, 0, 0)
    low = level_views(views, "low", (96, 160), CALM, 0, 0)
    assert low.size == (64, 128)
    torch.testing.assert_close(low.intrinsics[:, 0, 0] / 128, views.intrinsics[:, 0, 0] / 160)
    torch.testing.assert_close((low.intrinsics[:, 1, 2] + 0.5) / 64, (views.intrinsics[:, 1, 2] + 0.5) / 96)
    colour = level_views(views, "colour", (96, 160), CALM, 0, 0)
    assert not colour.target.equal(views.target)
    assert colour.target.equal(colour.target_jittered)
    assert colour.intrinsics.equal(views.intrinsics)


def test_running_statistics_are_those_of_the_views_as_they_are():
    norm = torch.nn.BatchNorm2d(2)
    with frozen_statistics(norm):
        norm(torch.rand(2, 2, 4, 4) + 5)
    assert norm.running_mean.tolist() == [0, 0]
    norm(torch.rand(2, 2, 4, 4) + 5)
    assert norm.running_mean.min() > 0.4
