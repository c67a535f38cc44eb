"""The typed samples that every dataset yields, and the batch that every method trains on.

Images travel as uint8: a quarter of the memory and of the copying. `data.transforms` turns a batch into float
images in [0, 1] on the device that trains.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from egodepth.data.configurations import Source
from egodepth.data.draws import Window
from egodepth.errors import UserError
from egodepth.geometry.cameras import Camera


@dataclass(frozen=True)
class Sample:
    """One training sample: a target view and the source views that explain it.

    Attributes:
        name: what a message calls it, for example `2011_09_26/2011_09_26_drive_0005_sync 12 l`.
        target: (3, H, W) uint8 RGB, already at the training size.
        sources: (S, 3, H, W) uint8 RGB, in the order of the dataset's `sources`.
        intrinsics: (3, 3) float32 as `Camera.normalised` gives them; the same for all views.
        stereo_offset: x of the target camera's origin in the other camera, in units of the baseline: -1 when
            the target is the left camera, +1 when it is the right one, 0 when no pair is known.
        baseline_m: distance of the two cameras in metres; NaN where not known.
        centred: the principal point is put at W/2 and H/2 by decree and stays there under a flip (Monodepth2's
            fixed intrinsics for KITTI), instead of moving with the picture.
        mask: (1, H, W) bool, the pixels that show the scene, the same for all views; None where all do.
        window: that the views are cut to, in the frame as training sees it (mirrored where the sample will be); the
            intrinsics are the whole frame's. None where the views are whole frames.
        teacher_disparity: (1, H, W) float32, a teacher's inverse depth of the target in the units of its maps: 0
            infinitely far, NaN unknown. None where there is no teacher's map.
        learned_camera: which of the cameras that are learnt took it, by name, so that the intrinsics are those that it
            starts from; None where they are given.
    """

    name: str
    target: Tensor
    sources: Tensor
    intrinsics: Tensor
    stereo_offset: float = 0.0
    baseline_m: float = float("nan")
    centred: bool = False
    mask: Tensor | None = None
    window: Window | None = None
    teacher_disparity: Tensor | None = None
    learned_camera: str | None = None


@dataclass(frozen=True)
class Batch:
    """Samples of one size, stacked. `Batch.of` makes it; `to` moves it.

    Attributes:
        names: of the B samples.
        indices: (B,) int64, the samples' places in their dataset; augmentation is drawn from them.
        target: (B, 3, H, W) uint8.
        sources: (B, S, 3, H, W) uint8.
        source_ids: the S sources' time offsets or `stereo`.
        intrinsics: (B, 3, 3), normalised.
        stereo_offset: (B,), in units of the baseline.
        baseline_m: (B,).
        centred: see `Sample`; one dataset, and all that train jointly, have one rule.
        mask: (B, 1, H, W) bool, see `Sample`; None where no sample has one.
        windows: of the B samples, see `Sample`; None where the views are whole frames.
        teacher_disparity: (B, 1, H, W), see `Sample`.
        learned_cameras: of the B samples, see `Sample`; None where all intrinsics are given.
    """

    names: tuple[str, ...]
    indices: Tensor
    target: Tensor
    sources: Tensor
    source_ids: tuple[Source, ...]
    intrinsics: Tensor
    stereo_offset: Tensor
    baseline_m: Tensor
    centred: bool
    mask: Tensor | None = None
    windows: tuple[Window, ...] | None = None
    teacher_disparity: Tensor | None = None
    learned_cameras: tuple[str | None, ...] | None = None

    @classmethod
    def of(cls, samples: Sequence[Sample], indices: Sequence[int], source_ids: Sequence[Source]) -> "Batch":
        return cls(
            names=tuple(sample.name for sample in samples),
            indices=torch.tensor(indices),
            target=torch.stack([sample.target for sample in samples]),
            sources=torch.stack([sample.sources for sample in samples]),
            source_ids=tuple(source_ids),
            intrinsics=torch.stack([sample.intrinsics for sample in samples]),
            stereo_offset=torch.tensor([sample.stereo_offset for sample in samples]),
            baseline_m=torch.tensor([sample.baseline_m for sample in samples]),
            centred=samples[0].centred,
            mask=_stacked_masks(samples),
            windows=None if samples[0].window is None else tuple(sample.window for sample in samples),
            teacher_disparity=None
            if samples[0].teacher_disparity is None
            else torch.stack([sample.teacher_disparity for sample in samples]),
            learned_cameras=_learned_cameras(samples),
        )

    def __len__(self) -> int:
        return len(self.names)

    def to(self, device: torch.device | str, non_blocking: bool = False) -> "Batch":
        tensors = {key: value for key, value in vars(self).items() if isinstance(value, Tensor)}
        return replace(self, **{key: value.to(device, non_blocking=non_blocking) for key, value in tensors.items()})

    def pin_memory(self) -> "Batch":
        tensors = {key: value for key, value in vars(self).items() if isinstance(value, Tensor)}
        return replace(self, **{key: value.pin_memory() for key, value in tensors.items()})

    @property
    def size(self) -> tuple[int, int]:
        return self.target.shape[-2], self.target.shape[-1]

    @property
    def frame_size(self) -> tuple[int, int]:
        """Height and width of the whole frames that the views may be cut out of."""
        return self.size if self.windows is None else self.windows[0].frame


def _stacked_masks(samples: Sequence[Sample]) -> Tensor | None:
    if all(sample.mask is None for sample in samples):
        return None
    whole = torch.ones_like(samples[0].target[:1], dtype=torch.bool)
    return torch.stack([whole if sample.mask is None else sample.mask for sample in samples])


def _learned_cameras(samples: Sequence[Sample]) -> tuple[str | None, ...] | None:
    names = tuple(sample.learned_camera for sample in samples)
    return names if any(name is not None for name in names) else None


@dataclass(frozen=True)
class LearningCamera:
    """A camera that training learns beside depth and motion.

    Attributes:
        name: see `Sample.learned_camera`.
        footage: the videos and folders that it took, by name.
        start: (3, 3), normalised, what it is learnt from.
        moves: whether training moves its principal point; otherwise it stays as it starts.
        assumed: whether its focal length is a usual one, as nothing tells the right one.
        paths: where the footage is; none for a pack's, which has no native frames.
    """

    name: str
    footage: tuple[str, ...]
    start: Tensor
    moves: bool = True
    assumed: bool = False
    paths: tuple[Path, ...] = ()

    @staticmethod
    def joined(cameras: Iterable["LearningCamera"]) -> tuple["LearningCamera", ...]:
        """Each camera once, with all the footage that it took."""
        found: dict[str, LearningCamera] = {}
        for camera in cameras:
            known = found.setdefault(camera.name, replace(camera, footage=(), paths=()))
            footage, paths = (*known.footage, *camera.footage), (*known.paths, *camera.paths)
            found[camera.name] = replace(known, footage=footage, paths=paths)
        return tuple(found.values())


class NoUsableFrames(UserError):
    """No frame has all the views that training asks for."""


class TrainingDataset(Protocol):
    """What training asks of a dataset. Indices are samples that have all their sources."""

    source_ids: tuple[Source, ...]

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Sample: ...

    def sample_names(self) -> Iterable[str]:
        """What the samples are, in order, by names that stay when the data are moved."""


@runtime_checkable
class NamedFrames(TrainingDataset, Protocol):
    """A training dataset that knows its targets by more than their `sample_names`.

    Attributes:
        path: of footage, whose name begins those of its frames; None elsewhere.
    """

    path: Path | None

    def frame_names(self) -> Iterable[str]:
        """The names of all samples, as these have them, without reading them: where the targets lie."""


@runtime_checkable
class PosedDataset(TrainingDataset, Protocol):
    """A training dataset that knows in metres how its camera moved, which gives a model from video its scale."""

    def moved_m(self, index: int) -> tuple[float, ...]:
        """Distance of the camera between a sample's target and each of its sources."""


