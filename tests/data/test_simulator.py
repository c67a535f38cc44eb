"""The street simulator, read back from the files that it writes."""

import gc
import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image

from egodepth.data.simulator import writer
from egodepth.data.simulator.configuration import SimulatorConfig
from egodepth.data.simulator.writer import MARKER, simulate
from egodepth.errors import UserError
from egodepth.geometry.cameras import Camera, pinhole
from egodepth.geometry.poses import stereo_transform
from egodepth.models.folder import STARTER_FOLDER
from tests.view_synthesis import synthesise_view

SMALL = SimulatorConfig(frames=12, height=64, width=208, seed=3)
TRAINING, TEST = "2011_09_26/2011_09_26_drive_0001_sync", "2011_09_26/2011_09_26_drive_0002_sync"


@dataclass(frozen=True)
class World:
    """A simulated tree and readers of its files."""

    root: Path

    def image(self, drive: str, camera: str, frame: int) -> torch.Tensor:
        pixels = np.asarray(Image.open(self.root / drive / camera / "data" / f"{frame:010d}.png"))
        return torch.from_numpy(pixels.astype(np.float32) / 255).permute(2, 0, 1)[None]

    def depth(self, drive: str, camera: str, frame: int) -> torch.Tensor:
        path = self.root / drive / "proj_depth" / "groundtruth" / camera / f"{frame:010d}.png"
        return torch.from_numpy(np.asarray(Image.open(path)).astype(np.float32) / 256)[None, None]

    def scan(self, drive: str, frame: int) -> np.ndarray:
        path = self.root / drive / "velodyne_points" / "data" / f"{frame:010d}.bin"
        return np.fromfile(path, dtype="<f4").reshape(-1, 4)

    def poses(self, drive: str) -> np.ndarray:
        upper = np.loadtxt(self.root / drive / "poses.txt").reshape(-1, 3, 4)
        return np.concatenate([upper, np.tile([[[0.0, 0, 0, 1]]], (len(upper), 1, 1))], axis=1)

    def calibration(self, name: str) -> dict[str, np.ndarray]:
        lines = (self.root / "2011_09_26" / name).read_text().splitlines()
        pairs = [line.split(": ", 1) for line in lines if not line.startswith("calib_time")]
        return {key: np.array(value.split(), dtype=np.float64) for key, value in pairs}

    def projection(self, camera: str) -> np.ndarray:
        return self.calibration("calib_cam_to_cam.txt")[f"P_rect_{camera[-2:]}"].reshape(3, 4)

    def intrinsics(self) -> torch.Tensor:
        return torch.from_numpy(self.projection("image_02")[:, :3]).float()[None]

    def split(self, name: str) -> list[str]:
        return (self.root / "splits" / "simulated" / f"{name}_files.txt").read_text().split("\n")[:-1]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(simulate(tmp_path_factory.mktemp("street") / "world", SMALL, progress=False))


def digests(root: Path) -> dict[str, str]:
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def agreement(world: World, source: torch.Tensor, target: torch.Tensor, depths: tuple, transform: torch.Tensor):
    """Colour differences of pixels that both views see, and the share of pixels that both see.

    Args:
        depths: of the target and of the source; a pixel is seen by both if the target's point lies where the
            source's depth says.
    """
    near, far = depths
    intrinsics = world.intrinsics()
    height, width = near.shape[-2:]
    warped = synthesise_view(source, near, intrinsics, transform)
    v, u = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    pixels = torch.stack([u, v, torch.ones_like(u)]).float().flatten(1)
    points = torch.linalg.inv(intrinsics[0]) @ pixels * near.flatten()
    moved = transform[0, :3, :3] @ points + transform[0, :3, 3:]
    place = intrinsics[0] @ moved
    column, row = place[0] / place[2], place[1] / place[2]
    inside = (column > 0) & (column < width - 1) & (row > 0) & (row < height - 1) & (moved[2] > 0)
    index = row.round().clamp(0, height - 1).long() * width + column.round().clamp(0, width - 1).long()
    same = (far.flatten()[index] - moved[2]).abs() < 0.02 * moved[2]
    seen = inside & same & (near.flatten() > 0)
    difference = (warped - target).abs().mean(dim=1).flatten()
    return difference[seen], seen.float().mean()


def test_the_same_seed_gives_the_same_bytes_whatever_the_number_of_workers(world: World, tmp_path: Path) -> None:
    again = simulate(tmp_path / "again", SMALL, progress=False, workers=1)
    assert digests(again) == digests(world.root)


