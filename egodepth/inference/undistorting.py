"""Pictures of a lens whose calibration lies beside them: undistorted for the network, their depth as they are.

Networks are trained on undistorted frames. What they say of one is brought back, so that depth lies on the pixels of
the picture that was given.
"""

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from egodepth.data.calibrations.calibration import Calibration
from egodepth.data.calibrations.finding import file_beside, named_file
from egodepth.data.calibrations.reading import read_calibration
from egodepth.data.footage.camera import camera_of_frames, quarter_turns
from egodepth.errors import UserError
from egodepth.geometry.lenses import Lens, distort_depth, shown_pixels, undistort
from egodepth.inference.inputs import Input, VideoInput

log = logging.getLogger("egodepth")

NONE = "none"
"""As intrinsics: pictures are taken as they are."""


class Undistortion:
    """The lenses of a run's inputs, found once for each folder and size.

    Args:
        inputs: whose output names pictures go by; those of a video's frames lie below its own.
        intrinsics: a file for all inputs, `none` to leave all as they are; by default the file beside each.

    Raises:
        UserError: the file is missing or cannot be used.
    """

    def __init__(self, inputs: Sequence[Input], intrinsics: str | None = None) -> None:
        self._inputs = {each.name: each for each in inputs}
        self._looks = intrinsics != NONE
        self._named = None
        if intrinsics is not None and self._looks:
            self._named = named_file(intrinsics)
            if self._named is None:
                raise UserError(f"--intrinsics {intrinsics}: give a file such as camera.json, or none.")
            read_calibration(*self._named)
        self._calibrations: dict[Path, tuple[Path, Calibration] | None] = {}
        self._lenses: dict[tuple[Path, int, int], Lens | None] = {}

    def straight(self, name: Path, image: np.ndarray) -> np.ndarray:
        """The picture (H, W, 3) of an output name, undistorted."""
        lens = self._lens(name, *image.shape[:2])
        return image if lens is None else undistort(image, lens)

    def bent(self, name: Path, depth: np.ndarray) -> np.ndarray:
        """The depth (H, W) of a picture as it was given, not a number where the undistorted one does not show it."""
        lens = self._lens(name, *depth.shape)
        return depth if lens is None else distort_depth(depth, lens)

    def _lens(self, name: Path, height: int, width: int) -> Lens | None:
        if not self._looks:
            return None
        source = self._inputs.get(name) or self._inputs[name.parent]
        is_video = isinstance(source, VideoInput)
        footage = source.path if is_video else source.path.parent
        key = footage, height, width
        if key not in self._lenses:
            self._lenses[key] = self._found(footage, is_video, height, width)
        return self._lenses[key]

    def _found(self, footage: Path, is_video: bool, height: int, width: int) -> Lens | None:
        if footage not in self._calibrations:
            self._calibrations[footage] = self._read(footage)
        known = self._calibrations[footage]
        if known is None or not known[1].is_bent:
            return None
        file, calibration = known
        turns = quarter_turns(footage) if is_video else None
        try:
            _, lens = camera_of_frames(file, calibration, height, width, turns)
        except UserError as error:
            raise UserError(f"{error} --intrinsics none takes the pictures as they are.") from error
        if lens is not None:
            lost = 1 - shown_pixels(lens).mean()
            said = f"; {lost:.1%} of the pixels, at the border, have none" if lost > 0 else ""
            log.info("%s: undistorted by %s, depth is on the original pixels%s.", footage, file.name, said)
        return lens

    def _read(self, footage: Path) -> tuple[Path, Calibration] | None:
        """The calibration beside footage. One that cannot be read, and was not named, is said and passed over."""
        if self._named is not None:
            return self._named[0], read_calibration(*self._named)
        try:
            file = file_beside(footage)
            return None if file is None else (file, read_calibration(file))
        except UserError as error:
            log.warning("%s The pictures are taken as they are.", error)
            return None
