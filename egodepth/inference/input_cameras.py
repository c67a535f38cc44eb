"""The cameras of the pictures of a run, as far as they are known: typed in, in a file beside them, or in the pictures.

A lens that bends is undone before the network, which was trained on undistorted frames, and done again to its depth,
so that depth lies on the pixels of the picture that was given.
"""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from egodepth.data.calibrations.calibration import Calibration
from egodepth.data.calibrations.exif import camera_from_exif
from egodepth.data.calibrations.finding import file_beside, named_file
from egodepth.data.calibrations.reading import read_calibration
from egodepth.data.camera_checking import check_camera
from egodepth.data.configurations import FIELD_OF_VIEW, field_of_view_in
from egodepth.data.footage.camera import camera_of_frames, parse_intrinsics, quarter_turns
from egodepth.errors import UserError
from egodepth.geometry.cameras import Camera, pinhole
from egodepth.geometry.lenses import Lens, distort_depth, rays, shown_pixels, straight_camera, undistort
from egodepth.inference.inputs import Input, VideoInput
from egodepth.inference.points import pixel_rays

log = logging.getLogger("egodepth")

NONE = "none"
"""As intrinsics: pictures are taken as they are."""

Found = tuple[Camera | None, Lens | None]


class InputCameras:
    """The cameras of a run's inputs, found once for each folder and size.

    Args:
        inputs: whose output names pictures go by; those of a video's frames lie below its own.
        intrinsics: of all inputs: a file, `fx,fy,cx,cy` in pixels of the pictures, or `fov=DEGREES`; `none` leaves all
            as they are; by default the file beside each, or for photographs what they say themselves.

    Raises:
        UserError: the file is missing, or what was given is no camera.
    """

    def __init__(self, inputs: Sequence[Input], intrinsics: str | None = None) -> None:
        self._inputs = {each.name: each for each in inputs}
        self._looks = intrinsics != NONE
        self._typed = self._named = None
        if intrinsics is not None and self._looks:
            self._named = named_file(intrinsics)
            if self._named is not None:
                read_calibration(*self._named)
            else:
                self._typed = intrinsics
                typed_camera(intrinsics, 100, 100)
        self._calibrations: dict[Path, tuple[Path, Calibration] | None] = {}
        self._found_of: dict[tuple[Path, int, int], Found] = {}

    def straight(self, name: Path, image: np.ndarray) -> np.ndarray:
        """The picture (H, W, 3) of an output name, undistorted."""
        _, lens = self._of(name, *image.shape[:2])
        return image if lens is None else undistort(image, lens)

    def bent(self, name: Path, depth: np.ndarray) -> np.ndarray:
        """The depth (H, W) of a picture as it was given, not a number where the undistorted one does not show it."""
        _, lens = self._of(name, *depth.shape)
        return depth if lens is None else distort_depth(depth, lens)

    def camera(self, name: Path, height: int, width: int) -> Camera | None:
        """The camera of the undistorted picture of an output name; None where nothing says what it is."""
        return self._of(name, height, width)[0]

    def rays(self, name: Path, height: int, width: int) -> np.ndarray | None:
        """x / z and y / z (H, W, 2) of the pixels of a picture as it was given; None where nothing says its camera."""
        camera, lens = self._of(name, height, width)
        if camera is None:
            return None
        if lens is None:
            return pixel_rays(camera)
        columns, rows = np.meshgrid(np.arange(width), np.arange(height))
        return rays(lens, np.stack([columns, rows], axis=-1).reshape(-1, 2)).reshape(height, width, 2)

    def _of(self, name: Path, height: int, width: int) -> Found:
        if not self._looks:
            return None, None
        source = self._inputs.get(name) or self._inputs[name.parent]
        is_video = isinstance(source, VideoInput)
        footage = source.path if is_video else source.path.parent
        key = footage, height, width
        if key not in self._found_of:
            self._found_of[key] = self._found(footage, is_video, height, width)
        camera, lens = self._found_of[key]
        if camera is None and not is_video:
            camera = camera_from_exif(source.path, height, width)
        return camera, lens

    def _found(self, footage: Path, is_video: bool, height: int, width: int) -> Found:
        if self._typed is not None:
            camera = typed_camera(self._typed, height, width)
            check_camera(f"--intrinsics {self._typed}", camera, "Give the intrinsics of the pictures' own size.")
            return camera, None
        if footage not in self._calibrations:
            self._calibrations[footage] = self._read(footage)
        known = self._calibrations[footage]
        if known is None:
            return None, None
        file, calibration = known
        turns = quarter_turns(footage) if is_video else None
        try:
            camera, lens = camera_of_frames(file, calibration, height, width, turns)
        except UserError as error:
            raise UserError(f"{error} --intrinsics none takes the pictures as they are.") from error
        if lens is None:
            return camera, None
        lost = 1 - shown_pixels(lens).mean()
        said = f"; {lost:.1%} of the pixels, at the border, have none" if lost > 0 else ""
        log.info("%s: undistorted by %s, depth is on the original pixels%s.", footage, file.name, said)
        return straight_camera(lens), lens

    def _read(self, footage: Path) -> tuple[Path, Calibration] | None:
        """The calibration beside footage. One that cannot be read, and was not named, is said and passed over."""
        if self._named is not None:
            return self._named[0], read_calibration(*self._named)
        try:
            found = file_beside(footage)
            return None if found is None else (found[0], read_calibration(*found))
        except UserError as error:
            log.warning("%s The pictures are taken as they are.", error)
            return None


def stream_camera(intrinsics: str | None) -> Callable[[int, int], Camera | None]:
    """The camera of frames that come one by one, by their height and width.

    Args:
        intrinsics: as `InputCameras` takes them; None for a camera that is not known.

    Raises:
        UserError: the file is missing, or what was given is no camera; or its lens bends, which is not undone live.
    """
    if intrinsics is None:
        return lambda height, width: None
    named = named_file(intrinsics)
    if named is None:
        typed_camera(intrinsics, 100, 100)
        return lambda height, width: typed_camera(intrinsics, height, width)
    file, calibration = named[0], read_calibration(*named)
    if calibration.is_bent:
        raise UserError(f"{file}: its lens bends, which is not undone in a stream. Give a camera without distortion.")
    return lambda height, width: camera_of_frames(file, calibration, height, width, None)[0]


def typed_camera(intrinsics: str, height: int, width: int) -> Camera:
    """The camera of `fx,fy,cx,cy` or `fov=DEGREES` for pictures of a size.

    Raises:
        UserError: it is neither.
    """
    if intrinsics.startswith(FIELD_OF_VIEW):
        return Camera.of_field_of_view(field_of_view_in(intrinsics), height, width)
    return Camera(pinhole(*parse_intrinsics(intrinsics)), height, width)
