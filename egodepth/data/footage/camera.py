"""The camera of footage: typed in, or from a file: one that is named, or the camera.json beside the footage."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from egodepth.data.bags.reading import is_bag
from egodepth.data.calibrations.calibration import Calibration
from egodepth.data.calibrations.finding import file_beside, named_file, own_places
from egodepth.data.calibrations.reading import read_calibration
from egodepth.data.camera_checking import Numbers, are_fractions, check_camera, numbers_of, same_aspect, shown
from egodepth.data.configurations import FIELD_OF_VIEW, LEARNED_EACH, LEARNED_WAYS, field_of_view_in
from egodepth.data.footage.video import video_info
from egodepth.data.images import image_size, list_images
from egodepth.errors import UserError
from egodepth.geometry.cameras import Camera, pinhole, turned
from egodepth.geometry.lenses import Lens, straight_camera


class CameraUnknown(UserError):
    """Footage comes without intrinsics."""


LEARNED_START_DEGREES = 60.0
"""The horizontal field of view that a camera has before it is learnt."""

OWN_SIZE = "Give the intrinsics of the frames' own size"


def parse_intrinsics(text: str) -> Numbers:
    """Read `fx,fy,cx,cy` in pixels.

    Raises:
        UserError: there are not four numbers, or a focal length is not positive.
    """
    try:
        fx, fy, cx, cy = (float(piece) for piece in text.split(","))
    except ValueError:
        raise UserError(f"--intrinsics {text}: expected four numbers fx,fy,cx,cy in pixels.") from None
    if not (0 < fx < np.inf and 0 < fy < np.inf and np.isfinite([cx, cy]).all()):
        raise UserError(f"--intrinsics {text}: focal lengths must be positive and all four numbers finite.")
    return fx, fy, cx, cy


def footage_camera(path: Path | str, intrinsics: str | None = None) -> Camera:
    """The camera of a piece of footage at its native size, checked against its frames; of a lens the undistorted one.

    Args:
        path: video file or folder of frames.
        intrinsics: `fx,fy,cx,cy` in pixels of the native frames, `fov=DEGREES` from left to right, a file of
            intrinsics, or one of `LEARNED_WAYS` for the camera that learning starts from where no file says another.
            Without it `camera.json` is read, in the folder or beside the video (also as `<name of the video>.json`): an
            object of fx, fy, cx and cy, and width and height where it was calibrated at another size; or the one file
            there that another program is known to write.

    Raises:
        CameraUnknown: neither is there.
        UserError: one has another form, or cannot be the camera of these frames.
    """
    return camera_and_lens(path, intrinsics)[0]


def footage_lens(path: Path | str, intrinsics: str | None = None) -> Lens | None:
    """The lens by which frames of footage are to be undistorted; None where nothing is known to bend them.

    Arguments and errors are those of `footage_camera`, of whose frames it is.
    """
    return _camera_and_lens(Path(path), intrinsics)[1]


def is_learned(path: Path, intrinsics: str | None) -> bool:
    """Whether the camera of footage is learnt in training: that is asked for, and no file beside it says one."""
    return intrinsics in LEARNED_WAYS and file_beside(path) is None


def learned_camera(path: Path, intrinsics: str | None) -> str | None:
    """The name of the camera that training learns for footage; None where it is given.

    With `learned` it is the size of the frames, `1280x720`, which all that are taken by one camera have; with
    `learned-each` the footage's own.
    """
    if not is_learned(path, intrinsics):
        return None
    height, width = footage_size(path)
    return path.name if intrinsics == LEARNED_EACH else f"{width}x{height}"


def camera_and_lens(path: Path | str, intrinsics: str | None = None) -> tuple[Camera, Lens | None]:
    """`footage_camera` and `footage_lens` by one look at the footage."""
    camera, lens = _camera_and_lens(Path(path), intrinsics)
    return (camera if lens is None else straight_camera(lens)), lens


def _camera_and_lens(path: Path, intrinsics: str | None) -> tuple[Camera, Lens | None]:
    """The camera of the frames as they are, and what bends them."""
    height, width = footage_size(path)
    if is_learned(path, intrinsics):
        return Camera.of_field_of_view(LEARNED_START_DEGREES, height, width), None
    intrinsics = None if intrinsics in LEARNED_WAYS else intrinsics
    if intrinsics is not None and intrinsics.startswith(FIELD_OF_VIEW):
        return Camera.of_field_of_view(field_of_view_in(intrinsics), height, width), None
    found = None if intrinsics is None else named_file(intrinsics)
    if intrinsics is not None and found is None:
        camera = Camera(pinhole(*parse_intrinsics(intrinsics)), height, width)
        check_camera(f"--intrinsics {intrinsics}", camera, f"{OWN_SIZE}.")
        return camera, None
    found = found or file_beside(path)
    if found is None:
        raise CameraUnknown(
            f"{path}: the camera is not known. Give --intrinsics fx,fy,cx,cy in pixels of its {width}x{height} frames, "
            f'or --fov DEGREES, or write {own_places(path)[0]}: {{"fx": …, "fy": …, "cx": …, "cy": …}}.'
        )
    return camera_of_frames(found[0], read_calibration(*found), height, width, quarter_turns(path))


def camera_of_frames(
    file: Path, calibration: Calibration, height: int, width: int, turns: int | None
) -> tuple[Camera, Lens | None]:
    """The camera of a file for frames of a size, and its lens where that bends.

    Args:
        file: that the calibration is of, for messages.
        turns: of the frames, see `quarter_turns`.

    Raises:
        UserError: it cannot be the camera of these frames.
    """
    camera = _of_the_frames(file, calibration, height, width, turns)
    if not calibration.is_bent:
        return camera, None
    lens = _lens(file, calibration, camera, turns)
    try:
        straight = straight_camera(lens)
    except UserError as error:
        raise UserError(f"{file}: {error}") from error
    check_camera(f"{file} undistorted", straight, "Check the distortion coefficients.")
    return camera, lens


def footage_size(path: Path | str) -> tuple[int, int]:
    """Height and width of a video's upright frames with square pixels, or the most common in a folder of frames."""
    path = Path(path)
    if path.is_dir() and not is_bag(path):
        return common_size(image_sizes(list_images(path)), path)
    info = video_info(path)
    return info.height, info.width


