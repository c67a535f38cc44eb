"""From a camera's ROS messages to depth, as fields of ROS messages: what a node publishes and a bag is written with.

Nothing of ROS is imported. Conventions are REP 118's: depth is an `Image` of `32FC1`, metres with NaN where there is
none, or of `16UC1`, millimetres with 0; it has the stamp, frame and camera of the picture that it belongs to.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from egodepth.data.bags.messages import camera_entries, is_rectified, picture_of
from egodepth.data.calibrations.calibration import Unusable
from egodepth.data.calibrations.ros import read_ros
from egodepth.data.footage.camera import camera_of_frames
from egodepth.errors import UserError
from egodepth.geometry.cameras import Camera
from egodepth.geometry.lenses import Lens, distort_depth, rays, straight_camera, undistort
from egodepth.inference.points import farthest_of, pixel_rays, points_of

if TYPE_CHECKING:
    from egodepth.inference.predictor import Predictor

Encoding = Literal["32FC1", "16UC1"]

MILLIMETRES = 1000
MOST_STEPS = 65_535

POINT_FIELDS = (("x", 0), ("y", 4), ("z", 8), ("rgb", 12))
"""Names and places of a point's four floats of four bytes; RViz reads colours packed into one."""
FLOAT32 = 7


@dataclass(frozen=True)
class Seen:
    """A picture and its depth.

    Attributes:
        picture: (H, W, 3) uint8 RGB, as the camera sent it.
        depth_m: (H, W) float32 metres on the same pixels, NaN where there is none.
        rays: (H, W, 2), x / z and y / z of the pixels; None where the camera is not known.
    """

    picture: np.ndarray
    depth_m: np.ndarray
    rays: np.ndarray | None


class MessagePredictor:
    """Depth of a camera's messages. A lens that bends is undone before the network and done again to its depth.

    Args:
        topic: of the pictures; rectified ones are known by its name.

    Raises:
        UserError: the model is up to scale: a robot that is told metres needs metres.
    """

    def __init__(self, predictor: "Predictor", topic: str = "image") -> None:
        if not predictor.is_metric:
            raise UserError(
                "this model's depth is up to scale, and depth messages are in metres. Tell the metres per unit of "
                "depth (scale), or give the model metres with egodepth scale."
            )
        self._predictor = predictor
        self._topic = topic
        self._info: Any = None
        self._cameras: dict[tuple[int, int], tuple[Camera | None, Lens | None]] = {}
        self._before: np.ndarray | None = None

    def see_camera(self, info: Any) -> None:
        """Take a `CameraInfo`; it holds for the pictures from then on."""
        if self._info is None or _differs(info, self._info):
            self._info = info
            self._cameras.clear()

    def see(self, image: Any) -> Seen:
        """The depth of an `Image` or a `CompressedImage`.

        A model that looks at the frame before is given the picture of the message before.

        Raises:
            UserError: the picture cannot be decoded, or its camera is of pictures of another form.
        """
        picture = picture_of(image)
        height, width = picture.shape[:2]
        camera, lens = self._camera(height, width)
        straight = picture if lens is None else undistort(picture, lens)
        known = self._before is not None and self._before.shape == straight.shape
        before = {-1: self._before} if known else {}
        self._before = straight
        [depth] = self._predictor.fitted_to(height, width).predict_images([straight], [camera], [before])
        if lens is not None:
            pixels = np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=-1).reshape(-1, 2)
            return Seen(picture, distort_depth(depth, lens), rays(lens, pixels).reshape(height, width, 2))
        return Seen(picture, depth, None if camera is None else pixel_rays(camera))

    def _camera(self, height: int, width: int) -> tuple[Camera | None, Lens | None]:
        if self._info is None:
            return None, None
        if (height, width) not in self._cameras:
            self._cameras[height, width] = self._read_camera(height, width)
        return self._cameras[height, width]

    def _read_camera(self, height: int, width: int) -> tuple[Camera | None, Lens | None]:
        entries = camera_entries(self._info, is_rectified(self._topic))
        if not entries["k"][0] > 0:  # what drivers send for cameras that were never calibrated
            return None, None
        try:
            calibration = read_ros(entries, None)
        except Unusable as fault:
            raise UserError(f"camera_info: {fault}.") from fault
        camera, lens = camera_of_frames(Path("camera_info"), calibration, height, width, None)
        return (camera, None) if lens is None else (straight_camera(lens), lens)


def _differs(one: Any, other: Any) -> bool:
    return any(dict(camera_entries(one, way)) != dict(camera_entries(other, way)) for way in (False, True))


def depth_fields(depth_m: np.ndarray, encoding: Encoding) -> dict[str, Any]:
    """The fields of a depth `Image`, without its header; `data` is an array of bytes.

    Args:
        depth_m: (H, W) metres, NaN where there is none.
    """
    height, width = depth_m.shape
    if encoding == "32FC1":
        values = depth_m.astype("<f4")
    else:
        steps = np.nan_to_num(depth_m * MILLIMETRES, nan=0, posinf=0, neginf=0).round()
        # What is beyond 65.5 m has no value: the largest one would be a wall at that distance.
        values = np.where((steps > 0) & (steps <= MOST_STEPS), steps, 0).astype("<u2")
    return {
        "height": height,
        "width": width,
        "encoding": encoding,
        "is_bigendian": 0,
        "step": width * values.itemsize,
        "data": np.frombuffer(values.tobytes(), np.uint8),
    }


def cloud_fields(seen: Seen) -> dict[str, Any]:
    """The fields of a `PointCloud2` in the camera's optical frame, without its header and its `fields`.

    These are `POINT_FIELDS`, each of the type `FLOAT32`.

    Raises:
        UserError: nothing says what the camera is.
    """
    if seen.rays is None:
        raise UserError("points need the camera: no camera_info with a calibration has come yet.")
    points = points_of(seen.depth_m, seen.picture, seen.rays, farthest_of(seen.depth_m, is_metric=True))
    packed = np.empty(len(points), [("x", "<f4"), ("y", "<f4"), ("z", "<f4"), ("rgb", "<u4")])
    for axis in "xyz":
        packed[axis] = points[axis]
    red, green, blue = (points[name].astype(np.uint32) for name in ("red", "green", "blue"))
    packed["rgb"] = red << 16 | green << 8 | blue
    return {
        "height": 1,
        "width": len(points),
        "is_bigendian": False,
        "point_step": packed.itemsize,
        "row_step": packed.nbytes,
        "is_dense": True,
        "data": np.frombuffer(packed.tobytes(), np.uint8),
    }
