"""DDAD's front-camera videos as training data."""

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from egodepth.data.configurations import Source
from egodepth.data.ddad.lists import find_list, scene_files
from egodepth.data.ddad.scenes import DdadScene
from egodepth.data.draws import Window
from egodepth.data.frame_store import DEFAULT_CACHE_BYTES, FrameStore
from egodepth.data.images import image_size
from egodepth.data.samples import Sample
from egodepth.data.splits import Stage
from egodepth.data.standing import MovingParts
from egodepth.errors import UserError


class Ddad:
    """Training samples from the videos of one camera (a `PosedDataset` and a `NativeDataset`).

    Args:
        root: see `find_list`.
        source_ids: time offsets in samples, 0.1 s apart in DDAD.
        height, width: training size in pixels.
        stage: `train` or `val`, both splits of the data set.
        camera: the name of one; None takes the one that looks ahead.
        cache_bytes: see `FrameStore`.
        name: of the list, where there are several.
        cache_folder: keeps which samples the camera stands still at, which are left out then; none keeps all.

    Attributes:
        left_out: one message for all samples at the ends of scenes, and one for each scene with samples at which the
            camera stands still.

    Raises:
        UserError: `stereo` is asked for, a scene is missing or damaged, or no sample has its neighbours.
    """

    def __init__(
        self,
        root: Path | str,
        source_ids: Sequence[Source],
        height: int,
        width: int,
        stage: Stage = "train",
        camera: str | None = None,
        cache_bytes: int = DEFAULT_CACHE_BYTES,
        name: str | None = None,
        cache_folder: Path | None = None,
    ) -> None:
        if "stereo" in source_ids:
            raise UserError(f"{root}: DDAD has no rectified pairs, so it cannot train with stereo. Use --mode mono.")
        self.source_ids = tuple(source_ids)
        self.path = None
        self._camera = camera
        self._scenes = [DdadScene(file) for file in scene_files(find_list(Path(root), name), stage)]
        files: list[Path] = []
        self._first_of_scene: list[int] = []
        self._poses: list[np.ndarray] = []
        for scene in self._scenes:
            self._first_of_scene.append(len(files))
            for number in range(len(scene)):
                datum = scene.datum(number, camera or scene.front(number))
                files.append(datum.file)
                self._poses.append(datum.world_from_sensor)
        self._targets = [
            (place, number)
            for place, scene in enumerate(self._scenes)
            for number in range(len(scene))
            if all(0 <= number + source < len(scene) for source in source_ids)
        ]
        if not self._targets:
            raise UserError(f"{root}: no {stage} scene is long enough for the views that training needs. Add scenes.")
        ends = len(files) - len(self._targets)
        self.left_out = (
            [f"{root}: {ends} samples at the ends of {len(self._scenes)} scenes are left out"] if ends else []
        )
        if cache_folder is not None:
            self._leave_out_standing(Path(root), files, cache_folder)
        self._frames = FrameStore(files, height, width, cache_bytes)

    def _leave_out_standing(self, root: Path, files: Sequence[Path], cache_folder: Path) -> None:
        ends = [*self._first_of_scene[1:], len(files)]
        called = [Path(os.path.relpath(scene.folder, root)).as_posix() for scene in self._scenes]
        frames = {
            name: dict(enumerate(files[start:end]))
            for name, start, end in zip(called, self._first_of_scene, ends, strict=True)
        }
        parts = MovingParts(frames.__getitem__, cache_folder)
        self._targets, said = parts.select_some(
            root, self._targets, lambda target: (called[target[0]], target[1]), "scenes"
        )
        self.left_out += said

    def __len__(self) -> int:
        return len(self._targets)

    def sample_names(self) -> Iterator[str]:
        return (f"{self._scenes[place].folder.name} {number}" for place, number in self._targets)

    def frame_names(self) -> Iterator[str]:
        """By the files of the images: `000150 15616458296936490`."""
        return (self._name(place, self._first_of_scene[place] + number) for place, number in self._targets)

    def _name(self, place: int, frame: int) -> str:
        return f"{self._scenes[place].folder.name} {self._frames.paths[frame].stem}"

    def __getitem__(self, index: int) -> Sample:
        return self._sample(index, self._frames.__getitem__)

    def read_window(self, index: int, window: Window) -> Sample:
        return self._sample(index, lambda number: self._frames.cut(number, window))

    def _sample(self, index: int, read: Callable[[int], Tensor]) -> Sample:
        place, number = self._targets[index]
        scene = self._scenes[place]
        frame = self._first_of_scene[place] + number
        camera = scene.camera(number, self._camera or scene.front(number), *image_size(self._frames.paths[frame]))
        return Sample(
            name=self._name(place, frame),
            target=read(frame),
            sources=torch.stack([read(frame + source) for source in self.source_ids]),
            intrinsics=torch.from_numpy(camera.normalised()),
        )

    def moved_m(self, index: int) -> tuple[float, ...]:
        """How far the camera was from a sample's target when it took each source, in metres, by the poses."""
        place, number = self._targets[index]
        frame = self._first_of_scene[place] + number
        position = self._poses[frame][:3, 3]
        return tuple(float(np.linalg.norm(self._poses[frame + source][:3, 3] - position)) for source in self.source_ids)
