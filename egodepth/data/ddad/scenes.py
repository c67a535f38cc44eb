"""DDAD in its scene format: front-camera videos as training data, and laser depth by projection to evaluate on.

Scenes are JSON that was written from protocol buffers; it is read directly. Sensors are paired by the keys of a
sample, never by file names, which are the sensors' own time stamps.

Sources: Guizilini et al., CVPR 2020; datasets specification, section 2.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from egodepth.data.configurations import Source
from egodepth.data.ddad.points import Drawing, project_points, read_points
from egodepth.data.draws import Window
from egodepth.data.frame_store import DEFAULT_CACHE_BYTES, FrameStore
from egodepth.data.images import image_size, read_image
from egodepth.data.samples import EvaluationFrame, EvaluationFrames, Sample
from egodepth.data.splits import Stage
from egodepth.errors import UserError
from egodepth.files import read_text
from egodepth.geometry.cameras import Camera, pinhole

FRONT = "CAMERA_01"
LIDAR = "LIDAR"
NUMBER_OF_SPLIT = {"train": "0", "val": "1", "test": "2", "train_overfit": "3"}


# --- scenes ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Datum:
    """What one sensor recorded for one sample.

    Attributes:
        file: image or point cloud.
        world_from_sensor: (4, 4) float64, at the sensor's own time stamp.
    """

    file: Path
    world_from_sensor: np.ndarray


class DdadScene:
    """One scene: samples in order of time, each with its sensors' records and its calibration.

    Args:
        file: `scene_<digits>.json`.

    Raises:
        UserError: the file is missing, cut short, or lacks a field that is needed.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self.folder = file.parent
        entries = read_json(file, "Unpack the scene again")
        try:
            datums = {entry["key"]: entry for entry in entries["data"]}
            self._samples = [
                (sample["calibration_key"], {_name(datums[key]): datums[key] for key in sample["datum_keys"]})
                for sample in entries["samples"]
            ]
        except (KeyError, TypeError, AttributeError) as error:
            raise UserError(f"{file}: has no {error}, which every scene has. Unpack the scene again.") from None
        self._calibrations: dict[str, dict[str, Tensor]] = {}

    def __len__(self) -> int:
        return len(self._samples)

    def sensors(self, number: int) -> tuple[str, ...]:
        """The names of a sample's sensors, in lower case."""
        return tuple(self._samples[number][1])

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
            return Datum(_existing(self.folder / record["filename"]), pose_matrix(record["pose"]))
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise UserError(f"{self.file}: {sensor} of sample {number}: no {error}. Unpack the scene again.") from None

    def intrinsics(self, number: int, sensor: str) -> Tensor:
        """(3, 3) in pixels of the native image.

        Raises:
            UserError: the calibration file is missing, or does not have the sensor.
        """
        key = self._samples[number][0]
        if key not in self._calibrations:
            self._calibrations[key] = _read_calibration(self.calibration_file(number))
        if sensor.lower() not in self._calibrations[key]:
            raise UserError(f"{self.calibration_file(number)}: has no {sensor} with a focal length. Unpack it again.")
        return self._calibrations[key][sensor.lower()]

    def calibration_file(self, number: int) -> Path:
        return self.folder / "calibration" / f"{self._samples[number][0]}.json"


def find_scenes_file(root: Path) -> Path | None:
    """The JSON that lists the scenes of each split: `ddad.json`, in the root or in `ddad_train_val`."""
    for folder in (root, root / "ddad_train_val"):
        if (folder / "ddad.json").is_file():
            return folder / "ddad.json"
    return None


def scene_files(root: Path, split: str) -> list[Path]:
    """The scenes of `train`, `val`, `test` or `train_overfit`, in the data set's order.

    Raises:
        UserError: there is no `ddad.json`, it lacks the split, or a scene that it names is missing.
    """
    listing = _require_scenes_file(root)
    files = listed_scenes(root, split)
    if not files:
        raise UserError(f"{listing}: lists no {split} scenes. Unpack the archive that has them.")
    missing = [file for file in files if not file.is_file()]
    if missing:
        raise UserError(
            f"{missing[0]}: no such scene; {len(missing)} of {len(files)} {split} scenes are missing. "
            "The archive is unpacked in part: unpack all of it."
        )
    return files


