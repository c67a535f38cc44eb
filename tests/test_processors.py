"""No more processors than the process was given."""

import os

import pytest

from egodepth.processors import available_processors, machine_is_busy

OWN = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def cgroup(folder, files):
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, OWN),
        ({"cpu.max": "max 100000\n"}, OWN),
        ({"cpu.max": "100000 100000\n"}, 1),
        ({"cpu.max": "20000 100000\n"}, 1),
        ({"cpu.max": "6400000 100000\n"}, min(OWN, 64)),
        ({"cpu.max": "nonsense"}, OWN),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, OWN),
        ({"cpu/cpu.cfs_quota_us": "50000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 1),
        ({"cpu/cpu.cfs_quota_us": "50000\n", "cpu/cpu.cfs_period_us": "0\n"}, OWN),
    ],
)
def test_a_containers_quota_counts(tmp_path, files, expected):
    assert available_processors(cgroup(tmp_path, files)) == expected


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system binds no process to processors")
def test_the_affinity_counts(tmp_path):
    whole = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(whole)})
        assert available_processors(tmp_path) == 1
    finally:
        os.sched_setaffinity(0, whole)


def test_a_machine_is_busy_where_another_process_is_at_work():
    assert [machine_is_busy(load) for load in (0.0, 0.3, 1.0, 16.0)] == [False, False, True, True]
    assert machine_is_busy() in (True, False)
