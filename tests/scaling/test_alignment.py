"""The time offset between footage and a log is found where speeds have a shape, and not where they have none."""

from pathlib import Path

import numpy as np
import pytest

from egodepth.data.motion_logs.track import Track
from egodepth.scaling.alignment import align, first_offset


def city_speed(seconds, seed=0):
    """A car that stops and goes: nothing in it repeats."""
    random = np.random.default_rng(seed)
    waves = zip(random.uniform(0.02, 0.15, 8), random.uniform(0, 7, 8), strict=True)
    return 8 + sum(1.5 * np.sin(2 * np.pi * rate * seconds + phase) for rate, phase in waves).clip(-8, 8)


def a_log(length=120.0, step=0.2, begin=0.0, seed=0):
    seconds = np.arange(0, length, step)
    return Track.of_speeds(Path("log.csv"), begin + seconds, city_speed(seconds, seed))


def footage_of(log, begin, length=60.0, interval=0.2, noise=0.05, seed=0):
    """Pairs of frames whose clock says 0 where the log's says `begin`, and their motion up to scale, with noise."""
    random = np.random.default_rng(seed)
    starts = np.arange(0, length, interval)
    ends = starts + interval
    found = log.moved_m(starts + begin, ends + begin) / 31.7 * random.normal(1, noise, len(starts))
    found[random.random(len(found)) < 0.03] *= 20
    return starts, ends, found


def test_the_offset_of_a_drive_is_found():
    begins = np.random.default_rng(0).uniform(0, 55, 9)
    found = []
    for seed, begin in enumerate(begins):
        log = a_log(seed=seed)
        found.append(align(*footage_of(log, begin, seed=seed), log))
    shifted = [each.finding == "shifted" for each in found]
    assert sum(shifted) >= 8  # by chance a stretch of a drive can be like another
    offsets = np.array([each.offset_s for each in found])
    np.testing.assert_allclose(offsets[shifted], begins[shifted], atol=0.25)
    assert min(each.correlation for each in found) > 0.8


def test_footage_that_begins_before_the_log_is_brought_to_it():
    log = a_log(begin=100)
    starts, ends, found = footage_of(log, 100)
    later = starts >= 0  # all of them, by a clock that is 112 s ahead
    found = align(starts[later] + 212, ends[later] + 212, found[later], log)
    assert found.offset_s == pytest.approx(-112, abs=0.25)


def test_a_speed_that_changes_slowly_has_a_peak_too():
    """On a country road the correlation is above 0.9 for seconds to either side."""
    seconds = np.arange(0, 300, 0.2)
    knots = np.random.default_rng(0).uniform(8, 28, 21)
    log = Track.of_speeds(Path("log.csv"), seconds, np.interp(seconds, np.linspace(0, 300, 21), knots))
    found = align(*footage_of(log, 60, length=150, noise=0.02), log)
    assert found.finding == "shifted"
    assert found.offset_s == pytest.approx(60, abs=1)


def test_a_constant_speed_shifts_nothing():
    seconds = np.arange(0, 120, 0.5)
    log = Track.of_speeds(Path("log.csv"), seconds, np.full(len(seconds), 12.0))
    found = align(*footage_of(log, 20), log, offset_s=3.0)
    assert (found.finding, found.offset_s) == ("constant speed", 3.0)


def test_motion_that_follows_nothing_shifts_nothing():
    log = a_log()
    starts, ends, found = footage_of(log, 20)
    noise = np.random.default_rng(1).uniform(0.5, 1.5, len(found))
    assert align(starts, ends, noise, log).finding == "no clear peak"


def test_a_speed_that_repeats_has_no_clear_peak():
    seconds = np.arange(0, 200, 0.2)
    log = Track.of_speeds(Path("log.csv"), seconds, 10 + 4 * np.sin(2 * np.pi * seconds / 20))
    assert align(*footage_of(log, 20), log).finding == "no clear peak"


def test_a_few_frames_are_too_short_to_be_compared():
    log = a_log()
    starts, ends, found = footage_of(log, 20)
    assert align(starts[:15], ends[:15], found[:15], log).finding == "too short"


def test_a_clock_and_seconds_since_the_start_begin_together():
    assert first_offset(0.0, 1.7e9) == 1.7e9
    assert first_offset(1.7e9, 1.7e9 + 30) == 0
    assert first_offset(0.0, 5.0) == 0
