"""One small input of each kind that egodepth reads, and what reading it gives."""

import hashlib
import json
import shutil
import textwrap
from collections.abc import Callable
from dataclasses import asdict, dataclass, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from egodepth.checked_json import sealed
from egodepth.data.calibrations.reading import read_calibration as read_camera
from egodepth.data.cityscapes.layout import CityscapesCamera
from egodepth.data.configurations import TeacherMapsConfig
from egodepth.data.ddad.points import read_points
from egodepth.data.ddad.scenes import DdadFrames
from egodepth.data.footage.unpacking import unpack
from egodepth.data.footage.video import read_video_frames, video_info
from egodepth.data.images import read_depth_png, read_image
from egodepth.data.kitti.depth import read_velodyne
from egodepth.data.kitti.raw import Calibration
from egodepth.data.known_points import read_known_points
from egodepth.data.make3d.frames import read_grid
from egodepth.data.map_files import inverse_png, read_values
from egodepth.data.motion_logs.poses import read_pose_log
from egodepth.data.motion_logs.reading import read_track
from egodepth.data.packs.reading import PackOptions, open_pack, read_manifest
from egodepth.data.splits import read_split
from egodepth.data.teacher_maps import DESCRIPTION, open_maps
from egodepth.models.released import ReleasedModel
from egodepth.networks.prior import ReferenceSet
from egodepth.networks.weights import read_weights, save_tensors
from egodepth.reproduction.measured import read_measured
from egodepth.training.checkpoints import read_last_checkpoint
from egodepth.training.starting import load_trained_networks
from tests.data.test_calibrations import COLMAP, KALIBR, NERFSTUDIO, OPENCV, ROS
from tests.data.trees import (
    CAM_TO_CAM,
    laser_grid,
    variable,
    write_ddad,
    write_frames,
    write_matlab,
    write_video,
)

MADE = Path(__file__).parents[1] / "made_by_0.1.0"
PICTURE = torch.linspace(0, 1, 3 * 64 * 96).reshape(1, 3, 64, 96)


@dataclass(frozen=True)
class Kind:
    """A kind of input.

    Attributes:
        make: writes a whole one into a folder, and gives the file that is changed.
        read: what reading it gives, from the folder.
        guarded: whether every change of its content is found; otherwise a change may be another valid input.
    """

    make: Callable[[Path], Path]
    read: Callable[[Path], Any]
    guarded: bool = False


def digest(value: Any) -> str:
    """A short name of what was read, the same for equal results."""
    sha = hashlib.sha256()
    _add(sha, value)
    return sha.hexdigest()[:16]


def _add(sha: Any, value: Any) -> None:
    if isinstance(value, torch.Tensor):
        value = value.detach().numpy()
    if isinstance(value, np.ndarray):
        sha.update(f"{value.shape}{value.dtype}".encode() + np.ascontiguousarray(value).tobytes())
    elif is_dataclass(value) and not isinstance(value, type):
        _add(sha, {name: getattr(value, name) for name in value.__dataclass_fields__})
    elif isinstance(value, dict):
        for key in sorted(value, key=str):
            _add(sha, (str(key), value[key]))
    elif isinstance(value, list | tuple):
        sha.update(str(len(value)).encode())
        for each in value:
            _add(sha, each)
    elif isinstance(value, Path):
        sha.update(value.name.encode())
    else:
        sha.update(repr(value).encode(errors="surrogatepass"))


# --- the program's own files --------------------------------------------------------------------------------------


def _model(folder: Path, name: str) -> Path:
    shutil.copytree(MADE / "finished", folder / "model")
    tensors = read_weights(folder / "model" / "model.safetensors").tensors
    save_tensors(folder / "model" / "model.safetensors", tensors)
    return folder / "model" / name


def _depth_of_model(folder: Path) -> Any:
    return ReleasedModel.open(folder / "model").predictor().predict_depth(PICTURE)


def _run(folder: Path, name: str) -> Path:
    shutil.copytree(MADE / "run", folder / "run")
    return folder / "run" / name


def _networks_of_run(folder: Path) -> Any:
    networks = load_trained_networks(str(folder / "run"))
    return {name: network.state_dict() for name, network in networks.items()}


def _pack(folder: Path, name: str) -> Path:
    shutil.copytree(MADE / "pack", folder / "pack")
    file = folder / "pack" / name
    if name.startswith("samples"):
        content = json.loads(file.read_text())
        content.pop("digest", None)
        file.write_text(json.dumps(sealed(content)))
    return file


PACK_OPTIONS = PackOptions.of(read_manifest(MADE / "pack")["options"])


def _samples_of_pack(folder: Path) -> Any:
    pack = open_pack(folder / "pack", PACK_OPTIONS)
    return [asdict(pack.training[index]) for index in range(len(pack.training))]


def _cache(folder: Path) -> Path:
    write_frames(folder / "frames", range(5))
    unpack(folder / "frames", folder / "cache", 32, 64)
    return next((folder / "cache").glob("*/index.json"))


