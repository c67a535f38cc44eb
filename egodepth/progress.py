"""Progress on the terminal, the same for every command."""

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn


def progress_bar(shown: bool = True, *more: ProgressColumn) -> Progress:
    """A bar on standard error with what is done, how much of it, and the time that remains.

    Args:
        shown: False for a bar that says nothing.
        more: columns before the time.
    """
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), *more, TimeRemainingColumn()
    return Progress(*columns, console=Console(stderr=True), disable=not shown)
