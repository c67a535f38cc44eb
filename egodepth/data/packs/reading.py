"""A packed copy of a training set: every frame decoded and resized once, and kept as plain pixels.

A pack gives the very samples of the original, bit for bit, which rules out JPEG. (Where frames are read at a random
scale, training cuts them out of the packed ones, see `data.cutting`.) For a frame of KITTI at 640x192, read on one core
of an AMD EPYC that had other work beside it:

                                           KiB     ms
    original JPEG, decoded and resized     107   22.3
    JPEG, quality 92 (not the same)         47    1.8
    WebP, lossless                         189    8.7
    PNG                                    239   10.2
    pixels as they are, checksum and copy  360    0.4

Pixels as they are take twice the disk of lossless WebP and need no decoding, so that is what a pack holds, in files
that are mapped into memory: worker processes share the pages, and the system keeps as many as there is memory for.
The 45,200 frames of KITTI's split eigen_full take 17 GB at 640x192.

A pack folder:

    pack.json              what was packed, of what, by which egodepth
    source.txt             size, time of change and name of each file of the original
    pixels-00000.bin       uint8 (frames, 3, height, width)
    samples-00000.json     the samples of this part, and a checksum of each of its frames
    …

A frame that several samples show is stored once. Parts are written whole and in order, so packing that was stopped
goes on after its last whole part. The original is only read.
"""

import math
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from egodepth.checked_json import (
    Either,
    Flag,
    ListOf,
    Number,
    Object,
    Optional,
    Row,
    Text,
    Whole,
    read_checked,
    read_object,
    shown,
)
from egodepth.configuration_shapes import shape_of
from egodepth.data.configurations import LEARNED_WAYS, Source
from egodepth.data.packs.remote import RemoteParts
from egodepth.data.packs.source import check_source
from egodepth.data.samples import LearningCamera, Sample
from egodepth.data.splits import Stage
from egodepth.errors import UserError

MARKER = "pack.json"
FORMAT = 1
REPACK = "Remove the folder and pack again."

LARGEST_JSON_BYTES = 2**30
"""Size of one file; the samples of a part of 256 MiB take one megabyte."""


@dataclass(frozen=True)
class PackOptions:
    """All that decides which samples a data set gives; a pack serves the very options that it was made with.

    Attributes:
        source_ids: the views beside the target.
        height, width: of the frames that training reads, in pixels.
        intrinsics: as the recipe has it.
        split, stride, crop, sides: as `DataConfig` has them.
    """

    limits: ClassVar[Mapping[str, tuple[float, float]]] = {"height": (1, 16384), "width": (1, 16384)}

    source_ids: tuple[Source, ...]
    height: int
    width: int
    intrinsics: str = "calibrated"
    split: str | None = None
    stride: int | None = None
    crop: str = "manydepth"
    sides: str = "both"

    @classmethod
    def of(cls, values: dict[str, Any]) -> "PackOptions":
        """From the values of a JSON file. What one from before an option does not say is as the option's default."""
        known = {key: values[key] for key in (entry.name for entry in fields(cls)) if key in values}
        return cls(**known | {"source_ids": tuple(known["source_ids"])})


MANIFEST = Object(
    {
        "format": Whole(),
        "source": Text(),
        "beside": ListOf(Text()),
        "source_identity": Text(),
        "options": replace(shape_of(PackOptions((), 32, 32), {}), required=("source_ids", "height", "width")),
        "part_bytes": Whole(1),
        "samples": Object({"train": Whole(), "val": Whole()}, required=("train",)),
        "left_out": ListOf(Text(longest=LARGEST_JSON_BYTES)),
        "complete": Flag(),
    },
    required=("format", "source", "source_identity", "options", "part_bytes", "samples", "left_out", "complete"),
)

FRAME = Whole(0, 2**40)

SAMPLE = Object(
    {
        "name": Text(),
        "views": ListOf(FRAME, 2, 64),
        "intrinsics": ListOf(ListOf(Number(-1e4, 1e4), 3, 3), 3, 3),
        "stereo_offset": Number(-1e4, 1e4),
        "baseline_m": Optional(Number(0, 1e6)),
        "centred": Flag(),
        "mask": FRAME,
        "learned_camera": Text(),
    },
    required=("name", "views", "intrinsics", "stereo_offset", "baseline_m", "centred"),
)

BROKEN = Object({"broken": Text(longest=LARGEST_JSON_BYTES)})

PART = Object(
    {
        "stage": Text(("train", "val")),
        "frames": ListOf(Row((Text(longest=64), Whole(0, 2**32 - 1)))),
        "samples": ListOf(Either(BROKEN, SAMPLE)),
    },
    closed=True,
)


