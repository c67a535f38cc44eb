"""A camera from pictures of a chessboard, by OpenCV."""

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from egodepth.data.calibrations.calibration import Calibration, coefficients_listed
from egodepth.data.footage.video import read_video_frames, video_info
from egodepth.data.images import list_images, read_image
from egodepth.errors import UserError
from egodepth.geometry.lenses import Lens, LensModel, straight_camera

log = logging.getLogger("egodepth")

LEAST_PICTURES = 3
BLURRED = 3.0
"""A picture whose error is so many times the median is left out: the board moved, or was bent."""
LEAST_ERROR_PX = 1.0

CELLS = 8
"""Coverage is counted in so many cells along each side of the picture."""

SUBPIXEL_WINDOW = 11


@dataclass(frozen=True)
class Board:
    """A chessboard.

    Attributes:
        columns, rows: inner corners, where four squares meet.
        square_m: side of a square in metres; None leaves distances in squares.
    """

    columns: int
    rows: int
    square_m: float | None = None

    @classmethod
    def parse(cls, text: str, square_m: float | None = None) -> "Board":
        """A board from `9x6`.

        Raises:
            UserError: it is not of this form, or no board that can be found.
        """
        try:
            columns, rows = (int(piece) for piece in text.lower().split("x"))
        except ValueError:
            raise UserError(f"--board {text}: expected inner corners across and down, such as 9x6.") from None
        if min(columns, rows) < 3:
            raise UserError(
                f"--board {text}: a board has three inner corners a side at least. Count where squares meet."
            )
        if square_m is not None and not 0 < square_m < np.inf:
            raise UserError(f"--square-m {square_m:g}: the side of a square is a positive number of metres.")
        return cls(columns, rows, square_m)

    def points(self) -> np.ndarray:
        """The corners (columns * rows, 3) float32 in metres, or in squares."""
        grid = np.zeros((self.columns * self.rows, 3), np.float32)
        grid[:, :2] = np.mgrid[: self.columns, : self.rows].T.reshape(-1, 2)
        return grid * np.float32(self.square_m or 1)


@dataclass(frozen=True)
class BoardView:
    """The corners (N, 2) of a board in a picture."""

    name: str
    corners: np.ndarray


@dataclass(frozen=True)
class BoardCalibration:
    """A camera found from boards.

    Attributes:
        calibration: the result.
        rms_px: root mean square of the distances of found corners from where the result puts them.
        errors_px: the same for each picture, by name.
        left_out: pictures that were not used, with the reason.
        coverage: share of the picture's cells in which a corner was found.
        focal_error_px: standard deviation of the focal length, as far as the corners tell.
        distances: of the nearest and the farthest board, in metres or in squares.
        remark: on how the coefficients were chosen; empty for the usual ones.
    """

    calibration: Calibration
    rms_px: float
    errors_px: dict[str, float]
    left_out: dict[str, str]
    coverage: float
    focal_error_px: float
    distances: tuple[float, float]
    remark: str = ""


def calibrate_boards(source: Path, board: Board, model: LensModel = "opencv", frames: int = 60) -> BoardCalibration:
    """The camera that took the pictures of a folder, or the frames of a video, of a board.

    Args:
        frames: of a video, so many that lie evenly are looked into.

    Raises:
        UserError: the board is found in too few pictures, or the result is no camera.
    """
    views, left_out, size = _views(source, board, frames)
    if len(views) < LEAST_PICTURES:
        raise UserError(
            f"{source}: a board of {board.columns}x{board.rows} inner corners is seen in {len(views)} of "
            f"{len(views) + len(left_out)} pictures; at least {LEAST_PICTURES} are needed, 15 or more are good. Check "
            "--board, or take more pictures with the whole board in view."
        )
    found = _fitted(source, views, board, model, size)
    typical = float(np.median(found.errors_px))
    limit = max(BLURRED * typical, LEAST_ERROR_PX)
    kept = [view for view, error in zip(views, found.errors_px, strict=True) if error <= limit]
    if LEAST_PICTURES <= len(kept) < len(views):
        for view, error in zip(views, found.errors_px, strict=True):
            if error > limit:
                left_out[view.name] = f"error of {error:.2f} px where {typical:.2f} is usual; blurred or bent?"
        views, found = kept, _fitted(source, kept, board, model, size)
    (fx, _, cx), (_, fy, cy), _ = found.matrix.tolist()
    coefficients = coefficients_listed(model, found.coefficients)
    depths = [float(depth) for depth in found.distances]
    return BoardCalibration(
        Calibration(fx, fy, cx, cy, *size, model, coefficients),
        found.rms_px,
        dict(zip((view.name for view in views), map(float, found.errors_px), strict=True)),
        left_out,
        _coverage(views, *size),
        found.focal_error_px,
        (min(depths), max(depths)),
        found.remark,
    )


def _views(source: Path, board: Board, frames: int) -> tuple[list[BoardView], dict[str, str], tuple[int, int]]:
    """The boards found in pictures of the most common size, why others are left out, and that size."""
    found: list[tuple[tuple[int, int], BoardView]] = []
    sizes: Counter[tuple[int, int]] = Counter()
    names: dict[str, tuple[int, int]] = {}
    left_out: dict[str, str] = {}
    for name, picture in _pictures(source, frames):
        if isinstance(picture, str):
            left_out[name] = picture
            continue
        size = picture.shape[:2]
        sizes[size] += 1
        names[name] = size
        corners = _corners(picture, board)
        if corners is None:
            left_out[name] = "no board found"
        else:
            found.append((size, BoardView(name, corners)))
    if not sizes:
        raise UserError(f"{source}: none of its {len(left_out)} pictures can be read. Check the files.")
    common = sizes.most_common(1)[0][0]
    for name, (height, width) in names.items():
        if (height, width) != common:
            left_out[name] = f"is {width}x{height} where most are {common[1]}x{common[0]}"
    return [view for size, view in found if size == common], left_out, common


