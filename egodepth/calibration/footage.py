"""A camera from footage alone, by COLMAP's mapping of several runs of frames.

Each run of consecutive frames is mapped by itself, with focal length and distortion free. What they agree on is the
camera, and how far they agree says how far to trust it: a run of straight driving leaves the focal length almost
free, and its own residuals do not show it.
"""

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from PIL import Image

from egodepth.data.calibrations.calibration import Calibration
from egodepth.data.calibrations.colmap import of_parameters
from egodepth.data.footage.camera import footage_size
from egodepth.data.footage.video import read_video_frames, video_info
from egodepth.data.images import list_images, read_image
from egodepth.errors import UserError
from egodepth.processors import working_threads

FRAMES_PER_SECOND = 10
"""The rate at which a run takes frames from a video."""

RUN_LENGTH = 20
LEAST_FRAMES = 8
LEAST_REGISTERED = 5

LARGEST_SIDE = 1600
FEATURES = 2000
OVERLAP = 6
SECONDS_A_RUN = 180
JPEG_QUALITY = 95

FOCAL_LIMITS = (0.26, 2.9)
"""In widths of the picture: what is beyond is a run that has not found one."""

FOCAL_FLOOR, K1_FLOOR = 0.02, 0.02
"""What a run may be off by and not know: traffic, rolling shutters, a centre that is not in the middle.

A run of a KITTI drive claimed 811 ± 5 px where 722 are right."""

ROBUST_DISTANCE = 2.0
"""In standard deviations: a run that far from the others counts half."""

TRUSTED_SHARE, TRUSTED_ERROR_PX, TRUSTED_DEVIATION, TRUSTED_APART = 0.6, 1.5, 0.05, 0.4

MAPPING = Path(__file__).with_name("mapping.py")


@dataclass(frozen=True)
class MappedRun:
    """What COLMAP made of one run of frames.

    Attributes:
        focal_px, k1: of COLMAP's SIMPLE_RADIAL camera, whose centre is the middle of the picture.
        covariance: (2, 2) of the two, by the residuals alone; None where nothing in the run tells of them.
        registered, frames: placed, and looked at.
        error_px: mean reprojection error.
    """

    focal_px: float
    k1: float
    covariance: np.ndarray | None
    registered: int
    frames: int
    error_px: float


@dataclass(frozen=True)
class FootageCalibration:
    """A camera found from footage.

    Attributes:
        calibration: the camera on which the runs agree best.
        deviation: standard deviation of the focal length, relative.
        runs: that gave a camera; those that were mapped in less than half tell nothing.
        frames, registered: looked at, and placed.
        error_px: mean reprojection error.
        apart_px: focal lengths of the runs that do not agree with it.
    """

    calibration: Calibration
    deviation: float
    runs: tuple[MappedRun, ...]
    frames: int
    registered: int
    error_px: float
    apart_px: tuple[float, ...] = ()

    @property
    def doubts(self) -> list[str]:
        """Why the result is not to be trusted; none where it is."""
        said = []
        if self.registered < TRUSTED_SHARE * self.frames:
            said.append(f"only {self.registered} of {self.frames} frames were placed")
        if self.error_px > TRUSTED_ERROR_PX:
            said.append(f"the reprojection error is {self.error_px:.1f} px")
        if len(self.runs) == 1:
            said.append("a single run of frames gave a camera, and no other bears it out")
        if len(self.apart_px) > TRUSTED_APART * len(self.runs):
            found = ", ".join(f"{focal:.0f}" for focal in self.apart_px)
            said.append(f"{len(self.apart_px)} of its {len(self.runs)} runs of frames say otherwise ({found} px)")
        if self.deviation > TRUSTED_DEVIATION:
            said.append(f"the focal length is known to {self.deviation:.0%} only")
        return said


def has_mapping() -> bool:
    """Whether COLMAP is installed."""
    return find_spec("pycolmap") is not None


def calibrate_footage(
    source: Path, frames: int = 80, say: Callable[[str], None] = lambda stage: None
) -> FootageCalibration:
    """The camera of a video or a folder of frames.

    Args:
        frames: to look at, in runs that are spread over the footage.
        say: told of each stage.

    Raises:
        UserError: pycolmap is missing, the footage is too short, or nothing in it tells of a camera.
    """
    if not has_mapping():
        raise UserError("calibrate --self needs pycolmap. Install it: pip install 'egodepth[calibrate]'.")
    height, width = footage_size(source)
    total, step = _length(source)
    runs = spread_runs(total, step, frames)
    with TemporaryDirectory(prefix="egodepth-calibrate-") as temporary:
        folder = Path(temporary)
        (folder / "images").mkdir()
        say("reading frames")
        named = _write_frames(source, runs, folder / "images", (height, width))
        if sum(map(len, named)) < LEAST_FRAMES:
            raise UserError(f"{source}: only {sum(map(len, named))} frames can be used. Give longer footage.")
        settings = {
            "folder": str(folder),
            "runs": named,
            "threads": working_threads(),
            "largest_side": LARGEST_SIDE,
            "features": FEATURES,
            "overlap": OVERLAP,
            "least": LEAST_REGISTERED,
            "seconds_a_run": SECONDS_A_RUN,
        }
        mapped = _mapped(folder, settings, say)
    return joined(source, mapped, sum(map(len, named)), height, width)


