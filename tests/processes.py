"""Commands as processes of their own, for tests that kill them."""

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import torch.multiprocessing

SERVER = multiprocessing.get_context("forkserver")
"""Forks processes that have imported the package already: a fresh interpreter takes many seconds for it each time."""
SERVER.set_forkserver_preload(["egodepth.cli.main", "egodepth.training.runs", "lightning.pytorch"])


class Command:
    """`egodepth ARGUMENTS` in a process of its own, computing with as many threads as this one.

    Args:
        arguments: of the command line.
        output: file that takes what the command says on both of its streams.
    """

    def __init__(self, arguments: Sequence[object], output: Path) -> None:
        self.output = output
        words = [str(argument) for argument in arguments]
        # What the server knows of the environment dates from its start.
        arguments = (words, output, dict(os.environ), torch.get_num_threads())
        self._process = SERVER.Process(target=_main, args=arguments, daemon=True)
        self._process.start()

    def wait_until(self, happened: Callable[[], bool]) -> None:
        """Return once something has happened; the test fails, with what the command said, where it ends before."""
        while not happened():
            assert self._process.is_alive(), f"ended with exit code {self._process.exitcode}: {self.said}"
            time.sleep(0.02)

    def end(self, by: signal.Signals, timeout: float = 60) -> int:
        """Exit code after a signal, negative where that signal itself ended the process."""
        with suppress(ProcessLookupError):  # it ended by itself; its exit code says so
            os.kill(self._process.pid, by)
        self._process.join(timeout)
        assert self._process.exitcode is not None, f"does not end: {self.said}"
        return self._process.exitcode

    @property
    def said(self) -> str:
        return self.output.read_text() if self.output.exists() else ""


def in_two_processes(function: Callable[..., None], *arguments: object) -> None:
    """Call `function(rank, *arguments)` in two processes at once; what one of them raises is raised here."""
    torch.multiprocessing.start_processes(function, arguments, nprocs=2, start_method="forkserver")


def _main(words: list[str], output: Path, environment: dict[str, str], threads: int) -> None:
    os.environ.update(environment)
    torch.set_num_threads(threads)
    file = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
        os.dup2(file, stream.fileno())
    from egodepth.cli.main import main

    main(words)
