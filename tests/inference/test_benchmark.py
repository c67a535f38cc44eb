"""The benchmark: figures of every engine, as ratios to a baseline that is measured beside the others."""

import json
import shutil
import sys
from collections.abc import Iterator
from dataclasses import fields, replace

import pytest
import torch

from egodepth.errors import UserError
from egodepth.inference import benchmark as benchmark_module
from egodepth.inference.benchmark_result import BenchmarkResult, Row
from egodepth.inference.configurations import BenchmarkConfig
from egodepth.inference.engines import RUNTIMES
from egodepth.models.benchmarking import benchmark_models
from egodepth.recipes import RECIPES

SMALL = {"height": 64, "width": 96, "batch_size": 2, "rounds": 3}
ENGINES = ("eager", "cuda-graph", "onnx", "openvino")


@pytest.fixture(scope="module", autouse=True)
def small_networks() -> Iterator[None]:
    """Two recipes with small encoders, and the peak of memory measured for the first model of each engine alone.

    Either saves many seconds: each measurement of memory is a process of its own.
    """
    measure, peaks = benchmark_module.peak_on_cpu, {}

    def measure_once(engine: str, *model: object) -> int | None:
        if engine not in peaks:
            peaks[engine] = measure(engine, *model)
        return peaks[engine]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(benchmark_module, "peak_on_cpu", measure_once)
        for name, encoder in (("monodepth2", "test_resnet"), ("dna-depth-b0", "test_efficientnet")):
            recipe = RECIPES[name]
            patch.setitem(RECIPES, name, replace(recipe, network=replace(recipe.network, encoder=encoder)))
        yield


@pytest.fixture(scope="module")
def result() -> BenchmarkResult:
    return benchmark_models(["dna-depth-b0"], "monodepth2", BenchmarkConfig(**SMALL, engines=ENGINES), progress=False)


def row(result: BenchmarkResult, model: str, engine: str) -> Row:
    (found,) = [each for each in result.rows if (each.model, each.engine) == (model, engine)]
    return found


def test_every_network_is_measured_in_every_engine_that_is_there(result: BenchmarkResult) -> None:
    expected = [(model, engine) for model in ("monodepth2", "dna-depth-b0") for engine in ("eager", "onnx", "openvino")]
    assert [(each.model, each.engine) for each in result.rows] == expected
    assert {(each.model, each.engine, each.reason) for each in result.missing} == {
        (model, "cuda-graph", "needs an NVIDIA GPU, not cpu") for model in ("monodepth2", "dna-depth-b0")
    }


def test_the_baseline_is_one_in_every_ratio(result: BenchmarkResult) -> None:
    for each in result.rows[:3]:
        ratios = (each.parameters_ratio, each.macs_ratio, each.speed_ratio, each.throughput_ratio)
        assert ratios == (1, 1, 1, 1)
        assert each.peak_memory_ratio in (1, None)
    eager = row(result, "monodepth2", "eager")
    assert (eager.speed_ratio_to_eager, eager.throughput_ratio_to_eager) == (1, 1)


def test_figures_agree_with_each_other(result: BenchmarkResult) -> None:
    for each in result.rows:
        assert 0 < each.latency_ms <= each.latency_p95_ms
        assert each.best_batch in (1, 2)
        assert each.images_per_second > 0
    small, large = row(result, "dna-depth-b0", "onnx"), row(result, "monodepth2", "onnx")
    assert small.parameters_ratio == small.parameters / large.parameters
    assert 0.2 < small.parameters_ratio < 0.4
    assert small.macs_ratio == small.macs / large.macs


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux tells")
def test_peak_memory_holds_the_weights_at_least(result: BenchmarkResult) -> None:
    for each in result.rows:
        assert 4 * each.parameters < each.peak_memory < 40 * each.parameters + 2**28


def test_the_table_shows_every_row_with_its_ratios(result: BenchmarkResult) -> None:
    lines = result.table().splitlines()
    assert "64x96" in lines[0]
    assert len([line for line in lines if line.startswith(("monodepth2 ", "dna-depth-b0 "))]) == len(result.rows)
    assert "x1.00 / x1.00" in lines[2]
    assert sum(line.startswith("not measured: ") for line in lines) == len(result.missing)


def test_plain_data_has_every_figure(result: BenchmarkResult) -> None:
    data = json.loads(json.dumps(result.to_json()))
    assert data["settings"]["baseline"] == "monodepth2"
    assert data["settings"]["batch_norms"].startswith("folded")
    for each in data["rows"]:
        assert each.keys() == {field.name for field in fields(Row)}


def test_a_ratio_is_of_times_within_a_round() -> None:
    """A machine that slows down tenfold in the middle moves latencies, but no ratio."""
    lanes = []
    for speed in (1.0, 0.25):
        contender = benchmark_module.Contender("a", torch.nn.Identity(), 1, 1)
        lane = benchmark_module._Lane(contender, "eager", "", lambda image: image, None)
        lane.rounds[1] = [[speed * load] * 3 for load in (1, 1, 10, 10, 10)]
        lanes.append(lane)
    rows = [benchmark_module._row(lane, lanes, lanes[0].contender) for lane in lanes]
    assert [each.speed_ratio for each in rows] == [1, 4]
    assert rows[1].latency_ms == pytest.approx(2500)


@pytest.mark.skipif(not shutil.which("g++"), reason="torch.compile needs a C++ compiler on the CPU")
def test_a_compiler_that_fails_is_a_line_and_not_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("no compiler here\nmore")

    monkeypatch.setitem(RUNTIMES, "compile", replace(RUNTIMES["compile"], open=fail))
    config = BenchmarkConfig(**SMALL | {"rounds": 1, "batch_size": 1}, engines=("eager", "compile"))
    result = benchmark_models([], "dna-depth-b0", config, progress=False)
    assert [each.engine for each in result.rows] == ["eager"]
    assert [(each.engine, each.reason) for each in result.missing] == [("compile", "no compiler here")]


def test_a_batch_that_does_not_fit_ends_the_sweep_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmark_module, "_fits", lambda lane, batch, device: batch < 2)
    config = BenchmarkConfig(**SMALL | {"rounds": 1, "batch_size": 4}, engines=("eager",))
    result = benchmark_models([], "dna-depth-b0", config, progress=False)
    assert [each.best_batch for each in result.rows] == [1]
    assert [(each.batch, each.reason) for each in result.missing] == [(2, "2 images may not fit into memory")]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"height": 100}, "--height 100"),
        ({"batch_size": 0}, "--batch-size 0"),
        ({"rounds": 0}, "--rounds 0"),
        ({"device": "nowhere"}, "--device nowhere"),
    ],
)
def test_what_cannot_be_measured_is_refused(options: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        benchmark_models([], "dna-depth-b0", BenchmarkConfig(**SMALL | options), progress=False)
