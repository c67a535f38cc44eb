import copy
import functools
from dataclasses import replace

import onnxruntime
import pytest
import torch
from torch import Tensor

from egodepth.errors import UserError
from egodepth.inference.graph import onnx_graph
from egodepth.networks.configurations import (
    DIFFNetConfig,
    DNADepthConfig,
    HQDecv2Config,
    Monodepth2Config,
    RPrDepthConfig,
    SmallDepthConfig,
)
from egodepth.networks.equivalent import merge
from egodepth.networks.folding import fold_batch_norms
from egodepth.networks.prior import TENSORS, ReferenceSet, clustered
from egodepth.networks.rprdepth import PriorFusion, RPrDepth, evenly_spaced
from egodepth.recipes.restoring import as_data, restored_network

SMALL = SmallDepthConfig(widths=(16, 16, 32, 32, 32), middles=(16, 32, 32, 32), repeats=(1, 1, 1, 1))
SMALL_DIFFNET = DIFFNetConfig("hrnet_w18_small")
STUDENTS = pytest.mark.parametrize(
    "student",
    [SMALL_DIFFNET, DNADepthConfig("test_efficientnet"), SMALL, Monodepth2Config("test_resnet")],
    ids=lambda config: type(config).__name__,
)
COUNT = 30
TIGHT = {"rtol": 1e-5, "atol": 1e-6}


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def image(batch: int = 2) -> Tensor:
    return torch.rand(batch, 3, 64, 96, generator=torch.Generator().manual_seed(5))


def references(count: int = COUNT, channels: int = 64) -> ReferenceSet:
    features = (2 + 3 * noise(count, channels)).half()
    return ReferenceSet.of(features, (5 + noise(count, seed=1).abs()).half(), {"teacher": "abc"})


def perturbed(network: RPrDepth) -> RPrDepth:
    """The same with a fusion that does something, as after training."""
    with torch.no_grad():
        torch.nn.init.normal_(network.fusion.change.weight, std=0.02, generator=torch.Generator().manual_seed(7))
        torch.nn.init.normal_(network.fusion.change.bias, std=0.02, generator=torch.Generator().manual_seed(8))
    return network


@functools.cache
def _trained(config: RPrDepthConfig) -> RPrDepth:
    torch.manual_seed(0)
    network = perturbed(config.build().eval())
    network.load_references(references(config.references))
    return network


def trained(**options: object) -> RPrDepth:
    options = {"student": SMALL, "references": COUNT} | options
    return copy.deepcopy(_trained(RPrDepthConfig(**options)))


@STUDENTS
@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
def test_the_fusion_starts_as_the_student_bit_for_bit(student, training: bool):
    torch.manual_seed(0)
    plain = student.build()
    network = RPrDepthConfig(student=student, references=COUNT).build()
    network.load_first_weights(plain.state_dict(), "student")
    network.load_references(references())
    plain.train(training), network.train(training)
    torch.manual_seed(1)
    expected = plain(image())
    torch.manual_seed(1)
    found = network(image())
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one, other)
    plain.eval(), network.eval()
    assert torch.equal(network.predict_depth(image()), plain.predict_depth(image()))


@STUDENTS
def test_the_fusion_reaches_the_heads_at_stride_4_and_finer(student):
    torch.manual_seed(0)
    network = RPrDepthConfig(student=student, references=COUNT).build().eval()
    network.load_references(references())
    with torch.no_grad():
        before, features = network.with_features(image())
        after = perturbed(network)(image())
    assert features.hint_depth.shape == (2, 1, 16, 24)
    for one, other in zip(before, after, strict=True):
        assert torch.equal(one, other) == (one.shape[-2] < 16)


def test_the_parameters_are_as_many_as_the_specification_derives():
    fusion = PriorFusion(64, True, RPrDepthConfig())
    norm_for_bias = 128 - 64
    assert sum(x.numel() for x in fusion.parameters()) == 2 * 4160 + 16640 + 111168 + 128 + 128 - norm_for_bias + 1


