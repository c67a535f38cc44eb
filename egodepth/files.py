"""Writing files so that a reader never meets half of one."""

import errno
import hashlib
import os
import platform
import re
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

from egodepth.errors import UserError

OWNER = r"(?P<machine>[0-9a-f]{8})-(?P<process>\d{1,10})-[0-9a-f]{8}"
TEMPORARY = re.compile(rf"\.(?P<name>.+)\.{OWNER}(?P<suffix>\.[^.]*)?")
"""A temporary name: that of the file, then who writes it, then the file's suffix."""

SHOWN_OF_NAME = 48

LONGEST_PART = 255
"""Bytes of a file's name, on all usual file systems."""

OLDER = ".old"
"""Suffix of a folder that is about to be replaced."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary name beside `path` and rename what was written there to `path` on success.

    The temporary name keeps the suffix, because encoders choose their format by it, starts with a dot, and says which
    process writes it. On any exception, Ctrl-C included, the temporary file or folder is removed and an older `path`
    stays as it was; what a killed process left is removed by the next one that writes beside it. An existing folder at
    `path` is replaced only by a folder.

    Raises:
        UserError: the disk is full, or the place cannot be written to.
    """
    path = Path(path)
    # Cut, because a name of 255 bytes has no room for ours.
    temporary = path.with_name(f".{path.stem[:SHOWN_OF_NAME]}.{_owner()}{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers(path.parent.absolute())
        yield temporary
        _flush(temporary)
        if temporary.is_dir() and path.is_dir():
            _swap_folder(temporary, path)
        else:
            temporary.replace(path)
    except OSError as error:
        raise _as_user_error(error, path) from error
    finally:
        _remove(temporary)


@cache
def remove_leftovers(folder: Path) -> None:
    """Remove what killed processes of this machine left half written in a folder; looked for once by each process.

    A folder that was moved aside to be replaced, and was not, gets its name back.
    """
    with suppress(OSError), os.scandir(folder) as entries:
        for name in sorted(entry.name for entry in entries):
            found = TEMPORARY.fullmatch(name)
            if found is None or found["machine"] != _machine() or _is_alive(int(found["process"])):
                continue
            if found["suffix"] == OLDER and not (folder / found["name"]).exists():
                (folder / name).replace(folder / found["name"])
            else:
                _remove(folder / name)


@contextmanager
def kept_until_done(folder: Path) -> Iterator[Path]:
    """A folder for what a call makes on its way: gone when it is done or refused, there for one that was stopped."""
    try:
        yield folder
    except UserError:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    shutil.rmtree(folder, ignore_errors=True)


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path` as UTF-8, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_bytes(path: Path, content: bytes) -> None:
    """Write `content` to `path`, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def read_text(file: Path) -> str:
    """What a text file holds: UTF-8, with or without the mark that Windows' editors put before it.

    Bytes that are no UTF-8 come back as replacement characters, so that who reads lines or numbers names the one at
    fault.
    """
    return file.read_text(encoding="utf-8-sig", errors="replace")


def within(folder: Path, name: object, remedy: str = "Rename the input.") -> Path:
    """The path of a file in a folder by a name that a file, or somebody's name for an input, says.

    A video called `...mp4` has the stem `..`: its frames were written beside OUT and not into it.

    Args:
        remedy: what to do about a name that is none, a sentence.

    Raises:
        UserError: it is no name, or leads out of the folder.
    """
    if not isinstance(name, str | Path) or "\0" in str(name):
        raise UserError(f"{folder}: {str(name)[:LONGEST_PART]!r} is no name of a file. {remedy}")
    inside, whole = Path(os.path.normpath(folder / name)), Path(os.path.normpath(folder))
    if inside == whole or not inside.is_relative_to(whole):
        raise UserError(f"{name}: names a file outside {folder}. {remedy}")
    if any(len(part.encode(errors="surrogatepass")) > LONGEST_PART for part in inside.relative_to(whole).parts):
        raise UserError(f"{folder}: {str(name)[:LONGEST_PART]!r} is too long for a name. {remedy}")
    return folder / name


def _owner() -> str:
    return f"{_machine()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"


@cache
def _machine() -> str:
    """What tells where a process id means something: the machine, since when it runs, and the container."""
    places = []
    for file in ("/proc/sys/kernel/random/boot_id", "/proc/self/ns/pid"):
        with suppress(OSError):
            places.append(str(Path(file).readlink()) if Path(file).is_symlink() else Path(file).read_text())
    return hashlib.blake2b("\n".join([platform.node(), *places]).encode(), digest_size=4).hexdigest()


def _is_alive(process: int) -> bool:
    if os.name == "nt":  # where this would end the process
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):  # somebody else's
        return True
    return True


def _flush(path: Path) -> None:
    """Bring a file's bytes to the disk before its name says that they are there."""
    if path.is_file():
        with path.open("rb") as handle:
            os.fsync(handle.fileno())


def _swap_folder(temporary: Path, path: Path) -> None:
    older = path.with_name(f".{path.name}.{_owner()}{OLDER}")
    path.replace(older)
    temporary.replace(path)
    shutil.rmtree(older)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _as_user_error(error: OSError, path: Path) -> Exception:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return UserError(f"{path}: the disk is full; nothing was changed. Free some space and run again.")
    if error.errno == errno.EFBIG:
        return UserError(f"{path}: the file grew too large for this place; nothing was changed. Choose another.")
    if error.errno in (errno.EMFILE, errno.ENFILE):
        return UserError(f"{path}: too many files are open. Lower --workers, or raise the limit (ulimit -n).")
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST, errno.ENAMETOOLONG):
        return UserError(f"{path}: cannot be written ({error.strerror}). Choose another place.")
    return error
