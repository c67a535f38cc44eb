"""The scripts that measure RPrDepth: its acceptance ladder, and the cost of its attention."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from benchmarks import attention, rprdepth_acceptance
from benchmarks.attention import AttentionBenchmark, Case
from benchmarks.rprdepth_acceptance import (
    BUILT,
    FURTHER,
    RANDOM,
    SELECTED,
    STUDENT,
    Ladder,
    judged,
    paired_gain,
    parsed,
)
from egodepth.evaluation.evaluate import EvaluationResult, ImageRow
from egodepth.networks.configurations import RPrDepthConfig, SmallDepthConfig
from egodepth.networks.prior import ReferenceSet
from egodepth.networks.rprdepth import RPrDepth
from egodepth.prior.building import random_references, with_references
from egodepth.prior.pipeline import PipelinePaths, first_stage
from egodepth.recipes.prior_guided import PriorGuidedRecipe

SMALL = SmallDepthConfig(widths=(16, 16, 32, 32, 32), middles=(16, 32, 32, 32), repeats=(1, 1, 1, 1))
EQUAL = {"equal": True, "images": 3, "references": 9, "largest_difference": 0.0}


def result(*errors: float) -> EvaluationResult:
    rows = tuple(ImageRow(str(place), {"abs_rel": error}, 1.0) for place, error in enumerate(errors))
    return EvaluationResult("eigen", "median", False, {"abs_rel": sum(errors) / len(errors)}, 1.0, 0.0, rows)


def results(**errors: float) -> dict[str, EvaluationResult]:
    names = {"student": STUDENT, "further": FURTHER, "random": RANDOM, "built": BUILT, "selected": SELECTED}
    standard = {"student": 0.102, "further": 0.101, "random": 0.1005, "built": 0.098, "selected": 0.098}
    return {names[name]: result(value - 0.01, value + 0.01) for name, value in (standard | errors).items()}


def verdicts(**errors: float) -> list[str]:
    _, recipe = parsed(["DATA", "--out", "OUT", "--test-data", "TEST", "--protocol", "eigen"])
    row = rprdepth_acceptance.published_rows()["diffnet-640x192-m"]
    assert (recipe.height, recipe.width) == (192, 640)
    return [point.verdict for point in judged(results(**errors), EQUAL, row)]


@pytest.mark.parametrize(
    ("point", "errors"),
    [
        (1, {"student": 0.104}),
        (3, {"random": 0.0985}),
        (4, {"built": 0.0995, "selected": 0.0995}),
        # More training gives as much as the prior does.
        (4, {"further": 0.099}),
        (5, {"selected": 0.0986}),
    ],
)
def test_each_point_of_the_ladder_can_fail_alone(point: int, errors: dict):
    assert verdicts() == ["PASS"] * 5
    found = verdicts(**errors)
    assert [number for number, verdict in enumerate(found, start=1) if verdict == "FAIL"] == [point]


def test_another_function_at_the_start_fails_the_second_point():
    different = EQUAL | {"equal": False, "largest_difference": 0.5}
    point = judged(results(), different, None)[1]
    assert (point.verdict, point.found) == ("FAIL", "differs by up to 0.5")


def test_nothing_published_is_no_failure():
    assert judged(results(), EQUAL, None)[0].verdict == "not comparable"


def test_a_gain_is_paired_by_image():
    gain, error = paired_gain(result(0.1, 0.3, 0.5), result(0.08, 0.27, 0.49))
    assert gain == pytest.approx(0.02)
    assert error == pytest.approx(0.01 / 3**0.5)


def references(count: int = 400) -> ReferenceSet:
    generator = torch.Generator().manual_seed(0)
    features = 3 + torch.arange(1, 9) * torch.randn(count, 8, generator=generator)
    return ReferenceSet.of(features.half(), features[:, 0].abs().half() + 1, {"teacher": "t"})


def test_a_random_set_has_the_statistics_and_none_of_the_knowledge():
    built = references()
    control = random_references(built, seed=5)
    control.check_teacher("t")
    assert control.provenance["random"] == 5
    torch.testing.assert_close(control.features.float().mean(0), built.mean, atol=1.2, rtol=0)
    torch.testing.assert_close(control.features.float().std(0), built.deviation, atol=0, rtol=0.1)
    assert torch.equal(control.depths.sort().values, built.depths.sort().values)
    belongs = [
        torch.corrcoef(torch.stack([x.features[:, 0].float(), x.depths.float()]))[0, 1] for x in (built, control)
    ]
    assert belongs[0] > 0.9
    assert abs(belongs[1]) < 0.15


LADDER = Ladder(Path("DATA"), Path("OUT"), Path("TEST"), "simulated")


def recipe_of(*options: str) -> PriorGuidedRecipe:
    return parsed(["DATA", "--out", "OUT", "--test-data", "TEST", "--protocol", "simulated", "--", *options])[1]


@pytest.fixture
def paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PipelinePaths:
    """A prior and a trained student, small ones; runs say that they took 70 steps."""
    torch.manual_seed(0)
    student = SMALL.build()
    monkeypatch.setattr(rprdepth_acceptance, "load_trained_networks", lambda run: {"depth": student})
    monkeypatch.setattr(rprdepth_acceptance, "budget", lambda run, minutes: {"steps": 70, "batch_size": 2})
    references(400).save(PipelinePaths(tmp_path).prior)
    return PipelinePaths(tmp_path)


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[tuple]:
    """What training was asked for."""
    asked: list[tuple] = []
    monkeypatch.setattr(rprdepth_acceptance, "train", lambda *arguments, resume: asked.append((*arguments, resume)))
    return asked


@pytest.mark.parametrize("changed", [False, True])
def test_the_identity_check_sees_another_function(paths: PipelinePaths, changed: bool, monkeypatch: pytest.MonkeyPatch):
    recipe = recipe_of("--losses.references-per-step", "100")
    recipe = replace(recipe, network=replace(recipe.network, student=SMALL))

    def with_a_change(*arguments: object) -> RPrDepth:
        network = with_references(*arguments)
        torch.nn.init.constant_(network.fusion.change.bias, 1e-3 if changed else 0)
        return network

    monkeypatch.setattr(rprdepth_acceptance, "with_references", with_a_change)
    found = rprdepth_acceptance.starts_as_student(recipe, paths, torch.rand(2, 3, 32, 64))
    assert (found["equal"], found["images"], found["references"]) == (not changed, 2, 100)
    assert (found["largest_difference"] > 0) == changed


def test_the_random_prior_is_trained_on_as_the_built_one(paths: PipelinePaths, trained: list, tmp_path: Path):
    recipe = recipe_of("--steps", "70")
    for _ in range(2):
        run = rprdepth_acceptance.train_on_random(recipe, Path("DATA"), paths, tmp_path)
    built = first_stage(recipe, paths)
    prior = tmp_path / "random.safetensors"
    assert trained == [("rprdepth", replace(built, prior=str(prior)), Path("DATA"), run, True)] * 2
    assert ReferenceSet.load(prior).provenance == {"teacher": "t", "random": 0}


def test_the_student_is_trained_on_for_the_steps_of_the_first_stage(paths: PipelinePaths, trained: list):
    recipe = recipe_of("--optimiser.learning-rate", "3e-5")
    rprdepth_acceptance.train_further(recipe, Path("DATA"), paths, Path("RUN"))
    ((name, further, *_),) = trained
    assert (name, further.training.steps, further.start_from) == ("diffnet", 70, paths.student)
    assert further.optimiser == recipe.optimiser
    assert further.network == recipe.network.student


def test_what_is_evaluated_is_not_evaluated_again(
    paths: PipelinePaths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    calls = []
    monkeypatch.setattr(rprdepth_acceptance, "evaluate_model", lambda *a, **b: calls.append(a) or result(0.1, 0.2))
    options = replace(LADDER, out=tmp_path)
    twice = [rprdepth_acceptance.evaluated(BUILT, paths.first_stage, "median", options) for _ in range(2)]
    assert len(calls) == 1
    assert twice[0] == twice[1]
    rprdepth_acceptance.evaluated(BUILT, paths.first_stage, "median", replace(options, test_data=Path("OTHER")))
    assert len(calls) == 2


def small_options() -> AttentionBenchmark:
    return AttentionBenchmark(height=32, width=64, references=60, tops=(60, 4), clusters=(5,), rounds=1)


def test_every_case_has_the_network_that_it_names():
    options = replace(small_options(), training=True)
    found = attention.cases(options)
    assert [case.name for case in found[:7]] == [
        *("DIFFNet", "naive", "chunked", "fused"),
        *("top-k 60", "top-k 4", "clustered 5"),
    ]
    assert [case.training for case in found] == [False] * 7 + [True] * 7
    network = Case("top-k 4", "top-k", 60, 4).build()
    assert (network.fusion.attention, network.fusion.top, len(network.fusion.references.depths)) == ("top-k", 4, 60)


def test_a_training_step_takes_memory():
    model, peak = attention.peak_memory(Case("fused", "fused", 60, training=True), small_options())
    assert 40 < model < 60
    # The gradients alone are as large as the model.
    assert peak > model


def test_ratios_are_to_the_student_in_the_same_run(monkeypatch: pytest.MonkeyPatch):
    student, fused = Case("DIFFNet"), Case("fused", "fused", 60)
    monkeypatch.setattr(attention, "cases", lambda options: [student, fused])
    monkeypatch.setattr(attention, "_in_own_processes", lambda cases, _: {student: (40.0, 10.0), fused: (45.0, 30.0)})
    (alone, with_prior), left_out = attention.measured_costs(small_options())
    assert (alone.time_ratio, alone.memory_ratio, left_out) == (1, 1, {})
    assert with_prior.memory_ratio == 1.5
    assert with_prior.time_ratio == pytest.approx(with_prior.milliseconds / alone.milliseconds)


def test_the_naive_form_is_left_out_where_it_does_not_fit(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(attention, "_free_mebibytes", lambda device: 1000)
    large = AttentionBenchmark()
    assert "8,789 MiB" in attention.too_large(Case("naive", "naive", 25_000), large)
    assert attention.too_large(Case("naive", "naive", 25), large) is None
    assert attention.too_large(Case("fused", "fused", 25_000), large) is None


def test_cheaper_forms_are_of_the_same_network():
    config = RPrDepthConfig(student=SMALL, reference_channels=8)
    torch.manual_seed(0)
    network = with_references(config, SMALL.build(), references(60))
    image = torch.rand(1, 3, 32, 64)
    found = dict(attention.variants(network.eval(), config, small_options()))
    assert list(found) == ["exact", "top-k 60", "top-k 4", "clustered 5"]
    depth = {name: attention.deployed(variant).with_features(image)[1].hint_depth for name, variant in found.items()}
    torch.testing.assert_close(depth["top-k 60"], depth["exact"], rtol=1e-4, atol=0)
    for name in ("top-k 4", "clustered 5"):
        assert not torch.allclose(depth[name], depth["exact"], rtol=1e-3)
