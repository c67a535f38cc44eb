"""What a mask leaves out of a picture is left out of every loss."""

from dataclasses import replace

import pytest
import torch

from egodepth.data.configurations import AugmentationConfig
from egodepth.data.transforms import augment, resized, without_augmentation
from egodepth.losses.consistency import symmetric_divergence
from egodepth.losses.photometric import at_size
from egodepth.losses.smoothness import edge_aware_smoothness, mean_normalised
from egodepth.methods.configurations import Level, PhotometricConfig
from egodepth.methods.distillation import distillation_parts
from egodepth.methods.photometric import photometric_loss
from egodepth.methods.pyramid import consistency
from egodepth.networks.disparity import Features
from egodepth.recipes import RECIPES
from tests.command_line import TINY
from tests.methods.batches import random_batch

SIZE = 64, 96
STILL = PhotometricConfig(tie_break=0)


def bonnet(size=SIZE, count=2):
    """(B, 1, H, W): the lower quarter and a corner are left out."""
    mask = torch.ones(count, 1, *size, dtype=torch.bool)
    mask[..., 3 * size[0] // 4 :, :] = False
    mask[..., :12, :20] = False
    return mask


def recipe_of(name="monodepth2", **changes):
    recipe = RECIPES[name]
    tiny = {part: replace(getattr(recipe, part), encoder=TINY) for part in ("network", "pose")}
    tiny = tiny if name == "monodepth2" else {}
    return replace(recipe, height=SIZE[0], width=SIZE[1], **tiny, **changes)


def method_of(name="monodepth2", **changes):
    recipe = recipe_of(name, **changes)
    torch.manual_seed(0)
    return recipe.build_method(recipe.build_networks()).eval()


def views_of(mask, **changes):
    return replace(without_augmentation(replace(random_batch(SIZE, (-1, 1)), mask=mask)), **changes)


def judged(method, views):
    """The losses of one step's views, with the networks' outputs held fixed whatever the clean pictures are."""
    torch.manual_seed(1)
    if hasattr(method, "step_result"):
        return method.step_result(views).loss
    scene = method.scene(views)
    taught = tuple(disparity.detach() for disparity in method.teacher_network(views.target_jittered))
    disparities, features = method.depth_network.with_features(views.target_jittered, method.lookups(views))
    nothing = torch.zeros(len(views.names), dtype=torch.bool)
    matching, _, _ = method.matching_loss(disparities, features, taught, scene, nothing)
    return method.teacher_loss(taught, scene) + matching


METHODS = {
    "photometric": ("monodepth2", {"photometric": STILL}),
    "bidirectional": ("monodepth2", {"loss": "bidirectional"}),
    "manydepth": ("manydepth", {"losses": replace(RECIPES["manydepth"].losses, tie_break=0)}),
}


@pytest.mark.parametrize("case", METHODS)
def test_no_loss_depends_on_a_target_or_a_source_where_it_is_left_out(case):
    name, changes = METHODS[case]
    method, mask = method_of(name, **changes), bonnet()
    views = views_of(mask)
    target, sources = views.target.clone().requires_grad_(), views.sources.clone().requires_grad_()
    seen = replace(views, target=target, sources=sources)
    loss = judged(method, seen)
    loss.backward()
    left_out = ~mask.expand_as(target)
    assert torch.equal(target.grad[left_out], torch.zeros_like(target.grad[left_out]))
    assert target.grad[~left_out].abs().max() > 0
    assert sources.grad[left_out[:, None].expand_as(sources)].abs().max() == 0
    with torch.no_grad():
        painted = torch.where(mask, views.target, 0.9), torch.where(mask[:, None], views.sources, 0.1)
        other = judged(method, replace(views, target=painted[0], sources=painted[1]))
    assert float(other) == pytest.approx(float(loss.detach()), rel=1e-5)


@pytest.mark.parametrize("case", METHODS)
def test_a_mask_that_uses_everything_changes_nothing_but_what_falls_beside_the_picture(case):
    name, changes = METHODS[case]
    method = method_of(name, **changes)
    with torch.no_grad():
        without, with_all = (
            judged(method, views_of(mask)) for mask in (None, torch.ones(2, 1, *SIZE, dtype=torch.bool))
        )
    assert float(with_all) == pytest.approx(float(without), rel=1e-4)


@pytest.mark.parametrize("auto_mask", [True, False])
def test_disparities_that_are_left_out_have_no_gradient(auto_mask):
    mask, views = bonnet(), views_of(bonnet())
    disparity = (0.1 + 0.3 * torch.rand(2, 1, *SIZE)).requires_grad_()
    transforms = torch.eye(4).repeat(2, 2, 1, 1)
    transforms[..., 0, 3] = torch.tensor([0.02, -0.02])[:, None]
    config = replace(STILL, auto_mask=auto_mask)
    photometric_loss(
        views.target, views.sources.transpose(0, 1), [disparity], transforms, views.intrinsics, config, mask=mask
    ).total.backward()
    assert disparity.grad.isfinite().all()
    assert disparity.grad[~mask].abs().max() == 0
    assert disparity.grad[mask].abs().max() > 0


def test_a_step_with_everything_left_out_is_zero_and_has_no_gradient():
    views = views_of(torch.zeros(2, 1, *SIZE, dtype=torch.bool))
    method = method_of(photometric=replace(STILL, auto_mask=False))
    loss = method.step_result(views).loss
    loss.backward()
    assert float(loss.detach()) == 0
    assert all(p.grad is None or (p.grad.isfinite().all() and p.grad.abs().max() == 0) for p in method.parameters())


def test_the_smoothness_counts_steps_within_the_scene_alone():
    disparity = torch.rand(2, 1, *SIZE)
    mask, picture = bonnet(), torch.rand(2, 3, *SIZE)
    cut = slice(12, 48), slice(0, 96)  # rows in which every pixel is used
    rows = torch.zeros_like(mask)
    rows[..., cut[0], :] = True
    expected = edge_aware_smoothness(mean_normalised(disparity[..., cut[0], :]), picture[..., cut[0], :])
    found = edge_aware_smoothness(mean_normalised(disparity, rows), picture, rows)
    assert float(found) == pytest.approx(float(expected), rel=1e-5)
    torch.testing.assert_close(mean_normalised(disparity, torch.ones_like(mask)), mean_normalised(disparity))


def test_what_a_teacher_says_of_what_is_left_out_is_not_learnt():
    mask = bonnet()

    def maps(seed):
        generator = torch.Generator().manual_seed(seed)
        features = [torch.rand(2, 4, *(length // 2 for length in SIZE), generator=generator) for _ in range(2)]
        disparities = [torch.rand(2, 1, *SIZE, generator=generator) for _ in range(2)]
        return disparities, Features((features[0],), (features[1],))

    teacher, student = maps(0), maps(1)
    for disparity in student[0]:
        disparity.requires_grad_()
    distillation_parts(teacher, student, (SIZE[1], SIZE[1]), 0, mask)["disparity"].backward()
    for disparity in student[0]:
        assert disparity.grad[~mask].abs().max() == 0
        assert disparity.grad[mask].abs().max() > 0


def test_the_forms_of_the_pyramid_need_not_agree_on_what_is_left_out():
    mask = bonnet()
    expected, found = torch.rand(2, 1, *SIZE), torch.rand(2, 1, *SIZE).requires_grad_()
    features = Features((torch.rand(2, 4, 8, 12),), (torch.rand(2, 4, 32, 48),))
    for name, level in (("high", Level(1, 1, 1)), ("colour", Level(1, 1, 1, "l1"))):
        found.grad = None
        disparity, _ = consistency(name, level, ((expected,), features), ((found,), features), True, mask)
        disparity.backward()
        assert found.grad[~mask].abs().max() == 0
        assert found.grad[mask].abs().max() > 0
    assert symmetric_divergence(expected, expected) == 0


# --- the mask's own way ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("flips", [0, 1])
def test_a_mask_is_mirrored_with_its_sample(flips):
    mask = bonnet()
    batch = replace(random_batch(SIZE, (-1, 1)), mask=mask)
    views = augment(batch, AugmentationConfig(jitter_probability=0, flip_probability=flips), 0, 0)
    assert torch.equal(views.mask, mask.flip(-1) if flips else mask)


def test_a_mask_is_cut_with_its_sample():
    batch = replace(random_batch(SIZE, (-1, 1)), mask=bonnet())
    painted = torch.where(bonnet(), 255, 0).byte().expand_as(batch.target)
    batch = replace(batch, target=painted)
    config = AugmentationConfig(jitter_probability=0, min_scale=1.1, max_scale=1.3)
    for key in range(4):
        views = augment(batch, config, 0, key)
        assert torch.equal(views.mask, views.target[:, :1] > 1 - 1e-4)


def test_a_smaller_mask_uses_what_is_used_whole():
    views = views_of(bonnet())
    assert torch.equal(resized(views, 32, 48).mask, at_size(bonnet(), (32, 48)) & resized(views, 32, 48).mask)
    odd = torch.ones(1, 1, *SIZE, dtype=torch.bool)
    odd[..., 20, 30] = False
    small = at_size(odd, (32, 48))
    assert not small[0, 0, 10, 15]
    assert int((~small).sum()) == 1


def test_batches_without_masks_have_none():
    assert without_augmentation(random_batch(SIZE, (-1, 1))).mask is None
