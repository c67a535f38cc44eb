"""Depth metrics: reference values, and what must hold for any depths."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from egodepth.evaluation.metrics import (
    SEVEN,
    DepthMetricsMean,
    depth_metrics,
    median_ratio,
)
from tests.processes import in_two_processes

REFERENCE = json.loads((Path(__file__).parents[1] / "reference" / "metrics.json").read_text())["depth_metrics"]

depths = arrays(np.float64, st.integers(1, 40), elements=st.floats(0.1, 100))
depth_pairs = st.integers(1, 40).flatmap(
    lambda size: st.tuples(*[arrays(np.float64, size, elements=st.floats(0.1, 100))] * 2)
)


@pytest.fixture(scope="module")
def reference_depths() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(7)
    truth = 1 + 79 * torch.rand(1000, generator=generator, dtype=torch.float64)
    prediction = truth * (0.7 + 0.6 * torch.rand(1000, generator=generator, dtype=torch.float64))
    assert truth[:3].tolist() == pytest.approx(REFERENCE["first_ground_truth"], abs=1e-6)
    assert prediction[:3].tolist() == pytest.approx(REFERENCE["first_prediction"], abs=1e-6)
    return truth, prediction


def test_the_seven_metrics_have_their_reference_values(reference_depths):
    assert depth_metrics(*reference_depths) == pytest.approx(REFERENCE["raw"], abs=1e-6)


def test_median_scaled_and_clamped_metrics_have_their_reference_values(reference_depths):
    truth, prediction = (values.numpy() for values in reference_depths)
    ratio = median_ratio(truth, prediction)
    assert ratio == pytest.approx(REFERENCE["median_ratio"], abs=1e-6)
    scaled = (prediction * ratio).clip(*REFERENCE["clamp_m"])
    assert depth_metrics(truth, scaled) == pytest.approx(REFERENCE["median_scaled"], abs=1e-6)


def test_numpy_and_tensors_give_the_same_metrics(reference_depths):
    assert depth_metrics(*reference_depths) == depth_metrics(*(values.numpy() for values in reference_depths))


@given(depths)
def test_a_perfect_prediction_has_no_error_and_full_accuracy(truth):
    found = depth_metrics(truth, truth)
    assert [found[name] for name in SEVEN] == [0, 0, 0, 0, 1, 1, 1]


@given(depth_pairs, st.randoms(use_true_random=False))
def test_metrics_do_not_depend_on_the_order_of_pixels(pair, random):
    order = list(range(len(pair[0])))
    random.shuffle(order)
    assert depth_metrics(pair[0][order], pair[1][order]) == pytest.approx(depth_metrics(*pair), rel=1e-9)


@given(depth_pairs)
def test_a_wider_tolerance_never_accepts_fewer_pixels(pair):
    found = depth_metrics(*pair)
    assert 0 <= found["a1"] <= found["a2"] <= found["a3"] <= 1


@given(depth_pairs, st.floats(0.01, 100))
def test_median_scaled_metrics_do_not_depend_on_the_predictions_scale(pair, scale):
    truth, prediction = pair
    once = depth_metrics(truth, prediction * median_ratio(truth, prediction), ("abs_rel", "rmse", "rmse_log"))
    other = prediction * scale
    again = depth_metrics(truth, other * median_ratio(truth, other), ("abs_rel", "rmse", "rmse_log"))
    assert again == pytest.approx(once, rel=1e-6, abs=1e-6)


def test_the_accuracy_threshold_itself_is_outside():
    assert depth_metrics(torch.tensor([1.0]), torch.tensor([1.25]))["a1"] == 0


@pytest.mark.parametrize("shapes", [((0,), (0,)), ((3,), (4,)), ((2, 2), (2, 2))])
def test_pixels_that_do_not_match_are_refused(shapes):
    with pytest.raises(ValueError, match="valid depths"):
        depth_metrics(*(torch.ones(shape) for shape in shapes))


# --- the mean over images --------------------------------------------------------------------------------------------

IMAGES = tuple(({"abs_rel": 0.1 * index, "a1": 1 - 0.1 * index}, 2.0 + index) for index in range(5))


def mean_of(images) -> DepthMetricsMean:
    mean = DepthMetricsMean(("abs_rel", "a1"))
    for metrics, ratio in images:
        mean.update(metrics, ratio)
    return mean


def test_the_mean_is_over_images_and_the_ratio_is_their_median():
    found = {name: value.item() for name, value in mean_of(IMAGES).compute().items()}
    expected_std = float(np.std(np.arange(2.0, 7.0) / 4.0))
    expected = {"abs_rel": 0.2, "a1": 0.8, "scale_ratio": 4.0, "scale_ratio_std": expected_std}
    assert found == pytest.approx(expected, abs=1e-6)


@pytest.mark.filterwarnings("ignore:The ``compute`` method")
def test_the_mean_of_no_images_is_unknown():
    assert all(math.isnan(value) for value in mean_of([]).compute().values())


def test_a_reset_mean_starts_anew():
    mean = mean_of(IMAGES)
    mean.reset()
    mean.update(*IMAGES[1])
    assert mean.compute()["abs_rel"].item() == pytest.approx(0.1)


SHARES = {"uneven": (IMAGES[:2], IMAGES[2:]), "one process without images": (IMAGES, ())}


def _reduce(rank: int, meeting: str, out: str) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=2)
    found = {
        case: {name: value.item() for name, value in mean_of(shares[rank]).compute().items()}
        for case, shares in SHARES.items()
    }
    Path(f"{out}{rank}").write_text(json.dumps(found))
    torch.distributed.destroy_process_group()


def test_two_processes_reduce_to_the_mean_of_one(tmp_path):
    in_two_processes(_reduce, str(tmp_path / "meeting"), str(tmp_path / "rank"))
    expected = {name: value.item() for name, value in mean_of(IMAGES).compute().items()}
    for rank in range(2):
        found = json.loads((tmp_path / f"rank{rank}").read_text())
        for case in SHARES:
            assert found[case] == pytest.approx(expected, abs=1e-6), (rank, case)
