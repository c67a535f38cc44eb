"""Protocols: which pixels count, how predictions are resized, scaled and blended."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from egodepth.data.kinds import KINDS
from egodepth.data.samples import EvaluationFrame
from egodepth.errors import UserError
from egodepth.evaluation.evaluate import evaluate
from egodepth.evaluation.metrics import METRICS
from egodepth.evaluation.protocols import (
    PROTOCOLS,
    blend_flipped,
    garg_crop,
    lower_median,
    protocol_named,
    resize_depth,
    resize_depth_with_corners,
    resize_inverse_depth,
    resize_to_nearest,
    whole_image,
)
from egodepth.geometry.cameras import Camera, pinhole

REFERENCE = json.loads((Path(__file__).parents[1] / "reference" / "metrics.json").read_text())
DATASETS = json.loads((Path(__file__).parents[1] / "reference" / "datasets.json").read_text())


@pytest.mark.parametrize("case", REFERENCE["garg_crop"], ids=lambda case: f"{case['height']}x{case['width']}")
def test_the_garg_crop_has_its_reference_bounds(case):
    rows, columns = garg_crop(case["height"], case["width"])
    assert [rows.start, rows.stop] == case["rows"]
    assert [columns.start, columns.stop] == case["columns"]
    counted = PROTOCOLS["eigen"].mask(np.full((case["height"], case["width"]), 10.0, np.float32))
    assert counted.sum() == case["pixels"]


def test_every_protocol_is_found_by_its_own_name():
    assert all(protocol_named(name).name == name for name in PROTOCOLS)
    assert {"eigen", "kitti-2015", "kitti-benchmark", "cityscapes", "ddad", "make3d", "simulated"} <= set(PROTOCOLS)


def test_every_protocol_has_frames_and_metrics_that_there_are():
    assert {protocol.frames for protocol in PROTOCOLS.values()} == {
        frames for kind in KINDS for frames in kind.evaluation_frames
    }
    assert all(set(protocol.metrics) <= set(METRICS) for protocol in PROTOCOLS.values())


def test_an_unknown_protocol_is_refused_with_the_known_ones():
    with pytest.raises(UserError, match=r"'kitty'.*eigen-benchmark"):
        protocol_named("kitty")


@pytest.mark.parametrize(
    ("name", "counted"),
    [
        ("eigen", [False, False, True, False, False]),
        ("kitti-2015", [False, False, True, False, False]),
        ("simulated", [False, False, True, False, False]),
        ("eigen-benchmark", [False, True, True, True, True]),
        ("kitti-2015-full", [False, True, True, True, True]),
    ],
)
def test_a_protocol_counts_depths_strictly_within_its_range(name, counted):
    depths = np.array([0.0, 1e-3, 5.0, 80.0, 120.0])
    centre = np.zeros((100, 100))
    centre[60, 40:45] = depths
    assert PROTOCOLS[name].mask(centre)[60, 40:45].tolist() == counted


def test_ground_truth_that_is_not_a_number_does_not_count():
    truth = np.full((10, 10), np.nan)
    assert not any(protocol.mask(truth).any() for protocol in PROTOCOLS.values())


@pytest.mark.parametrize(
    ("name", "scaling", "metric_scale", "by_median"),
    [
        ("eigen", "auto", True, False),
        ("eigen", "auto", False, True),
        ("simulated", "auto", True, False),
        ("kitti-2015", "auto", True, True),
        ("kitti-2015", "auto", False, True),
        ("kitti-2015", "none", True, False),
        ("eigen", "median", True, True),
        ("eigen", "none", False, False),
    ],
)
def test_scaling_follows_the_protocol_unless_overruled(name, scaling, metric_scale, by_median):
    assert PROTOCOLS[name].scales_by_median(scaling, metric_scale) is by_median


def test_it_is_the_inverse_depth_that_is_interpolated():
    # Half-pixel centres: the two new inner columns lie at a quarter and three quarters of the way.
    depth = resize_inverse_depth(np.array([[1.0, 0.5]]), 1, 4)
    assert 1 / depth[0] == pytest.approx([1.0, 0.875, 0.625, 0.5])


def test_shrinking_takes_samples_without_smoothing():
    disparity = np.arange(1.0, 9.0)[None]
    assert 1 / resize_inverse_depth(disparity, 1, 2)[0] == pytest.approx([2.5, 6.5])


def test_an_inverse_depth_of_zero_is_very_far():
    depth = resize_inverse_depth(np.array([[0.0, -1.0]]), 1, 2)
    assert np.isfinite(depth).all()
    assert (depth > 1e5).all()


def test_the_flip_blend_has_its_reference_values():
    case = REFERENCE["flip_blend"]
    direct = np.arange(320.0).reshape(2, 4, 40) / 320
    blended = blend_flipped(direct, 1 - direct)
    assert blended[0, 0, :6] == pytest.approx(case["starts"], abs=1e-6)
    assert blended[0, 0, -6:] == pytest.approx(case["ends"], abs=1e-6)
    assert blended.mean() == pytest.approx(case["mean"], abs=1e-6)


def test_the_flip_blends_ramp_has_its_reference_values():
    case = REFERENCE["flip_blend"]["ramp"]
    # With a direct prediction of 0 and a mirrored one of 1 the left half of the result is (1 + ramp) / 2.
    ramp = 2 * blend_flipped(np.zeros((1, case["width"])), np.ones((1, case["width"])))[0] - 1
    assert ramp[: case["last_one"] + 1] == pytest.approx(1.0)
    assert ramp[case["last_one"] + 1] < 1
    assert ramp[case["first_zero"] - 1] > 0
    assert ramp[case["first_zero"] : case["width"] // 2] == pytest.approx(0.0)
    assert ramp[case["column"]] == pytest.approx(case["value"], abs=1e-6)


@given(arrays(np.float32, st.tuples(st.integers(1, 4), st.integers(1, 50)), elements=st.floats(0, 10, width=32)))
def test_blending_a_map_with_itself_changes_nothing(disparity):
    blended = blend_flipped(disparity, disparity)
    assert blended.dtype == disparity.dtype
    assert blended == pytest.approx(disparity, rel=1e-6, abs=1e-6)


@given(arrays(np.float32, st.integers(1, 30), elements=st.floats(0, 10, width=32)))
def test_the_lower_median_is_one_of_the_values_and_has_at_most_half_of_them_below(values):
    median = lower_median(values)
    assert median in values
    assert (values < median).sum() <= (values.size - 1) // 2 <= (values <= median).sum() - 1


# --- the protocols of the data sets ----------------------------------------------------------------------------------


def figures(protocol, depth, disparity):
    """Evaluate one prediction on one ground truth, whose image is as large as the ground truth."""
    frame = EvaluationFrame("frame", np.zeros((*depth.shape, 3), np.uint8), depth.astype(np.float32))
    result = evaluate(lambda _: disparity, [frame], protocol, metric_scale=False, progress=False)
    return result.scale_ratio, list(result.metrics.values())


def expect(protocol, depth, disparity, case):
    ratio, metrics = figures(protocol, depth, disparity)
    assert ratio == pytest.approx(case["ratio"], rel=1e-4)
    assert metrics == pytest.approx(case["metrics"], rel=1e-4)
    if "valid" in case:
        assert protocol.mask(depth[protocol.truth_window(*depth.shape)]).sum() == case["valid"]


@pytest.fixture(scope="module")
def cityscapes_case():
    row, column = np.mgrid[:1024, :2048]
    steps = (7 * row + 3 * column) % 8000
    focal_times_baseline = DATASETS["cityscapes"]["focal_times_baseline"]["cal_a"]
    depth = np.where(steps > 1, 256 * focal_times_baseline / np.maximum(steps - 1, 1), 0)
    row, column = np.mgrid[:192, :512]
    return depth, 0.02 + 0.3 * row / 191 + 0.05 * (1 + np.sin(column / 40))


def test_cityscapes_has_its_reference_figures(cityscapes_case):
    expect(PROTOCOLS["cityscapes"], *cityscapes_case, DATASETS["cityscapes"]["figures"]["cityscapes"])


def test_what_is_resized_on_cityscapes_shows_in_the_figures(cityscapes_case):
    by_depth = replace(PROTOCOLS["cityscapes"], resize=resize_depth)
    expect(by_depth, *cityscapes_case, DATASETS["cityscapes"]["figures"]["depth_resized"])


def test_forgetting_the_region_on_cityscapes_has_its_known_wrong_figures(cityscapes_case):
    everywhere = replace(PROTOCOLS["cityscapes"], region=whole_image)
    expect(everywhere, *cityscapes_case, DATASETS["cityscapes"]["figures"]["without_region"])


def test_the_region_on_cityscapes_is_1664_by_512_pixels_of_the_upper_three_quarters():
    protocol = PROTOCOLS["cityscapes"]
    counted = protocol.mask(np.full((768, 2048), 10.0))
    assert counted.sum() == DATASETS["cityscapes"]["pixels_in_region"]
    assert np.argwhere(counted)[[0, -1]].tolist() == [[256, 192], [767, 1855]]
    frame = EvaluationFrame(
        "frame",
        np.arange(1024 * 2048 * 3, dtype=np.uint32).reshape(1024, 2048, 3),
        np.zeros((1024, 2048)),
        Camera(pinhole(2262.0, 2265.0, 1096.0, 513.0), 1024, 2048),
        {1: np.ones((1024, 2048, 3))},
    )
    seen = protocol.crop(frame)
    assert (seen.image == frame.image[:768]).all()
    assert seen.depth.shape == (768, 2048)
    assert seen.neighbours[1].shape == seen.image.shape
    assert (seen.camera.height, seen.camera.width) == (768, 2048)
    assert (seen.camera.intrinsics == frame.camera.intrinsics).all()


def test_inverse_depth_on_cityscapes_is_resized_as_the_reference_was(cityscapes_case):
    resized = 1 / resize_inverse_depth(cityscapes_case[1], 768, 2048)
    for place, value in DATASETS["cityscapes"]["resized_inverse_depth"].items():
        assert resized[tuple(map(int, place.split(",")))] == pytest.approx(value, rel=1e-4)


@pytest.fixture(scope="module")
def ddad_case():
    row, column = np.mgrid[:12, :20]
    depth = np.where((3 * row + 5 * column) % 7 < 2, 4 + 1.1 * (20 * row + column), 0)
    row, column = np.mgrid[:6, :10]
    return depth, 1 / (1 + 1.045 * (10 * row + column) * (1 + 0.3 * np.sin(row + column)))


@pytest.mark.parametrize(
    ("case", "protocol"),
    [
        ("ddad", PROTOCOLS["ddad"]),
        ("ddad_to_80", replace(PROTOCOLS["ddad"], farthest_m=80.0, clamp_m=(0.0, 80.0))),
        ("ddad_to_80_middle", replace(PROTOCOLS["ddad"], farthest_m=80.0, clamp_m=(0.0, 80.0), median=np.median)),
        ("ddad-sc", replace(PROTOCOLS["ddad-sc"], metrics=PROTOCOLS["ddad"].metrics)),
        ("ddad-80", PROTOCOLS["ddad-80"]),
    ],
)
def test_ddad_has_its_reference_figures(ddad_case, case, protocol):
    expect(protocol, *ddad_case, DATASETS["ddad"]["figures"][case])


def test_ddads_depth_is_resized_with_its_corners_kept(ddad_case):
    resized = resize_depth_with_corners(ddad_case[1], 12, 20)
    for place, value in DATASETS["ddad"]["resized_with_corners"].items():
        assert resized[tuple(map(int, place.split(",")))] == pytest.approx(value, rel=1e-5)


@pytest.fixture(scope="module")
def make3d_case():
    row, column = np.mgrid[:55, :305]
    depth = 5 + 75 * ((31 * row + 17 * column) % 97) / 96
    depth[(row + column) % 29 == 0] = 0
    depth[:, 7] = 81
    row, column = np.mgrid[:192, :640]
    return depth, 0.01 + 9.99 * (0.02 + 0.0015 * row + 0.1 * np.cos(column / 50) ** 2)


@pytest.mark.parametrize(
    ("case", "changes"),
    [
        ("make3d", {}),
        ("low_median", {"median": lower_median, "clamp_m": (1e-3, 70.0)}),
        ("bilinear", {"resize": resize_inverse_depth}),
        ("no_crop", {"truth_window": whole_image}),
    ],
)
def test_make3d_has_its_reference_figures(make3d_case, case, changes):
    protocol = replace(PROTOCOLS["make3d"], metrics=tuple(DATASETS["make3d"]["metrics"]), **changes)
    expect(protocol, *make3d_case, DATASETS["make3d"]["figures"][case])


def test_make3d_takes_the_middle_of_image_and_grid(make3d_case):
    reference, protocol = DATASETS["make3d"], PROTOCOLS["make3d"]
    image = np.repeat(np.arange(2272)[:, None], 1704, axis=1)[..., None].repeat(3, axis=2)
    seen = protocol.crop(EvaluationFrame("frame", image, make3d_case[0]))
    assert seen.image.shape == (852, 1704, 3)
    assert seen.image[[0, -1], 0, 0].tolist() == [710, 1561]
    assert seen.depth.shape == (21, 305)
    assert seen.depth[0, :4].tolist() == reference["truth_row_17"]
    assert seen.depth[-1, -1] == reference["truth_last"]
    nearest = resize_to_nearest(make3d_case[1], 21, 305)
    for place, value in reference["nearest_depth"].items():
        assert nearest[tuple(map(int, place.split(",")))] == pytest.approx(value, rel=1e-4)


@pytest.mark.parametrize("case", ["seeded", "by_hand"])
def test_make3ds_range_scale_and_metrics_have_their_reference_values(case):
    reference = DATASETS["make3d"][case]
    if case == "by_hand":
        truth, prediction = np.array(reference["truth"]), np.array(reference["prediction"])
    else:
        generator = np.random.default_rng(134)
        truth = 1 + 79 * generator.random(1000)
        prediction = truth * (0.7 + 0.6 * generator.random(1000))
        assert truth[:3] == pytest.approx(reference["first_truth"])
        assert prediction[:3] == pytest.approx(reference["first_prediction"])
    # One row, so that neither window cuts anything from it.
    protocol = replace(PROTOCOLS["make3d"], image_window=whole_image, truth_window=whole_image)
    expect(protocol, truth[None].astype(float), 1 / prediction[None], reference)


def test_sdfas_protocol_counts_far_points_as_80_metres():
    depth = np.zeros((100, 200))
    depth[60, 50:54] = [10.0, 40.0, 120.0, 200.0]
    prediction = np.full((100, 200), 40.0)
    protocol = PROTOCOLS["sdfa"]
    frame = EvaluationFrame("frame", np.zeros((100, 200, 3), np.uint8), depth.astype(np.float32))
    result = evaluate(lambda _: 1 / prediction, [frame], protocol, metric_scale=True, progress=False)
    assert result.metrics["rmse"] == pytest.approx(np.sqrt((30**2 + 40**2 + 40**2) / 4), rel=1e-5)
    assert result.metrics["abs_rel"] == pytest.approx((3 + 0.5 + 0.5) / 4, rel=1e-5)
    assert PROTOCOLS["eigen"].mask(depth).sum() == 2
    # A network's two values between which a pixel lies are averaged as depths, not as inverse depths.
    assert protocol.resize(1 / np.array([[10.0, 30.0]]), 1, 4)[0] == pytest.approx([10, 15, 25, 30])


def test_kittis_benchmark_prints_its_own_four_metrics_first():
    reference = DATASETS["kitti"]["benchmark"]
    frame = EvaluationFrame("frame", np.zeros((1, 5, 3), np.uint8), np.array([reference["truth"]], np.float32))
    disparity = 1 / np.array([reference["prediction"]])
    protocol = replace(PROTOCOLS["kitti-benchmark"], clamp_m=(1 / 256, 100.0))
    result = evaluate(lambda _: disparity, [frame], protocol, metric_scale=True, progress=False)
    assert list(result.metrics)[:4] == ["silog", "sq_error_rel", "abs_error_rel", "irmse"]
    for name in list(result.metrics)[:4]:
        assert result.metrics[name] == pytest.approx(reference[name], rel=1e-4)
