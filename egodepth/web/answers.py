"""From an upload to everything that the page shows and offers of it, written into one folder.

Runs in the page's worker process, see `worker`.
"""

import base64
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from egodepth.colour import colour_depth
from egodepth.errors import UserError
from egodepth.files import write_bytes
from egodepth.geometry.cameras import Camera, field_of_view_degrees
from egodepth.inference.pictures import surrounded
from egodepth.inference.points import encode_ply, farthest_of, pixel_rays, points_of
from egodepth.inference.video import open_depth_video
from egodepth.inference.writers import encode_npy, encode_png16
from egodepth.png import encode_png
from egodepth.web.limits import WebLimits
from egodepth.web.reading import check_video, read_upload, read_uploaded_video, shows_video

if TYPE_CHECKING:
    from egodepth.inference.predictor import Predictor

MOST_TURNED = 150_000
"""Points that are shown to be turned: a telephone still turns so many smoothly."""

TURNED_MEDIANS = 3.0

READING_PIXELS = 120_000
"""Size of the grid of distances that goes to the browser: 240 kB, and finer than a pointer."""

READING_STEPS = 60_000
"""The farthest distance of the grid in steps of its 16 bits; 65535 says that there is none."""

MOST_FRAMES = 150
"""Frames of a video that are predicted, evenly spread: with all 600 of the longest nobody would wait."""

KEPT_FRAMES = 12
UNKNOWN_DEGREES = 60.0
"""Field of view to begin with where neither the file nor the model knows one."""

DEGREES = 20.0, 150.0

FILES = {
    "picture": "picture.png",
    "coloured": "depth-in-colours.png",
    "npy": "depth.npy",
    "png16": "depth-metres-x-256.png",
    "ply": "points.ply",
    "turned": "points-shown.ply",
}


@dataclass(frozen=True)
class Job:
    """What is asked of the worker.

    Attributes:
        folder: to write into; it exists, and nobody else writes there.
        file: the upload, or a picture that an earlier answer wrote.
        degrees: horizontal field of view; None takes what the file states, or else that of the model's training.
    """

    folder: str
    file: str
    degrees: float | None = None


@dataclass(frozen=True)
class Answer:
    """What the page shows. Files are named by their whole paths.

    Attributes:
        picture, coloured: the input and its depth in colours, of one size.
        npy, png16, ply: to be taken home; `png16` is None where depth has no metres.
        turned: the points that are shown, fewer, with y up.
        extent: longest side of the box around those, by which they are looked at from a fitting distance.
        readings: the distances under the pointer, for the page's own script.
        degrees: horizontal field of view that was assumed.
        said: one line about the answer.
        video: the depth video of a video, else None.
        frames: pictures of a video that can be looked at one by one, with their seconds.
    """

    picture: str
    coloured: str
    npy: str
    png16: str | None
    ply: str
    turned: str
    extent: float
    readings: dict[str, object]
    degrees: float
    said: str
    video: str | None = None
    frames: tuple[tuple[str, float], ...] = ()


def answer(predictor: "Predictor", job: Job, limits: WebLimits, progress: Callable[[float], None]) -> Answer:
    """Answer an upload. Of a video the middle frame is answered like a picture, and the whole as a depth video.

    A model of several frames is given those around each frame of the video; a picture is alone.

    Args:
        progress: told of the share that is done.

    Raises:
        UserError: the upload cannot be read, or is beyond the limits.
    """
    folder, file = Path(job.folder), Path(job.file)
    if shows_video(file):
        return _answer_video(predictor, folder, file, job.degrees, limits, progress)
    upload = read_upload(file, limits)
    height, width = upload.full_size
    notes = []
    if upload.pixels.shape[:2] != upload.full_size:
        notes.append(f"{width}x{height} pixels were made {upload.pixels.shape[1]}x{upload.pixels.shape[0]}")
    degrees = job.degrees
    if degrees is None and upload.degrees is not None:
        degrees = upload.degrees
        notes.append("the photograph states its field of view")
    return _answer_picture(predictor, folder, upload.pixels, degrees, notes)


