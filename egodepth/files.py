"""Writing files so that a reader never meets half of one."""

import errno
import hashlib
import os
import platform
import re
import shutil
import stat
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

ATTEMPTS = 100
"""At giving a folder its name while others give it theirs."""

OVERTAKEN = (errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT)
"""What a rename answers when another process moved its own folder there, or the older one away, since we looked."""

PLACE_ERRORS = frozenset(
    getattr(errno, name)
    for name in (
        *("EACCES", "EPERM", "EROFS", "EIO", "ENOENT", "ENOTDIR", "EISDIR"),
        *("EEXIST", "ENOTEMPTY", "ENAMETOOLONG", "ELOOP", "ESTALE"),
    )
    if hasattr(errno, name)
)
"""What a place answers that nothing can be written to, or no longer."""

WITHOUT_FSYNC = (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP)
"""What file systems answer that bring nothing to a disk on demand."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary name beside `path` and rename what was written there to `path` on success.

    The temporary name keeps the suffix, because encoders choose their format by it, starts with a dot, and says which
    process writes it. On any exception, Ctrl-C included, the temporary file or folder is removed and an older `path`
    stays as it was; what a killed process left is removed by the next one that writes beside it. An existing folder at
    `path` is replaced only by a folder. Of several processes that write one path at once, the last one's stays.

    Raises:
        UserError: the disk is full, the place cannot be written to, or there is a device or a pipe.
    """
    path = Path(path)
    # Cut, because a name of 255 bytes has no room for ours.
    temporary = path.with_name(f".{path.stem[:SHOWN_OF_NAME]}.{_owner()}{path.suffix}")
    try:
        if _is_device(path):
            # Root would put a file in the place of /dev/null, for all programs of the machine.
            raise UserError(f"{path}: is a device or a pipe, which a file would replace. Name a file.")
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers(path.parent.absolute())
        yield temporary
        _flush(temporary)
        _give_name(temporary, path)
    except OSError as error:
        raise place_error(error, path) from error
    finally:
        with suppress(OSError):  # it would take the place of the error that tells why there is nothing to remove
            _remove(temporary)


@cache
def remove_leftovers(folder: Path) -> None:
    """Remove what killed processes of this machine left half written in a folder; looked for once by each process.

    A folder that was moved aside to be replaced, and was not, gets its name back.
    """
    with suppress(OSError), os.scandir(folder) as entries:
        for name in sorted(entry.name for entry in entries):
            found = TEMPORARY.fullmatch(name)
            if found is None or found["machine"] != machine_name() or _is_alive(int(found["process"])):
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
    """Write `text` to `path` as UTF-8, whole or not at all; what a name has that is none, as an escape."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


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


@cache
def machine_name() -> str:
    """What tells where a process id means something: the machine, since when it runs, and the container."""
    places = []
    for file in ("/proc/sys/kernel/random/boot_id", "/proc/self/ns/pid"):
        with suppress(OSError):
            places.append(str(Path(file).readlink()) if Path(file).is_symlink() else Path(file).read_text())
    return hashlib.blake2b("\n".join([platform.node(), *places]).encode(), digest_size=4).hexdigest()


def place_error(error: OSError, path: Path) -> Exception:
    """A `UserError` for what keeps `path` from being written; any other error as it is."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return UserError(f"{path}: the disk is full; nothing was changed. Free some space and run again.")
    if error.errno == errno.EFBIG:
        return UserError(f"{path}: the file grew too large for this place; nothing was changed. Choose another.")
    if error.errno in (errno.EMFILE, errno.ENFILE):
        return UserError(f"{path}: too many files are open. Lower --workers, or raise the limit (ulimit -n).")
    if error.errno in PLACE_ERRORS and (error.filename is None or _is_beside(str(error.filename), path)):
        return UserError(f"{path}: cannot be written ({error.strerror}). Choose another place.")
    return error  # of something that was read meanwhile


def _owner() -> str:
    return f"{machine_name()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"


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


def _is_device(path: Path) -> bool:
    try:
        mode = path.stat().st_mode  # one look: between two another process may move its folder there
    except OSError:
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def _flush(path: Path) -> None:
    """Bring a file's bytes to the disk before its name says that they are there."""
    if not path.is_file():
        return
    with path.open("rb") as handle:
        try:
            os.fsync(handle.fileno())
        except OSError as error:
            if error.errno not in WITHOUT_FSYNC:
                raise


def _give_name(temporary: Path, path: Path) -> None:
    for attempt in range(1, ATTEMPTS + 1):
        try:
            if temporary.is_dir() and path.is_dir():
                _swap_folder(temporary, path)
            else:
                temporary.replace(path)
            return
        except OSError as error:
            if error.errno not in OVERTAKEN or not temporary.is_dir() or attempt == ATTEMPTS:
                raise


def _swap_folder(temporary: Path, path: Path) -> None:
    older = path.with_name(f".{path.name}.{_owner()}{OLDER}")
    path.replace(older)
    try:
        temporary.replace(path)
    except OSError:
        _give_back(older, path)
        raise
    # Not "if the path exists": another process may have moved ours aside by now to put its own there.
    shutil.rmtree(older, ignore_errors=True)


def _give_back(older: Path, path: Path) -> None:
    try:
        older.replace(path)
    except OSError as error:
        if error.errno in OVERTAKEN:
            shutil.rmtree(older, ignore_errors=True)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _is_beside(file: str, path: Path) -> bool:
    """Whether a file is a path, in it, on the way to it, or a temporary one beside it."""
    place, whole = Path(file).absolute(), path.absolute()
    if whole.is_relative_to(place) or place.is_relative_to(whole):
        return True
    beside = place.relative_to(whole.parent).parts[0] if place.is_relative_to(whole.parent) else ""
    return TEMPORARY.fullmatch(beside) is not None
