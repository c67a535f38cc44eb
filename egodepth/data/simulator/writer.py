"""Render a world frame by frame and lay it out as KITTI raw does."""

import datetime
import gc
import json
import multiprocessing
import signal
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from multiprocessing import connection
from pathlib import Path

import numpy as np

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
from egodepth.data.simulator.sensor import Sensor
from egodepth.data.simulator.shading import light_pair, paint_pair
from egodepth.data.simulator.street import Street, build_street
from egodepth.data.simulator.textures import Atlas, paint_atlas
from egodepth.data.simulator.varied_street import build_varied_street
from egodepth.data.simulator.varied_tiles import paint_varied_atlas
from egodepth.data.simulator.variety import Scene, draw_scene, seen_by
from egodepth.errors import UserError
from egodepth.files import replacing
from egodepth.png import encode_png
from egodepth.processors import available_processors
from egodepth.progress import progress_bar

MARKER = "simulation.json"
VERSION = 1
FIRST_DATE = datetime.date(2011, 9, 26)
SPLIT = "simulated"
FARTHEST_DEPTH_M = 255.0
DEPTH_STEPS_PER_M = 256
KEPT_DRIVES = 2
NEWER_OPTIONS = ("varied", "drives", "fov", "camera_height")

# Rectified camera 0, to which the laser scanner is calibrated, lies this far right of the left colour camera.
CAMERA_0_M = 0.06
# The scanner's origin in camera 0: 8 cm above it and 27 cm behind it.
SCANNER_TO_CAMERA = np.array([[0.0, -1, 0, 0], [0, 0, -1, -0.08], [1, 0, 0, -0.27], [0, 0, 0, 1]])


def stereo_view(config: SimulatorConfig, scene: Scene | None = None) -> StereoView:
    """The cameras of a scene, or else with the proportions of KITTI's: a wide lens, centred a little left and high."""
    if scene is not None:
        focal, centre_x, centre_y = 0.5 / np.tan(scene.field_of_view / 2), *scene.centre
    else:
        focal, centre_x, centre_y = 0.58, 0.491, 0.46
    return StereoView(
        height=config.height,
        width=config.width,
        focal_px=focal * config.width,
        centre_x_px=centre_x * config.width,
        centre_y_px=centre_y * config.height,
        baseline_m=config.baseline_m,
    )


@dataclass(frozen=True)
class _Plan:
    """What is known of a drive before its street is drawn.

    Attributes:
        number: counts from 1; with the seed it decides all of the drive.
        scene: of a varied drive.
    """

    number: int
    frames: int
    tests: bool
    scene: Scene | None

    @property
    def date(self) -> str:
        """Cameras are calibrated by date, so each camera has one of its own."""
        days = datetime.timedelta(days=self.number - 1 if self.scene else 0)
        return (FIRST_DATE + days).strftime("%Y_%m_%d")

    @property
    def folder(self) -> str:
        return f"{self.date}/{self.date}_drive_{self.number:04d}_sync"


@dataclass(frozen=True)
class _Drive:
    """One drive, ready to render: everything that a worker needs for any of its frames."""

    plan: _Plan
    view: StereoView
    street: Street
    atlas: Atlas
    shadows: ShadowMap


class _Drives:
    """The drives of a world, each built when its first frame is due; only the latest two are kept."""

    def __init__(self, config: SimulatorConfig) -> None:
        self.config = config
        training, tests = config.shares()
        self.plans = [
            _Plan(number, frames, number > len(training), _scene(config, number) if config.varied else None)
            for number, frames in enumerate(training + tests, start=1)
        ]
        self._built: dict[int, _Drive] = {}
        self._atlas: Atlas | None = None

    def __getitem__(self, number: int) -> _Drive:
        """The drive of a number that counts from 1."""
        if number not in self._built:
            while len(self._built) >= KEPT_DRIVES:
                self._built.pop(next(iter(self._built)))
            self._built[number] = self._build(self.plans[number - 1])
        return self._built[number]

    def _build(self, plan: _Plan) -> _Drive:
        config, random = self.config, np.random.default_rng([self.config.seed, plan.number])
        rate, moving = config.frames_per_second, config.moving_cars
        if plan.scene is not None:
            atlas = paint_varied_atlas(np.random.default_rng([config.seed, plan.number, 0]), plan.scene)
            street = build_varied_street(random, plan.scene, plan.frames, rate, moving)
        else:  # the streets of a plain world share their textures and nothing else
            self._atlas = self._atlas or paint_atlas(np.random.default_rng([config.seed, 0]))
            atlas, street = self._atlas, build_street(random, plan.frames, rate, moving)
        return _Drive(plan, stereo_view(config, plan.scene), street, atlas, cast_shadows(street))


