"""APX in a training: its parts, how maps are paired, and what the loss beside it weighs."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from egodepth.data.configurations import AugmentationConfig
from egodepth.losses.distillation import axis_divergence, near_mask
from egodepth.methods.configurations import DistillationConfig
from egodepth.methods.distillation import Teacher, distillation_parts, paired
from egodepth.networks.configurations import HQDecv2Config, Monodepth2Config, SmallDepthConfig
from egodepth.networks.disparity import Features
from egodepth.recipes import RECIPES
from egodepth.recipes.needs import Needs
from tests.methods.batches import random_batch

CALM = AugmentationConfig(jitter_probability=0, flip_probability=0)


def seen(seed: int, height: int = 32, width: int = 64, scale: float = 1.0) -> tuple[tuple[Tensor, ...], Features]:
    """Disparities and features as a network of two scales gives them."""
    generator = torch.Generator().manual_seed(seed)
    sizes = [(height // 2**level, width // 2**level) for level in range(2)]
    disparities = tuple(scale * torch.rand(2, 1, *size, generator=generator) for size in sizes)
    sides = [
        tuple(scale * torch.randn(2, 3 + level, *sizes[level], generator=generator) for level in range(2)) for _ in "ab"
    ]
    return disparities, Features(*sides)


def unit(each: Tensor) -> Tensor:
    return each / each.std((1, 2, 3), correction=0, keepdim=True)


def test_each_part_is_the_mean_divergence_of_maps_of_unit_spread():
    teacher, student = seen(0), seen(1)
    found = distillation_parts(teacher, student, (64, 64))
    for part in ("encoder", "decoder"):
        pairs = zip(getattr(teacher[1], part), getattr(student[1], part), strict=True)
        means = [(taught.mean(1, keepdim=True), own.mean(1, keepdim=True)) for taught, own in pairs]
        expected = sum(axis_divergence(unit(taught), unit(own)).item() for taught, own in means) / 2
        assert found[part].item() == pytest.approx(expected, rel=1e-5)
    masked = [(near_mask(taught) * taught, near_mask(taught) * own) for taught, own in zip(teacher[0], student[0])]  # noqa: B905
    expected = sum(axis_divergence(unit(taught), unit(own)).item() for taught, own in masked) / 2
    assert found["disparity"].item() == pytest.approx(expected, rel=1e-5)


def test_no_part_depends_on_the_units_of_teacher_or_student():
    expected = distillation_parts(seen(0), seen(1), (64, 64))
    for scales in ((30.0, 1.0), (1.0, 0.1)):
        teacher, student = (seen(seed, scale=scale) for seed, scale in enumerate(scales))
        found = distillation_parts(teacher, student, (64, 64))
        assert all(found[part].item() == pytest.approx(expected[part].item(), rel=1e-4) for part in expected)


def test_the_far_field_is_that_of_the_sigmoid_itself():
    sigmoid = torch.full((1, 1, 4, 4), 0.002)
    sigmoid[..., 0] = 0.0004  # a fifth of the median; of the inverse depths 0.01 + 9.99 X it is nearly a half
    masks = [near_mask(sigmoid), near_mask(0.01 + 9.99 * sigmoid)]
    assert [mask.float().mean().item() for mask in masks] == [0.75, 1.0]
    found = [
        distillation_parts(((sigmoid,), Features((sigmoid,), (sigmoid,))), seen_with(column), (4, 4))[
            "disparity"
        ].item()
        for column in (0.1, 0.9)
    ]
    assert found[0] == pytest.approx(found[1], abs=1e-6)


def seen_with(first_column: float) -> tuple[tuple[Tensor, ...], Features]:
    sigmoid = torch.full((1, 1, 4, 4), 0.5)
    sigmoid[..., 0] = first_column
    return (sigmoid,), Features((sigmoid,), (sigmoid,))


def test_all_five_stages_of_small_depth_meet_those_of_hqdecv2_at_their_own_stride():
    with torch.device("meta"):
        teacher = HQDecv2Config().at_size(96, 160).build().with_features(torch.empty(1, 3, 96, 160))
        student = SmallDepthConfig().build().with_features(torch.empty(1, 3, 64, 96))
    for theirs, own in ((teacher[1].encoder, student[1].encoder), (teacher[1].decoder, student[1].decoder)):
        pairs = paired(theirs, own, 160, 96)
        assert [96 // small.shape[-1] for _, small in pairs] == [2, 4, 8, 16, 32]
        assert [160 // large.shape[-1] for large, _ in pairs] == [2, 4, 8, 16, 32]
    heads = paired(teacher[0], student[0], 160, 96)
    assert [(160 // large.shape[-1], 96 // small.shape[-1]) for large, small in heads] == [
        (2, 2),
        (4, 4),
        (4, 8),
        (4, 16),
    ]


def test_the_teachers_maps_are_averaged_where_they_shrink():
    generator = torch.Generator().manual_seed(0)
    smooth, coarse = torch.rand(2, 1, 1, 8, 8, generator=generator)
    smooth = F.interpolate(smooth, (64, 64), mode="bilinear")
    striped = smooth + 0.5 * torch.tensor([1.0, -1.0]).repeat(32)  # stripes that any average sees as grey
    student = (coarse,), Features((coarse,), (coarse,))
    found, expected = (
        distillation_parts(((fine,), Features((fine,), (fine,))), student, (64, 8)) for fine in (striped, smooth)
    )
    assert found["encoder"].item() == pytest.approx(expected["encoder"].item(), rel=0.05)


def test_a_teacher_teaches_a_student_of_other_width_and_size_and_stays_as_it_was():
    torch.manual_seed(0)
    teacher = Teacher(Monodepth2Config(encoder="test_resnet").build(), 64, 96, DistillationConfig())
    student = Monodepth2Config(encoder="mobilenetv3_small_050").build()
    before = {name: tensor.clone() for name, tensor in teacher.network.state_dict().items()}
    image = torch.rand(2, 3, 64, 64)
    loss, _ = teacher.loss(image, student.with_features(image), 64)
    loss.backward()
    assert loss.item() > 0
    assert all(parameter.grad is None for parameter in teacher.network.parameters())
    assert any(parameter.grad.abs().max() > 0 for parameter in student.encoder.parameters())
    assert all(torch.equal(tensor, before[name]) for name, tensor in teacher.network.state_dict().items())


# --- in a step -------------------------------------------------------------------------------------------------


class Opened:
    """A released model that teaches, at a size of its own."""

    size = 96, 160

    def depth_network(self) -> torch.nn.Module:
        torch.manual_seed(1)
        return Monodepth2Config(encoder="test_resnet").build()


def tiny_recipe(**changes):
    recipe = RECIPES["monodepth2"]
    network = replace(recipe.network, encoder="mobilenetv3_small_050")
    settings = {"height": 64, "width": 128, "mode": "stereo", "network": network, "augmentation": CALM}
    return replace(recipe, **settings | changes)


def prepared(recipe, needs: Needs):
    torch.manual_seed(0)
    method = recipe.build_method(recipe.build_networks(), needs.teacher).eval()
    method.wants_panels = lambda: False
    method.log_training = lambda *_: None
    return method


@pytest.mark.parametrize(
    ("changes", "size"),
    [
        ({}, (96, 160)),
        ({"pyramid": True}, (96, 160)),  # its largest form is of 64x160
        ({"width": 192}, (96, 192)),
        ({"teacher": None}, (64, 128)),
    ],
)
def test_frames_are_read_at_the_larger_of_the_sizes_on_each_side(changes, size):
    _, needs = tiny_recipe(**{"teacher": "TEACHER"} | changes).needs(lambda _: Opened())
    assert needs.size == size


def noting(look, pictures: dict[str, Tensor], name: str):
    """A network's look at an image that keeps the first image."""

    def look_and_keep(image: Tensor):
        pictures.setdefault(name, image)
        return look(image)

    return look_and_keep


