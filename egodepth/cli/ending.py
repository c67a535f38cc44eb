"""How commands end that do not come to their end: by a signal, or for want of memory, disk or files."""

import errno
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from egodepth.errors import first_line, printable

SIGNALS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGUSR1") if hasattr(signal, name))
"""A service manager's and a batch scheduler's; unhandled they would leave half-written files behind."""

OUT_OF_MEMORY = (
    *("out of memory", "can't allocate memory", "not enough memory", "alloc_failed", "insufficient memory"),
    *("cannot allocate memory", "failed to allocate", "killed by signal: killed", "shared memory", "bus error"),
)
"""What programs say, in small letters, that could not have the memory that they asked for."""

OUT_OF_FILES = ("too many open files", "received 0 items of ancdata")
"""What programs say, in small letters, that could not open one more file: PyTorch where processes share a tensor."""

LESS_MEMORY = {
    "train": "Lower --batch-size, --workers, or --height and --width",
    "prior": "Lower --images or --pixels-per-image, or give smaller frames",
    "teach": "Take a smaller teacher, or smaller frames",
    "data": "Lower --workers, or --height and --width",
    "simulate": "Lower --height and --width",
    "predict": "Give smaller pictures or a smaller model, or run on another --device",
    "evaluate": "Give smaller pictures or a smaller model, or run on another --device",
}

PATH_ERRORS = frozenset(
    getattr(errno, name)
    for name in ("ENOENT", "EACCES", "EPERM", "EIO", "ENOTDIR", "EISDIR", "EROFS", "ENAMETOOLONG", "ELOOP", "ESTALE")
    if hasattr(errno, name)
)


class EndedBySignal(BaseException):
    """A signal asked the command to end; raised where it stands, so that what is half written is removed."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """Let `SIGNALS` end what is within as Ctrl-C does. A training has handlers of its own, which save first."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, _end) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _end(number: int, frame: Any) -> None:
    raise EndedBySignal(number)


def advice_on_resources(error: Exception, command: str) -> str | None:
    """One line for an error that says that the machine has no more of something; None for any other error.

    Args:
        command: that ran, which decides what to lower.
    """
    said = str(error).lower()
    place = f"{error.filename}: " if getattr(error, "filename", None) else ""
    if any(phrase in said for phrase in OUT_OF_FILES):
        return printable(f"{place}too many files are open. Lower --workers, or raise the limit (ulimit -n).")
    if isinstance(error, MemoryError) or any(phrase in said for phrase in OUT_OF_MEMORY):
        lower = LESS_MEMORY.get(command, "Close other programs, or give smaller inputs")
        return printable(f"memory ran out ({first_line(error)}). {lower}.")
    if not isinstance(error, OSError):
        return None
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return printable(f"{place}the disk is full. Free some space and run again.")
    if error.errno == errno.EFBIG:
        return printable(f"{place}the file grew too large for this place. Choose another.")
    if error.errno in PATH_ERRORS and error.filename:
        return printable(f"{place}cannot be used ({error.strerror}). Was it moved or removed while in use? Run again.")
    return None
