"""Protocols: which pixels count, how predictions are resized, scaled and blended."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from egodepth.errors import UserError
from egodepth.evaluation.protocols import (
    PROTOCOLS,
    blend_flipped,
    garg_crop,
    protocol_named,
    resize_inverse_depth,
)

REFERENCE = json.loads((Path(__file__).parents[1] / "reference" / "metrics.json").read_text())


@pytest.mark.parametrize("case", REFERENCE["garg_crop"], ids=lambda case: f"{case['height']}x{case['width']}")
def test_the_garg_crop_has_its_reference_bounds(case):
    rows, columns = garg_crop(case["height"], case["width"])
    assert [rows.start, rows.stop] == case["rows"]
    assert [columns.start, columns.stop] == case["columns"]
    counted = PROTOCOLS["eigen"].mask(np.full((case["height"], case["width"]), 10.0, np.float32))
    assert counted.sum() == case["pixels"]


def test_every_protocol_is_found_by_its_own_name():
    assert all(protocol_named(name).name == name for name in PROTOCOLS)
    assert {"eigen", "eigen-benchmark", "kitti-2015", "simulated"} <= set(PROTOCOLS)


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
