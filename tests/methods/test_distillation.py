"""APX in a training: its parts, and the bound on what it may count for."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from egodepth.data.configurations import AugmentationConfig
from egodepth.geometry.depth import sigmoid_to_disparity
from egodepth.losses.distillation import axis_divergence, near_mask
from egodepth.methods.configurations import DistillationConfig
from egodepth.methods.distillation import Teacher, bounded, distillation_loss
from egodepth.networks.configurations import Monodepth2Config
from egodepth.networks.disparity import Features
from egodepth.recipes import RECIPES
from tests.methods.batches import random_batch

PARTS = ("encoder_weight", "decoder_weight", "disparity_weight")


@given(distillation=st.floats(0, 1e4), loss=st.floats(1e-3, 10), share=st.floats(0.01, 2))
def test_the_bound_is_a_share_of_the_loss_beside_and_met_by_scaling(distillation, loss, share):
    pull, beside = torch.tensor(distillation, requires_grad=True), torch.tensor(loss, requires_grad=True)
    found = bounded(pull, beside, share)
    assert found.item() == pytest.approx(min(distillation, share * loss), rel=1e-5)
    found.backward()
    factor = min(1, share * loss / distillation) if distillation else 1
    assert pull.grad.item() == pytest.approx(factor, rel=1e-5)
    assert beside.grad is None


def seen(seed: int, height: int = 32, width: int = 64) -> tuple[tuple[Tensor, ...], Features]:
    """Disparities and features as a network of two scales gives them."""
    generator = torch.Generator().manual_seed(seed)
    sizes = [(height // 2**scale, width // 2**scale) for scale in range(2)]
    disparities = tuple(torch.rand(2, 1, *size, generator=generator) for size in sizes)
    sides = [tuple(torch.randn(2, 3 + scale, *sizes[scale], generator=generator) for scale in range(2)) for _ in "ab"]
    return disparities, Features(*sides)


@pytest.mark.parametrize("part", PARTS)
def test_each_part_has_a_weight_of_its_own(part):
    teacher, student = seen(0), seen(1)
    found = distillation_loss(
        teacher, student, replace(DistillationConfig(), **dict.fromkeys(PARTS, 0.0) | {part: 2.0})
    )
    if part == "disparity_weight":
        finest = sigmoid_to_disparity(teacher[0][0])
        coarser = torch.nn.functional.interpolate(finest, student[0][1].shape[-2:], mode="bilinear")
        pairs = [(taught, sigmoid_to_disparity(own)) for taught, own in zip((finest, coarser), student[0], strict=True)]
        pairs = [(near_mask(taught) * taught, near_mask(taught) * own) for taught, own in pairs]
    else:
        side = part.removesuffix("_weight")
        maps = zip(getattr(teacher[1], side), getattr(student[1], side), strict=True)
        pairs = [(taught.mean(1, keepdim=True), own.mean(1, keepdim=True)) for taught, own in maps]
    assert found.item() == pytest.approx(2 * sum(axis_divergence(*pair).item() for pair in pairs), rel=1e-5)


def test_a_teacher_teaches_a_student_of_other_width_and_size_and_stays_as_it_was():
    torch.manual_seed(0)
    teacher = Teacher(Monodepth2Config(encoder="test_resnet").build(), 64, 96, DistillationConfig())
    student = Monodepth2Config(encoder="mobilenetv3_small_050").build()
    before = {name: tensor.clone() for name, tensor in teacher.network.state_dict().items()}
    image = torch.rand(2, 3, 64, 64)
    loss = teacher.loss(image, *student.with_features(image))
    loss.backward()
    assert loss.item() > 0
    assert all(parameter.grad is None for parameter in teacher.network.parameters())
    assert any(parameter.grad.abs().max() > 0 for parameter in student.encoder.parameters())
    assert all(torch.equal(tensor, before[name]) for name, tensor in teacher.network.state_dict().items())


@pytest.mark.parametrize("share", [0.1, 0.5])
def test_a_step_counts_the_teacher_by_the_share_that_it_is_given(share):
    recipe = replace(
        RECIPES["monodepth2"],
        height=64,
        width=96,
        mode="stereo",
        network=replace(RECIPES["monodepth2"].network, encoder="mobilenetv3_small_050"),
        augmentation=AugmentationConfig(jitter_probability=0, flip_probability=0),
    )
    torch.manual_seed(0)
    # A teacher whose heads have learnt something: far from what a fresh student says.
    network = Monodepth2Config(encoder="test_resnet").build()
    for head in network.decoder.heads:
        torch.nn.init.normal_(head.weight)
    networks, batch = recipe.build_networks(), random_batch((64, 96), ("stereo",))
    losses = []
    for teacher in (None, Teacher(network, 64, 96, DistillationConfig(largest_share=share))):
        method = recipe.build_method(networks, teacher).eval()
        method.wants_panels = lambda: False
        losses.append(sum(method.losses(batch)).item())
    alone, taught = losses
    assert taught == pytest.approx((1 + share) * alone, rel=1e-3)
