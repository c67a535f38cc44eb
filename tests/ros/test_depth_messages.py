"""What a robot is told: depth messages against the types of rosbags, and the node against stand-ins for rclpy."""

import enum
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest

from egodepth.errors import UserError
from egodepth.inference.depth_bags import predict_bag
from egodepth.inference.ros_messages import POINT_FIELDS, MessagePredictor, cloud_fields, depth_fields
from tests.data.trees import moving_scene
from tests.ros.messages import HEIGHT, IMAGE, STORE, WIDTH, camera, image, write_bag

NODE_FOLDER = Path(__file__).parents[2] / "integrations" / "ros2"


class Ground:
    """Stands in for a model: depth falls towards the bottom, and grows with the focal length as a real one's does."""

    focal = 80 / WIDTH

    def __init__(self, is_metric=True):
        self.is_metric = is_metric

    def fitted_to(self, height, width):
        return self

    def with_scale(self, metres):
        return Ground()

    def predict_images(self, images, cameras=None, neighbours=None):
        ratio = 1.0 if cameras[0] is None else float(cameras[0].intrinsics[0, 0]) / WIDTH / self.focal
        return [np.repeat(np.linspace(20, 4, HEIGHT, dtype=np.float32)[:, None], WIDTH, 1) * ratio for _ in images]


def seen(info=None, model=None):
    predictor = MessagePredictor(model or Ground())
    if info is not None:
        predictor.see_camera(info)
    return predictor.see(image(moving_scene(0, HEIGHT, WIDTH)))


