from dataclasses import replace

import pytest
import torch
from torch import Tensor

from egodepth.data.configurations import AugmentationConfig
from egodepth.data.transforms import Views, resize, resized, without_augmentation
from egodepth.losses.distillation import auxiliary_loss
from egodepth.methods.configurations import OptimiserConfig, PriorGuidedConfig
from egodepth.methods.photometric import photometric_loss
from egodepth.methods.prior_guided import PriorGuidedMethod, hint_errors, hint_loss
from egodepth.methods.rich_teachers import SingleImageTeacher
from egodepth.methods.view_synthesis import TrainingSetup
from egodepth.networks.configurations import (
    Monodepth2Config,
    PoseConfig,
    RPrDepthConfig,
    SmallDepthConfig,
)
from egodepth.networks.prior import ReferenceSet
from tests.methods.batches import random_batch

SMALL = SmallDepthConfig(widths=(16, 16, 32, 32, 32), middles=(16, 32, 32, 32), repeats=(1, 1, 1, 1), pb_dsr=0, pb_sd=0)
RICH, SIZE = (96, 160), (64, 96)
COUNT = 40


def references() -> ReferenceSet:
    generator = torch.Generator().manual_seed(3)
    features = torch.randn(COUNT, 64, generator=generator)
    return ReferenceSet.of(features.half(), (2 + 3 * torch.rand(COUNT, generator=generator)).half(), {})


class GivenDepth:
    """A teacher that says the same of every image."""

    sources = ()
    inverse = False

    def __init__(self) -> None:
        ramp = torch.linspace(8, 2, RICH[0])[:, None] + torch.linspace(0, 1, RICH[1])
        self.depth = ramp[None, None].repeat(2, 1, 1, 1)
        self.trusted = torch.ones(2, 1, *RICH, dtype=torch.bool)

    def pseudo_depth(self, views: Views) -> Tensor:
        assert views.size == RICH
        return self.depth

    def reliable(self, views: Views, depth: Tensor) -> Tensor:
        return self.trusted


def method(teacher: object | None = None, **config: object) -> PriorGuidedMethod:
    torch.manual_seed(0)
    network = RPrDepthConfig(student=SMALL, references=COUNT).build()
    network.load_references(references())
    return PriorGuidedMethod(
        network,
        PoseConfig().build(),
        teacher or GivenDepth(),
        PriorGuidedConfig(**config),
        TrainingSetup(AugmentationConfig(), 5.4, *SIZE),
        OptimiserConfig(),
        seed=0,
    )


def views() -> Views:
    return without_augmentation(random_batch(RICH, (-1, 1)))


def touched(module: torch.nn.Module) -> set[str]:
    return {name for name, x in module.named_parameters() if x.grad is not None and x.grad.any()}


def test_the_loss_is_the_sum_of_its_three_parts():
    found = method(photometric_weight=0.7, gradient_weight=0.3, auxiliary_weight=2.0).eval().step_result(views())
    parts = found.values
    expected = 0.7 * parts["synthesis"] + 0.3 * parts["gradient_consistency"] + 2 * parts["auxiliary"]
    torch.testing.assert_close(found.loss, expected)
    assert all(value > 0 for value in parts.values())


def test_of_a_teacher_that_knows_inverse_depth_up_to_a_shift_no_shift_changes_what_its_steps_teach():
    found = {}
    for inverse in (True, False):
        for shift in (0.0, 0.3):
            teacher = GivenDepth()
            teacher.inverse, teacher.depth = inverse, 1 / (5 * (1 / teacher.depth + shift))
            torch.manual_seed(5)
            found[inverse, shift] = method(teacher).eval().step_result(views()).values
    steps = {key: values["gradient_consistency"].item() for key, values in found.items()}
    assert steps[True, 0.3] == pytest.approx(steps[True, 0.0], rel=1e-4)
    assert abs(steps[False, 0.3] / steps[False, 0.0] - 1) > 0.01


def test_such_a_teacher_s_inverse_depth_is_what_the_prior_s_depth_is_compared_with():
    scheme = method(references_per_step=1)
    scheme.teacher.inverse, scheme.teacher.depth = True, torch.full((2, 1, *RICH), 4.0)
    torch.manual_seed(1)
    depth = references().depths[scheme._places()].float()
    torch.manual_seed(1)
    found = scheme.step_result(views()).values["auxiliary"]
    torch.testing.assert_close(found, ((1 / depth - 1 / 4).abs() * 4)[0])


def test_the_student_sees_its_own_size_and_is_judged_at_the_teacher_s():
    scheme, rich = method().eval(), views()
    sizes = []
    scheme.depth_network.student.encoder.register_forward_pre_hook(lambda _, x: sizes.append(tuple(x[0].shape)))
    scheme.pose_network.encoder.register_forward_pre_hook(lambda _, x: sizes.append(tuple(x[0].shape)))
    torch.manual_seed(5)
    result = scheme.step_result(rich)
    assert sizes == [(2, 3, *SIZE), (4, 6, *SIZE)]
    assert result.depth.shape == (2, 1, *RICH)
    small = replace(
        rich,
        **{
            name: resize(getattr(rich, name), *SIZE)
            for name in ("target", "sources", "target_jittered", "sources_jittered")
        },
    )
    torch.manual_seed(5)
    again = photometric_loss(
        rich.target,
        rich.sources.transpose(0, 1),
        result.disparities,
        scheme.transforms(small),
        rich.intrinsics,
    )
    torch.testing.assert_close(again.total, result.values["synthesis"])