def _unpacked(folder: Path) -> Any:
    found = unpack(folder / "frames", folder / "cache", 32, 64)
    return [read_image(frame) for frame in found.frames], found.runs, found.travelled


def _references(folder: Path) -> Path:
    generator = torch.Generator().manual_seed(0)
    features = torch.rand(20, 4, generator=generator)
    ReferenceSet.of(features, torch.rand(20, generator=generator), {"teacher": "t"}).save(folder / "prior.safetensors")
    return folder / "prior.safetensors"


def _plain_weights(folder: Path, name: str, **options: Any) -> Path:
    torch.manual_seed(0)
    state = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.BatchNorm2d(8)).state_dict()
    torch.save(dict(state) | {"height": 192}, folder / name, **options)
    return folder / name


def _described_maps(folder: Path) -> Path:
    Path(folder / "a.png").write_bytes(inverse_png(np.linspace(0.1, 1, 48).reshape(6, 8), 0.001)[0])
    said = {"values": "inverse-depth", "units": "metres", "scale": 0.001, "licence": "mit"}
    (folder / DESCRIPTION).write_text(json.dumps(said))
    return folder / DESCRIPTION


def _maps(folder: Path) -> Any:
    maps = open_maps(str(folder), folder, TeacherMapsConfig())
    return maps.values, maps.units, maps.read(folder / "a.png")


def _measured(folder: Path) -> Path:
    source = Path(__file__).parents[2] / "docs" / "measured" / "starter.json"
    return Path(shutil.copy(source, folder / "starter.json"))


# --- data of others ---------------------------------------------------------------------------------------------------


def _written(name: str, content: str | bytes) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        file = folder / name
        file.write_bytes(content if isinstance(content, bytes) else textwrap.dedent(content).lstrip().encode())
        return file

    return write


def _saved(name: str, values: np.ndarray) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        np.savez(folder / name, data=values) if name.endswith("z") else np.save(folder / name, values)
        return folder / name

    return write


def _picture(name: str, **options: Any) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        rows, columns = np.mgrid[:40, :60]
        pixels = np.stack([rows * 6, columns * 4, rows + columns], axis=-1).astype(np.uint8)
        Image.fromarray(pixels).save(folder / name, **options)
        return folder / name

    return write


def _depth_png(folder: Path) -> Path:
    values = (np.random.default_rng(0).random((40, 60)) * 20000).astype(np.uint16)
    Image.fromarray(values).save(folder / "depth.png")
    return folder / "depth.png"


def _ddad(folder: Path, name: str) -> Path:
    write_ddad(folder)
    return folder / name


def _scenes(folder: Path) -> Any:
    frames = DdadFrames(folder, "val")
    return [frames[index] for index in range(len(frames))]


def _ply(folder: Path) -> Path:
    head = "ply\nformat binary_little_endian 1.0\nelement vertex 20\n"
    head += "".join(f"property float {axis}\n" for axis in "xyz") + "end_header\n"
    points = np.random.default_rng(0).random((20, 3)).astype("<f4")
    (folder / "cloud.ply").write_bytes(head.encode() + points.tobytes())
    return folder / "cloud.ply"


def _matlab(folder: Path) -> Path:
    write_matlab(folder / "grid.mat", variable("Position3DGrid", laser_grid()[:9, :9], compressed=True))
    return folder / "grid.mat"


def _points(folder: Path) -> Path:
    _picture("a.png")(folder)
    return _written("points.txt", "a.png 10 12 4.5\na.png, 20, 12, 9\n")(folder)


def _of(name: str, read: Callable[[Path], Any]) -> Callable[[Path], Any]:
    return lambda folder: read(folder / name)


VALUES = np.random.default_rng(0).random((6, 8)).astype(np.float32)
POINTS = np.random.default_rng(0).random((20, 4))
CITY = {"extrinsic": {"baseline": 0.21}, "intrinsic": {"fx": 2262.5, "fy": 2265.3, "u0": 1096.9, "v0": 513.1}}
CAMERA = {"fx": 500, "fy": 510, "cx": 320, "cy": 240, "width": 640, "height": 480, "k1": -0.1}
CSV = "time,speed\n" + "".join(f"{second},{5 + second / 10}\n" for second in range(10))
GPX = '<gpx xmlns="http://www.topografix.com/GPX/1/1"><trk><trkseg>' + "".join(
    f'<trkpt lat="{48 + second / 1e4}" lon="8"><time>2024-05-01T12:00:0{second}Z</time></trkpt>' for second in range(9)
)
POSES = "".join(f"{second} {second} 0 0 0 0 0 1\n" for second in range(9))
SPLIT = "2011_09_26/2011_09_26_drive_0001_sync 5 l\n2011_09_26/2011_09_26_drive_0001_sync 6 r\n"