def _scene(config: SimulatorConfig, number: int) -> Scene:
    return seen_by(draw_scene(config.seed, number), config.fov, config.camera_height)


def simulate(out: Path, config: SimulatorConfig, progress: bool = True, workers: int | None = None) -> Path:
    """Render drives, each through a street of its own, and write them under `out` in the layout of KITTI raw.

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
        drives = _Drives(config)
        for plan in drives.plans:
            _write_calibration(folder / plan.date, stereo_view(config, plan.scene))
            _make_folders(folder / plan.folder)
        _write_splits(folder / "splits" / SPLIT, drives.plans)
        _render(folder, drives, progress, workers)
        marker = {"version": VERSION, "seed": config.seed, "config": _set_options(config)}
        (folder / MARKER).write_text(json.dumps(marker, indent=2) + "\n", encoding="utf-8")
    return out


def _set_options(config: SimulatorConfig) -> dict[str, object]:
    """A configuration as plain data, without newer options that are at their defaults."""
    options, plain = asdict(config), asdict(SimulatorConfig())
    return {name: value for name, value in options.items() if name not in NEWER_OPTIONS or value != plain[name]}


# --- rendering -------------------------------------------------------------------------------------------------


def _render(folder: Path, drives: _Drives, progress: bool, workers: int | None) -> None:
    tasks = [(plan.number, frame) for plan in drives.plans for frame in range(plan.frames)]
    workers = min(workers or available_processors(), len(tasks))
    with progress_bar(progress) as bar:
        advance = partial(bar.advance, bar.add_task("street", total=len(tasks)))
        if workers == 1:
            for number, frame in tasks:
                _write_frame(folder, drives[number], frame, drives.config)
                advance()
            return
        if len(drives.plans) <= KEPT_DRIVES:  # built once, for all processes
            for plan in drives.plans:
                drives[plan.number]
        _render_side_by_side(folder, drives, tasks, workers, advance)


def _render_side_by_side(
    folder: Path, drives: _Drives, tasks: list[tuple[int, int]], workers: int, advance: Callable[[], None]
) -> None:
    """Give each of several processes a run of frames; stop all of them at the first error or at Ctrl-C."""
    # Forking shares the textures and leaves out the imports; the children use neither torch nor threads.
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    processes, receivers, finished = [], [], 0
    try:
        for number in range(workers):
            receiver, sender = context.Pipe(duplex=False)
            first, last = (len(tasks) * end // workers for end in (number, number + 1))
            share = (sender, folder, drives, tasks[first:last])
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


def _write_share(sender: connection.Connection, folder: Path, drives: _Drives, tasks: list[tuple[int, int]]) -> None:
    """In a process of its own: write frames, and tell the parent of each one, or of what went wrong."""
    # An engine of the parent's that is collected in here waits for threads that are not here, and crashes.
    gc.freeze()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer
    for number, frame in tasks:
        try:
            _write_frame(folder, drives[number], frame, drives.config)
        except Exception as error:
            sender.send(error)
            return
        sender.send(None)


def _write_frame(folder: Path, drive: _Drive, frame: int, config: SimulatorConfig) -> None:
    street, view = drive.street, drive.view
    solids, pose, profile = street.solids_at(frame), street.poses[frame], street.road.profile
    hits = cast_pair(view, pose, solids, profile)
    if drive.plan.scene is None:
        pictures = paint_pair(view, pose, solids, hits, drive.atlas, drive.shadows)
    else:
        light = light_pair(view, pose, solids, hits, drive.atlas, drive.shadows)
        random = np.random.default_rng([config.seed, drive.plan.number, 2, frame])
        sensor = drive.plan.scene.sensor
        motion = _motion(street.poses, frame, sensor, config.frames_per_second)
        pictures = sensor.develop(light, hits.depth, view, motion, random)
    home, name = folder / drive.plan.folder, f"{frame:010d}"
    if frame == 0:
        _write_poses(home, street.poses)
    for eye, camera in enumerate(("image_02", "image_03")):
        (home / camera / "data" / f"{name}.png").write_bytes(encode_png(pictures[eye]))
        depth = home / "proj_depth" / "groundtruth" / camera / f"{name}.png"
        depth.write_bytes(encode_png(_depth_steps(hits, eye)))
    camera_0 = np.eye(4)
    camera_0[0, 3] = CAMERA_0_M
    points, solid = cast_scan(pose @ camera_0 @ SCANNER_TO_CAMERA, solids, profile)
    brightness = np.append(solids.tint.mean(axis=1), 0.3)  # the last is the ground's, at index -1
    reflectance = brightness[np.where(solid == GROUND, len(solids), solid)]
    scan = np.column_stack([points, reflectance]).astype("<f4")
    (home / "velodyne_points" / "data" / f"{name}.bin").write_bytes(scan.tobytes())


def _motion(poses: np.ndarray, frame: int, sensor: Sensor, frames_per_second: float) -> np.ndarray:
    """How points move in the camera's axes (4, 4) while the shutter is open, from this frame's place to the next's."""
    first = min(frame, len(poses) - 2)
    whole = np.linalg.inv(poses[first + 1]) @ poses[first]
    return np.eye(4) + (whole - np.eye(4)) * sensor.exposure_s * frames_per_second


