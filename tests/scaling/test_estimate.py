"""A scale from ratios, and what is said of how sure it is."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from egodepth.scaling.estimate import estimate_of, outliers, spread_of


@given(scale=st.floats(0.01, 1000), seed=st.integers(0, 1000))
@settings(max_examples=25)
def test_the_scale_and_the_spread_of_noisy_ratios_are_found(scale, seed):
    random = np.random.default_rng(seed)
    ratios = scale * random.normal(1, 0.08, 400)
    ratios[random.random(400) < 0.1] *= 5
    found = estimate_of(ratios)
    assert found.metres_per_unit == pytest.approx(scale, rel=0.05)
    assert found.spread == pytest.approx(0.09, abs=0.03)
    assert found.used == 400


def test_frames_that_are_wrong_together_are_not_taken_for_independent():
    """The spread over the root of the number says 0.4 % here; the median of such a drive is off by about 3 %."""
    random = np.random.default_rng(0)
    errors, claimed, naive = [], [], []
    for _ in range(200):
        ratios = 10 * (1 + np.repeat(random.normal(0, 0.08, 8), 50) + random.normal(0, 0.01, 400))
        found = estimate_of(ratios)
        errors.append(found.metres_per_unit / 10 - 1)
        claimed.append(found.median_error)
        naive.append(found.spread / 20)
    assert np.std(errors) == pytest.approx(np.median(claimed), rel=0.35)
    assert np.std(errors) > 4 * np.median(naive)


def test_a_single_ratio_has_no_spread_and_few_have_half_their_range():
    assert estimate_of(np.array([3.0])).spread is None
    assert estimate_of(np.array([3.0])).median_error is None
    assert estimate_of(np.array([9.0, 11.0])).spread == pytest.approx(0.1)
    assert spread_of(np.array([1.0, 1.0, 2.0])) == 0.5


def test_a_wrong_distance_is_an_outlier_and_a_wide_spread_has_none():
    np.testing.assert_array_equal(outliers(np.array([10, 10.2, 9.9, 10.1, 25])), [False] * 4 + [True])
    assert not outliers(np.array([5.0, 8, 10, 13, 19])).any()
    assert not outliers(np.array([10.0, 10.0, 10.0, 12.5])).any()
    assert not outliers(np.array([10.0])).any()
