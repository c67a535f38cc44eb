"""Progress, the same for every command: a bar on a terminal, a line each half minute in a log."""

import time
from collections.abc import Iterable, Iterator
from datetime import timedelta
from typing import Any, TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

Item = TypeVar("Item")

SECONDS_BETWEEN_LINES = 30


class Bar(Progress):
    """A bar that says how far it is in lines where its console is no terminal, which would show it at its end alone."""

    said_at: float | None = None

    def start(self) -> None:
        self.said_at = time.monotonic()
        if self._is_drawn:
            super().start()

    def stop(self) -> None:
        if self._is_drawn:
            super().stop()

    @property
    def _is_drawn(self) -> bool:
        # A bar that vanishes at its end leaves an empty line where nobody has seen it.
        return self.console.is_terminal or not self.live.transient

    def update(self, task_id: TaskID, **values: Any) -> None:
        super().update(task_id, **values)
        self._say(task_id)

    def advance(self, task_id: TaskID, advance: float = 1) -> None:
        super().advance(task_id, advance)
        self._say(task_id)

    def _say(self, task_id: TaskID) -> None:
        now = time.monotonic()
        if self.console.is_terminal or self.disable or self.said_at is None:
            return
        if now - self.said_at >= SECONDS_BETWEEN_LINES:
            self.said_at = now
            self.console.print(line_of(self._tasks[task_id]), markup=False, highlight=False, soft_wrap=True)


def line_of(task: Task) -> str:
    """How far a task is, in words: `Training 120/4000 loss 0.1, 0:12:30 left`."""
    done = f"{int(task.completed)}" if task.total is None else f"{int(task.completed)}/{int(task.total)}"
    remaining = task.time_remaining
    left = "" if remaining is None else f", {timedelta(seconds=int(remaining))} left"
    figures = f" {task.fields['figures']}" if task.fields.get("figures") else ""
    return f"{task.description} {done}{figures}{left}"


def progress_bar(shown: bool = True, *more: ProgressColumn) -> Bar:
    """Progress on standard error: what is done, how much of it, and the time that remains.

    Args:
        shown: False for a bar that says nothing.
        more: columns before the time.
    """
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), *more, TimeRemainingColumn()
    return Bar(*columns, console=Console(stderr=True), disable=not shown)


def tracked(items: Iterable[Item], description: str, total: int | None = None) -> Iterator[Item]:
    """Items, with progress that vanishes when all are through: for what is done on the way to something else."""
    columns = TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        yield from bar.track(items, total, description=description)
