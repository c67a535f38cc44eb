"""Cityscapes: stereo pairs and 30-frame sequences as training data, and the labelled frames to evaluate on.

ManyDepth's preprocessed triplets are in `triplets`.

Source: datasets specification, sections 1.5 to 1.7.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from egodepth.data.cityscapes.layout import (
    CROPS,
    SPLITS,
    CityscapesTree,
    CroppedFrames,
    FrameName,
    read_disparity_steps,
    read_names,
)
from egodepth.data.configurations import Crop, Source
from egodepth.data.draws import Window
from egodepth.data.frame_store import DEFAULT_CACHE_BYTES
from egodepth.data.images import image_size, read_image
from egodepth.data.samples import EvaluationFrame, EvaluationFrames, NoUsableFrames, Sample
from egodepth.data.splits import Stage, find_split_file, is_one_list
from egodepth.data.standing import MovingParts
from egodepth.errors import UserError

SPLITS_OF_STAGE: dict[Stage, tuple[str, ...]] = {"train": ("train", "train_extra"), "val": ("val",)}

# Two frames at 17 Hz: near KITTI's 10 Hz, and what every published system took.
FRAME_GAP = 2

# The left image of this pair is black.
BLACK_FRAMES = frozenset({"troisdorf_000000_000073"})

# "0.22" in papers is a rounding of 0.2093 and 0.2221; with KITTI's 0.54 it makes SDFA-Net's factor of 0.4074.
PUBLISHED_BASELINE_M = 0.22


# --- training --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Target:
    split: str
    name: FrameName
    views: tuple[int, ...]


class Cityscapes:
    """Training samples from the unpacked archives (a `NativeDataset`); targets are left images.

    Args:
        root: the folder that the archives were unpacked into.
        source_ids: time offsets in steps of two frames, as published, and `stereo`.
        height, width: training size in pixels.
        stage: `train` takes train and train_extra, `val` takes val. The test images train nothing.
        names: the targets, for example from `training_names`; none takes all that have the views.
        crop: see `CROPS`.
        stride: multiplies the steps.
        published: as the published code has it: one baseline of 0.22 m, and a principal point that stays when an image
            is mirrored.
        cache_bytes: see `FrameStore`.
        parts: leaves out frames around which nothing moves, see `numbered_images`; none keeps all.

    Attributes:
        left_out: one message for all frames without the views, and one for each city with frames that stand still.

    Raises:
        UserError: no frame has the views (the message says which modes the tree has the files for), a named one is
            missing, or a recording has no camera file.
    """

    def __init__(
        self,
        root: Path | str,
        source_ids: Sequence[Source],
        height: int,
        width: int,
        stage: Stage = "train",
        names: Sequence[FrameName] | None = None,
        crop: Crop = "manydepth",
        stride: int = 1,
        published: bool = False,
        cache_bytes: int = DEFAULT_CACHE_BYTES,
        parts: MovingParts | None = None,
    ) -> None:
        self.source_ids = tuple(source_ids)
        self.left_out: list[str] = []
        self._tree = CityscapesTree(Path(root))
        self._crop = CROPS[crop]
        self._published = published
        number_of: dict[Path, int] = {}
        self._targets = []
        for split, name in _candidates(self._tree, stage, names):
            views = find_views(self._tree, split, name, source_ids, stride)
            if views is not None:
                self._tree.camera_file(split, name)
                numbers = tuple(number_of.setdefault(path, len(number_of)) for path in views)
                self._targets.append(_Target(split, name, numbers))
            else:
                self.left_out.append(str(name))
        if not self._targets:
            raise NoUsableFrames(f"{root}: {_no_views(self._tree, stage, source_ids)}")
        if self.left_out:
            self.left_out = [
                f"{root}: {len(self.left_out)} frames lack some of the views {_listed(source_ids)} "
                f"(the first: {self.left_out[0]})"
            ]
        if parts is not None:
            self._targets, standing = parts.select_some(root, self._targets, _place, "footage")
            self.left_out += standing
        self._frames = CroppedFrames(list(number_of), self._crop, height, width, cache_bytes)

    def __len__(self) -> int:
        return len(self._targets)

    def sample_names(self) -> Iterator[str]:
        return (f"{target.split}/{target.name}" for target in self._targets)

    def __getitem__(self, index: int) -> Sample:
        return self._sample(index, self._frames.__getitem__)

    def read_window(self, index: int, window: Window) -> Sample:
        return self._sample(index, lambda number: self._frames.cut(number, window))

    def _sample(self, index: int, read: Callable[[int], Tensor]) -> Sample:
        target = self._targets[index]
        image, *sources = (read(number) for number in target.views)
        camera = self._tree.camera(target.split, target.name)
        native = camera.camera(*image_size(self._frames.paths[target.views[0]]))
        return Sample(
            name=f"{target.split}/{target.name}",
            target=image,
            sources=torch.stack(sources),
            intrinsics=torch.from_numpy(self._crop.camera(native).normalised()),
            stereo_offset=-1.0,
            baseline_m=PUBLISHED_BASELINE_M if self._published else camera.baseline_m,
            centred=self._published,
        )


def numbered_images(tree: CityscapesTree, city: str) -> dict[int, Path]:
    """The left images of a city, `train/aachen`, by the numbers of their names."""
    split, _, name = city.partition("/")
    return {each.number: path for each, path in tree.images("left", split).items() if each.city == name}


def _place(target: _Target) -> tuple[str, int]:
    """City and number, as `numbered_images` has them."""
    return f"{target.split}/{target.name.city}", target.name.number


def training_names(root: Path | str, split: str | None, stage: Stage) -> list[FrameName] | None:
    """The targets that `<stage>_files.txt` of a split names; None where the tree has no lists.

    Raises:
        UserError: the named split is not there, or a line names no frame.
    """
    if stage == "val" and is_one_list(split):
        return []
    file = find_split_file(Path(root), split, [f"{stage}_files.txt", f"{stage}.txt"])
    return read_names(file) if file else None


def find_views(
    tree: CityscapesTree, split: str, name: FrameName, source_ids: Sequence[Source], stride: int = 1
) -> list[Path] | None:
    """The files of a left image and its sources; None where one is missing."""
    wanted = [(("left", name))]
    for source in source_ids:
        wanted.append(("right", name) if source == "stereo" else ("left", name.moved(FRAME_GAP * stride * source)))
    views = [tree.images(side, split).get(frame) for side, frame in wanted]
    return None if None in views else views


def possible_modes(tree: CityscapesTree, stage: Stage) -> dict[str, int]:
    """How many targets each training mode has views for; modes with none are left out."""
    views: dict[str, tuple[Source, ...]] = {"mono": (-1, 1), "stereo": ("stereo",), "mono+stereo": (-1, 1, "stereo")}
    targets = _candidates(tree, stage, None)
    counts = {
        mode: sum(find_views(tree, split, name, sources) is not None for split, name in targets)
        for mode, sources in views.items()
    }
    return {mode: count for mode, count in counts.items() if count}


def _candidates(tree: CityscapesTree, stage: Stage, names: Sequence[FrameName] | None) -> list[tuple[str, FrameName]]:
    if names is None:
        return [
            (split, name)
            for split in SPLITS_OF_STAGE[stage]
            for name in tree.images("left", split)
            if str(name) not in BLACK_FRAMES
        ]
    # ManyDepth validates on frames of the train split, so a list may name frames of either.
    trained_on = ("train", "train_extra", "val")
    found = []
    for name in names:
        split = next((split for split in trained_on if name in tree.images("left", split)), None)
        if split is None:
            raise UserError(f"{tree.root}: has no left image {name}, which the split names. Unpack it or correct it.")
        found.append((split, name))
    return found


def _no_views(tree: CityscapesTree, stage: Stage, source_ids: Sequence[Source]) -> str:
    modes = possible_modes(tree, stage)
    if modes:
        allowed = ", ".join(f"{mode} ({count} samples)" for mode, count in modes.items())
        return f"no frame has all of the views {_listed(source_ids)}. These files allow --mode {allowed}."
    if tree.images("left", "train") or tree.images("left", "train_extra"):
        return (
            "left images have neither right partners nor neighbours. Unpack rightImg8bit_*.zip for stereo, or "
            "leftImg8bit_sequence_trainvaltest.zip for mono."
        )
    return f"no left images to {stage}. Unpack leftImg8bit_trainvaltest.zip or leftImg8bit_trainextra.zip here."


def _listed(source_ids: Sequence[Source]) -> str:
    return ", ".join(map(str, source_ids))


# --- evaluation ------------------------------------------------------------------------------------------------------


class CityscapesFrames(EvaluationFrames):
    """Whole left images with depth from the precomputed disparities; protocols cut them.

    Args:
        root: the folder that the archives were unpacked into.
        split: `test`, `val` or `train` for its labelled frames, or a list by name or path (`test_files.txt`), whose
            order is kept. None takes the root's own test list where it has one, else the labelled test frames.
        time_offsets: of frames to read as well, where there are any; -1 is two frames of the video earlier.

    Raises:
        UserError: nothing is there, or a frame lacks its image, disparity or camera.
    """

    def __init__(self, root: Path | str, split: str | None = None, time_offsets: Sequence[int] = ()) -> None:
        self.time_offsets = tuple(time_offsets)
        self._tree = CityscapesTree(Path(root))
        self._frames = self._find(split)
        for folder, name in self._frames:
            if name not in self._tree.images("left", folder):
                raise UserError(f"{root}: has no left image {name}. Unpack leftImg8bit_trainvaltest.zip here.")
            if name not in self._tree.disparities(folder):
                raise UserError(f"{root}: has no disparity of {name}. Unpack disparity_trainvaltest.zip here.")
            self._tree.camera_file(folder, name)

    def __len__(self) -> int:
        return len(self._frames)

    def __getitem__(self, index: int) -> EvaluationFrame:
        split, name = self._frames[index]
        image = read_image(self._tree.images("left", split)[name])
        steps = read_disparity_steps(self._tree.disparities(split)[name])
        if steps.shape != image.shape[:2]:
            raise UserError(
                f"{self._tree.disparities(split)[name]}: is {steps.shape[1]}x{steps.shape[0]}, its image "
                f"{image.shape[1]}x{image.shape[0]}. Unpack both again."
            )
        camera = self._tree.camera(split, name)
        images = self._tree.images("left", split)
        around = {offset: images.get(name.moved(offset * FRAME_GAP)) for offset in self.time_offsets}
        return EvaluationFrame(
            name=f"{split}/{name}",
            image=image,
            depth=camera.depth(steps),
            camera=camera.camera(*image.shape[:2]),
            neighbours={offset: read_image(file) for offset, file in around.items() if file},
        )

    def _find(self, split: str | None) -> list[tuple[str, FrameName]]:
        root = self._tree.root
        if split in SPLITS:
            return self._labelled(split)
        file = find_split_file(root, split, ["test_files.txt"])
        if file is None and (root / "test_files.txt").is_file():
            file = root / "test_files.txt"
        if file is None:
            return self._labelled("test")
        return [(self._split_of(name), name) for name in read_names(file)]

    def _labelled(self, split: str) -> list[tuple[str, FrameName]]:
        names = self._tree.disparities(split)
        if not names:
            raise UserError(
                f"{self._tree.root / 'disparity' / split}: no disparity maps. Unpack disparity_trainvaltest.zip here."
            )
        return [(split, name) for name in names]

    def _split_of(self, name: FrameName) -> str:
        return next((split for split in reversed(SPLITS) if name in self._tree.images("left", split)), "test")