def listed_scenes(root: Path, split: str) -> list[Path]:
    """What `ddad.json` lists of a split, there or not.

    Raises:
        UserError: there is no `ddad.json`, it has another form, or the split has another name.
    """
    listing = _require_scenes_file(root)
    if split not in NUMBER_OF_SPLIT:
        raise UserError(f"--data.split {split}: DDAD's splits are {', '.join(NUMBER_OF_SPLIT)}. Choose one.")
    try:
        splits = read_json(listing, "Unpack it again")["scene_splits"]
        names = splits.get(NUMBER_OF_SPLIT[split], {}).get("filenames", [])
        return [listing.parent / name for name in names]
    except (KeyError, TypeError, AttributeError):
        raise UserError(f"{listing}: has no scene_splits with filenames. Unpack it again.") from None


def _require_scenes_file(root: Path) -> Path:
    listing = find_scenes_file(root)
    if listing is None:
        raise UserError(f"{root}: has no ddad.json. Give the folder that DDAD.tar unpacks, ddad_train_val.")
    return listing


def read_json(file: Path, remedy: str) -> dict:
    """A JSON object.

    Raises:
        UserError: the file is missing or cut short.
    """
    try:
        entries = json.loads(read_text(file))
    except FileNotFoundError:
        raise UserError(f"{file}: no such file. {remedy}.") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{file}: is damaged or cut short ({error}). {remedy}.") from None
    if not isinstance(entries, dict):
        raise UserError(f"{file}: expected a JSON object. {remedy}.")
    return entries


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
    return matrix


def _name(datum: dict) -> str:
    return datum["id"]["name"].lower()


def _existing(file: Path) -> Path:
    """The file, or its JPEG where images were converted."""
    if file.is_file():
        return file
    if file.with_suffix(".jpg").is_file():
        return file.with_suffix(".jpg")
    raise UserError(f"{file}: no such file. The scene is unpacked in part: unpack all of it.")


def _read_calibration(file: Path) -> dict[str, Tensor]:
    entries = read_json(file, "Unpack the scene's calibration again")
    try:
        pairs = zip(entries["names"], entries["intrinsics"], strict=True)
        # A lidar has no focal length.
        return {
            name.lower(): pinhole(*(float(values.get(key, 0)) for key in ("fx", "fy", "cx", "cy")))
            for name, values in pairs
            if values.get("fx", 0) > 0 and values.get("fy", 0) > 0
        }
    except (KeyError, TypeError, AttributeError, ValueError):
        raise UserError(
            f"{file}: expected as many names as intrinsics (fx, fy, cx, cy). Unpack the scene again."
        ) from None


# --- training --------------------------------------------------------------------------------------------------------


