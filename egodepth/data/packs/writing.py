"""Making a packed copy of a training set; what a pack is and how it is read stands in `reading`."""

import json
import logging
import math
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from torch.utils.data import DataLoader, Dataset

from egodepth.checked_json import sealed
from egodepth.data.loading import broken_allowed, one_thread
from egodepth.data.packs.reading import (
    FORMAT,
    MARKER,
    PackOptions,
    frame_bytes,
    is_pack,
    pixels_file,
    read_manifest,
    read_part,
    samples_file,
)
from egodepth.data.packs.source import SOURCE_FILE, digest_of, identity_digest, source_identity
from egodepth.data.samples import Sample, TrainingDataset
from egodepth.data.splits import Stage
from egodepth.errors import UserError
from egodepth.files import replacing, write_text
from egodepth.locks import holds_anything
from egodepth.version import __version__

log = logging.getLogger("egodepth")

PART_BYTES = 256 * 2**20


@dataclass(frozen=True)
class PackReport:
    """What packing did.

    Attributes:
        samples, frames: in the pack, the frames without those that are there twice.
        packed_now: samples that this call packed; the others were there already.
        bytes: of the pixels.
    """

    samples: int
    frames: int
    packed_now: int
    bytes: int


def pack(
    out: Path,
    sources: Sequence[Path],
    training: TrainingDataset,
    validation: TrainingDataset | None,
    options: PackOptions,
    left_out: Sequence[str] = (),
    workers: int = 0,
    part_bytes: int = PART_BYTES,
) -> PackReport:
    """Write the samples of a data set into a pack folder, or go on with one that was stopped.

    Costs about what one epoch of loading costs. A sample that cannot be read is remembered with its message, so that
    training from the pack treats it as training from the original does.

    Args:
        out: the pack folder; new, or one that was stopped.
        sources: DATA as it was opened.
        training, validation: as opened from it with `options`.
        left_out: messages about frames that are in neither.
        workers: processes that decode beside this one.
        part_bytes: how much one part may hold.

    Raises:
        UserError: the folder holds something else, or a pack of other data or options; the disk is full; or the data
            cannot be read, or change meanwhile.
    """
    for source in sources:
        if out.resolve().is_relative_to(source.resolve()):
            raise UserError(f"{out}: lies inside the data that is to be packed. Choose a folder outside {source}.")
    datasets: dict[Stage, TrainingDataset] = {"train": training} | ({} if validation is None else {"val": validation})
    identity = source_identity(sources, options.intrinsics)
    whole = [str(source.resolve()) for source in sources]
    manifest = {
        "format": FORMAT,
        "egodepth": __version__,
        "source": whole[0],
        "beside": whole[1:],
        "source_identity": identity_digest(identity),
        "options": json.loads(json.dumps(asdict(options))),
        "part_bytes": part_bytes,
        "samples": {stage: len(dataset) for stage, dataset in datasets.items()},
        "left_out": list(left_out),
        "complete": False,
    }
    _begin(out, manifest, identity)
    parts = _parts(datasets, options, part_bytes)
    number_of, done = _whole_parts(out, len(parts))
    readings = iter(_read_all(datasets, parts[done:], workers))
    packed_now = 0
    broken: list[str] = []
    for number, (stage, places) in enumerate(parts[done:], done):
        samples = [next(readings) for _ in places]
        broken += [sample for sample in samples if isinstance(sample, str)]
        _check_broken(out, broken, sum(manifest["samples"].values()))
        _write_part(out, number, stage, samples, number_of)
        packed_now += len(places)
        log.info("packed part %d of %d", number + 1, len(parts))
    if source_identity(sources, options.intrinsics) != identity:
        raise UserError(
            f"{out}: files of {whole[0]} have changed while they were packed. Remove the folder, pack again."
        )
    for message in broken:
        log.warning("%s Training uses another frame in its place.", message)
    write_text(out / MARKER, json.dumps(manifest | {"complete": True}, indent=2) + "\n")
    size = len(number_of) * frame_bytes(options)
    return PackReport(sum(len(dataset) for dataset in datasets.values()), len(number_of), packed_now, size)


def _check_broken(out: Path, broken: Sequence[str], samples: int) -> None:
    """Raises UserError: so many that training would refuse them, as where the source went away meanwhile."""
    if len(broken) > broken_allowed(samples):
        raise UserError(f"{out}: {len(broken)} of {samples} samples cannot be packed, the first: {broken[0]}")