# --- reading ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Pack:
    """An opened pack folder.

    Attributes:
        options: that it was made with.
        training: the training set.
        validation: None where nothing is held out.
        left_out: one message for each frame, or group of frames, of the original that cannot be used.
    """

    options: PackOptions
    training: "PackedDataset"
    validation: "PackedDataset | None"
    left_out: tuple[str, ...]


def open_pack(folder: Path, asked: PackOptions) -> Pack:
    """The data sets of a pack.

    Args:
        asked: what training wants. A pack gives its own split, stride, crop and camera where these are left at their
            defaults.

    Raises:
        UserError: the pack is not complete, damaged, was made with other options, or its source has changed since. A
            source that is not on this machine is not missed.
    """
    manifest = read_manifest(folder)
    options = PackOptions.of(manifest["options"])
    if not manifest["complete"]:
        raise UserError(
            f"{folder}: was not packed to its end. Run the same egodepth data pack again; it continues where it "
            "stopped."
        )
    _check_options(folder, options, asked)
    check_source(folder, manifest, REPACK)
    store = PackedFrames(folder, options)
    parts = [read_part(folder, number) for number in range(len(list(folder.glob("samples-*.json"))))]
    _check_samples(folder, parts, len(options.source_ids))
    store.expect([[checksum for _, checksum in part["frames"]] for part in parts])
    entries: dict[Stage, list[dict[str, Any]]] = {"train": [], "val": []}
    part_of: dict[Stage, list[int]] = {"train": [], "val": []}
    for number, part in enumerate(parts):
        entries[part["stage"]] += part["samples"]
        part_of[part["stage"]] += [number] * len(part["samples"])
    for stage, found in entries.items():
        if len(found) != (count := manifest["samples"].get(stage, 0)):
            raise UserError(f"{folder}: has {len(found)} of {count} {stage} samples. {REPACK}")
    training, validation = (
        PackedDataset(store, options.source_ids, entries[stage], part_of[stage]) for stage in ("train", "val")
    )
    return Pack(options, training, validation if len(validation) else None, tuple(manifest["left_out"]))


class PackedFrames:
    """The frames of a pack by number, read from mapped files, or from a store, and checked against their checksums.

    Attributes:
        remote: the pixels, where they are in a store.
    """

    def __init__(self, folder: Path, options: PackOptions) -> None:
        self.folder = folder
        self.remote = RemoteParts.of(folder)
        self.shape = 3, options.height, options.width
        self._first_of_part = np.zeros(1, dtype=np.int64)
        self._checksums = np.zeros(0, dtype=np.uint32)
        self._parts: dict[int, np.ndarray] = {}

    def expect(self, checksums: Sequence[Sequence[int]]) -> None:
        """Take the checksums of all frames, part by part.

        Raises:
            UserError: the file of a part is missing, or has not as many bytes as its frames need.
        """
        size = math.prod(self.shape)
        sizes = None if self.remote is None else self.remote.sizes()
        for number, part in enumerate(checksums):
            file = pixels_file(self.folder, number)
            if sizes is None:
                name, found = str(file), file.stat().st_size if file.is_file() else None
            else:
                name, found = f"{self.remote.address}/{file.name}", sizes.get(file.name)
            if found is None:
                raise UserError(f"{name}: is missing. {REPACK}")
            if found != len(part) * size:
                raise UserError(f"{name}: has {found} bytes, expected {len(part) * size}. {REPACK}")
        self._first_of_part = np.cumsum([0, *(len(part) for part in checksums)])
        self._checksums = np.array([value for part in checksums for value in part], dtype=np.uint32)

    def read(self, number: int, of_part: int) -> Tensor:
        """The frame as (3, height, width) uint8; not to be written to.

        Args:
            of_part: the part that the sample is of; the frame may be of another.

        Raises:
            UserError: its pixels are not those that were packed, or cannot be fetched.
        """
        part = int(np.searchsorted(self._first_of_part, number, side="right")) - 1
        place = number - int(self._first_of_part[part])
        if self.remote is None:
            pixels = self._mapped(part)[place]
        else:
            size = math.prod(self.shape)
            name = pixels_file(self.folder, part).name
            pixels = self.remote.read(name, place * size, size, whole=part == of_part).reshape(self.shape)
        if zlib.crc32(pixels) != self._checksums[number]:
            raise UserError(f"{pixels_file(self.folder, part)}: frame {place} is damaged. {REPACK}")
        return torch.from_numpy(pixels)

    def _mapped(self, part: int) -> np.ndarray:
        if part not in self._parts:
            # Copy-on-write keeps the file safe from whoever writes to a frame, and PyTorch from warning about it.
            pixels = np.memmap(pixels_file(self.folder, part), dtype=np.uint8, mode="c")
            self._parts[part] = np.asarray(pixels).reshape(-1, *self.shape)
        return self._parts[part]

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | {"_parts": {}}


