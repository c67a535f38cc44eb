"""The node: pictures and their camera in, depth with the same stamp and frame out.

Thin on purpose: what it makes of a message is in `egodepth.inference.ros_messages`, which is tested without ROS.

Topics: `image`, `camera_info` in; `depth/image_raw`, `depth/camera_info` and, where asked for, `points` out.
"""

import array
import sys

import rclpy
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, Image, PointCloud2, PointField

import egodepth
from egodepth.errors import UserError
from egodepth.inference.ros_messages import FLOAT32, POINT_FIELDS, MessagePredictor, cloud_fields, depth_fields

ENCODINGS = ("32FC1", "16UC1")


class DepthNode(Node):
    """Predicts depth for each picture that comes while none is being worked on.

    Parameters:
        model: released model folder, run folder, hub id, or starter.
        device: where the network runs.
        encoding: `32FC1`, metres as floats, or `16UC1`, millimetres.
        scale: metres per unit of depth, for a model that is up to scale; 0 takes the model's own.
        points: publish points as well.
    """

    def __init__(self) -> None:
        super().__init__("egodepth")
        model = self.declare_parameter("model", "starter").value
        device = self.declare_parameter("device", "cpu").value
        scale = self.declare_parameter("scale", 0.0).value
        self._encoding = self.declare_parameter("encoding", ENCODINGS[0]).value
        if self._encoding not in ENCODINGS:
            raise UserError(f"encoding {self._encoding}: choose one of {', '.join(ENCODINGS)}.")
        predictor = egodepth.load(model, device)
        if scale:
            predictor = predictor.with_scale(scale)
        self._predictor = MessagePredictor(predictor, self.resolve_topic_name("image"))
        self._info: CameraInfo | None = None
        # Of a camera the newest picture counts: best effort, and no queue of old ones.
        newest = QoSProfile(reliability=ReliabilityPolicy.BEST_EFFORT, history=HistoryPolicy.KEEP_LAST, depth=1)
        self._depth = self.create_publisher(Image, "depth/image_raw", newest)
        self._camera = self.create_publisher(CameraInfo, "depth/camera_info", newest)
        wants_points = self.declare_parameter("points", False).value
        self._points = self.create_publisher(PointCloud2, "points", newest) if wants_points else None
        self.create_subscription(CameraInfo, "camera_info", self._see_camera, newest)
        self.create_subscription(Image, "image", self._see, newest)
        self.get_logger().info(f"{model} is ready; pictures are taken from {self.resolve_topic_name('image')}")

    def _see_camera(self, info: CameraInfo) -> None:
        self._info = info
        self._predictor.see_camera(info)

    def _see(self, image: Image) -> None:
        try:
            seen = self._predictor.see(image)
        except UserError as error:
            self.get_logger().error(str(error), throttle_duration_sec=5.0)
            return
        self._depth.publish(Image(header=image.header, **_sendable(depth_fields(seen.depth_m, self._encoding))))
        if self._info is None:
            return
        camera = self._info
        camera.header = image.header
        self._camera.publish(camera)
        if self._points is not None and seen.rays is not None:
            fields = [PointField(name=name, offset=place, datatype=FLOAT32, count=1) for name, place in POINT_FIELDS]
            cloud = _sendable(cloud_fields(seen))
            self._points.publish(PointCloud2(header=image.header, fields=fields, **cloud))


def _sendable(fields: dict) -> dict:
    """Fields with their data as rclpy copies it at once; of any other type it looks at each byte."""
    return fields | {"data": array.array("B", fields["data"].tobytes())}


def main() -> None:
    """The program."""
    rclpy.init()
    try:
        rclpy.spin(DepthNode())
    except UserError as error:
        print(f"egodepth: {error}", file=sys.stderr)
        sys.exit(2)
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    finally:
        rclpy.try_shutdown()


if __name__ == "__main__":
    main()