def _begin(out: Path, manifest: dict[str, Any], identity: Sequence[str]) -> None:
    """Make the folder, or check that it holds the same pack, begun."""
    if is_pack(out):
        known = read_manifest(out)
        for key in ("source", "beside", "source_identity", "options", "part_bytes", "samples"):
            if known.get(key, []) != manifest[key]:
                what = "files of the source that have changed since" if key == "source_identity" else f"another {key}"
                raise UserError(f"{out}: holds a pack with {what}. Remove the folder, or choose another --out.")
        return
    if out.is_dir() and holds_anything(out):
        raise UserError(f"{out}: already holds something else. Choose another --out.")
    write_text(out / SOURCE_FILE, "\n".join(identity) + "\n")
    write_text(out / MARKER, json.dumps(manifest, indent=2) + "\n")


def _parts(datasets: dict[Stage, TrainingDataset], options: PackOptions, part_bytes: int) -> list[tuple[Stage, range]]:
    """Which samples go into which part: so many that a part has room even if they share no frame."""
    size = max(1, part_bytes // (frame_bytes(options) * (1 + len(options.source_ids))))
    return [
        (stage, range(start, min(start + size, len(dataset))))
        for stage, dataset in datasets.items()
        for start in range(0, len(dataset), size)
    ]


def _whole_parts(out: Path, count: int) -> tuple[dict[str, int], int]:
    """The frames that are packed already, by digest, and how many parts from the first on are whole."""
    number_of: dict[str, int] = {}
    for number in range(count):
        if not (samples_file(out, number).is_file() and pixels_file(out, number).is_file()):
            return number_of, number
        for digest, _ in read_part(out, number)["frames"]:
            number_of[digest] = len(number_of)
    return number_of, count


class _Samples(Dataset["Sample | str"]):
    """All samples of some parts in a row; in place of one that cannot be read, the message that says why."""

    def __init__(self, datasets: dict[Stage, TrainingDataset], parts: Sequence[tuple[Stage, range]]) -> None:
        self.datasets = datasets
        self.places = [(stage, place) for stage, places in parts for place in places]

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index: int) -> Sample | str:
        stage, place = self.places[index]
        try:
            sample = self.datasets[stage][place]
        except UserError as error:
            return str(error)
        # A target may be a view of all frames that a dataset remembers; sending it would send and unshare them all.
        return replace(sample, target=sample.target.clone())


def _read_all(datasets: dict[Stage, TrainingDataset], parts: Sequence[tuple[Stage, range]], workers: int) -> DataLoader:
    samples = _Samples(datasets, parts)
    return DataLoader(samples, batch_size=None, num_workers=workers, collate_fn=_as_it_is, worker_init_fn=one_thread)


def _write_part(
    out: Path, number: int, stage: Stage, samples: Sequence[Sample | str], number_of: dict[str, int]
) -> None:
    """Write the frames that are new, then the samples: a part is whole when its samples are there."""
    frames: list[tuple[str, int]] = []
    entries: list[dict[str, Any]] = []
    with replacing(pixels_file(out, number)) as temporary, temporary.open("wb") as pixels:
        for sample in samples:
            if isinstance(sample, str):
                entries.append({"broken": sample})
                continue
            places = []
            # A mask is kept as one more frame: it is the same for all samples, so that it stands there once.
            masks = () if sample.mask is None else (255 * sample.mask.byte().expand(3, -1, -1),)
            for view in (sample.target, *sample.sources, *masks):
                content = view.contiguous().numpy().tobytes()
                digest = digest_of(content)
                if digest not in number_of:
                    number_of[digest] = len(number_of)
                    frames.append((digest, zlib.crc32(content)))
                    pixels.write(content)
                places.append(number_of[digest])
            entry = _entry(sample, places[: len(places) - len(masks)])
            entries.append(entry | {"mask": places[-1]} if masks else entry)
    content = {"stage": stage, "frames": frames, "samples": entries}
    # As JSON has it, lists for tuples, so that its digest is that of what is read.
    write_text(samples_file(out, number), json.dumps(sealed(json.loads(json.dumps(content)))) + "\n")


def _entry(sample: Sample, views: Sequence[int]) -> dict[str, Any]:
    learned = {} if sample.learned_camera is None else {"learned_camera": sample.learned_camera}
    return {
        "name": sample.name,
        "views": list(views),
        "intrinsics": sample.intrinsics.tolist(),
        "stereo_offset": sample.stereo_offset,
        "baseline_m": None if math.isnan(sample.baseline_m) else sample.baseline_m,
        "centred": sample.centred,
        **learned,
    }


def _as_it_is(sample: Sample | str) -> Sample | str:
    return sample
