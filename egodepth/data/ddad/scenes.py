"""DDAD in its scene format: front-camera videos as training data, and laser depth by projection to evaluate on.

Scenes are JSON that was written from protocol buffers; it is read directly. Sensors are paired by the keys of a
sample, never by file names, which are the sensors' own time stamps. Other data of the same format (DDAD_tiny, TRI's
test scenes, a list of one's own) differ in the names of lists, scenes, sensors and images; none of these is fixed.

Sources: Guizilini et al., CVPR 2020; datasets specification, section 2.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor

from egodepth.data.ddad.lists import find_list, read_json, scene_files
from egodepth.data.ddad.points import Drawing, project_points, read_points
from egodepth.data.images import IMAGE_SUFFIXES, read_image
from egodepth.data.samples import EvaluationFrame, EvaluationFrames
from egodepth.errors import UserError
from egodepth.files import within
from egodepth.geometry.cameras import Camera, pinhole

FRONT = "CAMERA_01"
LIDAR = "LIDAR"

# Terms of DGP's calibrations that a pinhole camera does not have.
NOT_PINHOLE = ("skew", "fov", "k1", "k2", "k3", "k4", "k5", "k6", "p1", "p2", "xi", "alpha", "beta")


# --- scenes ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Datum:
    """What one sensor recorded for one sample.

    Attributes:
        file: image or point cloud.
        world_from_sensor: (4, 4) float64, at the sensor's own time stamp.
        size: height and width of the image that was recorded; None where the record does not say.
    """

    file: Path
    world_from_sensor: np.ndarray
    size: tuple[int, int] | None = None


@dataclass(frozen=True)
class Calibration:
    """A calibration file, by the sensors' names in lower case.

    Attributes:
        intrinsics: (3, 3) in pixels, of every camera.
        ahead: how far every camera looks along the car's x axis: the cosine of the angle between.
        lenses: the terms other than zero that a pinhole does not have.
    """

    intrinsics: dict[str, Tensor]
    ahead: dict[str, float]
    lenses: dict[str, tuple[str, ...]]


UNPACK_AGAIN = "Unpack the scene again."

PINHOLE = ("fx", "fy", "cx", "cy")


class DdadScene:
    """One scene: samples in order of time, each with its sensors' records and its calibration.

    Args:
        file: `scene_<hash>.json`, beside its folders of images, point clouds and calibrations.

    Raises:
        UserError: the file is missing, cut short, or lacks a field that is needed.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self.folder = file.parent
        entries = read_json(file, "Unpack the scene again")
        try:
            datums = {entry["key"]: entry for entry in entries["data"]}
            if not all(isinstance(entry["datum"], dict) for entry in datums.values()):
                raise UserError(f"{file}: has a datum that is no object. {UNPACK_AGAIN}")
            self._samples = [
                (sample["calibration_key"], {_name(datums[key]): datums[key] for key in sample["datum_keys"]})
                for sample in entries["samples"]
            ]
            if not all(isinstance(key, str) for key, _ in self._samples):
                raise UserError(f"{file}: has a calibration_key that is no text. {UNPACK_AGAIN}")
        except (KeyError, TypeError, AttributeError) as error:
            raise UserError(f"{file}: has no {error}, which every scene has. Unpack the scene again.") from None
        self._calibrations: dict[str, Calibration] = {}

    def __len__(self) -> int:
        return len(self._samples)

    def sensors(self, number: int) -> tuple[str, ...]:
        """The names of a sample's sensors, in lower case."""
        return tuple(self._samples[number][1])

    def front(self, number: int) -> str:
        """The camera that looks ahead: `CAMERA_01` where there is one, else the nearest to the car's x axis.

        Raises:
            UserError: no camera of the sample has a calibration.
        """
        if FRONT.lower() in self.sensors(number):
            return FRONT
        ahead = self._calibration(number).ahead
        cameras = [sensor for sensor in self.sensors(number) if sensor in ahead]
        if not cameras:
            raise UserError(f"{self.file}: sample {number} has no camera with a calibration. Unpack the scene again.")
        return max(cameras, key=ahead.__getitem__)

    def lidar(self, number: int) -> str:
        """The sensor of the point cloud: `LIDAR` where there is one, else the only one."""
        entries = self._samples[number][1]
        clouds = [sensor for sensor, entry in entries.items() if "point_cloud" in entry["datum"]]
        return clouds[0] if LIDAR.lower() not in entries and len(clouds) == 1 else LIDAR

    def datum(self, number: int, sensor: str) -> Datum:
        """What a sensor recorded; names are compared without case.

        Raises:
            UserError: the sample has no such sensor, its record lacks a field, or the file is missing.
        """
        entry = self._samples[number][1].get(sensor.lower())
        if entry is None:
            raise UserError(
                f"{self.file}: sample {number} has no {sensor}, only {', '.join(self.sensors(number))}. "
                "Unpack the scene again."
            )
        try:
            record = entry["datum"].get("image") or entry["datum"]["point_cloud"]
            file = within(self.folder, record["filename"], UNPACK_AGAIN)
            return Datum(_existing(file), pose_matrix(record["pose"]), _size(record))
        except (KeyError, TypeError, AttributeError, ValueError, OverflowError) as error:
            raise UserError(f"{self.file}: {sensor} of sample {number}: no {error}. Unpack the scene again.") from None

    def intrinsics(self, number: int, sensor: str) -> Tensor:
        """(3, 3) in pixels of the image that was recorded.

        Raises:
            UserError: the calibration file is missing, does not have the sensor, or is no pinhole's.
        """
        calibration, file = self._calibration(number), self.calibration_file(number)
        if sensor.lower() not in calibration.intrinsics:
            raise UserError(f"{file}: has no {sensor} with a focal length. Unpack it again.")
        if terms := calibration.lenses[sensor.lower()]:
            raise UserError(
                f"{file}: {sensor} has {', '.join(terms)} other than 0; only pinhole cameras are read. "
                "Undistort the images, and set these to 0."
            )
        return calibration.intrinsics[sensor.lower()]

    def camera(self, number: int, sensor: str, height: int, width: int) -> Camera:
        """The camera of a sample's image of this size, which is smaller than the recorded one if it was made so."""
        native = self.datum(number, sensor).size or (height, width)
        camera = Camera(self.intrinsics(number, sensor), *native)
        return camera if native == (height, width) else camera.resize(height, width)

    def calibration_file(self, number: int) -> Path:
        return within(self.folder / "calibration", f"{self._samples[number][0]}.json", UNPACK_AGAIN)

    def _calibration(self, number: int) -> Calibration:
        key = self._samples[number][0]
        if key not in self._calibrations:
            self._calibrations[key] = _read_calibration(self.calibration_file(number))
        return self._calibrations[key]


