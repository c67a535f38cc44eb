"""A folder of frames or a video file as a monocular sequence: what a user brings.

Footage is unpacked once: every usable frame is resized to the training size and kept as a lossless PNG in a cache
folder, because reading single frames at random from H.264, or from 4K photographs, is far slower than a training
step. Frames that cannot teach anything (a standing camera) or cannot be read stay behind, and are reported.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

from egodepth.data.configurations import Source
from egodepth.data.footage.unpacking import unpack
from egodepth.data.frame_store import DEFAULT_CACHE_BYTES, FrameStore
from egodepth.data.samples import NoUsableFrames, Sample
from egodepth.data.splits import Stage, validates
from egodepth.errors import UserError
from egodepth.geometry.cameras import Camera
from egodepth.geometry.lenses import Lens


class Footage:
    """Training samples from a video or a folder of frames (a `TrainingDataset`).

    Args:
        path: video file or folder of frames.
        source_ids: time offsets, for example (-1, 1).
        height, width: training size in pixels.
        camera: of the native frames, undistorted where there is a lens; for example from `footage_camera`.
        cache_folder: where unpacked frames are kept; see `unpack`.
        stage: `train`, or `val` for the last 10 frames of each 100.
        stride: how many frames apart the views are that an offset of 1 means; for footage of a high frame rate.
        cache_bytes: see `FrameStore`.
        bits, lens: see `unpack`.
        mask: (1, height, width) bool, the pixels that show the scene; none means that all do.

    Attributes:
        left_out: one message per frame that was left out and one for all static frames.

    Raises:
        UserError: `stereo` is asked for, or too few frames can be used.
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
        stride: int = 1,
        cache_bytes: int = DEFAULT_CACHE_BYTES,
        bits: int | None = None,
        lens: Lens | None = None,
        mask: Tensor | None = None,
    ) -> None:
        if "stereo" in source_ids:
            raise UserError(f"{path}: footage has one camera, so it cannot train with stereo. Use --mode mono.")
        self.source_ids = tuple(source_ids)
        unpacked = unpack(path, cache_folder, height, width, bits, lens)
        self.left_out = list(unpacked.reports)
        self._name = Path(path).name
        self._offsets = [stride * source for source in source_ids]
        self._targets = self._find_targets(unpacked.runs, stage)
        if not self._targets and stage == "train":
            raise NoUsableFrames(
                f"{path}: none of its {len(unpacked.frames)} usable frames has the neighbours that training "
                "needs. Give longer footage or a smaller --data.stride."
            )
        self._frames = FrameStore(unpacked.frames, height, width, cache_bytes)
        self._intrinsics = camera.normalised()
        self._mask = mask

    def __len__(self) -> int:
        return len(self._targets)

    def sample_names(self) -> Iterator[str]:
        return (self._frames.paths[position].stem for position in self._targets)

    def __getitem__(self, index: int) -> Sample:
        position = self._targets[index]
        return Sample(
            name=f"{self._name} {self._frames.paths[position].stem}",
            target=self._frames[position],
            sources=torch.stack([self._frames[position + offset] for offset in self._offsets]),
            intrinsics=self._intrinsics,
            mask=self._mask,
        )

    def _find_targets(self, runs: Sequence[int], stage: Stage) -> list[int]:
        count = len(runs)
        paired = [
            position
            for position in range(count)
            if all(
                0 <= position + offset < count and runs[position + offset] == runs[position] for offset in self._offsets
            )
        ]
        if len(paired) == 1:  # too little to hold anything out
            return paired if stage == "train" else []
        return [position for order, position in enumerate(paired) if validates(order, len(paired)) == (stage == "val")]
