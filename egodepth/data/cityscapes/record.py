"""What egodepth knows about Cityscapes: the unpacked archives, and the preprocessed triplets."""

from functools import partial
from pathlib import Path

from egodepth.data.cityscapes.checking import check_cityscapes, check_triplets
from egodepth.data.cityscapes.layout import SPLITS, CityscapesTree, FrameName, read_names
from egodepth.data.cityscapes.sequences import (
    FRAME_GAP,
    Cityscapes,
    CityscapesFrames,
    numbered_images,
    training_names,
)
from egodepth.data.cityscapes.triplets import (
    CAMERA_SUFFIX,
    CityscapesTriplets,
    list_triplets,
    numbered_thirds,
    thumbnail_of_third,
    triplet_list,
    triplet_names,
)
from egodepth.data.record import DatasetKind, SplitLists, TrainingSets, Wanted, visible_entries
from egodepth.data.splits import Stage
from egodepth.data.standing import MovingParts

IMAGE_TYPES = ("leftImg8bit", "leftImg8bit_sequence", "rightImg8bit", "rightImg8bit_sequence")
LIST_PATTERNS = ("*_files.txt", "train.txt", "val.txt")


# --- archives --------------------------------------------------------------------------------------------------------


def _is_cityscapes(path: Path) -> bool:
    return any((path / kind).is_dir() for kind in IMAGE_TYPES)


def _hint(path: Path) -> str | None:
    if path.is_dir() and path.name in (*IMAGE_TYPES, "camera", "disparity"):
        return f"is one part of Cityscapes; give the folder above, {path.parent}."
    return None


def _open_cityscapes(wanted: Wanted) -> TrainingSets:
    wanted.require_intrinsics("Cityscapes", ("calibrated", "fixed"))
    config = wanted.config
    tree = CityscapesTree(wanted.root)
    stride = config.stride or 1
    parts = MovingParts(partial(numbered_images, tree), wanted.cache_folder, FRAME_GAP * stride)

    def frames(stage: Stage) -> Cityscapes:
        names = training_names(wanted.root, config.split, stage)
        return Cityscapes(
            wanted.root,
            wanted.source_ids,
            wanted.height,
            wanted.width,
            stage,
            names=names,
            crop=config.crop,
            stride=stride,
            published=wanted.intrinsics == "fixed",
            # Whoever lists frames has chosen them.
            parts=parts if wanted.has_time and names is None else None,
        )

    return TrainingSets.of_stages(frames)


def _lists(root: Path) -> SplitLists:
    tree = CityscapesTree(root)
    known = {name for split in SPLITS for name in tree.images("left", split)}
    remedy = "Unpack leftImg8bit again or take the lines out."
    return SplitLists(LIST_PATTERNS, read_names, known.__contains__, remedy=remedy)


CITYSCAPES = DatasetKind(
    name="cityscapes",
    title="Cityscapes",
    expected="Cityscapes (leftImg8bit or leftImg8bit_sequence)",
    recognise=_is_cityscapes,
    check=check_cityscapes,
    open_training=_open_cityscapes,
    evaluation_frames={"cityscapes": CityscapesFrames},
    lists=_lists,
    hint=_hint,
)


# --- triplets --------------------------------------------------------------------------------------------------------


def _holds_triplets(path: Path) -> bool:
    cities = (entry for entry in visible_entries(path) if entry.is_dir())
    cameras = (file for city in cities for file in city.glob(f"*{CAMERA_SUFFIX}"))
    return any(FrameName.find(file.name) is not None for file in cameras)


def _open_triplets(wanted: Wanted) -> TrainingSets:
    wanted.require_intrinsics("Cityscapes' triplets", ("calibrated", "fixed"))
    wanted.require_no_stride("triplets have their neighbours already")

    parts = MovingParts(partial(numbered_thirds, wanted.root), wanted.cache_folder, read=thumbnail_of_third)

    def frames(stage: Stage) -> CityscapesTriplets:
        names = triplet_names(wanted.root, wanted.config.split, stage)
        size = wanted.height, wanted.width
        # Whoever lists triplets has chosen them.
        chosen = parts if triplet_list(wanted.root, wanted.config.split, stage) is None else None
        return CityscapesTriplets(wanted.root, names, wanted.source_ids, *size, wanted.intrinsics == "fixed", chosen)

    return TrainingSets.of_stages(frames)


def _triplet_lists(root: Path) -> SplitLists:
    known = set(list_triplets(root))
    own = tuple(root / f"{stage}.txt" for stage in ("train", "val"))
    return SplitLists(LIST_PATTERNS, read_names, known.__contains__, frames="triplets", own=own)


CITYSCAPES_TRIPLETS = DatasetKind(
    name="cityscapes-triplets",
    title="Cityscapes as preprocessed triplets",
    expected="Cityscapes' triplets (<city>/*_cam.txt)",
    recognise=_holds_triplets,
    check=check_triplets,
    open_training=_open_triplets,
    lists=_triplet_lists,
)