def _depth_steps(hits: Hits, eye: int) -> np.ndarray:
    depth = hits.depth[eye]
    return np.where(depth < FARTHEST_DEPTH_M, np.rint(depth * DEPTH_STEPS_PER_M), 0).astype(np.uint16)


# --- text files ------------------------------------------------------------------------------------------------


def _make_folders(home: Path) -> None:
    for camera in ("image_02", "image_03"):
        (home / camera / "data").mkdir(parents=True)
        (home / "proj_depth" / "groundtruth" / camera).mkdir(parents=True)
    (home / "velodyne_points" / "data").mkdir(parents=True)


def _write_poses(home: Path, poses: np.ndarray) -> None:
    lines = [_numbers(pose[:3], digits=9) for pose in np.linalg.inv(poses[0]) @ poses]
    (home / "poses.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _write_calibration(home: Path, view: StereoView) -> None:
    """`calib_cam_to_cam.txt` and `calib_velo_to_cam.txt` of perfectly rectified cameras."""
    home.mkdir(parents=True, exist_ok=True)
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


def _write_splits(home: Path, plans: list[_Plan]) -> None:
    """Frames with both neighbours: the end of each training drive validates, the last drives test."""
    home.mkdir(parents=True)
    splits: dict[str, list[str]] = {"train": [], "val": [], "test": []}
    for plan in plans:
        lines = [f"{plan.folder} {frame}" for frame in range(1, plan.frames - 1)]
        if plan.tests:
            splits["test"] += [f"{line} l" for line in lines]
            continue
        held_out = max(1, round(len(lines) / 10))
        splits["train"] += [f"{line} {side}" for line in lines[:-held_out] for side in "lr"]
        splits["val"] += [f"{line} {side}" for line in lines[-held_out:] for side in "lr"]
    for name, lines in splits.items():
        (home / f"{name}_files.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _numbers(values: object, digits: int = 6) -> str:
    return " ".join(f"{value:.{digits}e}" for value in np.asarray(values, dtype=np.float64).ravel())
