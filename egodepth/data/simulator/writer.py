"""Render a world frame by frame and lay it out as KITTI raw does."""

import json
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from multiprocessing import connection
from pathlib import Path

import numpy as np
from PIL import Image

from egodepth.data.simulator.casting import (
    GROUND,
    Hits,
    ShadowMap,
    StereoView,
    cast_pair,
    cast_scan,
    cast_shadows,
)
from egodepth.data.simulator.configuration import SimulatorConfig
from egodepth.data.simulator.shading import paint_pair
from egodepth.data.simulator.street import Street, build_street
from egodepth.data.simulator.textures import Atlas, paint_atlas
from egodepth.errors import UserError
from egodepth.files import replacing
from egodepth.progress import progress_bar

MARKER = "simulation.json"
VERSION = 1
DATE = "2011_09_26"
SPLIT = "simulated"
FARTHEST_DEPTH_M = 255.0
DEPTH_STEPS_PER_M = 256

# Rectified camera 0, to which the laser scanner is calibrated, lies this far right of the left colour camera.
CAMERA_0_M = 0.06
# The scanner's origin in camera 0: 8 cm above it and 27 cm behind it.
SCANNER_TO_CAMERA = np.array([[0.0, -1, 0, 0], [0, 0, -1, -0.08], [1, 0, 0, -0.27], [0, 0, 0, 1]])


def stereo_view(config: SimulatorConfig) -> StereoView:
    """The cameras, with the proportions of KITTI's: a wide lens, its centre a little left and high."""
    return StereoView(
        height=config.height,
        width=config.width,
        focal_px=0.58 * config.width,
        centre_x_px=0.491 * config.width,
        centre_y_px=0.46 * config.height,
        baseline_m=config.baseline_m,
    )


@dataclass(frozen=True)
class _Drive:
    """One drive, ready to render: everything that a worker needs for any of its frames."""

    name: str
    view: StereoView
    street: Street
    atlas: Atlas
    shadows: ShadowMap


def simulate(out: Path, config: SimulatorConfig, progress: bool = True, workers: int | None = None) -> Path:
    """Render two drives through two streets and write them under `out` in the layout of KITTI raw.

    Besides what KITTI raw has, each drive holds `poses.txt` (KITTI odometry's format, left camera to the first
    left camera) and exact depth in `proj_depth/groundtruth/image_0{2,3}` (16-bit PNG, metres x 256, 0 for the sky
    and beyond 255 m). Pictures are PNG at the fastest setting: lossless, so that matching surfaces keep exactly
    the colours they were painted with. `simulation.json` marks the folder and is written last; an interrupted
    run leaves nothing under this name.

    Args:
        out: a folder that is absent or empty.
        progress: show a progress bar on stderr.
        workers: processes to render with, all processors by default. The bytes do not depend on it.

    Raises:
        UserError: `out` is not empty, cannot be written, or the disk is full.
    """
    out = Path(out).expanduser().absolute()
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out}: exists and is not an empty folder. Name a new folder or empty this one first.")
    with replacing(out) as folder:
        drives = _build(config)
        _write_calibration(folder / DATE, stereo_view(config))
        for drive in drives:
            _write_drive_head(folder / DATE / drive.name, drive)
        _write_splits(folder / "splits" / SPLIT, drives)
        _render(folder, drives, progress, workers)
        marker = {"version": VERSION, "seed": config.seed, "config": asdict(config)}
        (folder / MARKER).write_text(json.dumps(marker, indent=2) + "\n", encoding="utf-8")
    return out


def _build(config: SimulatorConfig) -> list[_Drive]:
    """The training street and the test street, which share their textures and nothing else."""
    test_frames = max(3, round(config.frames / 4))
    atlas = paint_atlas(np.random.default_rng([config.seed, 0]))
    drives = []
    for number, frames in ((1, config.frames - test_frames), (2, test_frames)):
        random = np.random.default_rng([config.seed, number])
        street = build_street(random, frames, config.frames_per_second, config.moving_cars)
        name = f"{DATE}_drive_{number:04d}_sync"
        drives.append(_Drive(name, stereo_view(config), street, atlas, cast_shadows(street)))
    return drives


# --- rendering -------------------------------------------------------------------------------------------------


def _render(folder: Path, drives: list[_Drive], progress: bool, workers: int | None) -> None:
    tasks = [(drive, frame) for drive in range(len(drives)) for frame in range(len(drives[drive].street.poses))]
    workers = min(workers or _processors(), len(tasks))
    with progress_bar(progress) as bar:
        advance = partial(bar.advance, bar.add_task("street", total=len(tasks)))
        if workers == 1:
            for drive, frame in tasks:
                _write_frame(folder, drives[drive], frame)
                advance()
            return
        _render_side_by_side(folder, drives, tasks, workers, advance)


def _render_side_by_side(
    folder: Path, drives: list[_Drive], tasks: list[tuple[int, int]], workers: int, advance: Callable[[], None]
) -> None:
    """Give each of several processes every n-th frame; stop all of them at the first error or at Ctrl-C."""
    # Forking shares the textures and leaves out the imports; the children use neither torch nor threads.
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    processes, receivers, finished = [], [], 0
    try:
        for number in range(workers):
            receiver, sender = context.Pipe(duplex=False)
            share = (sender, folder, drives, tasks[number::workers])
            process = context.Process(target=_write_share, args=share, daemon=True)
            process.start()
            sender.close()
            processes.append(process)
            receivers.append(receiver)
        while receivers:
            for receiver in connection.wait(receivers):
                try:
                    error = receiver.recv()
                except EOFError:
                    receivers.remove(receiver)
                    continue
                if error is not None:
                    raise error
                finished += 1
                advance()
        if finished < len(tasks):
            raise RuntimeError(f"a rendering process was killed after {finished} of {len(tasks)} frames")
    finally:
        for process in processes:
            process.terminate()
            process.join()