def quarter_turns(path: Path) -> int | None:
    """Turns by 90 degrees, counterclockwise, from the recorded picture to the upright one; None where not known."""
    orientation = None if path.is_dir() and not is_bag(path) else video_info(path).orientation
    # A mirrored picture is not the recorded one turned, to whichever side.
    return None if orientation is None or orientation.mirrored else orientation.quarter_turns


def _of_the_frames(file: Path, calibration: Calibration, height: int, width: int, turns: int | None) -> Camera:
    numbers = calibration.fx, calibration.fy, calibration.cx, calibration.cy
    size = calibration.height or height, calibration.width or width
    sized = calibration.height is not None or calibration.width is not None
    remedy = f"{OWN_SIZE}." if sized else f"{OWN_SIZE}, or add width and height."
    camera = Camera(pinhole(*numbers), *size)
    if are_fractions(numbers):
        check_camera(str(file), Camera(camera.intrinsics, height, width), remedy)
    if not same_aspect(size, (height, width)):
        camera = _of_the_frames_form(file, camera, height, width, turns)
    camera = camera.resize(height, width)
    check_camera(str(file), camera, remedy)
    return camera


def _lens(file: Path, calibration: Calibration, camera: Camera, turns: int | None) -> Lens:
    """The lens of a calibration at the size of the frames, turned as their camera was."""
    fx, fy, cx, cy = numbers_of(camera)
    coefficients = calibration.coefficients
    lies = (calibration.width or camera.width) > (calibration.height or camera.height)
    if calibration.width and calibration.height and lies != (camera.width > camera.height):
        if calibration.model == "opencv" and any(coefficients[2:4]) and not turns:
            raise UserError(
                f"{file}: calibrated at {calibration.width}x{calibration.height}, but the frames are "
                f"{camera.width}x{camera.height}: turned, and nothing says to which side p1 and p2 turn. Calibrate "
                "with pictures that are turned as the frames are."
            )
        bent = Lens(calibration.model, coefficients, 1, 1, 0, 0, camera.height, camera.width)
        coefficients = bent.turned(turns or 1).coefficients
    return Lens(calibration.model, coefficients, fx, fy, cx, cy, camera.height, camera.width, calibration.field)


