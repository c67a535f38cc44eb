"""How many processors this process may use: no more than it was given, however many the machine has."""

import math
import os
import re
from pathlib import Path

from egodepth.environment import whole_number_said

CGROUP_ROOT = Path("/sys/fs/cgroup")

THREADS_VARIABLE = "OMP_NUM_THREADS"

MOST_THREADS = 4096
"""More than any machine has processors; engines that are given a billion threads start them."""

LEVELS = re.compile(r"([1-9]\d{0,3})(?:,[1-9]\d{0,3})+")

BUSY_LOAD = 0.7
"""Load from which on at least one other process is at work most of the time."""


def available_processors(cgroup: Path = CGROUP_ROOT) -> int:
    """Those of the process's affinity, or fewer where a container's quota of processor time is less; 1 at least.

    Args:
        cgroup: where control groups are mounted, of version 2 or 1.
    """
    own = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _quota(cgroup)
    return own if quota is None else max(1, min(own, math.ceil(quota)))


def working_threads() -> int:
    """How many threads an engine gets: as `OMP_NUM_THREADS` says, or one for each available processor.

    Raises:
        UserError: the variable says neither a number nor, as OpenMP has it, one for each level of nesting.
    """
    levels = LEVELS.fullmatch(os.environ.get(THREADS_VARIABLE, ""))
    if levels is not None:
        return int(levels[1])
    return whole_number_said(THREADS_VARIABLE, available_processors(), 1, MOST_THREADS)


def machine_is_busy(load: float | None = None) -> bool:
    """Whether others are at work, so that threads had better sleep while they wait for each other instead of spinning.

    Training of SmallDepth with two threads on two processors: 6.1 images a second spinning and 4.7 sleeping on an idle
    machine, 1.7 and 2.9 beside one busy process.

    Args:
        load: processes that want to run, the mean of the last minute; by default the machine's.
    """
    if load is None:
        try:
            load = os.getloadavg()[0]
        except (AttributeError, OSError):  # Windows has none
            return False
    return load >= BUSY_LOAD


def _quota(cgroup: Path) -> float | None:
    """Processors' worth of time in each period; None where it is not limited, or nothing says so."""
    try:
        if (cgroup / "cpu.max").is_file():
            quota, period = (cgroup / "cpu.max").read_text().split()
        else:
            quota, period = (
                (cgroup / "cpu" / f"cpu.cfs_{name}_us").read_text().strip() for name in ("quota", "period")
            )
        share = float(quota) / float(period)
    except (OSError, ValueError, ZeroDivisionError):  # `max` is no number
        return None
    return share if share > 0 else None  # version 1 says -1 where there is no limit