def test_another_seed_gives_another_street(world: World, tmp_path: Path) -> None:
    other = simulate(tmp_path / "other", replace(SMALL, seed=4, frames=8), progress=False)
    difference = world.image(TRAINING, "image_02", 0) - World(other).image(TRAINING, "image_02", 0)
    assert difference.abs().mean() > 0.05


def test_the_two_drives_of_one_world_go_through_different_streets(world: World) -> None:
    difference = world.image(TRAINING, "image_02", 0) - world.image(TEST, "image_02", 0)
    assert difference.abs().mean() > 0.05


def test_moving_cars_change_the_pictures_and_nothing_of_the_street(world: World, tmp_path: Path) -> None:
    busy = World(simulate(tmp_path / "busy", replace(SMALL, moving_cars=True), progress=False))
    assert np.array_equal(busy.poses(TRAINING), world.poses(TRAINING))
    changed = (busy.depth(TRAINING, "image_02", 4) - world.depth(TRAINING, "image_02", 4)).abs() > 0.01
    assert 0.005 < changed.float().mean() < 0.6
    assert (busy.depth(TRAINING, "image_02", 4) <= world.depth(TRAINING, "image_02", 4))[changed].float().mean() > 0.95


def test_every_frame_has_all_its_files(world: World) -> None:
    frames = {}
    for drive in (TRAINING, TEST):
        frames[drive] = len(world.poses(drive))
        names = {f"{frame:010d}" for frame in range(frames[drive])}
        for folder in (
            "image_02/data",
            "image_03/data",
            "velodyne_points/data",
            "proj_depth/groundtruth/image_02",
            "proj_depth/groundtruth/image_03",
        ):
            assert {path.stem for path in (world.root / drive / folder).iterdir()} == names
    assert frames == {TRAINING: 9, TEST: 3}
    assert world.image(TRAINING, "image_03", 0).shape == (1, 3, 64, 208)
    marker = json.loads((world.root / MARKER).read_text())
    assert marker["seed"] == 3
    assert SimulatorConfig(**marker["config"]) == SMALL


def test_split_lines_name_frames_with_both_neighbours(world: World) -> None:
    for name, drive in (("train", TRAINING), ("val", TRAINING), ("test", TEST)):
        lines = world.split(name)
        assert lines
        for line in lines:
            folder, frame, side = line.split()
            camera = {"l": "image_02", "r": "image_03"}[side]
            assert folder == drive
            for neighbour in (-1, 0, 1):
                assert (world.root / folder / camera / "data" / f"{int(frame) + neighbour:010d}.png").is_file()
    assert not set(world.split("train")) & set(world.split("val"))
    assert {line[-1] for line in world.split("train")} == {line[-1] for line in world.split("val")} == {"l", "r"}
    assert {line[-1] for line in world.split("test")} == {"l"}


def test_the_calibration_tells_size_and_baseline(world: World) -> None:
    calibration = world.calibration("calib_cam_to_cam.txt")
    left, right = world.projection("image_02"), world.projection("image_03")
    assert (left[0, 3] - right[0, 3]) / left[0, 0] == pytest.approx(0.54, abs=1e-5)
    assert calibration["S_rect_02"].tolist() == [208, 64]
    assert left[0, 0] == left[1, 1] == pytest.approx(0.58 * 208)


def test_the_right_picture_warps_into_the_left_one(world: World) -> None:
    for frame in (0, 5):
        depths = world.depth(TRAINING, "image_02", frame), world.depth(TRAINING, "image_03", frame)
        right, left = (world.image(TRAINING, camera, frame) for camera in ("image_03", "image_02"))
        difference, share = agreement(world, right, left, depths, stereo_transform(torch.tensor([-0.54])))
        assert difference.mean() < 0.03
        assert share > 0.5


@pytest.mark.parametrize("offset", [-1, 1])
def test_neighbouring_frames_warp_into_each_other(world: World, offset: int) -> None:
    poses = world.poses(TRAINING)
    for frame in (1, 5):
        transform = torch.from_numpy(np.linalg.inv(poses[frame + offset]) @ poses[frame]).float()[None]
        depths = tuple(world.depth(TRAINING, "image_02", number) for number in (frame, frame + offset))
        source, target = (world.image(TRAINING, "image_02", number) for number in (frame + offset, frame))
        difference, share = agreement(world, source, target, depths, transform)
        assert difference.mean() < 0.03
        assert share > 0.5


