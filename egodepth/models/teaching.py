"""The depth maps of a teacher for the frames of a data set, written once: `egodepth teach`.

Each map is a 16-bit PNG of inverse depth. The scale of its steps is one for the whole folder, fixed before the first
map: twice what is nearest in some frames has room. So a stopped call goes on as it began. What is nearer still is
clipped, and counted.
"""

import json
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from egodepth.data.configurations import LEARNED, LEARNED_WAYS, DataConfig, MapUnits, Source
from egodepth.data.map_files import INVERSE_STEPS, inverse_png, is_whole_png
from egodepth.data.map_names import frame_keys
from egodepth.data.opening import lacks_camera, open_training_sets
from egodepth.data.samples import TrainingDataset
from egodepth.data.teacher_maps import DESCRIPTION, read_description
from egodepth.errors import UserError
from egodepth.files import kept_until_done, within, write_bytes, write_text
from egodepth.inference.costing import CostWatch
from egodepth.locks import holds_anything, only_writer
from egodepth.models.foreign import report_licence
from egodepth.models.teachers import Teacher, fingerprint, known_device, open_teacher, weights_bytes
from egodepth.progress import progress_bar
from egodepth.version import __version__

log = logging.getLogger("egodepth")

FIRST_MAPS = 8
ROOM = 2.0
"""How many times as near as all that is in the first maps a later one may come."""

Place = tuple[TrainingDataset, int]
"""A sample of a data set."""


@dataclass(frozen=True)
class TeachReport:
    """What was written.

    Attributes:
        written: maps that this call wrote.
        there: maps that an earlier call had written.
        skipped: why frames have no map, one line each.
        clipped: share of the values written now that are nearer than the files can say.
        units: of the maps.
    """

    written: int
    there: int
    skipped: tuple[str, ...]
    clipped: float
    units: MapUnits


def teach(
    model: str,
    data: Path,
    out: Path,
    config: DataConfig,
    intrinsics: str,
    views: tuple[Source, ...],
    width: int | None = None,
    device: str = "cpu",
) -> TeachReport:
    """Write the depth maps of a teacher for all frames that training would learn from or validate on.

    Args:
        model, width, device: see `open_teacher`.
        out: folder to write; maps that it holds already are kept.
        intrinsics: as in training.
        views: of the training's mode, which say what frames are targets.

    Raises:
        UserError: the model or the data cannot be used, `out` holds something else, or another process writes there.
    """
    before = read_description(out)
    if not before and out.exists() and (not out.is_dir() or holds_anything(out)):
        raise UserError(f"--out {out}: holds something else than a teacher's maps. Choose another folder.")
    known = intrinsics != "calibrated" or not any(lacks_camera(root, config) for root in (data, *config.beside))
    place = known_device(device)
    watch = CostWatch(place)
    teacher = open_teacher(model, place, width, known and intrinsics not in LEARNED_WAYS)
    with only_writer(out), kept_until_done(out.with_name(f".{out.name}.frames")) as frames:
        camera = intrinsics if known else LEARNED
        # What is left out of a training's pictures is no matter here, and takes a look at all frames to find.
        sets = open_training_sets(data, replace(config, mask="none"), camera, views, *teacher.size, cache_folder=frames)
        for message in sets.left_out:
            log.warning("left out: %s", message)
        places = _places(out, [each for each in (sets.training, sets.validation) if each is not None])
        description = _description(teacher, model, places, out, before)
        write_text(out / DESCRIPTION, json.dumps(description, indent=2) + "\n")
        report = _write(teacher, places, description["scale"], watch)
        cost = watch.cost(weights_bytes(teacher))
        if cost is not None:
            write_text(out / DESCRIPTION, json.dumps(description | {"cost": cost.to_json()}, indent=2) + "\n")
        return report


def _places(out: Path, datasets: Sequence[TrainingDataset]) -> dict[Path, Place]:
    """The file of each frame's map, and the first sample that the frame is the target of."""
    places: dict[Path, Place] = {}
    for dataset, keys in zip(datasets, frame_keys(*datasets), strict=True):
        for index, key in enumerate(keys):
            # A pack that somebody made may name its frames as it likes.
            places.setdefault(within(out, f"{key}.png"), (dataset, index))
    return places


def _description(
    teacher: Teacher, model: str, places: Mapping[Path, Place], out: Path, before: Mapping[str, Any]
) -> dict[str, Any]:
    """What the folder says of itself.

    Raises:
        UserError: it holds the maps of another teacher, or this one gives no depth.
    """
    said = {
        "values": "inverse-depth",
        "units": teacher.units,
        "teacher": Path(model).name if Path(model).exists() else model,
        "weights": fingerprint(teacher),
        "width": teacher.width,
    }
    for key in ("units", "weights", "width") if before else ():
        if before.get(key) != said[key]:
            raise UserError(
                f"--out {out}: holds maps of {before.get('teacher')} with {key} {before.get(key)}, these would have "
                f"{said[key]}. Choose another folder."
            )
    said["scale"] = before["scale"] if "scale" in before else _scale(teacher, places)
    if teacher.licence is not None:
        said["licence"] = teacher.licence
        warning = report_licence(model, teacher.licence)
        if warning is not None:
            said["licence_warning"] = warning
    return said | {"egodepth": __version__} | ({"cost": before["cost"]} if "cost" in before else {})


def _scale(teacher: Teacher, places: Mapping[Path, Place]) -> float:
    """Inverse depth of one step, by some maps that are spread over the set."""
    every = list(places.values())
    nearest, failure = 0.0, None
    for dataset, index in every[:: max(1, len(every) // FIRST_MAPS)][:FIRST_MAPS]:
        try:
            sample = dataset[index]
        except UserError as error:
            failure = error
            continue
        values = teacher.inverse_depth(sample, tuple(dataset.source_ids))
        nearest = max(nearest, float(np.max(values, where=np.isfinite(values), initial=0)))
    if nearest == 0 and failure is not None:
        raise failure
    if nearest == 0:
        raise UserError("the teacher's answers hold no depth: all is unknown or infinitely far. Take another one.")
    return ROOM * nearest / INVERSE_STEPS


def _write(teacher: Teacher, places: Mapping[Path, Place], scale: float, watch: CostWatch) -> TeachReport:
    skipped: list[str] = []
    written = there = clipped = values = 0
    with progress_bar() as progress:
        for file, (dataset, index) in progress.track(places.items(), len(places), description="teaching"):
            if is_whole_png(file):
                there += 1
                continue
            try:
                sample = dataset[index]
            except UserError as error:
                skipped.append(str(error))
                continue
            began = time.perf_counter()
            inverse_depth = teacher.inverse_depth(sample, tuple(dataset.source_ids))
            watch.took(time.perf_counter() - began)
            content, beyond = inverse_png(inverse_depth, scale)
            write_bytes(file, content)
            written, clipped, values = written + 1, clipped + beyond, values + inverse_depth.size
    return TeachReport(written, there, tuple(dict.fromkeys(skipped)), clipped / max(1, values), teacher.units)