@runtime_checkable
class NativeDataset(TrainingDataset, Protocol):
    """A training dataset that reads parts of its frames at any scale from the files as they are."""

    def read_window(self, index: int, window: Window) -> Sample:
        """The sample, its views cut to the window; intrinsics as of whole frames."""


@runtime_checkable
class DrawingDataset(TrainingDataset, Protocol):
    """A training dataset that can take the sources of a sample from other times than its own."""

    def read_drawn(self, index: int, shares: Sequence[float]) -> Sample:
        """The sample with sources that lie so far on the way from the nearest useful frame to the farthest.

        Args:
            shares: in [0, 1), one for each source.
        """


def read_drawn(dataset: TrainingDataset, index: int, shares: Sequence[float]) -> Sample:
    """A sample with sources drawn from the useful ones, where a data set has several; see `DrawingDataset`."""
    return dataset.read_drawn(index, shares) if isinstance(dataset, DrawingDataset) else dataset[index]


def spread_samples(dataset: PosedDataset, count: int) -> Iterator[tuple[int, Sample]]:
    """Up to `count` samples and their places; those that cannot be read are passed over."""
    count = min(count, len(dataset))
    for index in (number * len(dataset) // count for number in range(count)):
        try:
            yield index, dataset[index]
        except UserError:
            continue


@dataclass(frozen=True)
class EvaluationFrame:
    """One frame to evaluate on, at its native size.

    Attributes:
        name: what a message calls it.
        image: (H, W, 3) uint8 RGB.
        depth: (H, W) float32 ground truth in metres, 0 where there is none.
        camera: of the native image, where known.
        neighbours: (H, W, 3) uint8 each, frames around it by their time offset (-1 is the one before): those that were
            asked for, for multi-frame systems, and that there are.
    """

    name: str
    image: np.ndarray
    depth: np.ndarray
    camera: Camera | None = None
    neighbours: Mapping[int, np.ndarray] = field(default_factory=dict)


class EvaluationFrames(Protocol):
    """A sized, indexable collection of evaluation frames; `frames[i]` reads one from disk.

    Readers derive from it, so that they have its iteration.
    """

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> EvaluationFrame: ...

    def __iter__(self) -> Iterator[EvaluationFrame]:
        return (self[index] for index in range(len(self)))


@dataclass(frozen=True)
class PosedSequence:
    """Consecutive frames of one camera with its poses, for odometry.

    Attributes:
        name: what a message calls it.
        images: N paths in order of time.
        poses: (N, 4, 4) float64, camera to world.

    Raises:
        UserError: images and poses differ in number.
    """

    name: str
    images: Sequence[Path]
    poses: np.ndarray

    def __post_init__(self) -> None:
        if len(self.images) != len(self.poses):
            raise UserError(
                f"Sequence {self.name}: {len(self.images)} images, but {len(self.poses)} poses. Copy both again."
            )

    def __len__(self) -> int:
        return len(self.images)
