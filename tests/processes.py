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

PATIENCE_S = 240
"""So long a command may take to its end: seconds, but for a machine that has much else to do."""


class Command:
    """`egodepth ARGUMENTS` in a process of its own, computing with as many threads as this one.

    Args:
        arguments: of the command line.
        output: file that takes what the command says on both of its streams.
        largest_file: bytes that a file may have: the kernel refuses to write more, as a full disk does.
    """

    def __init__(self, arguments: Sequence[object], output: Path, largest_file: int | None = None) -> None:
        self.output = output
        words = [str(argument) for argument in arguments]
        # What the server knows of the environment dates from its start.
        arguments = (words, output, dict(os.environ), torch.get_num_threads(), largest_file)
        self._process = SERVER.Process(target=_main, args=arguments, daemon=True)
        self._process.start()

    def wait_until(self, happened: Callable[[], bool]) -> None:
        """Return once something has happened; the test fails, with what the command said, where it ends before."""
        while not happened():
            assert self._process.is_alive(), f"ended with exit code {self._process.exitcode}: {self.said}"
            time.sleep(0.02)

    def end(self, by: signal.Signals) -> int:
        """Exit code after a signal, negative where that signal itself ended the process."""
        with suppress(ProcessLookupError):  # it ended by itself; its exit code says so
            os.kill(self._process.pid, by)
        return self.wait()

    def wait(self) -> int:
        """Exit code, once the process has ended by itself."""
        self._process.join(PATIENCE_S)
        assert self._process.exitcode is not None, f"does not end: {self.said}"
        return self._process.exitcode

    @property
    def said(self) -> str:
        return self.output.read_text() if self.output.exists() else ""


def in_two_processes(function: Callable[..., None], *arguments: object) -> None:
    """Call `function(rank, *arguments)` in two processes at once; what one of them raises is raised here."""
    torch.multiprocessing.start_processes(function, arguments, nprocs=2, start_method="forkserver")


def _main(words: list[str], output: Path, environment: dict[str, str], threads: int, largest_file: int | None) -> None:
    os.environ.update(environment)
    # A shell that puts the tests into the background lets what they start ignore Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    torch.set_num_threads(threads)
    file = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
        os.dup2(file, stream.fileno())
    if largest_file is not None:
        import resource

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file))
    from egodepth.cli.main import main

    main(words)
