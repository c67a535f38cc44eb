"""A folder of frames or a video file as a monocular sequence: what a user brings.

Footage is unpacked once: every usable frame is resized to the training size and kept as a lossless PNG in a cache
folder, because reading single frames at random from H.264, or from 4K photographs, is far slower than a training
step. Frames that cannot teach anything (a standing camera) or cannot be read stay behind, and are reported.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

from egodepth.data.configurations import Offsets, Source
from egodepth.data.footage.unpacking import unpack
from egodepth.data.frame_store import DEFAULT_CACHE_BYTES, FrameStore
from egodepth.data.images import list_images
from egodepth.data.motion import (
    SequenceMotion,
    drawn_between,
    farthest_by_motion,
    neighbours_by_motion,
    neighbours_by_number,
)
from egodepth.data.samples import LearningCamera, NoUsableFrames, Sample
from egodepth.data.splits import Stage, validates
from egodepth.errors import UserError
from egodepth.geometry.cameras import Camera
from egodepth.geometry.lenses import Lens


class Footage:
    """Training samples from a video or a folder of frames (a `DrawingDataset`).

    Args:
        path: video file or folder of frames.
        source_ids: time offsets, for example (-1, 1).
        height, width: training size in pixels.
        camera: of the native frames, undistorted where there is a lens; for example from `footage_camera`.
        cache_folder: where unpacked frames are kept; see `unpack`.
        stage: `train`, or `val` for the last 10 frames of each 100.
        stride: how many frames apart the views are that an offset of 1 means; none takes those between which the
            picture moved visibly (see `neighbours_by_motion`), whatever the frame rate.
        cache_bytes: see `FrameStore`.
        bits, lens: see `unpack`.
        mask: (1, height, width) bool, the pixels that show the scene; none means that all do.
        learned_camera: name of the camera that is learnt, from `camera` on; none where that is given.
        offsets: whether `read_drawn` takes neighbours that are farther away than the nearest useful ones.

    Attributes:
        path: see there.
        left_out: one message per frame that was left out and one for all static frames.
        unpacked: the frames and how far the picture moved.
        neighbours: for each frame the positions of its sources; none where it lacks one.
        farthest: the last positions that they are drawn up to.

    Raises:
        UserError: `stereo` is asked for, a stride and drawn neighbours are, or too few frames can be used.
    """

    def __init__(
        self,
        path: Path | str,
        source_ids: Sequence[Source],
        height: int,
        width: int,
        camera: Camera,
        cache_folder: Path | str,
        stage: Stage = "train",
        stride: int | None = None,
        cache_bytes: int = DEFAULT_CACHE_BYTES,
        bits: int | None = None,
        lens: Lens | None = None,
        mask: Tensor | None = None,
        learned_camera: str | None = None,
        offsets: Offsets = "nearest",
    ) -> None:
        if "stereo" in source_ids:
            raise UserError(f"{path}: footage has one camera, so it cannot train with stereo. Use --mode mono.")
        if stride is not None and offsets == "drawn":
            raise UserError(f"--data.stride {stride}: --data.offsets drawn has no one distance. Leave one of them out.")
        self.source_ids = tuple(source_ids)
        self.unpacked = unpacked = unpack(path, cache_folder, height, width, bits, lens)
        self.left_out = list(unpacked.reports)
        self.path = Path(path)
        self._name = self.path.name
        self.neighbours = self._find_neighbours(stride)
        self._draws = offsets == "drawn"
        self.farthest = self._find_farthest() if self._draws else self.neighbours
        self._targets = self._find_targets(stage)
        if not self._targets and stage == "train":
            remedy = "Give longer footage" if stride is None else "Give longer footage or a smaller --data.stride"
            reason = f" {self.left_out[0]}" if self.left_out else ""
            raise NoUsableFrames(
                f"{path}: none of its {len(unpacked.frames)} usable frames has the neighbours that training "
                f"needs.{reason} {remedy}."
            )
        self._frames = FrameStore(unpacked.frames, height, width, cache_bytes)
        self._names = self._names_of_frames()
        self._intrinsics = torch.from_numpy(camera.normalised())
        self._mask = mask
        self._learned_camera = learned_camera

    def __len__(self) -> int:
        return len(self._targets)

    def sample_names(self) -> Iterator[str]:
        return (self._frames.paths[position].stem for position in self._targets)

    def frame_names(self) -> Iterator[str]:
        """By the number of the frame in a video, or the name of the picture: `drive.mp4/000012`, `holiday/IMG_0012`."""
        return (self._names[position] for position in self._targets)

    def __getitem__(self, index: int) -> Sample:
        position = self._targets[index]
        return self._sample(position, self.neighbours[position])

    def read_drawn(self, index: int, shares: Sequence[float]) -> Sample:
        position = self._targets[index]
        reach = zip(self.neighbours[position], self.farthest[position], shares, strict=True)
        return self._sample(position, [drawn_between(*each) for each in reach])

    def _sample(self, position: int, sources: Sequence[int]) -> Sample:
        return Sample(
            name=self._names[position],
            target=self._frames[position],
            sources=torch.stack([self._frames[source] for source in sources]),
            intrinsics=self._intrinsics,
            mask=self._mask,
            learned_camera=self._learned_camera,
        )

    @property
    def learning(self) -> tuple[LearningCamera, ...]:
        """The camera that is learnt, if it is."""
        if self._learned_camera is None:
            return ()
        return (LearningCamera(self._learned_camera, (self._name,), self._intrinsics, paths=(self.path,)),)

    @property
    def motion(self) -> SequenceMotion:
        """How the sequence moves, and which of its frames are neighbours."""
        unpacked = self.unpacked
        farthest = self.farthest if self._draws else None
        return SequenceMotion(
            self._name, unpacked.travelled, unpacked.runs, unpacked.seconds, self.neighbours, farthest
        )

    def _names_of_frames(self) -> list[str]:
        stems = [path.stem for path in self._frames.paths]
        if self.path.is_dir():  # its pictures were numbered as they were unpacked
            images = list_images(self.path)
            stems = [images[int(stem)].stem for stem in stems]
        return [f"{self._name}/{stem}" for stem in stems]

    def _find_neighbours(self, stride: int | None) -> list[tuple[int, ...] | None]:
        runs = self.unpacked.runs
        if stride is not None:
            return neighbours_by_number(runs, [stride * source for source in self.source_ids])
        found = neighbours_by_motion(self.unpacked.travelled, runs, self.source_ids)
        # A short piece that hardly moves is better than none.
        return found if any(found) else neighbours_by_number(runs, self.source_ids)

    def _find_farthest(self) -> list[tuple[int, ...] | None]:
        return farthest_by_motion(self.unpacked.travelled, self.unpacked.runs, self.source_ids, self.neighbours)

    def _find_targets(self, stage: Stage) -> list[int]:
        paired = [position for position, each in enumerate(self.neighbours) if each is not None]
        if len(paired) == 1:  # too little to hold anything out
            return paired if stage == "train" else []
        return [position for order, position in enumerate(paired) if validates(order, len(paired)) == (stage == "val")]
