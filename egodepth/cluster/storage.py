"""Files wherever fsspec reaches: found by address or pattern, fetched to a machine, and put in place whole."""

import shutil
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from egodepth.data.bags.reading import SUFFIXES as BAG_SUFFIXES
from egodepth.data.calibrations.finding import OTHERS
from egodepth.data.calibrations.reading import SUFFIXES as CALIBRATION_SUFFIXES
from egodepth.data.footage.containers import VIDEO_SUFFIXES
from egodepth.data.images import IMAGE_SUFFIXES
from egodepth.errors import UserError, first_line
from egodepth.files import replacing
from egodepth.inference.inputs import (
    GLOB_CHARACTERS,
    ImageInput,
    Input,
    VideoInput,
    fixed_part,
    natural_order,
    with_distinct_names,
)

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

FILM_SUFFIXES = VIDEO_SUFFIXES | frozenset(BAG_SUFFIXES)
"""Files far away are known by their names alone: to look into each would cost a request."""

SHOWN_WHEN_WHOLE = frozenset({"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "oss", "r2", "memory"})
"""Stores in which an object has its name only when all of it is there, and in which to rename is to copy."""

REQUESTS_AT_ONCE = 16
"""For many small files, each of which waits for an answer."""


class Store:
    """One place that fsspec reaches, with the paths in it.

    Args:
        address: of anything there, which says which place it is: `s3://bucket/drives`, or a path on this machine.

    Attributes:
        root: what of the address is a path there.
        said: the address as other machines understand it.

    Raises:
        UserError: fsspec does not know the place, or what reaches it is not installed.
    """

    def __init__(self, address: str) -> None:
        self.files, self.root = _opened(address)
        self.said = self.root if self.is_local else address
        self._texts: dict[PurePosixPath, list[PurePosixPath]] = {}

    @property
    def is_local(self) -> bool:
        """Whether its paths are paths of this machine."""
        return "file" in _protocols(self.files)

    def address(self, path: str | PurePosixPath) -> str:
        """What a user calls a path in the store."""
        return str(path) if self.is_local else self.files.unstrip_protocol(str(path).lstrip("/"))

    def list_names(self) -> set[str]:
        """Names of all files below the root, relative to it; none where it is not there yet."""
        self.files.invalidate_cache()
        try:
            found = self.files.find(self.root)
        except FileNotFoundError:
            return set()
        except Exception as error:  # each store raises types of its own
            raise UserError(
                f"{self.said}: cannot be listed ({first_line(error)}). Check address and access."
            ) from error
        return {self._below(path) for path in found}

    def remove(self, names: Iterable[str]) -> None:
        """Remove files below the root."""
        # One by one: lists of paths are patterns to fsspec, and names may have brackets.
        with ThreadPoolExecutor(REQUESTS_AT_ONCE) as pool:
            list(pool.map(self.files.rm_file, [f"{self.root}/{name}" for name in names]))

    def fetch(self, path: PurePosixPath, to: Path) -> None:
        """Copy a file to this machine."""
        to.parent.mkdir(parents=True, exist_ok=True)
        self.files.get_file(self._own(path), str(to))

    def beside(self, path: PurePosixPath, is_video: bool) -> list[PurePosixPath]:
        """The files in the folder of an input that may say its camera."""
        if path.parent not in self._texts:  # listed once: a folder may hold thousands of videos
            names = self.files.ls(self._own(path.parent), detail=False)
            found = [PurePosixPath("/", each) for each in names]
            self._texts[path.parent] = [each for each in found if each.suffix.lower() in CALIBRATION_SUFFIXES]
        own = f"{path.stem}.json" if is_video else None
        return [
            each
            for each in self._texts[path.parent]
            if each.name in ("camera.json", own) or any(fnmatch(each.name, pattern) for pattern in OTHERS)
        ]

    def read(self, names: Sequence[str]) -> list[bytes | None]:
        """The contents of files below the root, in this order; None for one that cannot be read."""
        with ThreadPoolExecutor(REQUESTS_AT_ONCE) as pool:
            return list(pool.map(self._read, names))

    def _read(self, name: str) -> bytes | None:
        try:
            return self.files.cat_file(f"{self.root}/{name}")
        except Exception:  # each store raises types of its own
            return None

    def put(self, file: Path, name: str) -> None:
        """Give a file of this machine a name below the root, under which nobody sees it before it is whole."""
        target = f"{self.root}/{name}"
        if self.is_local:
            with replacing(Path(target)) as temporary:
                shutil.copyfile(file, temporary)
        elif _protocols(self.files) & SHOWN_WHEN_WHOLE:
            self.files.put_file(str(file), target)
        else:
            folder, _, last = target.rpartition("/")
            self.files.makedirs(folder, exist_ok=True)
            # The same name each time: what a lost worker left is written over by the one that does its work again.
            self.files.put_file(str(file), f"{folder}/.{last}.part")
            self.files.mv(f"{folder}/.{last}.part", target)

    def _below(self, path: str) -> str:
        return str(PurePosixPath("/", path).relative_to(PurePosixPath("/", self.root)))

    def _own(self, path: PurePosixPath) -> str:
        """A path as its file system spells it: in an object store without the first slash."""
        return str(path) if str(self.root).startswith("/") else str(path).lstrip("/")


def find_inputs(addresses: Iterable[str]) -> tuple[Store, list[Input]]:
    """The images and videos that addresses and patterns name, with paths in their store, as `expand_inputs` finds and
    names them on one machine.

    Raises:
        UserError: nothing is there, it is neither an image nor a video by its suffix, or the addresses are of several
            stores.
    """
    store: Store | None = None
    found: dict[PurePosixPath, Input] = {}
    for address in addresses:
        this = Store(address)
        if store is not None and this.files is not store.files:
            raise UserError(f"{address}: lies elsewhere than the other inputs. Give those of one place at a time.")
        store = store or this
        for each in _expanded(this, address):
            found.setdefault(each.path, each)
    return store, with_distinct_names(list(found.values()))


def _expanded(store: Store, address: str) -> list[Input]:
    files, path = store.files, store.root
    files.invalidate_cache()
    try:
        if GLOB_CHARACTERS & set(path) and not files.exists(path):
            root = fixed_part(Path("/", path))
            matches = [each for each, entry in files.glob(path, detail=True).items() if entry["type"] == "file"]
        elif files.isdir(path):
            root = PurePosixPath("/", path)
            matches = [entry["name"] for entry in files.ls(path, detail=True) if entry["type"] == "file"]
        elif files.exists(path):
            root, matches = PurePosixPath("/", path).parent, [path]
        else:
            raise UserError(f"{address}: no such file or folder; check the address")
    except UserError:
        raise
    except Exception as error:  # each store raises types of its own
        raise _not_listed(address, error) from error
    paths = sorted((Path("/", each) for each in matches), key=natural_order)
    inputs = [each for each in (input_of(path, path.relative_to(root).with_suffix("")) for path in paths) if each]
    if not inputs:
        raise UserError(f"{address}: holds no image and no video by their suffixes; check address and pattern")
    return inputs


def input_of(path: Path, name: Path) -> Input | None:
    """A file in a store as an input of this name; None where its suffix is neither an image's nor a video's."""
    if path.name.startswith("."):
        return None
    if path.suffix.lower() in IMAGE_SUFFIXES:
        return ImageInput(path, name)
    return VideoInput(path, name) if path.suffix.lower() in FILM_SUFFIXES else None


def _opened(address: str) -> "tuple[AbstractFileSystem, str]":
    from fsspec.core import url_to_fs

    try:
        return url_to_fs(address)
    except (ImportError, ValueError) as error:
        raise UserError(f"{address}: cannot be reached ({first_line(error)}).") from error


def _not_listed(address: str, error: Exception) -> UserError:
    return UserError(f"{address}: cannot be listed ({first_line(error)}). Check address and access.")


def _protocols(files: "AbstractFileSystem") -> frozenset[str]:
    return frozenset({files.protocol} if isinstance(files.protocol, str) else files.protocol)