class PackedDataset:
    """Training samples from a pack (a `TrainingDataset`): those of the original, in its order.

    Args:
        part_of: the part that each sample is of.
    """

    def __init__(
        self,
        frames: PackedFrames,
        source_ids: Sequence[Source],
        entries: Sequence[dict[str, Any]],
        part_of: Sequence[int],
    ) -> None:
        self.source_ids = tuple(source_ids)
        self._frames = frames
        self._entries = entries
        self._part_of = np.array(part_of, dtype=np.int64)

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def parts(self) -> np.ndarray | None:
        """The part that each sample is of, where those of one part are best read near each other."""
        return None if self._frames.remote is None else self._part_of

    def sample_names(self) -> Iterator[str]:
        return (entry.get("name", "broken") for entry in self._entries)

    def __getitem__(self, index: int) -> Sample:
        entry = self._entries[index]
        if "broken" in entry:
            raise UserError(entry["broken"])
        part = int(self._part_of[index])
        target, *sources = (self._frames.read(number, part) for number in entry["views"])
        return Sample(
            name=entry["name"],
            target=target,
            sources=torch.stack(sources),
            intrinsics=torch.tensor(entry["intrinsics"]),
            stereo_offset=entry["stereo_offset"],
            baseline_m=math.nan if entry["baseline_m"] is None else entry["baseline_m"],
            centred=entry["centred"],
            mask=self._frames.read(entry["mask"], part)[:1] > 0 if "mask" in entry else None,
            learned_camera=entry.get("learned_camera"),
        )

    @property
    def learning(self) -> tuple[LearningCamera, ...]:
        """The cameras that are learnt."""
        found = {}
        for entry in self._entries:
            if "learned_camera" in entry:
                key = entry["learned_camera"], entry["name"].rpartition("/")[0]
                found.setdefault(key, torch.tensor(entry["intrinsics"]))
        return LearningCamera.joined(
            LearningCamera(name, (footage,), start) for (name, footage), start in found.items()
        )


# --- checks ----------------------------------------------------------------------------------------------------------


def _check_options(folder: Path, packed: PackOptions, asked: PackOptions) -> None:
    defaults = {entry.name: entry.default for entry in fields(PackOptions)}
    for name, value in asdict(packed).items():
        wanted = getattr(asked, name)
        if wanted == value or (name in ("split", "stride", "crop") and wanted == defaults[name]):
            continue
        if name == "intrinsics" and wanted == defaults[name] and value not in ("fixed", *LEARNED_WAYS):
            continue
        raise UserError(
            f"{folder}: was packed with {name} {_shown(value)}, this training wants {_shown(wanted)}. "
            "Pack for this recipe and these options, or train on the original."
        )


def _check_samples(folder: Path, parts: Sequence[dict[str, Any]], sources: int) -> None:
    """Raises UserError: a sample lacks a view, or shows a frame that the pack does not hold."""
    frames = sum(len(part["frames"]) for part in parts)
    for number, part in enumerate(parts):
        for place, entry in enumerate(part["samples"]):
            if "broken" in entry:
                continue
            shown_frames = (*entry["views"], *((entry["mask"],) if "mask" in entry else ()))
            if len(entry["views"]) != 1 + sources or max(shown_frames) >= frames:
                file = samples_file(folder, number)
                raise UserError(f"{file}: samples[{place}] shows frames that the pack does not hold. {REPACK}")


# --- the folder -------------------------------------------------------------------------------------------------------


def is_pack(path: Path) -> bool:
    """Whether a path is a pack folder, whole or not."""
    return (path / MARKER).is_file()


def read_manifest(folder: Path) -> dict[str, Any]:
    """What a pack says of itself.

    Raises:
        UserError: it is missing, damaged, or of another format.
    """
    form = read_object(folder / MARKER, REPACK, LARGEST_JSON_BYTES).get("format")
    if form != FORMAT:
        raise UserError(f"{folder}: is a pack of format {shown(form)}, not {FORMAT}. {REPACK}")
    return read_checked(folder / MARKER, MANIFEST, REPACK, LARGEST_JSON_BYTES)


def read_part(folder: Path, number: int) -> dict[str, Any]:
    """The samples of a part, as they were packed.

    Raises:
        UserError: its file is missing or damaged, or was changed since.
    """
    return read_checked(samples_file(folder, number), PART, REPACK, LARGEST_JSON_BYTES)


def samples_file(folder: Path, number: int) -> Path:
    return folder / f"samples-{number:05d}.json"


def pixels_file(folder: Path, number: int) -> Path:
    return folder / f"pixels-{number:05d}.bin"


def frame_bytes(options: PackOptions) -> int:
    return 3 * options.height * options.width


def _shown(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, (tuple, list)) else str(value)
