"""One process at a time for a folder that two would spoil for each other."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from egodepth.errors import UserError
from egodepth.files import machine_name, place_error

LOCK_FILE = ".writer"
"""In a folder while a process writes there; it says which one, as the machine's name of `files` and the process."""


@contextmanager
def only_writer(folder: Path) -> Iterator[None]:
    """Keep other processes that ask for the same folder out of it; it is made if it is missing.

    The operating system holds the lock, so that it goes with the process that has it, however that ends, and stays
    away from the processes that this one starts. Where a file system has no locks, nobody is kept out.

    Raises:
        UserError: another process writes there, or nothing can be written there.
    """
    folder = Path(folder)
    try:
        made = [each for each in (folder, *folder.parents) if not each.exists()]
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = _locked(folder / LOCK_FILE)
    except OSError as error:
        raise place_error(error, folder) from error
    try:
        yield
    finally:
        with suppress(OSError):  # where the folder was removed meanwhile, the file may be another's
            if _is_of(descriptor, folder / LOCK_FILE):
                (folder / LOCK_FILE).unlink()
        os.close(descriptor)
        with suppress(OSError):  # as it was before, where nothing was written
            for each in made:
                each.rmdir()


def holds_anything(folder: Path) -> bool:
    """Whether a folder holds more than the lock of who writes there."""
    return any(file.name != LOCK_FILE for file in folder.iterdir())


def _locked(file: Path) -> int:
    """A descriptor of the file, which is locked as long as that is open."""
    try:
        import fcntl
    except ImportError:  # Windows
        return os.open(file, os.O_RDWR | os.O_CREAT)
    while True:
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            # Not `flock`, which loading processes would share: they outlive one that was killed by some seconds.
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            owner = os.pread(descriptor, 100, 0).decode(errors="replace")
            os.close(descriptor)
            raise UserError(
                f"{file.parent}: {_said(owner)} writes there. Wait until it has ended, or choose another --out."
            ) from None
        except OSError:
            return descriptor
        with suppress(FileNotFoundError):
            if _is_of(descriptor, file):
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, f"{machine_name()}-{os.getpid()}".encode(), 0)
                return descriptor
        os.close(descriptor)  # of a file that its owner removed since we opened it


def _is_of(descriptor: int, file: Path) -> bool:
    return os.path.samestat(os.fstat(descriptor), file.stat())


def _said(owner: str) -> str:
    machine, _, process = owner.partition("-")
    if not process.isdecimal():
        return "another process"
    return f"process {process}" if machine == machine_name() else f"process {process} of another machine"