def _pictures(source: Path, frames: int) -> Iterator[tuple[str, np.ndarray | str]]:
    """Names with pictures (H, W, 3), or why there is none."""
    if source.is_dir():
        for path in list_images(source):
            try:
                yield path.name, read_image(path)
            except UserError as error:
                yield path.name, str(error).partition(": ")[2]
        return
    total = video_info(source).frames
    step = max(1, total // frames)
    for number, frame in enumerate(read_video_frames(source)):
        if number % step == 0:
            yield f"frame {number}", frame


def _corners(picture: np.ndarray, board: Board) -> np.ndarray | None:
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    shape = board.columns, board.rows
    flags = cv2.CALIB_CB_ADAPTIVE_THRESH | cv2.CALIB_CB_NORMALIZE_IMAGE
    found, corners = cv2.findChessboardCorners(grey, shape, flags=flags)
    if not found:
        return None
    # A window that reaches the next corner finds that one: small boards take a smaller window.
    grid = corners.reshape(board.rows, board.columns, 2)
    spacing = min(np.linalg.norm(np.diff(grid, axis=axis), axis=-1).min() for axis in (0, 1))
    window = int(np.clip(spacing / 2 - 1, 2, SUBPIXEL_WINDOW))
    criteria = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 30, 1e-3)
    return cv2.cornerSubPix(grey, corners, (window, window), (-1, -1), criteria).reshape(-1, 2)


@dataclass(frozen=True)
class _Fit:
    matrix: np.ndarray
    coefficients: list[float]
    rms_px: float
    errors_px: np.ndarray
    focal_error_px: float
    distances: list[float]
    remark: str = ""


def _fitted(source: Path, views: Sequence[BoardView], board: Board, model: LensModel, size: tuple[int, int]) -> _Fit:
    """The model with as many coefficients as hold up to the border of the picture."""
    attempts: list[tuple[int, str]] = [(0, "")]
    if model == "opencv":
        attempts += [
            (cv2.CALIB_FIX_K3, "k3 is left out: with it the picture folds over before its border."),
            (
                cv2.CALIB_FIX_K3 | cv2.CALIB_FIX_K2 | cv2.CALIB_ZERO_TANGENT_DIST,
                "k1 alone is used: with more the picture folds over before its border.",
            ),
        ]
    fault = None
    for flags, remark in attempts:
        try:
            fit = _fit_fisheye(views, board, size) if model == "fisheye" else _fit(views, board, size, flags, remark)
            (fx, _, cx), (_, fy, cy), _ = fit.matrix.tolist()
            straight_camera(Lens(model, coefficients_listed(model, fit.coefficients), fx, fy, cx, cy, *size))
        except cv2.error as error:
            raise UserError(
                f"{source}: no {model} camera fits these boards. Take more pictures, the board tilted to all sides."
            ) from error
        except UserError as error:
            fault = error
        else:
            return fit
    raise UserError(f"{source}: {fault}")


def _fit(views: Sequence[BoardView], board: Board, size: tuple[int, int], flags: int, remark: str) -> _Fit:
    corners = [view.corners.astype(np.float32) for view in views]
    rms, matrix, coefficients, _, shifts, spread, _, errors = cv2.calibrateCameraExtended(
        [board.points()] * len(views), corners, size[::-1], None, None, flags=flags
    )
    distances = [float(np.linalg.norm(shift)) for shift in shifts]
    return _Fit(matrix, coefficients.ravel().tolist(), rms, errors.ravel(), float(spread.ravel()[0]), distances, remark)


def _fit_fisheye(views: Sequence[BoardView], board: Board, size: tuple[int, int]) -> _Fit:
    points = board.points().astype(np.float64)[None]
    corners = [view.corners.astype(np.float64)[None] for view in views]
    matrix, coefficients = np.eye(3), np.zeros((4, 1))
    named = cv2 if hasattr(cv2, "CALIB_RECOMPUTE_EXTRINSIC") else cv2.fisheye  # moved in OpenCV 5
    flags = named.CALIB_RECOMPUTE_EXTRINSIC | named.CALIB_FIX_SKEW
    rms, matrix, coefficients, turns, shifts = cv2.fisheye.calibrate(
        [points] * len(views), corners, size[::-1], matrix, coefficients, flags=flags
    )
    errors = []
    for seen, turn, shift in zip(corners, turns, shifts, strict=True):
        expected, _ = cv2.fisheye.projectPoints(points, turn, shift, matrix, coefficients)
        errors.append(float(np.sqrt(((expected.reshape(-1, 2) - seen[0]) ** 2).sum(axis=1).mean())))
    distances = [float(np.linalg.norm(shift)) for shift in shifts]
    return _Fit(matrix, coefficients.ravel().tolist(), rms, np.array(errors), float("nan"), distances)


def _coverage(views: Sequence[BoardView], height: int, width: int) -> float:
    corners = np.concatenate([view.corners for view in views])
    cells = np.clip(((corners + 0.5) / (width, height) * CELLS).astype(int), 0, CELLS - 1)
    return len({tuple(cell) for cell in cells.tolist()}) / CELLS**2