KINDS: dict[str, Kind] = {
    "config.json": Kind(lambda folder: _model(folder, "config.json"), _depth_of_model),
    "model.safetensors": Kind(lambda folder: _model(folder, "model.safetensors"), _depth_of_model, guarded=True),
    "run.json": Kind(lambda folder: _run(folder, "run.json"), _networks_of_run),
    "last.ckpt for --from": Kind(lambda folder: _run(folder, "checkpoints/last.ckpt"), _networks_of_run, guarded=True),
    "last.ckpt for --resume": Kind(
        lambda folder: _run(folder, "checkpoints/last.ckpt"),
        lambda folder: read_last_checkpoint(folder / "run")[1],
        guarded=True,
    ),
    "pack.json": Kind(lambda folder: _pack(folder, "pack.json"), _samples_of_pack),
    "samples.json": Kind(lambda folder: _pack(folder, "samples-00000.json"), _samples_of_pack, guarded=True),
    "pixels.bin": Kind(lambda folder: _pack(folder, "pixels-00000.bin"), _samples_of_pack, guarded=True),
    "index.json of a cache": Kind(_cache, _unpacked, guarded=True),
    "prior.safetensors": Kind(_references, _of("prior.safetensors", ReferenceSet.load), guarded=True),
    "depth_maps.json": Kind(_described_maps, _maps),
    "measured.json": Kind(_measured, read_measured),
    "weights.pth": Kind(
        lambda folder: _plain_weights(folder, "weights.pth"), _of("weights.pth", read_weights), guarded=True
    ),
    "weights.pth of old PyTorch": Kind(
        lambda folder: _plain_weights(folder, "weights.pth", _use_new_zipfile_serialization=False),
        _of("weights.pth", read_weights),
    ),
    "depth.png": Kind(_depth_png, _of("depth.png", read_depth_png), guarded=True),
    "map.npy": Kind(_saved("map.npy", VALUES), _of("map.npy", read_values)),
    "map.npz": Kind(_saved("map.npz", VALUES), _of("map.npz", read_values), guarded=True),
    "map.pfm": Kind(_written("map.pfm", b"Pf\n8 6\n-1\n" + VALUES.tobytes()), _of("map.pfm", read_values)),
    "picture.jpg": Kind(_picture("a.jpg", quality=90), _of("a.jpg", read_image)),
    "picture.png": Kind(_picture("a.png"), _of("a.png", read_image)),
    "picture.webp": Kind(_picture("a.webp"), _of("a.webp", read_image)),
    "picture.tif": Kind(_picture("a.tif"), _of("a.tif", read_image)),
    "video.mp4": Kind(
        lambda folder: write_video(folder / "a.mp4", range(4)),
        lambda folder: (video_info(folder / "a.mp4"), list(read_video_frames(folder / "a.mp4"))),
    ),
    "camera.json": Kind(_written("camera.json", json.dumps(CAMERA)), _of("camera.json", read_camera)),
    "opencv.yaml": Kind(_written("opencv.yaml", OPENCV), _of("opencv.yaml", read_camera)),
    "ros.yaml": Kind(_written("ros.yaml", ROS), _of("ros.yaml", read_camera)),
    "kalibr.yaml": Kind(_written("kalibr.yaml", KALIBR), _of("kalibr.yaml", read_camera)),
    "cameras.txt": Kind(_written("cameras.txt", COLMAP), _of("cameras.txt", read_camera)),
    "transforms.json": Kind(_written("transforms.json", json.dumps(NERFSTUDIO)), _of("transforms.json", read_camera)),
    "calib_cam_to_cam.txt": Kind(_written("calib.txt", CAM_TO_CAM), _of("calib.txt", Calibration.read)),
    "velodyne.bin": Kind(_written("scan.bin", POINTS.astype("f4").tobytes()), _of("scan.bin", read_velodyne)),
    "cityscapes camera.json": Kind(_written("c.json", json.dumps(CITY)), _of("c.json", CityscapesCamera.read)),
    "ddad.json": Kind(lambda folder: _ddad(folder, "ddad.json"), _scenes),
    "ddad scene.json": Kind(lambda folder: _ddad(folder, "000150/scene_0.json"), _scenes),
    "cloud.npz": Kind(_saved("cloud.npz", POINTS), _of("cloud.npz", read_points), guarded=True),
    "cloud.npy": Kind(_saved("cloud.npy", POINTS), _of("cloud.npy", read_points)),
    "cloud.ply": Kind(_ply, _of("cloud.ply", read_points)),
    "grid.mat": Kind(_matlab, _of("grid.mat", read_grid)),
    "log.csv": Kind(_written("log.csv", CSV), _of("log.csv", read_track)),
    "log.gpx": Kind(_written("log.gpx", GPX + "</trkseg></trk></gpx>"), _of("log.gpx", read_track)),
    "poses.txt": Kind(_written("poses.txt", POSES), _of("poses.txt", read_pose_log)),
    "split.txt": Kind(_written("split.txt", SPLIT), lambda folder: list(map(str, read_split(folder / "split.txt")))),
    "points.txt": Kind(_points, lambda folder: read_known_points(folder / "points.txt", folder)),
}
