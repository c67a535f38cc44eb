"""PyTorch files looked through before PyTorch opens them: whole, as large as they claim, and tensors alone?

PyTorch's restricted unpickler runs no foreign code, but it checks no checksum, and it asks for as much memory as a file
claims to need: 200 bytes that claim a storage of 10^9 numbers took 4 GB. Here the pickle is gone through with inert
stand-ins for all that it names, so that every call and every size in it is seen and none is made.
"""

import io
import pickle
import zipfile
import zlib
from pathlib import Path
from typing import Any, BinaryIO

LARGEST_PICKLE = 256 * 2**20
"""Bytes of what is no tensor; that of a checkpoint with 3,000 tensors has half a megabyte."""

LEGACY_PICKLES = 5
"""A file from before PyTorch 1.6 begins with so many, of which the fourth is the state; storages follow."""

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C

ZIP_MAGIC = b"PK\x03\x04"

CALLED = frozenset(
    {
        *("collections.OrderedDict", "collections.Counter", "builtins.set", "__builtin__.set", "builtins.complex"),
        *("torch.Size", "torch.device", "torch.serialization._get_layout", "_codecs.encode"),
        *("torch._utils._rebuild_tensor", "torch._utils._rebuild_tensor_v2", "torch._utils._rebuild_tensor_v3"),
        *("torch._utils._rebuild_parameter", "torch._utils._rebuild_parameter_with_state"),
        "torch._tensor._rebuild_from_type_v2",
    }
)
"""What a state dictionary calls. PyTorch allows more, of which `bytearray` and the classes of tensors and storages take
any amount of memory for a number of ten bytes."""


class Damaged(ValueError):
    """The file is cut short, or its bytes contradict each other."""


class Foreign(ValueError):
    """The file holds objects that are no tensors and no plain values."""


def check_torch_file(path: Path) -> None:
    """Look through a file that `torch.save` wrote, without building anything of it.

    Raises:
        Damaged: a checksum is wrong, the file ends early, or it claims more than it holds.
        Foreign: it names a callable that no state dictionary needs.
        OSError: it cannot be read.
    """
    size = path.stat().st_size
    try:
        with path.open("rb") as file:
            magic = file.read(len(ZIP_MAGIC))
            file.seek(0)
            if magic == ZIP_MAGIC:
                _check_archive(file, size)
            else:
                _check_legacy(file, size)
    except (Damaged, Foreign, OSError):
        raise
    except MemoryError:
        raise Damaged("it claims more than memory holds") from None
    except Exception as error:  # a pickle machine fails on damaged bytes in every way there is
        raise Damaged(str(error).splitlines()[0][:120] if str(error) else type(error).__name__) from error


def _check_archive(file: BinaryIO, size: int) -> None:
    with zipfile.ZipFile(file) as archive:
        entries = archive.infolist()
        inside = sum(entry.file_size for entry in entries)
        if inside > size:
            raise Damaged(f"it claims {inside} bytes inside of {size}")
        names = [entry.filename for entry in entries]
        if len(set(names)) < len(names):
            raise Damaged("it holds an entry twice")
        pickles = [entry for entry in entries if entry.filename.rpartition("/")[2] == "data.pkl"]
        if len(pickles) != 1:
            raise Damaged(f"it holds {len(pickles)} pickles instead of one")
        if pickles[0].file_size > LARGEST_PICKLE:
            raise Damaged(f"what is no tensor has {pickles[0].file_size} bytes")
        try:
            broken = archive.testzip()
        except (zlib.error, NotImplementedError, RuntimeError) as error:  # another method, or encrypted
            raise Damaged(str(error)) from None
        if broken is not None:
            raise Damaged(f"the checksum of {broken} is wrong")
        _Inspector(io.BytesIO(archive.read(pickles[0])), size).load()


def _check_legacy(file: BinaryIO, size: int) -> None:
    first = _Inspector(file, size).load()
    if first != LEGACY_MAGIC:
        # A plain pickle without PyTorch's frame around it: all that it names is seen, and PyTorch refuses it.
        return
    for _ in range(LEGACY_PICKLES - 1):
        _Inspector(file, size).load()


class _Inert:
    """Stands for what a pickle names or makes."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, *arguments: Any) -> "_Inert":
        if self.name not in CALLED:
            raise Foreign(f"it calls {self.name}")
        return _Inert(f"result of {self.name}")

    def __setitem__(self, key: Any, value: Any) -> None:
        return

    def append(self, value: Any) -> None:
        return

    def extend(self, values: Any) -> None:
        return

    def add(self, value: Any) -> None:
        return

    def __setstate__(self, state: Any) -> None:
        return


class _Inspector(pickle._Unpickler):
    """Goes through a pickle and makes nothing of what it names."""

    def __init__(self, file: BinaryIO, most_bytes: int) -> None:
        super().__init__(file)
        self.left = most_bytes
        self.storages: set[Any] = set()

    def find_class(self, module: str, name: str) -> Any:
        return _Inert(f"{module}.{name}")

    def persistent_load(self, identity: Any) -> Any:
        """A storage: in all of the file they claim no more numbers than it has bytes."""
        if not (isinstance(identity, tuple) and len(identity) >= 5 and identity[0] == "storage"):
            if isinstance(identity, tuple) and identity[:1] == ("module",):
                raise Foreign("it holds the source of a module")
            raise Damaged("it refers to something that is no storage")
        key, count = identity[2], identity[4]
        if not isinstance(count, int) or count < 0:
            raise Damaged("the size of a storage is no number")
        if key not in self.storages:
            self.storages.add(key)
            self.left -= count
        if self.left < 0:
            raise Damaged("its storages claim more than the file holds")
        return _Inert("a storage")
