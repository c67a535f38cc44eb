"""A training set whose samples carry a teacher's depth maps, each cut as its frame is."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from egodepth.data.configurations import Source
from egodepth.data.cutting import read_window
from egodepth.data.draws import Window
from egodepth.data.map_names import found_maps, frame_keys
from egodepth.data.samples import Sample, TrainingDataset, read_drawn
from egodepth.data.teacher_maps import DepthMaps
from egodepth.errors import UserError

log = logging.getLogger("egodepth")

MOST_STRETCHED = 1.05
"""Ratio of a map's and its frame's width by height, from which on they do not show the same."""

SKY_SHARE, GROUND_SHARE = 0.25, 0.25
UPSIDE_DOWN_SHARE = 0.6
CHECKED_MAPS = 12
NAMES_SHOWN = 2


def taught_sets(
    training: TrainingDataset, validation: TrainingDataset | None, maps: DepthMaps
) -> tuple["TaughtDataset", "TaughtDataset | None"]:
    """A training and a validation set with the maps of their frames.

    Raises:
        UserError: the maps cannot teach, see `TaughtDataset.check`.
    """
    keys = frame_keys(training, validation)
    files = found_maps(keys, maps.files)
    taught = TaughtDataset(training, maps, keys[0], files[0])
    taught.check()
    if validation is None:
        return taught, None
    held_out = TaughtDataset(validation, maps, keys[1], files[1])
    if len(held_out.missing) == len(held_out):
        log.warning("%s: has no map for any frame that is held out, so that validation is without it.", maps.folder)
    return taught, held_out


class TaughtDataset:
    """A training set whose samples carry the maps of a teacher; those without one carry NaN.

    It is a `NativeDataset` and a `DrawingDataset`.

    Args:
        keys: of the samples.
        files: the map of each sample; None where there is none.
    """

    def __init__(
        self, dataset: TrainingDataset, maps: DepthMaps, keys: Sequence[str], files: Sequence[Path | None]
    ) -> None:
        self.dataset = dataset
        self.maps = maps
        self._keys = tuple(keys)
        self._files = tuple(files)

    @property
    def source_ids(self) -> tuple[Source, ...]:
        return tuple(self.dataset.source_ids)

    @property
    def parts(self) -> np.ndarray | None:
        """As the set itself has them, see `StepSampler`."""
        return getattr(self.dataset, "parts", None)

    @property
    def missing(self) -> tuple[str, ...]:
        """Keys of the samples without a map."""
        return tuple(key for key, file in zip(self._keys, self._files, strict=True) if file is None)

    def __len__(self) -> int:
        return len(self.dataset)

    def sample_names(self) -> Iterator[str]:
        return iter(self.dataset.sample_names())

    def __getitem__(self, index: int) -> Sample:
        return self._with_whole_map(self.dataset[index], index)

    def read_drawn(self, index: int, shares: Sequence[float]) -> Sample:
        return self._with_whole_map(read_drawn(self.dataset, index, shares), index)

    def read_window(self, index: int, window: Window) -> Sample:
        sample = read_window(self.dataset, index, window)
        return self._with_map(sample, index, window.shares(), window.size, window.frame)

    def _with_whole_map(self, sample: Sample, index: int) -> Sample:
        size = tuple(sample.target.shape[-2:])
        return self._with_map(sample, index, (0, 0, 1, 1), size, size)

    def _with_map(
        self,
        sample: Sample,
        index: int,
        shares: tuple[float, float, float, float],
        size: tuple[int, int],
        frame: tuple[int, int],
    ) -> Sample:
        file = self._files[index]
        if file is None:
            return replace(sample, teacher_disparity=torch.full((1, *size), torch.nan))
        values = self.maps.read(file)
        _check_shape(file, values, sample.intrinsics, frame)
        return replace(sample, teacher_disparity=torch.from_numpy(nearest(values, shares, *size))[None])

    def check(self) -> None:
        """Look at the maps before a training does.

        Raises:
            UserError: no sample has a map, one cannot be read or has another shape, or they are upside down.
        """
        if len(self.missing) == len(self):
            held = ", ".join(list(self.maps.files)[:NAMES_SHOWN])
            raise UserError(
                f"{self.maps.folder}: holds a map for none of the {len(self)} frames. The first frame is "
                f"{self._keys[0]}, so its map would be {self._keys[0]}.npy or .png; those here begin with {held}. "
                "Name them so."
            )
        places = [place for place, file in enumerate(self._files) if file is not None]
        chosen = places[:: max(1, len(places) // CHECKED_MAPS)][:CHECKED_MAPS]
        turned = [self._files[place] for place in chosen if _is_upside_down(self._checked(place))]
        if len(turned) > UPSIDE_DOWN_SHARE * len(chosen):
            self._refuse_turned(turned[0])
        if self.missing:
            log.warning(
                "%s: has no map for %d of %d frames (the first: %s); from these view synthesis alone is learnt.",
                self.maps.folder,
                len(self.missing),
                len(self),
                self.missing[0],
            )

    def _checked(self, index: int) -> np.ndarray:
        values = self.maps.read(self._files[index])
        try:
            sample = self.dataset[index]
        except UserError:
            return values  # a broken frame is the loader's to report
        _check_shape(self._files[index], values, sample.intrinsics, tuple(sample.target.shape[-2:]))
        return values

    def _refuse_turned(self, file: Path) -> None:
        said = f"{file}: is nearer at the top than at the bottom, and so are most maps of {self.maps.folder}."
        if self.maps.certain:
            log.warning("%s", said)
            return
        mine = self.maps.values
        other = {"depth": "inverse-depth", "inverse-depth": "depth"}[mine]
        raise UserError(
            f"{said} If they hold {other.replace('-', ' ')}, say --teacher-maps.values {other}; if the scene is so, "
            f"say --teacher-maps.values {mine}; otherwise turn them."
        )


def nearest(values: np.ndarray, shares: tuple[float, float, float, float], height: int, width: int) -> np.ndarray:
    """A part of a map (H, W) at another size, by the nearest value: between front and background lies nothing.

    Args:
        shares: top, left, bottom and right of the part, as shares of the map's height and width.
    """
    top, left, bottom, right = shares
    rows = (top + (np.arange(height) + 0.5) / height * (bottom - top)) * values.shape[0]
    columns = (left + (np.arange(width) + 0.5) / width * (right - left)) * values.shape[1]
    rows, columns = (
        np.clip(places.astype(np.int64), 0, side - 1)
        for places, side in zip((rows, columns), values.shape, strict=True)
    )
    return np.ascontiguousarray(values[rows[:, None], columns])


def native_aspect(intrinsics: Tensor) -> float:
    """Width by height of the frames as they were taken, from normalised intrinsics: their pixels are square."""
    return float(intrinsics[1, 1] / intrinsics[0, 0])


def _check_shape(file: Path, values: np.ndarray, intrinsics: Tensor, frame: tuple[int, int]) -> None:
    """Raises UserError: a map has neither the shape of its frame as it was taken nor as training reads it."""
    height, width = values.shape
    native, read = native_aspect(intrinsics), frame[1] / frame[0]
    found = width / height
    if all(max(found / aspect, aspect / found) > MOST_STRETCHED for aspect in (native, read)):
        raise UserError(
            f"{file}: is {width}x{height}, {found:.2f} times as wide as high; its frame is {native:.2f} times, and "
            f"{frame[1]}x{frame[0]} in training. Write maps of whole frames."
        )


def _is_upside_down(inverse_depth: np.ndarray) -> bool:
    """The ground at the bottom of a picture is nearer than what is at its top."""
    height = inverse_depth.shape[0]
    top, bottom = inverse_depth[: int(SKY_SHARE * height)], inverse_depth[height - int(GROUND_SHARE * height) :]
    return bool(_middle(top) > _middle(bottom))


def _middle(values: np.ndarray) -> float:
    known = values[np.isfinite(values)]
    return float(np.median(known)) if known.size else np.nan