def pose_matrix(pose: dict) -> np.ndarray:
    """(4, 4) float64, sensor to world, from translation x, y, z and rotation qw, qx, qy, qz.

    Fields of value 0 may be absent. A rotation of four zeros is the identity.
    """
    rotation, translation = pose.get("rotation", {}), pose.get("translation", {})
    w, x, y, z = quaternion = np.array([float(rotation.get(key, 0)) for key in ("qw", "qx", "qy", "qz")])
    norm = np.linalg.norm(quaternion)
    matrix = np.eye(4)
    if norm > 0:
        w, x, y, z = quaternion / norm
        matrix[:3, :3] = [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    matrix[:3, 3] = [float(translation.get(key, 0)) for key in ("x", "y", "z")]
    if not np.isfinite(matrix).all():
        raise ValueError("pose of finite numbers")
    return matrix


def _name(datum: dict) -> str:
    return datum["id"]["name"].lower()


def _size(record: dict) -> tuple[int, int] | None:
    height, width = int(record.get("height", 0)), int(record.get("width", 0))
    return (height, width) if height > 0 and width > 0 else None


def _existing(file: Path) -> Path:
    """The file, or its like of another suffix where images were converted."""
    if file.is_file():
        return file
    if file.suffix.lower() in IMAGE_SUFFIXES:
        for suffix in sorted(IMAGE_SUFFIXES):
            if file.with_suffix(suffix).is_file():
                return file.with_suffix(suffix)
    raise UserError(f"{file}: no such file. The scene is unpacked in part: unpack all of it.")


def _read_calibration(file: Path) -> Calibration:
    entries = read_json(file, "Unpack the scene's calibration again")
    try:
        pairs = zip(entries["names"], entries["intrinsics"], strict=True)
        # A lidar has no focal length.
        cameras = {
            name.lower(): values for name, values in pairs if values.get("fx", 0) > 0 and values.get("fy", 0) > 0
        }
        places = dict(zip(map(str.lower, entries["names"]), entries.get("extrinsics", ()), strict=False))
        if not all(math.isfinite(float(values.get(key, 0))) for values in cameras.values() for key in PINHOLE):
            raise ValueError
        return Calibration(
            {name: pinhole(*(float(values.get(key, 0)) for key in PINHOLE)) for name, values in cameras.items()},
            {name: float(pose_matrix(places.get(name, {}))[0, 2]) for name in cameras},
            {name: tuple(key for key in NOT_PINHOLE if values.get(key, 0)) for name, values in cameras.items()},
        )
    except (KeyError, TypeError, AttributeError, ValueError, OverflowError):
        raise UserError(
            f"{file}: expected as many names as intrinsics (fx, fy, cx, cy). Unpack the scene again."
        ) from None


# --- evaluation ------------------------------------------------------------------------------------------------------


class DdadFrames(EvaluationFrames):
    """Images of one camera with sparse depth from the laser points of the same sample.

    Args:
        root: see `find_list`.
        split: `val` is what is published; `train` and `train_overfit` have ground truth as well.
        camera: the name of one; None takes the one that looks ahead.
        drawing: see `project_points`.
        time_offsets: of frames to read as well, where the scene has them.
        name: of the list, where there are several.

    Raises:
        UserError: a scene is missing or damaged, or a sample lacks the camera or the lidar.
    """

    def __init__(
        self,
        root: Path | str,
        split: str = "val",
        camera: str | None = None,
        drawing: Drawing = "published",
        time_offsets: Sequence[int] = (),
        name: str | None = None,
    ) -> None:
        self._camera = camera
        self._drawing = drawing
        self._time_offsets = tuple(time_offsets)
        files = scene_files(find_list(Path(root), name), split)
        self._frames = [(scene, number) for scene in map(DdadScene, files) for number in range(len(scene))]
        for scene, number in self._frames:
            for sensor in (camera or scene.front(number), scene.lidar(number)):
                scene.datum(number, sensor)

    def __len__(self) -> int:
        return len(self._frames)

    def __getitem__(self, index: int) -> EvaluationFrame:
        scene, number = self._frames[index]
        camera = self._camera or scene.front(number)
        datum = scene.datum(number, camera)
        image = read_image(datum.file)
        around = {offset: number + offset for offset in self._time_offsets if 0 <= number + offset < len(scene)}
        return EvaluationFrame(
            name=f"{scene.folder.name} {datum.file.stem}",
            image=image,
            depth=lidar_depth(scene, number, camera, *image.shape[:2], self._drawing),
            camera=scene.camera(number, camera, *image.shape[:2]),
            neighbours={offset: read_image(scene.datum(other, camera).file) for offset, other in around.items()},
        )


def lidar_depth(
    scene: DdadScene, number: int, camera: str, height: int, width: int, drawing: Drawing = "published"
) -> np.ndarray:
    """Depth (H, W) of a sample's laser points in one of its cameras.

    The poses are those of the two records, not the sensors' places on the car: the car moves between
    the two recordings.
    """
    lidar, image = scene.datum(number, scene.lidar(number)), scene.datum(number, camera)
    camera_from_points = np.linalg.inv(image.world_from_sensor) @ lidar.world_from_sensor
    intrinsics = scene.camera(number, camera, height, width).intrinsics.astype(np.float64)
    return project_points(read_points(lidar.file), camera_from_points, intrinsics, height, width, drawing)