def test_the_hint_lies_between_the_reference_depths_and_a_like_feature_finds_its_own_depth():
    fusion = PriorFusion(64, True, RPrDepthConfig(references=COUNT))
    known = references()
    fusion.references.load(known)
    with torch.no_grad():
        fusion.align.weight.copy_(torch.eye(64)[:, :, None, None])
        fusion.references.align.weight.copy_(torch.eye(64))
        for bias in (fusion.align.bias, fusion.references.align.bias):
            bias.zero_()
        feature = known.normalised().T.reshape(1, 64, 5, 6)
        blurred = fusion(feature).hint_depth
        fusion.temperature.fill_(100)
        sharp = fusion(feature).hint_depth
    depths = known.depths.float()
    assert depths.min() < blurred.min() < blurred.max() < depths.max()
    torch.testing.assert_close(sharp.flatten(), depths, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("plain", [False, True], ids=["cosine", "plain"])
def test_all_forms_of_attention_give_the_same_depth(plain: bool):
    network = trained(plain=plain)
    depths = {}
    for form in ("naive", "chunked", "fused", "top-k"):
        network.fusion.attention, network.fusion.top = form, COUNT
        depths[form] = network.predict_depth(image())
    for form in ("chunked", "fused", "top-k"):
        torch.testing.assert_close(depths[form], depths["naive"], **TIGHT)
    assert hasattr(network.fusion, "temperature") != plain


def test_inverse_depths_are_averaged_unless_depths_are_asked_for():
    depths = torch.tensor([1.0, 4.0]).half()
    known = ReferenceSet.of(torch.ones(2, 64).half(), depths, {})
    for averaged, expected in (("inverse_depth", 1.6), ("depth", 2.5)):
        fusion = PriorFusion(64, True, RPrDepthConfig(references=2, averaged=averaged))
        fusion.references.load(known)
        hint = fusion(torch.ones(1, 64, 2, 3)).hint_depth
        torch.testing.assert_close(hint, torch.full((1, 1, 2, 3), expected))


def test_a_file_from_before_the_choice_averages_depths():
    data = as_data(RPrDepthConfig())
    assert restored_network(data).averaged == "inverse_depth"
    del data["averaged"]
    assert restored_network(data) == RPrDepthConfig(averaged="depth")


@pytest.mark.parametrize("form", ["naive", "chunked", "fused", "top-k"])
def test_the_hint_for_training_is_that_of_use_and_keeps_the_student_s_feature_constant(form: str):
    network = trained(attention=form)
    with torch.no_grad():
        expected = network.with_features(image())[1].hint_depth
    found = network.with_features(image())[1].hint_depth
    torch.testing.assert_close(found, expected, **TIGHT)
    found.sum().backward()
    reached = {name.split("fusion.")[-1] for name, x in network.named_parameters() if x.grad is not None}
    assert reached == {"align.weight", "align.bias", "temperature", "references.align.weight", "references.align.bias"}


@pytest.mark.parametrize("options", [{}, {"plain": True}, {"student": SMALL_DIFFNET}], ids=["", "plain", "diffnet"])
def test_folding_keeps_the_depth_and_leaves_only_constants_of_the_prior(options: dict):
    network = trained(**options)
    folded = network.folded()
    torch.testing.assert_close(folded.predict_depth(image()), network.predict_depth(image()), **TIGHT)
    assert not list(folded.fusion.references.parameters())
    deployed = fold_batch_norms(merge(folded))
    # On average, since features of an untrained HRNet are in the millions, where single pixels lose their digits.
    assert (deployed.finest(image()) - network.finest(image())).abs().mean() < 1e-6


def test_a_folded_network_is_rebuilt_from_its_configuration_and_state():
    network = trained()
    folded = fold_batch_norms(network.folded())
    rebuilt = fold_batch_norms(RPrDepthConfig(student=SMALL, references=COUNT).build().folded())
    rebuilt.load_state_dict(folded.state_dict())
    assert torch.equal(rebuilt.predict_depth(image()), folded.predict_depth(image()))


def test_folding_uses_all_references_whatever_a_training_step_has_chosen():
    network = trained()
    expected = network.predict_depth(image())
    with network.only_references(torch.tensor([0])):
        assert not torch.allclose(network.predict_depth(image()), expected)
        torch.testing.assert_close(network.folded().predict_depth(image()), expected, **TIGHT)
    assert torch.equal(network.predict_depth(image()), expected)


def test_onnx_runtime_gives_the_same_depth(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("egodepth.networks.rprdepth.EXPORT_CHUNKS", (None, 13))
    network = fold_batch_norms(trained().folded())
    session = onnxruntime.InferenceSession(onnx_graph(network, 64, 96), providers=["CPUExecutionProvider"])
    for batch in (1, 3):
        (found,) = session.run(None, {"image": image(batch).numpy()})
        expected = network.predict_depth(image(batch)).detach()
        torch.testing.assert_close(torch.from_numpy(found), expected, rtol=1e-4, atol=1e-4)


def test_a_subset_of_the_references_is_a_prior_of_those_alone():
    network = trained()
    places = torch.tensor([4, 17, 20])
    with network.only_references(places):
        chosen = network.with_features(image())[1].hint_depth
    small = RPrDepthConfig(student=SMALL, references=3).build().eval()
    small.load_first_weights(network.state_dict(), "run")
    small.load_references(references().kept(places))
    torch.testing.assert_close(small.with_features(image())[1].hint_depth, chosen, **TIGHT)


def test_stage_two_starts_from_stage_one_but_keeps_its_own_references():
    stage_one = trained()
    selected = references().kept(torch.arange(0, COUNT, 3))
    stage_two = RPrDepthConfig(student=SMALL, references=len(selected)).build().eval()
    stage_two.load_references(selected)
    stage_two.load_first_weights(stage_one.state_dict(), "run")
    assert torch.equal(stage_two.fusion.references.depths, selected.depths)
    assert torch.equal(stage_two.fusion.change.weight, stage_one.fusion.change.weight)


def test_a_network_of_another_student_is_refused():
    network = RPrDepthConfig(student=SMALL, references=COUNT).build()
    with pytest.raises(UserError, match=r"--from RUN: .* Start from a run of the same student"):
        network.load_first_weights(Monodepth2Config().build().state_dict(), "--from RUN")


def test_a_thinned_network_has_evenly_spaced_references():
    network = trained()
    thin = network.thinned(10)
    assert torch.equal(thin.fusion.references.depths, references().depths[::3])
    assert thin.predict_depth(image()).isfinite().all()
    assert len(network.fusion.references.depths) == COUNT
    assert evenly_spaced(10, 4).tolist() == [0, 2, 5, 7]
    assert evenly_spaced(3, 8).tolist() == [0, 1, 2]


def test_the_weights_of_references_are_those_of_both_attentions():
    network = trained()
    with torch.no_grad():
        weights = network.reference_weights(image())
        with network._watched() as seen:
            network.student(image())
        feature, prior = seen[0][0], network.fusion.references()
        pixelwise = (network.fusion._queries(feature) @ prior.keys.transpose(1, 2)).softmax(-1)
        hint = (network.fusion._hint_queries(feature) @ prior.hint_keys.transpose(1, 2) / 4).softmax(-1)
    torch.testing.assert_close(weights.float(), pixelwise.mean((0, 1)) + hint.mean((0, 1)), **TIGHT)
    assert weights.sum().item() == pytest.approx(2, abs=1e-5)


def test_a_clustered_prior_needs_a_network_that_counts():
    few = clustered(references(), 12)
    options = {"student": SMALL, "references": len(few)}
    with pytest.raises(UserError, match="clustered=True"):
        RPrDepthConfig(**options).build().load_references(few)
    network = perturbed(RPrDepthConfig(**options, clustered=True).build().eval())
    network.load_references(few)
    torch.testing.assert_close(network.folded().predict_depth(image()), network.predict_depth(image()), **TIGHT)
    evenly = network.predict_depth(image())
    network.fusion.references.counts.fill_(1)
    assert not torch.allclose(network.predict_depth(image()), evenly, rtol=1e-7, atol=0)


def test_a_cluster_counts_as_the_references_that_it_stands_for():
    repeats = torch.tensor([4, 2, 1, 3])
    few = references(len(repeats))
    many = few.kept(torch.arange(len(repeats)).repeat_interleave(repeats))
    options = {"student": SMALL}
    counting = perturbed(RPrDepthConfig(**options, references=len(few), clustered=True).build().eval())
    plain = RPrDepthConfig(**options, references=len(many)).build().eval()
    counting.load_references(replace(few, counts=repeats.float()))
    plain.load_state_dict({**plain.state_dict(), **_maps(counting)})
    plain.load_references(many)
    torch.testing.assert_close(counting.predict_depth(image()), plain.predict_depth(image()), **TIGHT)


def _maps(network: RPrDepth) -> dict[str, Tensor]:
    """All that is not the references themselves."""
    return {name: value for name, value in network.state_dict().items() if name.rsplit(".", 1)[1] not in TENSORS}


def test_a_prior_of_another_size_is_refused():
    with pytest.raises(UserError, match=r"\(7, 64\).*references=7"):
        trained().load_references(references(7))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (RPrDepthConfig(student=HQDecv2Config()), "student HQDecv2Config: its decoder has no place"),
        (RPrDepthConfig(references=0), "references: 0"),
        (RPrDepthConfig(heads=3), "heads: 3"),
    ],
    ids=["student", "references", "heads"],
)
def test_what_cannot_be_built_is_refused_in_one_line(config: RPrDepthConfig, message: str):
    with pytest.raises(UserError, match=message):
        config.build()