def test_the_gradient_consistency_reaches_all_but_the_pose_network():
    scheme = method(photometric_weight=0, gradient_weight=1, auxiliary_weight=0)
    with torch.no_grad():
        torch.nn.init.normal_(scheme.depth_network.fusion.change.weight, std=0.02)
    scheme.step_result(views()).loss.backward()
    reached = touched(scheme.depth_network)
    assert not touched(scheme.pose_network)
    for part in ("fusion.align.", "fusion.references.key.", "fusion.output.", "fusion.change.", "heads.0", "encoder."):
        assert any(part in name for name in reached), part


AFFINITY = {"align.weight", "align.bias", "temperature", "references.align.weight", "references.align.bias"}


def test_the_auxiliary_loss_trains_alignments_and_temperature_alone():
    scheme = method(photometric_weight=0, gradient_weight=0, auxiliary_weight=1)
    with torch.no_grad():
        torch.nn.init.normal_(scheme.depth_network.fusion.change.weight, std=0.02)
    scheme.step_result(views()).loss.backward()
    assert touched(scheme.depth_network.fusion) == AFFINITY
    assert all(".fusion." in name for name in touched(scheme.depth_network))
    assert not touched(scheme.pose_network)


def test_the_view_synthesis_has_the_gradients_of_a_fusion_without_the_auxiliary_loss():
    """Bit for bit: the affinity answers twice, and only its second answer is kept from the student."""
    gradients = []
    for alone in (False, True):
        scheme = method(gradient_weight=0, auxiliary_weight=0)
        with torch.no_grad():
            torch.nn.init.normal_(scheme.depth_network.fusion.change.weight, std=0.02)
        if alone:
            scheme.depth_network.fusion.hint_depth_alone = lambda feature: torch.ones(len(feature), 1, 16, 24)
        torch.manual_seed(5)
        scheme.step_result(views()).values["synthesis"].backward()
        gradients.append({name: x.grad for name, x in scheme.named_parameters() if x.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    assert all(torch.equal(gradient, gradients[1][name]) for name, gradient in gradients[0].items())
    fusion = {name.split("fusion.")[1] for name, x in gradients[0].items() if ".fusion." in name and x.any()}
    assert fusion >= AFFINITY
    assert any("encoder." in name and x.any() for name, x in gradients[0].items())


def test_the_view_synthesis_trains_the_poses_and_what_the_fusion_makes():
    scheme = method(gradient_weight=0, auxiliary_weight=0)
    scheme.step_result(views()).loss.backward()
    assert any("encoder" in name for name in touched(scheme.pose_network))
    assert any("fusion.change.weight" in name for name in touched(scheme.depth_network))


def test_teacher_and_references_are_constant_and_stay_out_of_the_checkpoint():
    teacher = SingleImageTeacher(Monodepth2Config().build())
    scheme = method(teacher)
    before = teacher.hash()
    scheme.step_result(views()).loss.backward()
    assert all(x.grad is None for x in teacher.network.parameters())
    assert not teacher.network.training
    assert {name.split(".")[0] for name in scheme.state_dict()} == {"depth_network", "pose_network"}
    assert SingleImageTeacher(teacher.network).hash() == before
    held = scheme.depth_network.fusion.references
    assert torch.equal(held.features, references().features)
    assert not held.features.requires_grad


def test_each_step_draws_its_references_from_the_global_generator():
    scheme = method(references_per_step=7)
    torch.manual_seed(1)
    first, second = scheme._places(), scheme._places()
    torch.manual_seed(1)
    assert torch.equal(scheme._places(), first)
    assert not torch.equal(first, second)
    assert len(set(first.tolist())) == 7
    scheme.eval()
    assert torch.equal(scheme._places(), scheme._places())
    assert method(references_per_step=COUNT)._places() is None


def test_a_step_uses_the_drawn_references_and_gives_them_back():
    scheme = method(references_per_step=1)
    scheme.teacher.depth = torch.full((2, 1, *RICH), 4.0)
    torch.manual_seed(1)
    place = scheme._places()
    torch.manual_seed(1)
    found = scheme.step_result(views()).values["auxiliary"]
    depth = references().depths[place].float()
    torch.testing.assert_close(found, ((depth - 4).abs() / 4)[0])
    assert scheme.depth_network.fusion.references.chosen is None


def test_training_brings_the_hint_to_the_teacher_s_depth():
    """Near pixels at the bottom, far ones at the top: the image has a brightness that says which."""
    scheme = method(photometric_weight=0, gradient_weight=0).train()
    optimiser = torch.optim.Adam(scheme.parameters(), lr=5e-3)
    batch = random_batch(RICH, (-1, 1))
    shade = torch.linspace(0, 255, RICH[0])[:, None].expand(2, 3, *RICH).to(torch.uint8)
    graded = without_augmentation(replace(batch, target=shade))
    losses = []
    for _ in range(8):
        optimiser.zero_grad()
        result = scheme.step_result(graded)
        result.loss.backward()
        optimiser.step()
        losses.append(result.loss.item())
    assert losses[-1] < 0.9 * losses[0]


def test_unreliable_pixels_do_not_teach():
    scheme = method(reliable_only=True).eval()
    scheme.teacher.trusted[..., 48:, :] = False
    torch.manual_seed(2)
    found = scheme.step_result(views()).values
    assert found["reliable_share"].item() == pytest.approx(0.5, abs=0.02)
    scheme.teacher.trusted[:] = False
    found = scheme.step_result(views()).values
    assert found["gradient_consistency"] == 0
    assert found["auxiliary"] == 0


def test_the_hint_s_loss_without_a_mask_is_that_of_the_specification():
    generator = torch.Generator().manual_seed(0)
    taught = 1 + torch.rand(2, 1, 12, 16, generator=generator)
    hint = 1 + torch.rand(2, 1, 3, 4, generator=generator)
    expected = auxiliary_loss(taught, hint)
    torch.testing.assert_close(hint_loss(hint, taught), expected)
    torch.testing.assert_close(hint_loss(hint, taught, torch.ones_like(taught)), expected)


def test_training_says_how_far_the_hint_is_from_the_teacher_and_how_far_a_constant_would_be():
    hint, taught = torch.full((1, 1, 2, 2), 3.0), torch.tensor([2.0, 2, 2, 4]).reshape(1, 1, 2, 2)
    found = hint_errors(hint, taught)
    assert found["hint_abs_rel"].item() == pytest.approx((3 * 0.5 + 0.25) / 4)
    assert found["median_abs_rel"].item() == pytest.approx(0.5 / 4)
    values = method().eval().step_result(views()).values
    assert 1 < values["effective_references"] <= COUNT
    assert {"hint_abs_rel", "median_abs_rel"} <= values.keys()


def rates(scheme: PriorGuidedMethod, step: int, total: int) -> dict[str, float]:
    """The factor of the learning rate of each parameter."""
    groups = scheme.parameter_groups()
    names = {id(parameter): name for name, parameter in scheme.named_parameters()}
    found = {names[id(x)]: group.factor(step, total) for group in groups for x in group.parameters}
    assert sum(len(group.parameters) for group in groups) == len(names) == len(found)
    return found


def test_alignments_and_temperature_have_a_rate_of_their_own_and_may_learn_alone_at_first():
    scheme = method(affinity_rate=50.0, affinity_alone=0.2, encoder_epochs=0.0)
    for step, others in ((0, 0.0), (19, 0.0), (20, 1.0), (99, 1.0)):
        for name, rate in rates(scheme, step, 100).items():
            assert rate == (50.0 if name.split("fusion.")[-1] in AFFINITY else others), name


def test_a_trained_encoder_starts_gently():
    scheme = method(encoder_rate=0.1, encoder_epochs=2.0)
    for step, expected in ((0, 0.1), (9, 0.1), (10, 1.0)):
        found = rates(scheme, step, 100)
        assert {rate for name, rate in found.items() if name.startswith("depth_network.student.encoder.")} == {expected}
        assert {rate for name, rate in found.items() if name.startswith("pose_network.")} == {1.0}
        assert {rate for name, rate in found.items() if "fusion.change." in name} == {1.0}


def test_without_the_rich_synthesis_the_views_are_explained_at_the_student_s_size():
    scheme, rich = method(rich_synthesis=False).eval(), views()
    torch.manual_seed(5)
    result = scheme.step_result(rich)
    small = resized(rich, *SIZE)
    torch.manual_seed(5)
    again = photometric_loss(
        small.target,
        small.sources.transpose(0, 1),
        result.disparities,
        scheme.transforms(small),
        small.intrinsics,
    )
    torch.testing.assert_close(again.total, result.values["synthesis"])
    assert result.depth.shape == (2, 1, *SIZE)


def test_a_student_without_a_prior_is_guided_by_view_synthesis_and_gradients_alone():
    torch.manual_seed(0)
    setup = TrainingSetup(AugmentationConfig(), 5.4, *SIZE)
    config = PriorGuidedConfig(affinity_alone=0.5)
    scheme = PriorGuidedMethod(
        SMALL.build(), PoseConfig().build(), GivenDepth(), config, setup, OptimiserConfig(), seed=0
    ).eval()
    found = scheme.step_result(views())
    assert found.values.keys() == {"synthesis", "gradient_consistency"}
    torch.testing.assert_close(found.loss, found.values["synthesis"] + 0.1 * found.values["gradient_consistency"])
    assert set(rates(scheme, 0, 100).values()) == {0.1, 1.0}