def _answer_video(
    predictor: "Predictor",
    folder: Path,
    file: Path,
    degrees: float | None,
    limits: WebLimits,
    progress: Callable[[float], None],
) -> Answer:
    expected = max(1, check_video(file, limits))
    fitted: Predictor | None = None
    taken_each = -(-expected // MOST_FRAMES)
    kept_each = max(1, expected // taken_each // KEPT_FRAMES)
    frames: list[tuple[str, float]] = []
    count = 0
    video = folder / "depth.mp4"
    with open_depth_video(video, Fraction(25)) as out:
        read = surrounded(read_uploaded_video(file, limits), predictor.time_offsets)
        for number, ((pixels, seconds), around) in enumerate(read):
            if number % taken_each:
                continue
            fitted = fitted or predictor.fitted_to(*pixels.shape[:2])
            neighbours = {offset: neighbour for offset, (neighbour, _) in around.items()}
            [depth] = fitted.predict_images([pixels], neighbours=[neighbours])
            out.add(pixels, depth, seconds)
            if count % kept_each == 0:
                kept = folder / f"frame-{count:04d}.png"
                _write_picture(kept, pixels)
                frames.append((str(kept), seconds))
            count += 1
            progress(min(1.0, number / expected))
        if not frames:
            raise UserError(f"{file.name}: no frame of it can be decoded. Convert it to MP4.")
    middle, seconds = frames[len(frames) // 2]
    spread = f", one in {taken_each}" if taken_each > 1 else ""
    notes = [f"{count} frames{spread}; here the one at {seconds:.1f} s"]
    shown = read_upload(Path(middle), limits).pixels
    found = _answer_picture(predictor, folder, shown, degrees, notes)
    return Answer(**(vars(found) | {"video": str(video), "frames": tuple(frames)}))


def _answer_picture(
    predictor: "Predictor", folder: Path, pixels: np.ndarray, degrees: float | None, notes: list[str]
) -> Answer:
    height, width = pixels.shape[:2]
    if degrees is None:
        degrees = UNKNOWN_DEGREES if predictor.focal is None else field_of_view_degrees(predictor.focal)
    degrees = float(np.clip(degrees, *DEGREES))
    camera = Camera.of_field_of_view(degrees, height, width)
    [depth] = predictor.fitted_to(height, width).predict_images([pixels], cameras=[camera])
    unit = "metres" if predictor.is_metric else "up to scale"
    points = points_of(depth, pixels, pixel_rays(camera), farthest_of(depth, predictor.is_metric))
    paths = {name: folder / file for name, file in FILES.items()}
    _write_picture(paths["picture"], pixels)
    _write_picture(paths["coloured"], colour_depth(depth))
    write_bytes(paths["npy"], encode_npy(depth))
    if predictor.is_metric:
        write_bytes(paths["png16"], encode_png16(depth))
    write_bytes(paths["ply"], encode_ply(points, unit))
    turned = _turned(points)
    write_bytes(paths["turned"], encode_ply(turned, unit))
    known: dict[str, str | None] = {name: str(path) for name, path in paths.items()}
    if not predictor.is_metric:
        known["png16"] = None
    said = [f"{width}x{height} pixels, depth {'in metres' if predictor.is_metric else 'up to scale'}"]
    return Answer(
        **known,
        extent=max(float(np.ptp(turned[axis])) for axis in "xyz") if len(turned) else 1.0,
        readings=readings_of(depth, predictor.is_metric),
        degrees=degrees,
        said="; ".join(said + notes) + ".",
    )


def readings_of(depth: np.ndarray, is_metric: bool) -> dict[str, object]:
    """A grid of distances that the page's script reads under the pointer: 16-bit steps, in base64."""
    height, width = depth.shape
    share = min(1.0, (READING_PIXELS / depth.size) ** 0.5)
    rows, columns = max(1, int(height * share)), max(1, int(width * share))
    # The middle of each cell, as it is: a mean over an edge would be a distance at which there is nothing.
    grid = depth[np.ix_(_middles(rows, height), _middles(columns, width))]
    known = np.isfinite(grid) & (grid > 0)
    step = float(grid[known].max()) / READING_STEPS if known.any() else 1.0
    steps = np.where(known, np.minimum(grid / step, READING_STEPS), 65535).round().astype("<u2")
    return {
        "rows": rows,
        "columns": columns,
        "step": step,
        "unit": "m" if is_metric else "",
        "steps": base64.b64encode(steps.tobytes()).decode("ascii"),
    }


def _middles(cells: int, pixels: int) -> np.ndarray:
    """The pixel in the middle of each of so many cells."""
    return ((np.arange(cells) + 0.5) * pixels / cells).astype(int)


def _turned(points: np.ndarray) -> np.ndarray:
    """Fewer of the points, with y up and z towards the viewer, as programs that turn things have it.

    What is far is left out: thin and wide, it would make the rest small.
    """
    if len(points):
        points = points[points["z"] <= TURNED_MEDIANS * np.median(points["z"])]
    fewer = points[:: -(-len(points) // MOST_TURNED) or 1].copy()
    fewer["y"] *= -1
    fewer["z"] *= -1
    return fewer


def _write_picture(path: Path, pixels: np.ndarray) -> None:
    write_bytes(path, encode_png(pixels))