def values_of(message):
    kind = {"32FC1": "<f4", "16UC1": "<u2"}[message.encoding]
    return np.frombuffer(message.data.tobytes(), kind).reshape(message.height, message.step // np.dtype(kind).itemsize)


def sent(fields):
    """An `Image` after it has been through ROS 2's serialisation."""
    message = STORE.types[IMAGE](header=image(np.zeros((1, 1, 3), np.uint8)).header, **fields)
    return STORE.deserialize_cdr(STORE.serialize_cdr(message, IMAGE), IMAGE)


def test_depth_in_both_encodings_survives_the_way_through_ros():
    depth = np.array([[1.2345, np.nan, 65.535], [np.inf, 65.6, 0.0004]], np.float32)
    metres = values_of(sent(depth_fields(depth, "32FC1")))
    assert np.array_equal(metres, depth, equal_nan=True)
    millimetres = values_of(sent(depth_fields(depth, "16UC1")))
    assert millimetres.tolist() == [[1234, 0, 65535], [0, 0, 0]]


def test_metres_are_for_the_camera_of_the_messages():
    assert seen().depth_m[-1, 0] == pytest.approx(4)
    assert seen(camera(160)).depth_m[-1, 0] == pytest.approx(8)
    assert seen(camera(0)).depth_m[-1, 0] == pytest.approx(4)  # zeros: never calibrated
    predictor = MessagePredictor(Ground(), "/cam/image_rect")
    predictor.see_camera(camera(160))
    assert predictor.see(image(moving_scene(0, HEIGHT, WIDTH))).depth_m[-1, 0] == pytest.approx(4)


def test_depth_of_a_bent_lens_lies_on_the_pixels_that_came():
    found = seen(camera(d=(-0.3, 0.05, 0, 0, 0)))
    assert found.depth_m.shape == (HEIGHT, WIDTH)
    x, y = np.moveaxis(found.rays, -1, 0)
    square = x**2 + y**2
    bent = 1 - 0.3 * square + 0.05 * square**2
    columns, rows = np.meshgrid(np.arange(WIDTH), np.arange(HEIGHT))
    np.testing.assert_allclose(x * bent * 80 + 47.5, columns, atol=1e-3)
    np.testing.assert_allclose(y * bent * 80 + 31.5, rows, atol=1e-3)


def test_points_are_where_the_depth_says():
    fields = cloud_fields(seen(camera()))
    kind = np.dtype({"names": [name for name, _ in POINT_FIELDS], "formats": ["<f4"] * 3 + ["<u4"]})
    assert [kind.fields[name][1] for name, _ in POINT_FIELDS] == [place for _, place in POINT_FIELDS]
    points = np.frombuffer(fields["data"].tobytes(), kind)
    assert len(points) == fields["width"] == fields["row_step"] // fields["point_step"]
    assert points["z"].max() == pytest.approx(20)
    rows = points["y"] / points["z"] * 80 + 31.5
    np.testing.assert_allclose(points["z"], np.interp(rows, [0, HEIGHT - 1], [20, 4]), rtol=1e-4)
    with pytest.raises(UserError, match="points need the camera"):
        cloud_fields(seen())


def test_a_model_without_metres_is_refused():
    with pytest.raises(UserError, match="up to scale, and depth messages are in metres"):
        MessagePredictor(Ground(is_metric=False))


def test_a_bag_of_depth_has_stamp_frame_and_camera_of_its_pictures(tmp_path):
    from rosbags.highlevel import AnyReader

    bag = write_bag(tmp_path / "drive", focal=160.0)
    assert predict_bag(Ground(), bag, tmp_path / "depth", "16UC1") == 4
    assert sorted(file.name for file in (tmp_path / "depth").iterdir()) == ["depth.mcap", "metadata.yaml"]
    with AnyReader([bag]) as pictures, AnyReader([tmp_path / "depth"]) as depths:
        assert sorted(depths.topics) == ["/cam/depth/camera_info", "/cam/depth/image_raw"]
        found = {topic: [] for topic in (*depths.topics, "/cam/image_raw", "/cam/camera_info")}
        for reader in (pictures, depths):
            for connection, time, raw in reader.messages():
                if connection.topic in found:
                    found[connection.topic].append((time, reader.deserialize(raw, connection.msgtype)))
    for one, other in (("/cam/image_raw", "/cam/depth/image_raw"), ("/cam/camera_info", "/cam/depth/camera_info")):
        assert len(found[one]) == 4
        for (time, picture), (depth_time, depth) in zip(found[one], found[other], strict=True):
            # The bags have types of their own, which never equal each other's.
            assert vars(depth.header.stamp) == vars(picture.header.stamp)
            assert depth.header.frame_id == picture.header.frame_id == "camera_optical"
            assert depth_time == time
    assert values_of(found["/cam/depth/image_raw"][0][1])[-1, 0] == 8000
    assert found["/cam/depth/camera_info"][0][1].k.tolist() == found["/cam/camera_info"][0][1].k.tolist()
    with pytest.raises(UserError, match="exists already"):
        predict_bag(Ground(), bag, tmp_path / "depth")


# --- the node ---------------------------------------------------------------------------------------------------------


class StandInNode:
    """What the node uses of `rclpy.node.Node`."""

    parameters: ClassVar[dict] = {}

    def __init__(self, name):
        self.published, self.subscribed, self.said = {}, {}, []

    def declare_parameter(self, name, default):
        return SimpleNamespace(value=self.parameters.get(name, default))

    def resolve_topic_name(self, name):
        return f"/{name}"

    def create_publisher(self, kind, topic, qos):
        assert (qos.reliability.name, qos.depth) == ("BEST_EFFORT", 1)
        self.published[topic] = []
        return SimpleNamespace(publish=self.published[topic].append)

    def create_subscription(self, kind, topic, take, qos):
        self.subscribed[topic] = take

    def get_logger(self):
        return SimpleNamespace(info=self.said.append, error=lambda text, **named: self.said.append(text))


@pytest.fixture
def node_module(monkeypatch):
    """The node's module, over stand-ins for ROS and the message types of rosbags."""
    message = {name: STORE.types[f"sensor_msgs/msg/{name}"] for name in ("CameraInfo", "Image", "PointCloud2")}
    message["PointField"] = STORE.types["sensor_msgs/msg/PointField"]
    qos = {
        "QoSProfile": SimpleNamespace,
        "ReliabilityPolicy": enum.Enum("ReliabilityPolicy", "BEST_EFFORT RELIABLE"),
        "HistoryPolicy": enum.Enum("HistoryPolicy", "KEEP_LAST"),
    }
    modules = {
        "rclpy": {},
        "rclpy.node": {"Node": StandInNode},
        "rclpy.qos": qos,
        "rclpy.executors": {"ExternalShutdownException": type("ExternalShutdownException", (Exception,), {})},
        "sensor_msgs": {},
        "sensor_msgs.msg": message,
    }
    for name, members in modules.items():
        module = ModuleType(name)
        vars(module).update(members)
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.syspath_prepend(str(NODE_FOLDER))
    monkeypatch.delitem(sys.modules, "egodepth_ros2.node", raising=False)
    import egodepth_ros2.node

    return egodepth_ros2.node


def test_the_node_answers_each_picture_with_its_own_stamp_and_frame(node_module, monkeypatch):
    monkeypatch.setattr(node_module.egodepth, "load", lambda model, device: Ground(), raising=False)
    monkeypatch.setattr(StandInNode, "parameters", {"points": True})
    node = node_module.DepthNode()
    node.subscribed["camera_info"](camera(160))
    picture = image(moving_scene(0, HEIGHT, WIDTH), number=7)
    node.subscribed["image"](picture)
    [depth], [info], [cloud] = (node.published[topic] for topic in ("depth/image_raw", "depth/camera_info", "points"))
    assert depth.header == info.header == cloud.header == picture.header
    assert np.frombuffer(depth.data, "<f4").reshape(HEIGHT, WIDTH)[-1, 0] == pytest.approx(8)
    assert [(field.name, field.offset) for field in cloud.fields] == list(POINT_FIELDS)
    broken = image(moving_scene(0, HEIGHT, WIDTH))
    broken.encoding = "jpeg"
    node.subscribed["image"](broken)
    assert "encoding 'jpeg'" in node.said[-1]
    assert len(node.published["depth/image_raw"]) == 1


def test_the_node_refuses_a_model_without_metres_unless_it_is_told_the_scale(node_module, monkeypatch):
    monkeypatch.setattr(node_module.egodepth, "load", lambda model, device: Ground(is_metric=False), raising=False)
    monkeypatch.setattr(StandInNode, "parameters", {})
    with pytest.raises(UserError, match="up to scale"):
        node_module.DepthNode()
    monkeypatch.setattr(StandInNode, "parameters", {"scale": 5.4})
    assert "starter is ready" in node_module.DepthNode().said[-1]
    monkeypatch.setattr(StandInNode, "parameters", {"encoding": "mono8"})
    with pytest.raises(UserError, match="encoding mono8: choose one of 32FC1, 16UC1"):
        node_module.DepthNode()
