"""A drive over time for the Rerun viewer: pictures, depth, points, the camera's path, ground truth and error.

Needs Rerun, the extra `view`.
"""

from collections.abc import Callable, Iterable
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np

from egodepth.colour import colour_depth, colour_error
from egodepth.errors import UserError
from egodepth.files import replacing
from egodepth.inference.frames import SeenFrame, predicted_depth
from egodepth.inference.points import farthest_of, pixel_rays, points_of

if TYPE_CHECKING:
    from egodepth.inference.predictor import Predictor

APPLICATION = "egodepth"

MOST_POINTS = 40_000
"""Points of a frame that are shown: a drive of hundreds of frames still fits into memory."""

JPEG_QUALITY = 85

MOST_ERROR = 0.5
"""Relative error that is painted red."""


def require_rerun() -> ModuleType:
    """Raises UserError: Rerun is not installed."""
    try:
        import rerun
    except ImportError as error:
        raise UserError("egodepth view needs Rerun: pip install 'egodepth[view]'.") from error
    return rerun


def write_recording(file: Path, predictor: "Predictor", frames: Iterable[SeenFrame]) -> int:
    """Write what there is to see of frames to an `.rrd` file, and return how many frames these were.

    Raises:
        UserError: there is no frame, one cannot be read, or the place cannot be written to.
    """
    with replacing(file) as temporary:
        recording = require_rerun().RecordingStream(APPLICATION)
        recording.save(temporary)
        count = _record(recording, predictor, frames)
        recording.flush()
        recording.disconnect()
    return count


def show(predictor: "Predictor", frames: Iterable[SeenFrame]) -> int:
    """Open the viewer's window and show frames in it as they are predicted; it stays when all are there."""
    recording = require_rerun().RecordingStream(APPLICATION)
    recording.spawn()
    count = _record(recording, predictor, frames)
    recording.flush()
    return count


def _record(recording, predictor: "Predictor", frames: Iterable[SeenFrame]) -> int:
    rerun = require_rerun()
    recording.log("world", rerun.ViewCoordinates.RDF, static=True)
    path: list[np.ndarray] = []
    has_truth = False
    count = 0
    for frame in frames:
        recording.set_time("frame", sequence=count)
        if frame.seconds is not None:
            recording.set_time("time", duration=frame.seconds)
        count += 1
        has_truth = has_truth or frame.depth_m is not None
        log = recording.log
        log("name", rerun.TextDocument(frame.name))
        log("picture", rerun.Image(frame.image).compress(jpeg_quality=JPEG_QUALITY))
        depth = predicted_depth(predictor, frame)
        if frame.depth_m is not None:
            depth = _log_truth(rerun, log, frame.depth_m, depth)
        # Colours lie over the numbers, which the pointer reads.
        log("depth/distances", rerun.DepthImage(depth.astype(np.float16), meter=1.0))
        log("depth/colours", rerun.Image(colour_depth(depth)).compress(jpeg_quality=JPEG_QUALITY))
        pose = np.eye(4) if frame.pose is None else frame.pose
        if frame.pose is not None:
            path.append(pose[:3, 3])
            log("world/path", rerun.LineStrips3D([np.array(path)], colors=[[255, 180, 0]]))
        if frame.camera is not None:
            log("world/camera", rerun.Transform3D(translation=pose[:3, 3], mat3x3=pose[:3, :3]))
            matrix = np.array(frame.camera.intrinsics.tolist())
            height, width = frame.image.shape[:2]
            log("world/camera", rerun.Pinhole(image_from_camera=matrix, width=width, height=height))
            is_metric = predictor.is_metric or frame.depth_m is not None
            _log_points(rerun, log, frame, depth, pose, farthest_of(depth, is_metric))
    if not count:
        raise UserError("there is no frame to look at. Give other inputs.")
    recording.send_blueprint(_layout(has_truth))
    return count


def _log_truth(rerun: ModuleType, log: Callable, truth: np.ndarray, depth: np.ndarray) -> np.ndarray:
    """Show ground truth and error, and return the depth scaled to the truth's median, as it is compared."""
    known = (truth > 0) & np.isfinite(depth)
    if truth.shape != depth.shape or not known.any():
        return depth
    scale = float(np.median(truth[known]) / np.median(depth[known]))
    scaled = depth * np.float32(scale)
    error = np.full(truth.shape, np.nan, np.float32)
    error[known] = np.abs(scaled - truth)[known] / truth[known]
    log("truth", rerun.Image(colour_depth(truth)).compress(jpeg_quality=JPEG_QUALITY))
    log("error", rerun.Image(colour_error(error, MOST_ERROR)).compress(jpeg_quality=JPEG_QUALITY))
    log("figures/abs_rel", rerun.Scalars(float(np.nanmean(error))))
    log("figures/median_scale", rerun.Scalars(scale))
    return scaled


def _log_points(
    rerun: ModuleType, log: Callable, frame: SeenFrame, depth: np.ndarray, pose: np.ndarray, farthest: float
) -> None:
    points = points_of(depth, frame.image, pixel_rays(frame.camera), farthest)
    points = points[:: max(1, -(-len(points) // MOST_POINTS))]
    places = np.stack([points[axis] for axis in "xyz"], axis=1) @ pose[:3, :3].T + pose[:3, 3]
    colours = np.stack([points[name] for name in ("red", "green", "blue")], axis=1)
    log("world/points", rerun.Points3D(places, colors=colours, radii=rerun.Radius.ui_points(1.5)))


def _layout(has_truth: bool):
    import rerun.blueprint as blueprint

    pictures = [blueprint.Spatial2DView(origin="picture"), blueprint.Spatial2DView(origin="depth")]
    if has_truth:
        pictures += [blueprint.Spatial2DView(origin="truth"), blueprint.Spatial2DView(origin="error")]
    right: list = [blueprint.Spatial3DView(origin="world")]
    if has_truth:
        right.append(blueprint.TimeSeriesView(origin="figures"))
    shares = [3, 1][: len(right)]
    return blueprint.Blueprint(
        blueprint.Horizontal(blueprint.Vertical(*pictures), blueprint.Vertical(*right, row_shares=shares))
    )
