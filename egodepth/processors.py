"""How many processors this process may use: no more than it was given, however many the machine has."""

import math
import os
from pathlib import Path

CGROUP_ROOT = Path("/sys/fs/cgroup")


def available_processors(cgroup: Path = CGROUP_ROOT) -> int:
    """Those of the process's affinity, or fewer where a container's quota of processor time is less; 1 at least.

    Args:
        cgroup: where control groups are mounted, of version 2 or 1.
    """
    own = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _quota(cgroup)
    return own if quota is None else max(1, min(own, math.ceil(quota)))


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
