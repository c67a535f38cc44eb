"""Writing files so that a reader never meets half of one."""

import errno
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from egodepth.errors import UserError


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary name beside `path` and rename what was written there to `path` on success.

    The temporary name keeps the suffix, because encoders choose their format by it, and starts with a dot.
    On any exception, Ctrl-C included, the temporary file or folder is removed and an older `path` stays as it
    was. An existing folder at `path` is replaced only by a folder.

    Raises:
        UserError: the disk is full, or the place cannot be written to.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.stem}.{uuid.uuid4().hex[:8]}{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
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


def _flush(path: Path) -> None:
    """Bring a file's bytes to the disk before its name says that they are there."""
    if path.is_file():
        with path.open("rb") as handle:
            os.fsync(handle.fileno())


def _swap_folder(temporary: Path, path: Path) -> None:
    older = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.old")
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
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST):
        return UserError(f"{path}: cannot be written ({error.strerror}). Choose another place.")
    return error
