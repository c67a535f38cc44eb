"""What egodepth knows about DDAD."""

from collections.abc import Sequence
from pathlib import Path

from egodepth.data.ddad.checking import check_ddad
from egodepth.data.ddad.scenes import Ddad, DdadFrames, find_scenes_file, listed_scenes
from egodepth.data.record import DatasetKind, TrainingSets, Wanted, visible_entries
from egodepth.errors import UserError


def _is_ddad(path: Path) -> bool:
    return find_scenes_file(path) is not None


def _hint(path: Path) -> str | None:
    if path.name.isdecimal() and any(entry.name.startswith("scene_") for entry in visible_entries(path)):
        return f"is one scene of DDAD; give the folder above, {path.parent}."
    return None


def _open(wanted: Wanted) -> TrainingSets:
    wanted.require_intrinsics("DDAD", ("calibrated",))
    wanted.require_no_stride("DDAD goes frame by frame")
    if wanted.config.split is not None:
        raise UserError(f"--data.split {wanted.config.split}: DDAD's own splits train and validate. Leave it out.")
    size = wanted.height, wanted.width
    training = Ddad(wanted.root, wanted.source_ids, *size)
    has_validation = bool(listed_scenes(wanted.root, "val"))
    validation = Ddad(wanted.root, wanted.source_ids, *size, stage="val") if has_validation else None
    return TrainingSets(training, validation, tuple(training.left_out))


def _frames(root: Path, split: str | None, time_offsets: Sequence[int]) -> DdadFrames:
    return DdadFrames(root, split or "val", time_offsets=time_offsets)


DDAD = DatasetKind(
    name="ddad",
    title="DDAD",
    expected="DDAD (ddad.json)",
    recognise=_is_ddad,
    check=check_ddad,
    open_training=_open,
    evaluation_frames={"ddad": _frames},
    hint=_hint,
)
