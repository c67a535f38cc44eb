"""SDFA-Net's training step: its parts, its stages, its masks."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from egodepth.data.transforms import augment, without_augmentation
from egodepth.networks.configurations import SDFANetConfig
from egodepth.recipes import RECIPES
from tests.methods.batches import random_batch

SIZE = 64, 128


def method_with(decoder: str = "sdfa", **losses):
    recipe = RECIPES["sdfa-net"]
    recipe = replace(
        recipe,
        perceptual="none",
        network=SDFANetConfig(encoder="resnet18", decoder=decoder, levels=9, max_disparity_px=40),
        losses=replace(recipe.losses, **losses),
        augmentation=replace(recipe.augmentation, crop=None, min_scale=1.0, max_scale=1.0, jitter_probability=0),
    )
    torch.manual_seed(0)
    with pytest.warns(UserWarning, match="random features"):
        method = recipe.build_method(recipe.build_networks())
    method._trainer = SimpleNamespace(max_steps=10, global_step=0, panels_every=100)
    method.log_training = lambda values, count: method.__dict__.setdefault("logged", {}).update(values)
    method.wants_panels = lambda: False
    return method.eval()


def gradients(method) -> dict[str, torch.Tensor]:
    return {name: parameter.grad.clone() for name, parameter in method.named_parameters() if parameter.grad is not None}


def test_the_parts_give_the_gradient_of_the_whole_loss():
    method, batch = method_with(distil_from=0.0), random_batch(SIZE, ("stereo",))
    total = 0.0
    for part in method.losses(batch):
        part.backward()
        total += float(part.detach())
    in_parts = gradients(method)
    method.zero_grad()

    views = augment(batch, method.augmentation, method.seed, method.global_step)
    features = method.depth_network.encode(views.target_jittered)
    raw = method.raw_loss(features, views)
    distilled = method.distilled_loss(features, views, raw.disparity.detach())
    whole = raw.loss + distilled.loss
    whole.backward()
    assert total == pytest.approx(float(whole.detach()), rel=1e-6)
    expected = gradients(method)
    assert in_parts.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(in_parts[name], value, rtol=1e-3, atol=1e-7, msg=name)


def test_the_distilled_path_waits_for_its_stage():
    method, batch = method_with(distil_from=0.5), random_batch(SIZE, ("stereo",))
    assert [method.distils(step, 10) for step in (0, 4, 5, 9)] == [False, False, True, True]
    for part in method.losses(batch):
        part.backward()
    trained = gradients(method)
    assert not any("distilled" in name for name in trained)
    assert any("outputs.raw" in name for name in trained)


@pytest.mark.parametrize("decoder", ["oa", "raw"])
def test_the_ablations_with_one_path_never_distil(decoder):
    method = method_with(decoder, distil_from=0.0)
    assert not method.distils(9, 10)
    parts = [part.backward() for part in method.losses(random_batch(SIZE, ("stereo",)))]
    assert len(parts) == 2


def test_without_masks_every_pixel_teaches():
    batch = random_batch(SIZE, ("stereo",))
    shares = {}
    for masks in (True, False):
        method = method_with(distil_from=0.0, photometric_mask=masks, visible_mask=masks)
        views = without_augmentation(batch)
        features = method.depth_network.encode(views.target)
        raw = method.raw_loss(features, views)
        shares[masks] = float(method.distilled_loss(features, views, raw.disparity.detach()).mask.float().mean())
    assert shares[False] == 1
    assert shares[True] < 1


def test_a_swapped_pair_is_again_a_left_target():
    method, batch = method_with(), random_batch(SIZE, ("stereo",))
    always = replace(method.augmentation, flip_probability=1.0)
    views = augment(batch, always, 0, 0)
    assert method.factor(views).tolist() == pytest.approx([1, 1])
    assert views.target.equal(batch.sources[:, 0].flip(-1) / 255)
    assert views.sources[:, 0].equal(batch.target.flip(-1) / 255)
    unswapped = augment(batch, replace(always, swap_pairs=False), 0, 0)
    assert method.factor(unswapped).tolist() == pytest.approx([-1, -1])


def test_a_shorter_baseline_shifts_less():
    method, batch = method_with(), random_batch(SIZE, ("stereo",))
    half = replace(batch, baseline_m=batch.baseline_m / 2)
    assert method.factor(without_augmentation(half)).tolist() == pytest.approx([0.5, 0.5])
