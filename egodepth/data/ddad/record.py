"""What egodepth knows about DDAD."""

from collections.abc import Sequence
from pathlib import Path

from egodepth.data.ddad.checking import check_ddad
from egodepth.data.ddad.lists import find_list, find_lists, list_and_split, listed_scenes
from egodepth.data.ddad.scenes import DdadFrames
from egodepth.data.ddad.training import Ddad
from egodepth.data.record import DatasetKind, TrainingSets, Wanted, visible_entries
from egodepth.data.splits import Stage
from egodepth.errors import UserError


def _is_ddad(path: Path) -> bool:
    return bool(find_lists(path))


def _hint(path: Path) -> str | None:
    if path.is_file() and path in find_lists(path.parent):
        return f"is a list of DDAD's scenes; give its folder, {path.parent}, and --data.split {path.name}."
    if any(entry.match("scene_*.json") for entry in visible_entries(path)):
        above = next((folder for folder in path.resolve().parents[:3] if find_lists(folder)), path.resolve().parent)
        return f"is one scene of DDAD; give the folder above, {above}."
    return None


def _open(wanted: Wanted) -> TrainingSets:
    wanted.require_intrinsics("DDAD", ("calibrated",))
    wanted.require_no_stride("DDAD goes frame by frame")
    name, split = list_and_split(wanted.config.split)
    if split is not None:
        raise UserError(
            f"--data.split {wanted.config.split}: the list's own splits train and validate. "
            "Give the name of a list (ddad.json), or leave it out."
        )
    listing = find_list(wanted.root, name)
    size = wanted.height, wanted.width
    cache_folder = wanted.cache_folder if wanted.has_time else None

    def samples(stage: Stage) -> Ddad:
        return Ddad(wanted.root, wanted.source_ids, *size, stage, name=listing.name, cache_folder=cache_folder)

    if listed_scenes(listing, "val"):
        return TrainingSets.of_stages(samples)
    training = samples("train")
    return TrainingSets(training, None, tuple(training.left_out))


def _frames(root: Path, split: str | None, time_offsets: Sequence[int]) -> DdadFrames:
    name, part = list_and_split(split)
    return DdadFrames(root, part or "val", time_offsets=time_offsets, name=name)


DDAD = DatasetKind(
    name="ddad",
    title="DDAD",
    expected="DDAD (ddad.json or another list with scene_splits)",
    recognise=_is_ddad,
    check=check_ddad,
    open_training=_open,
    evaluation_frames={"ddad": _frames},
    hint=_hint,
)