def _write_share(
    sender: connection.Connection, folder: Path, drives: list[_Drive], tasks: list[tuple[int, int]]
) -> None:
    """In a process of its own: write frames, and tell the parent of each one, or of what went wrong."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer
    for drive, frame in tasks:
        try:
            _write_frame(folder, drives[drive], frame)
        except Exception as error:
            sender.send(error)
            return
        sender.send(None)


def _processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _write_frame(folder: Path, drive: _Drive, frame: int) -> None:
    street, view = drive.street, drive.view
    solids, pose = street.solids_at(frame), street.poses[frame]
    hits = cast_pair(view, pose, solids)
    pictures = paint_pair(view, pose, solids, hits, drive.atlas, drive.shadows)
    home, name = folder / DATE / drive.name, f"{frame:010d}"
    for eye, camera in enumerate(("image_02", "image_03")):
        Image.fromarray(pictures[eye]).save(home / camera / "data" / f"{name}.png", compress_level=1)
        depth = Image.fromarray(_depth_steps(hits, eye))
        depth.save(home / "proj_depth" / "groundtruth" / camera / f"{name}.png", compress_level=1)
    camera_0 = np.eye(4)
    camera_0[0, 3] = CAMERA_0_M
    points, solid = cast_scan(pose @ camera_0 @ SCANNER_TO_CAMERA, solids)
    brightness = np.append(solids.tint.mean(axis=1), 0.3)  # the last is the ground's, at index -1
    reflectance = brightness[np.where(solid == GROUND, len(solids), solid)]
    scan = np.column_stack([points, reflectance]).astype("<f4")
    (home / "velodyne_points" / "data" / f"{name}.bin").write_bytes(scan.tobytes())


def _depth_steps(hits: Hits, eye: int) -> np.ndarray:
    depth = hits.depth[eye]
    return np.where(depth < FARTHEST_DEPTH_M, np.rint(depth * DEPTH_STEPS_PER_M), 0).astype(np.uint16)


# --- text files ------------------------------------------------------------------------------------------------


def _write_drive_head(home: Path, drive: _Drive) -> None:
    """The empty folders of a drive and its poses."""
    for camera in ("image_02", "image_03"):
        (home / camera / "data").mkdir(parents=True)
        (home / "proj_depth" / "groundtruth" / camera).mkdir(parents=True)
    (home / "velodyne_points" / "data").mkdir(parents=True)
    poses = np.linalg.inv(drive.street.poses[0]) @ drive.street.poses
    lines = [_numbers(pose[:3], digits=9) for pose in poses]
    (home / "poses.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _write_calibration(home: Path, view: StereoView) -> None:
    """`calib_cam_to_cam.txt` and `calib_velo_to_cam.txt` of perfectly rectified cameras."""
    home.mkdir(parents=True)
    focal, centre_x, centre_y = view.focal_px, view.centre_x_px, view.centre_y_px
    intrinsics = np.array([[focal, 0, centre_x], [0, focal, centre_y], [0, 0, 1]])
    size, upright = _numbers([view.width, view.height]), _numbers(np.eye(3))
    # x of camera 0 in each camera. The grey pair 00, 01 has no pictures here; readers expect its lines.
    shifts = {0: 0.0, 1: -view.baseline_m, 2: CAMERA_0_M, 3: CAMERA_0_M - view.baseline_m}
    lines = ["calib_time: 01-Jan-2011 00:00:00", "corner_dist: 9.950000e-02"]
    for camera, shift in shifts.items():
        offset = np.array([[shift], [0], [0]])
        lines += [
            f"S_{camera:02d}: {size}",
            f"K_{camera:02d}: {_numbers(intrinsics)}",
            f"D_{camera:02d}: {_numbers(np.zeros(5))}",
            f"R_{camera:02d}: {upright}",
            f"T_{camera:02d}: {_numbers(offset)}",
            f"S_rect_{camera:02d}: {size}",
            f"R_rect_{camera:02d}: {upright}",
            f"P_rect_{camera:02d}: {_numbers(intrinsics @ np.hstack([np.eye(3), offset]))}",
        ]
    (home / "calib_cam_to_cam.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    lines = [
        "calib_time: 01-Jan-2011 00:00:00",
        f"R: {_numbers(SCANNER_TO_CAMERA[:3, :3])}",
        f"T: {_numbers(SCANNER_TO_CAMERA[:3, 3])}",
        f"delta_f: {_numbers(np.zeros(2))}",
        f"delta_c: {_numbers(np.zeros(2))}",
    ]
    (home / "calib_velo_to_cam.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _write_splits(home: Path, drives: list[_Drive]) -> None:
    """Frames with both neighbours: the end of the first drive validates, the second drive tests."""
    home.mkdir(parents=True)
    training, test = (
        [f"{DATE}/{drive.name} {frame}" for frame in range(1, len(drive.street.poses) - 1)] for drive in drives
    )
    held_out = max(1, round(len(training) / 10))
    splits = {
        "train": [f"{line} {side}" for line in training[:-held_out] for side in "lr"],
        "val": [f"{line} {side}" for line in training[-held_out:] for side in "lr"],
        "test": [f"{line} l" for line in test],
    }
    for name, lines in splits.items():
        (home / f"{name}_files.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _numbers(values: object, digits: int = 6) -> str:
    return " ".join(f"{value:.{digits}e}" for value in np.asarray(values, dtype=np.float64).ravel())