class Ddad:
    """Training samples from the videos of one camera (a `PosedDataset` and a `NativeDataset`).

    Args:
        root: the folder with `ddad.json`, or the one above.
        source_ids: time offsets in frames of 10 Hz.
        height, width: training size in pixels.
        stage: `train` or `val`, both splits of the data set.
        camera: one of its six.
        cache_bytes: see `FrameStore`.

    Attributes:
        left_out: one message for all samples at the ends of scenes.

    Raises:
        UserError: `stereo` is asked for, a scene is missing or damaged, or no sample has its neighbours.
    """

    def __init__(
        self,
        root: Path | str,
        source_ids: Sequence[Source],
        height: int,
        width: int,
        stage: Stage = "train",
        camera: str = FRONT,
        cache_bytes: int = DEFAULT_CACHE_BYTES,
    ) -> None:
        if "stereo" in source_ids:
            raise UserError(f"{root}: DDAD has no rectified pairs, so it cannot train with stereo. Use --mode mono.")
        self.source_ids = tuple(source_ids)
        self._camera = camera
        self._scenes = [DdadScene(file) for file in scene_files(Path(root), stage)]
        files: list[Path] = []
        self._first_of_scene: list[int] = []
        self._poses: list[np.ndarray] = []
        for scene in self._scenes:
            self._first_of_scene.append(len(files))
            for number in range(len(scene)):
                datum = scene.datum(number, camera)
                files.append(datum.file)
                self._poses.append(datum.world_from_sensor)
        self._targets = [
            (place, number)
            for place, scene in enumerate(self._scenes)
            for number in range(len(scene))
            if all(0 <= number + source < len(scene) for source in source_ids)
        ]
        if not self._targets:
            raise UserError(f"{root}: no {stage} scene is long enough for the views that training needs. Add scenes.")
        ends = len(files) - len(self._targets)
        self.left_out = (
            [f"{root}: {ends} samples at the ends of {len(self._scenes)} scenes are left out"] if ends else []
        )
        self._frames = FrameStore(files, height, width, cache_bytes)

    def __len__(self) -> int:
        return len(self._targets)

    def sample_names(self) -> Iterator[str]:
        return (f"{self._scenes[place].folder.name} {number}" for place, number in self._targets)

    def __getitem__(self, index: int) -> Sample:
        return self._sample(index, self._frames.__getitem__)

    def read_window(self, index: int, window: Window) -> Sample:
        return self._sample(index, lambda number: self._frames.cut(number, window))

    def _sample(self, index: int, read: Callable[[int], Tensor]) -> Sample:
        place, number = self._targets[index]
        scene = self._scenes[place]
        frame = self._first_of_scene[place] + number
        native = Camera(scene.intrinsics(number, self._camera), *image_size(self._frames.paths[frame]))
        return Sample(
            name=f"{scene.folder.name} {self._frames.paths[frame].stem}",
            target=read(frame),
            sources=torch.stack([read(frame + source) for source in self.source_ids]),
            intrinsics=native.normalised(),
        )

    def moved_m(self, index: int) -> tuple[float, ...]:
        """How far the camera was from a sample's target when it took each source, in metres, by the poses."""
        place, number = self._targets[index]
        frame = self._first_of_scene[place] + number
        position = self._poses[frame][:3, 3]
        return tuple(float(np.linalg.norm(self._poses[frame + source][:3, 3] - position)) for source in self.source_ids)


# --- evaluation ------------------------------------------------------------------------------------------------------


class DdadFrames(EvaluationFrames):
    """Images of one camera with sparse depth from the laser points of the same sample.

    Args:
        root: the folder with `ddad.json`, or the one above.
        split: `val` is what is published; `train` and `train_overfit` have ground truth as well.
        camera: one of the six.
        drawing: see `project_points`.
        time_offsets: of frames to read as well, where the scene has them.

    Raises:
        UserError: a scene is missing or damaged, or a sample lacks the camera or the lidar.
    """

    def __init__(
        self,
        root: Path | str,
        split: str = "val",
        camera: str = FRONT,
        drawing: Drawing = "published",
        time_offsets: Sequence[int] = (),
    ) -> None:
        self._camera = camera
        self._drawing = drawing
        self._time_offsets = tuple(time_offsets)
        self._frames = [
            (scene, number) for scene in map(DdadScene, scene_files(Path(root), split)) for number in range(len(scene))
        ]
        for scene, number in self._frames:
            for sensor in (camera, LIDAR):
                scene.datum(number, sensor)

    def __len__(self) -> int:
        return len(self._frames)

    def __getitem__(self, index: int) -> EvaluationFrame:
        scene, number = self._frames[index]
        datum = scene.datum(number, self._camera)
        image = read_image(datum.file)
        around = [offset for offset in self._time_offsets if 0 <= number + offset < len(scene)]
        return EvaluationFrame(
            name=f"{scene.folder.name} {datum.file.stem}",
            image=image,
            depth=lidar_depth(scene, number, self._camera, *image.shape[:2], self._drawing),
            camera=Camera(scene.intrinsics(number, self._camera), *image.shape[:2]),
            neighbours={offset: read_image(scene.datum(number + offset, self._camera).file) for offset in around},
        )


def lidar_depth(
    scene: DdadScene, number: int, camera: str, height: int, width: int, drawing: Drawing = "published"
) -> np.ndarray:
    """Depth (H, W) of a sample's laser points in one of its cameras.

    The poses are those of the two records, not the sensors' places on the car: the car moves between
    the two recordings.
    """
    lidar, image = scene.datum(number, LIDAR), scene.datum(number, camera)
    camera_from_points = np.linalg.inv(image.world_from_sensor) @ lidar.world_from_sensor
    intrinsics = scene.intrinsics(number, camera).double().numpy()
    return project_points(read_points(lidar.file), camera_from_points, intrinsics, height, width, drawing)