def spread_runs(total: int, step: int, frames: int) -> list[list[int]]:
    """Runs of frame numbers, `step` apart within each and spread evenly over `total` frames.

    Raises:
        UserError: there are too few.
    """
    usable = (total - 1) // step + 1 if total else 0
    if min(usable, frames) < LEAST_FRAMES:
        raise UserError(f"--self: {min(usable, frames)} frames are too few to map; at least {LEAST_FRAMES} are needed.")
    length = min(RUN_LENGTH, usable, frames)
    count = max(1, min(frames, usable) // length)
    last = total - 1 - (length - 1) * step
    starts = [round(last * (number / (count - 1))) if count > 1 else last // 2 for number in range(count)]
    return [[start + step * place for place in range(length)] for start in starts]


def joined(source: Path, mapped: Sequence[MappedRun], frames: int, height: int, width: int) -> FootageCalibration:
    """What the runs agree on: their mean by their covariances, in which one that is far from the others counts little.

    Focal length and distortion go together: a run says well how the one follows from the other and badly what either
    is, and runs of different motion settle both. Of several means at which such weights come to rest, the one is taken
    that most runs bear out.

    Raises:
        UserError: none gave a camera.
    """
    low, high = FOCAL_LIMITS
    good = [
        run
        for run in mapped
        if run.covariance is not None and 2 * run.registered >= run.frames and low <= run.focal_px / width <= high
    ]
    if not good:
        raise UserError(
            f"{source}: no run of its frames gives a camera; it must move, and see texture that stands still. Film a "
            "chessboard and calibrate with --board, or give --fov."
        )
    found = np.array([(run.focal_px, run.k1) for run in good])
    floors = [np.diag([(FOCAL_FLOOR * run.focal_px) ** 2, K1_FLOOR**2]) for run in good]
    informations = np.linalg.inv([run.covariance + floor for run, floor in zip(good, floors, strict=True)])
    together = np.linalg.solve(informations.sum(axis=0), np.einsum("nij,nj->i", informations, found))
    means = [_at_rest(found, informations, start) for start in (together, *found)]
    mean, covariance, away = min(means, key=lambda each: np.log1p(each[2]).sum())
    calibration = of_parameters("SIMPLE_RADIAL", width, height, [mean[0], width / 2, height / 2, mean[1]])
    registered = sum(run.registered for run in good)
    error = sum(run.error_px * run.registered for run in good) / registered
    deviation = float(np.sqrt(covariance[0, 0]) / mean[0])
    apart = tuple(run.focal_px for run, far in zip(good, away, strict=True) if far > 1)
    return FootageCalibration(calibration, deviation, tuple(good), frames, registered, error, apart)


def _at_rest(
    found: np.ndarray, informations: np.ndarray, mean: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where a mean of (N, 2), whose far ones count little, comes to rest, its covariance, and how far off each is.

    Distances are squared, in the one beyond which a run counts less than half.
    """
    for _ in range(50):
        away = np.einsum("ni,nij,nj->n", found - mean, informations, found - mean) / ROBUST_DISTANCE**2
        weighted = informations / (1 + away)[:, None, None]
        covariance = np.linalg.inv(weighted.sum(axis=0))
        mean = covariance @ np.einsum("nij,nj->i", weighted, found)
    return mean, covariance, away


def _length(source: Path) -> tuple[int, int]:
    """How many frames there are, and how far apart those of a run lie."""
    if source.is_dir():
        return len(list_images(source)), 1
    info = video_info(source)
    return info.frames, max(1, round(info.frames_per_second / FRAMES_PER_SECOND))


def _write_frames(source: Path, runs: Sequence[Sequence[int]], folder: Path, size: tuple[int, int]) -> list[list[str]]:
    """The frames of each run as files in order, and their names; those of another size or that are broken are not."""
    wanted = {number for run in runs for number in run}
    names = {number: f"{number:08d}.jpg" for number in wanted}
    written = set()
    if source.is_dir():
        images = list_images(source)
        pictures = ((number, _readable(images[number])) for number in sorted(wanted))
    else:
        pictures = ((number, frame) for number, frame in enumerate(read_video_frames(source)) if number in wanted)
    for number, picture in pictures:
        if picture is not None and picture.shape[:2] == size:
            Image.fromarray(picture).save(folder / names[number], quality=JPEG_QUALITY)
            written.add(number)
    return [[names[number] for number in run if number in written] for run in runs]


def _readable(path: Path) -> np.ndarray | None:
    try:
        return read_image(path)
    except UserError:
        return None


def _mapped(folder: Path, settings: dict[str, Any], say: Callable[[str], None]) -> list[MappedRun]:
    file, errors = folder / "settings.json", folder / "errors.txt"
    file.write_text(json.dumps(settings), encoding="utf-8")
    found = []
    with errors.open("w") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-P", str(MAPPING), str(file)], stdout=subprocess.PIPE, stderr=stderr, text=True
        )
        try:
            for line in process.stdout:
                entry = _entry(line)
                if "stage" in entry:
                    say(entry["stage"])
                elif "run" in entry:
                    found.append(_run(entry))
            code = process.wait()
        finally:
            process.kill()
            process.wait()
    if code:
        said = [line for line in errors.read_text(errors="replace").splitlines() if line.strip()]
        raise UserError(f"calibrate --self: COLMAP ended with an error ({said[-1][:120] if said else code}).")
    return found


def _entry(line: str) -> dict[str, Any]:
    """A line of the mapping; COLMAP's own are none."""
    try:
        entry = json.loads(line)
    except ValueError:
        return {}
    return entry if isinstance(entry, dict) else {}


def _run(entry: dict[str, Any]) -> MappedRun:
    covariance = None if entry["covariance"] is None else np.array(entry["covariance"])
    if covariance is not None and not (np.isfinite(covariance).all() and np.linalg.det(covariance) > 0):
        covariance = None
    numbers = (entry[key] for key in ("registered", "frames", "error_px"))
    return MappedRun(entry["focal_px"], entry["k1"], covariance, *numbers)
