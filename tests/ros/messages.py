"""ROS messages and bags, made with rosbags."""

from pathlib import Path

import numpy as np
import pytest

from tests.data.trees import moving_scene

pytest.importorskip("rosbags", reason="needs the extra `ros`")

from rosbags.rosbag1 import Writer as Writer1
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

STORE = get_typestore(Stores.ROS2_HUMBLE)
STORE_1 = get_typestore(Stores.ROS1_NOETIC)
IMAGE, CAMERA = "sensor_msgs/msg/Image", "sensor_msgs/msg/CameraInfo"
HEIGHT, WIDTH = 64, 96
START_NS = 1_700_000_000_000_000_000
STEP_NS = 100_000_000


def header(number: int, types=STORE.types):
    seconds, rest = divmod(START_NS + number * STEP_NS, 1_000_000_000)
    stamp = types["builtin_interfaces/msg/Time"](sec=seconds, nanosec=rest)
    more = {"seq": number} if types is STORE_1.types else {}
    return types["std_msgs/msg/Header"](stamp=stamp, frame_id="camera_optical", **more)


def image(pixels: np.ndarray, encoding: str = "rgb8", number: int = 0, padding: int = 0, types=STORE.types):
    """An `Image` of pixels (H, W[, C]), with so many bytes after each row."""
    rows = pixels.reshape(pixels.shape[0], -1).view(np.uint8)
    rows = np.pad(rows, ((0, 0), (0, padding)))
    size = {"height": pixels.shape[0], "width": pixels.shape[1], "step": rows.shape[1]}
    return types[IMAGE](header(number, types), encoding=encoding, is_bigendian=0, data=rows.ravel(), **size)


def camera(focal: float = 80.0, model: str = "plumb_bob", d=(0.0,) * 5, number: int = 0, types=STORE.types):
    """A `CameraInfo` of pictures of `HEIGHT` and `WIDTH`; its rectified pictures have half the focal length."""
    k = np.array([focal, 0, 47.5, 0, focal, 31.5, 0, 0, 1.0])
    p = np.array([focal / 2, 0, 47.5, 0, 0, focal / 2, 31.5, 0, 0, 0, 1.0, 0])
    matrices = {"d": np.array(d, float), "k": k, "r": np.eye(3).ravel(), "p": p}
    if types is STORE_1.types:
        matrices = {name.upper(): value for name, value in matrices.items()}
    roi = types["sensor_msgs/msg/RegionOfInterest"](0, 0, 0, 0, False)
    size = {"height": HEIGHT, "width": WIDTH, "binning_x": 0, "binning_y": 0, "roi": roi}
    return types[CAMERA](header(number, types), distortion_model=model, **matrices, **size)


def write_bag(folder: Path, count: int = 4, storage: str = "MCAP", topic: str = "/cam/image_raw", focal=80.0) -> Path:
    """A drive as ROS 2 records it: pictures, their camera, and something else."""
    with Writer(folder, version=8, storage_plugin=StoragePlugin[storage]) as writer:
        images = writer.add_connection(topic, IMAGE, typestore=STORE)
        cameras = writer.add_connection(f"{topic.rpartition('/')[0]}/camera_info", CAMERA, typestore=STORE)
        others = writer.add_connection("/depth/image", IMAGE, typestore=STORE)
        for number in range(count):
            time = START_NS + number * STEP_NS
            scene = moving_scene(number, HEIGHT, WIDTH)
            writer.write(images, time, STORE.serialize_cdr(image(scene, number=number), IMAGE))
            writer.write(cameras, time, STORE.serialize_cdr(camera(focal, number=number), CAMERA))
            for _ in range(2):
                writer.write(others, time, STORE.serialize_cdr(image(scene, number=number), IMAGE))
    return folder


def write_ros_1_bag(file: Path, count: int = 3) -> Path:
    with Writer1(file) as writer:
        images = writer.add_connection("/image_raw", IMAGE, typestore=STORE_1)
        cameras = writer.add_connection("/camera_info", CAMERA, typestore=STORE_1)
        for number in range(count):
            time, types = START_NS + number * STEP_NS, STORE_1.types
            scene = image(moving_scene(number, HEIGHT, WIDTH), number=number, types=types)
            writer.write(images, time, STORE_1.serialize_ros1(scene, IMAGE))
            writer.write(cameras, time, STORE_1.serialize_ros1(camera(number=number, types=types), CAMERA))
    return file