@pytest.mark.parametrize("pyramid", [False, True])
def test_a_larger_teacher_sees_detail_that_the_student_cannot(pyramid):
    recipe, needs = tiny_recipe(teacher="TEACHER", pyramid=pyramid).needs(lambda _: Opened())
    batch = random_batch(needs.size, ("stereo",))
    batch.target[:] = 0
    batch.target[..., ::2] = 255  # stripes of one pixel as read: beyond what 128 columns can hold
    method, pictures = prepared(recipe, needs), {}
    teacher, student = needs.teacher.network, method.depth_network
    for name, network in (("teacher", teacher), ("student", student)):
        network.register_forward_pre_hook(lambda *_: None)
        inner = network.with_features
        network.with_features = lambda image, name=name, inner=inner: (
            pictures.setdefault(name, image) is None or inner(image)
        )
    next(method.losses(batch))
    assert pictures["teacher"].shape[-2:] == (96, 160)
    assert pictures["student"].shape[-2:] == (64, 128)
    assert pictures["teacher"].std() > 0.49
    assert pictures["student"].std() < 0.3


def test_the_teacher_is_added_to_view_synthesis_by_its_weights():
    recipe, needs = tiny_recipe(teacher="TEACHER").needs(lambda _: Opened())
    batch, found = random_batch(needs.size, ("stereo",)), []
    for config in (DistillationConfig(), DistillationConfig(synthesis_weight=3.0), DistillationConfig(0, 0, 0)):
        needs.teacher.config = config
        found.append(sum(prepared(recipe, needs).losses(batch)).item())
    both, threefold, alone = found
    assert threefold - both == pytest.approx(2 * alone, rel=1e-4)
    assert both > alone


def test_without_view_synthesis_nothing_is_warped_and_no_motion_is_asked_for(monkeypatch):
    weights = DistillationConfig(synthesis_weight=0.0)
    recipe, needs = tiny_recipe(teacher="TEACHER", mode="mono", distillation=weights).needs(lambda _: Opened())
    method = prepared(recipe, needs)
    assert not method.uses_every_parameter
    for forbidden in ("transforms", "step_result"):
        monkeypatch.setattr(type(method), forbidden, lambda *_: pytest.fail("views were synthesised"))
    (loss,) = method.losses(random_batch(needs.size, (-1, 1)))
    loss.backward()
    assert all(parameter.grad is None for parameter in method.pose_network.parameters())
    assert any(parameter.grad is not None for parameter in method.depth_network.parameters())