def test_a_wrong_depth_warps_visibly_worse(world: World) -> None:
    depth = world.depth(TRAINING, "image_02", 2)
    right, left = (world.image(TRAINING, camera, 2) for camera in ("image_03", "image_02"))
    transform = stereo_transform(torch.tensor([-0.54]))
    error = {}
    for scale in (1.0, 1.1, 1.5):
        warped = synthesise_view(right, depth * scale, world.intrinsics(), transform)
        error[scale] = (warped - left).abs()[depth.expand(1, 3, -1, -1) > 0].mean()
    assert error[1.0] < 0.8 * error[1.1] < 0.8 * error[1.5]


@pytest.mark.parametrize("camera", ["image_02", "image_03"])
def test_the_scan_agrees_with_the_exact_depth(world: World, camera: str) -> None:
    extrinsics = world.calibration("calib_velo_to_cam.txt")
    points = world.scan(TRAINING, 3)[:, :3] @ extrinsics["R"].reshape(3, 3).T + extrinsics["T"]
    image = np.column_stack([points, np.ones(len(points))]) @ world.projection(camera).T
    image = image[image[:, 2] > 0.5]
    column, row = np.rint(image[:, :2] / image[:, 2:]).astype(int).T
    inside = (column >= 0) & (column < SMALL.width) & (row >= 0) & (row < SMALL.height)
    exact = world.depth(TRAINING, camera, 3)[0, 0].numpy()[row[inside], column[inside]]
    error = np.abs(exact - image[inside, 2])
    assert inside.sum() > 1000
    assert np.median(error[exact > 0]) < 0.05 * np.median(exact[exact > 0])
    # The exact depth belongs to the pixel's centre, and on the far road half a pixel is metres.
    subpixel = np.abs(image[:, :2] / image[:, 2:] - np.rint(image[:, :2] / image[:, 2:])).max(axis=1)[inside]
    close = (subpixel < 0.1) & (exact > 0)
    assert np.median(error[close]) < 0.02


def test_the_road_lies_a_camera_height_below(world: World) -> None:
    camera = Camera(world.intrinsics()[0], SMALL.height, SMALL.width)
    focal, centre = camera.intrinsics[1, 1], camera.intrinsics[1, 2]
    row = SMALL.height - 1
    depth = world.depth(TRAINING, "image_02", 4)[0, 0, row, SMALL.width // 2]
    assert float((row - centre) / focal * depth) == pytest.approx(1.65, abs=0.1)
    assert np.array_equal(pinhole(focal, focal, camera.intrinsics[0, 2], centre), camera.intrinsics)


def test_the_car_drives_at_five_to_twelve_metres_a_second(world: World) -> None:
    poses = world.poses(TRAINING)
    speed = np.linalg.norm(np.diff(poses[:, :3, 3], axis=0), axis=1) * SMALL.frames_per_second
    assert 5 <= speed.min() <= speed.max() <= 12
    assert np.allclose(poses[0], np.eye(4), atol=1e-9)


def test_a_folder_with_files_in_it_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match="not an empty folder"):
        simulate(tmp_path, SMALL, progress=False)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_an_interrupted_run_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("egodepth.data.simulator.writer._render", interrupted)
    with pytest.raises(KeyboardInterrupt):
        simulate(tmp_path / "world", SMALL, progress=False)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("wrong", [{"frames": 5}, {"height": 0}, {"width": -1}, {"baseline_m": 0.0}, {"seed": -1}])
def test_absurd_settings_are_refused_by_name(wrong: dict) -> None:
    with pytest.raises(UserError, match=next(iter(wrong))):
        SimulatorConfig(**wrong)


def test_engines_that_the_caller_has_thrown_away_do_not_end_the_rendering(tmp_path, monkeypatch):
    """Collected in a forked process, an engine would wait for threads that are not there."""

    def throw_away():
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 4
        kept = [onnxruntime.InferenceSession(STARTER_FOLDER / "model.onnx", options)]
        kept.append(kept)

    def collect_and_write(*arguments):
        gc.collect()
        write_frame(*arguments)

    write_frame = writer._write_frame
    monkeypatch.setattr(writer, "_write_frame", collect_and_write)
    gc.disable()
    try:
        throw_away()
        simulate(tmp_path / "street", SimulatorConfig(frames=8, height=64, width=96), progress=False, workers=2)
    finally:
        gc.enable()
    assert len(list((tmp_path / "street").rglob("image_02/data/*.png"))) == 8