def _of_the_frames_form(file: Path, camera: Camera, height: int, width: int, turns: int | None) -> Camera:
    """The camera of a lying calibration for upright frames, or of an upright one for lying frames.

    Raises:
        UserError: the two are of another form, or the calibration is turned and nothing says to which side.
    """
    lies, stands = ("lying", "upright") if camera.width > camera.height else ("upright", "lying")
    is_turned = (camera.width > camera.height) != (width > height)
    calibrated, frames = f"{camera.width}x{camera.height}", f"{width}x{height}"
    found = f"{file}: calibrated at {calibrated}, but the frames are {frames}"
    if is_turned:
        found = f"{file}: calibrated {lies} at {calibrated}, but the frames are {stands}, {frames}"
        if turns is not None and turns % 2:
            camera = turned(camera, turns)
        elif same_aspect((camera.width, camera.height), (height, width)):
            sides = [numbers_of(turned(camera, side).resize(height, width)) for side in (1, 3)]
            if any(abs(one - other) > 0.01 * max(height, width) for one, other in zip(*sides, strict=True)):
                raise UserError(
                    f"{found}: turned, and nothing says to which side. In pixels of the frames write fx, fy, cx, cy = "
                    f"{shown(sides[0])} where they were turned counterclockwise, {shown(sides[1])} clockwise."
                )
            return turned(camera, 1)
        else:
            camera = turned(camera, 1)
        if same_aspect((camera.height, camera.width), (height, width)):
            return camera
    wider = camera.width / camera.height > width / height
    scale = height / camera.height if wider else width / camera.width
    fx, fy, cx, cy = numbers_of(camera)
    # The cut is measured between borders, half a pixel outside the first and the last pixel's centre.
    cut_x, cut_y = ((camera.width * scale - width) / 2, (camera.height * scale - height) / 2)
    cx, cy = (cx + 0.5) * scale - 0.5 - max(0.0, cut_x), (cy + 0.5) * scale - 0.5 - max(0.0, cut_y)
    sides = "left and right" if wider else "top and bottom"
    remedy = (
        f"{OWN_SIZE}; where the same picture was only cut at {sides}, to equal parts, these are "
        f"fx, fy, cx, cy = {shown((fx * scale, fy * scale, cx, cy))}"
    )
    raise UserError(f"{found}, of another form: how the one is cut from the other is not known. {remedy}.")


def image_sizes(images: Sequence[Path]) -> dict[Path, tuple[int, int] | UserError]:
    """Height and width of each image, or why it cannot be read."""
    sizes: dict[Path, tuple[int, int] | UserError] = {}
    for path in images:
        try:
            sizes[path] = image_size(path)
        except UserError as error:
            sizes[path] = error
    return sizes


def common_size(sizes: dict[Path, tuple[int, int] | UserError], folder: Path) -> tuple[int, int]:
    """The most common height and width.

    Raises:
        UserError: no image can be read.
    """
    counts = Counter(size for size in sizes.values() if not isinstance(size, UserError))
    if not counts:
        raise UserError(f"{folder}: none of its {len(sizes)} images can be read. Check the files.")
    return counts.most_common(1)[0][0]
