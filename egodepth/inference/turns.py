"""Turns of a measurement: a few calls of one thing, after one that is not counted."""

import time
from collections.abc import Callable, Iterable

TURN_SECONDS = 0.05
"""How long a turn lasts at least."""
LEAST_CALLS = 3
"""Timed calls of a turn at batch 1, however slow."""
MOST_CALLS = 50


def slow_call(calls: Iterable[float]) -> float:
    """The time that 95 of 100 calls stay within."""
    ordered = sorted(calls)
    return ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))]


def take_turn(
    run: Callable[[], object], least: int = LEAST_CALLS, wait: Callable[[], object] = lambda: None
) -> list[float]:
    """Seconds of single calls, after one that is not counted: another network has just had caches and threads.

    Args:
        least: calls that are timed, however slow.
        wait: until the device is done.
    """
    run()
    wait()
    seconds: list[float] = []
    while len(seconds) < least or (sum(seconds) < TURN_SECONDS and len(seconds) < MOST_CALLS):
        start = time.perf_counter()
        run()
        wait()
        seconds.append(time.perf_counter() - start)
    return seconds
