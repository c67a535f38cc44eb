"""Packs that lie in an object store, or wherever else fsspec reaches.

What a pack says of itself is copied at once, into a folder of the cache that stands for it: it is opened and trained
on as any other. The pixels come part by part, each with the first sample that is read of it, and stay until others need
the room. A frame that a sample shows from another part than its own (its neighbour on the edge of two parts, a mask) is
fetched by itself.
"""

import os
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np

from egodepth.cache import VARIABLE, cache_folder
from egodepth.data.packs.source import SOURCE_FILE, digest_of
from egodepth.environment import number_said
from egodepth.errors import UserError, first_line
from egodepth.files import replacing, write_bytes, write_text

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

ADDRESS_FILE = "address.txt"
"""In the folder that stands for a pack: where its pixels are."""

BYTES_VARIABLE = "EGODEPTH_PACK_GB"
"""Environment variable: gigabytes that the fetched parts of a pack may take on this machine."""

USUAL_GB = 20.0

ATTEMPTS = 3
"""At fetching something, beside those that the file system makes itself."""

SINGLE_FRAMES = 8
"""Frames that were fetched by themselves and are kept in memory: a mask is the same for all samples."""


class Unreachable(UserError):
    """A store does not give what it has: no reason to take another sample in its place."""


def is_address(path: Path) -> bool:
    """Whether a path is an address that was taken for one, which leaves it one slash: `s3:/bucket/pack`."""
    scheme = path.parts[0] if path.parts else ""
    return len(scheme) > 2 and scheme.endswith(":") and not path.exists()


def room_bytes() -> float:
    """How much of a pack may be kept on this machine.

    Raises:
        UserError: the variable is no number.
    """
    return 1e9 * number_said(BYTES_VARIABLE, USUAL_GB)


def stand_in(path: Path) -> Path:
    """The folder of this machine that stands for the pack at an address.

    Args:
        path: the address, as `is_address` knows it.

    Raises:
        UserError: fsspec is not installed or cannot reach the address, there is no pack, or no place for it here, or
            `BYTES_VARIABLE` is no number.
    """
    address = f"{path.parts[0]}//{PurePosixPath(*path.parts[1:])}"
    room_bytes()  # in a loading process, an hour later, nobody would see what is wrong
    root = cache_folder("packs")
    if root is None:
        raise UserError(f"{address}: needs a folder for what is fetched. Name one by {VARIABLE}.")
    from egodepth.data.packs.reading import MARKER

    folder = root / digest_of(address.encode()) / path.name
    files, there = _opened(address)
    marker = _read(files, address, f"{there}/{MARKER}")
    if not (folder / MARKER).is_file() or (folder / MARKER).read_bytes() != marker:
        for old in folder.glob("*"):  # of another pack, that lay there before
            old.unlink()
        for name in _sizes(files, address, there):
            if name.startswith("samples-") or name == SOURCE_FILE:
                write_bytes(folder / name, _read(files, address, f"{there}/{name}"))
        write_text(folder / ADDRESS_FILE, address)
        write_bytes(folder / MARKER, marker)
    return folder


class RemoteParts:
    """The pixels of a pack in a store, of which this machine keeps the parts that were read last.

    Args:
        folder: that stands for the pack.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.address = (folder / ADDRESS_FILE).read_text(encoding="utf-8")
        self._single: dict[tuple[str, int], bytes] = {}

    @classmethod
    def of(cls, folder: Path) -> "RemoteParts | None":
        """Those of a pack; None for one that is on this machine."""
        return cls(folder) if (folder / ADDRESS_FILE).is_file() else None

    def sizes(self) -> dict[str, int]:
        """Bytes of the files in the store, by name.

        Raises:
            UserError: it does not answer.
        """
        return _sizes(*self._place())

    def read(self, name: str, start: int, size: int, whole: bool) -> np.ndarray:
        """Bytes of a file, uint8.

        Args:
            whole: fetch all of it, because more of it will be read.

        Raises:
            Unreachable: the store does not give it.
        """
        file = self.folder / name
        for _ in range(ATTEMPTS):
            with suppress(FileNotFoundError), file.open("rb") as opened:  # another process may need the room just now
                os.utime(opened.fileno())
                opened.seek(start)
                return np.fromfile(opened, np.uint8, size)
            if not whole:
                return np.frombuffer(bytearray(self._single_frame(name, start, size)), np.uint8)
            self._fetch(name)
        raise Unreachable(f"{file}: is removed as soon as it is fetched. Give more room by {BYTES_VARIABLE}.")

    def _fetch(self, name: str) -> None:
        from filelock import FileLock

        file = self.folder / name
        files, address, there = self._place()
        with FileLock(self.folder / f".{name}.lock"):
            if file.is_file():  # fetched by another process meanwhile
                return
            with replacing(file) as temporary:
                _attempted(f"{address}/{name}", lambda: files.get_file(f"{there}/{name}", str(temporary)))
        self._make_room(file)

    def _make_room(self, latest: Path) -> None:
        """Remove the parts that were read longest ago, as far as the others fill the room."""
        room = room_bytes() - latest.stat().st_size
        found = []
        for part in self.folder.glob("pixels-*.bin"):
            with suppress(FileNotFoundError):
                status = part.stat()
                found.append((status.st_mtime_ns, status.st_size, part))
        for _, size, part in sorted(found, reverse=True):
            if part == latest:
                continue
            room -= size
            if room < 0:
                part.unlink(missing_ok=True)

    def _single_frame(self, name: str, start: int, size: int) -> bytes:
        key = name, start
        if key not in self._single:
            files, address, there = self._place()
            read = _attempted(
                f"{address}/{name}", lambda: files.cat_file(f"{there}/{name}", start=start, end=start + size)
            )
            self._single = dict([*self._single.items(), (key, read)][-SINGLE_FRAMES:])
        return self._single[key]

    def _place(self) -> "tuple[AbstractFileSystem, str, str]":
        # Anew in each process: connections do not outlive a fork, and fsspec remembers them.
        files, there = _opened(self.address)
        return files, self.address, there


def _opened(address: str) -> "tuple[AbstractFileSystem, str]":
    try:
        from fsspec.core import url_to_fs

        return url_to_fs(address)
    except ImportError as error:
        raise UserError(f"{address}: cannot be reached ({first_line(error)}): pip install 'egodepth[ray]'.") from error
    except ValueError as error:
        raise UserError(f"{address}: cannot be reached ({first_line(error)}). Check the address.") from error


def _sizes(files: "AbstractFileSystem", address: str, there: str) -> dict[str, int]:
    def listed() -> dict[str, int]:
        files.invalidate_cache()
        return {PurePosixPath(each["name"]).name: each["size"] for each in files.ls(there, detail=True)}

    return _attempted(address, listed)


def _read(files: "AbstractFileSystem", address: str, path: str) -> bytes:
    return _attempted(f"{address}/{PurePosixPath(path).name}", lambda: files.cat_file(path))


def _attempted(address: str, action: Any) -> Any:
    """What an action gives, at the first attempt that does not fail.

    Raises:
        Unreachable: all fail, or there is nothing.
    """
    reason = ""
    for _ in range(ATTEMPTS):
        try:
            return action()
        except FileNotFoundError as error:
            raise Unreachable(f"{address}: is not in the store. Copy the whole pack there.") from error
        except UserError:
            raise
        except Exception as error:  # each store raises types of its own
            reason = first_line(error)
    raise Unreachable(f"{address}: cannot be read ({reason}). Check address and access.")
