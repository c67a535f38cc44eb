"""Pictures and cameras of ROS messages, whoever deserialised them: `rosbags`, `rclpy`, or a test.

Only fields are looked at, by the names of ROS 2 and, where they differ, of ROS 1.
"""

import io
from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from egodepth.data.images import BROKEN_FILE_ERRORS
from egodepth.errors import UserError, first_line

IMAGE_TYPES = ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage")
CAMERA_TYPE = "sensor_msgs/msg/CameraInfo"

CHANNELS = {
    "rgb8": (3, None),
    "bgr8": (3, "COLOR_BGR2RGB"),
    "8UC3": (3, "COLOR_BGR2RGB"),
    "rgba8": (4, "COLOR_RGBA2RGB"),
    "bgra8": (4, "COLOR_BGRA2RGB"),
    "mono8": (1, "COLOR_GRAY2RGB"),
    "8UC1": (1, "COLOR_GRAY2RGB"),
    # OpenCV names a Bayer pattern by its second row's second and third pixel, ROS by its first row.
    "bayer_rggb8": (1, "COLOR_BayerBG2RGB"),
    "bayer_bggr8": (1, "COLOR_BayerRG2RGB"),
    "bayer_gbrg8": (1, "COLOR_BayerGR2RGB"),
    "bayer_grbg8": (1, "COLOR_BayerGB2RGB"),
    "yuv422": (2, "COLOR_YUV2RGB_UYVY"),
    "uyvy": (2, "COLOR_YUV2RGB_UYVY"),
    "yuv422_yuy2": (2, "COLOR_YUV2RGB_YUY2"),
    "yuyv": (2, "COLOR_YUV2RGB_YUY2"),
}
"""Bytes of a pixel and OpenCV's conversion to RGB, by the encodings of `sensor_msgs/image_encodings.hpp`."""

DEEP = ("mono16", "16UC1")


def picture_of(message: Any) -> np.ndarray:
    """The picture (H, W, 3) uint8 RGB of an `Image` or a `CompressedImage`.

    Raises:
        UserError: its encoding is not known, or its data are not as many as it says.
    """
    data = np.frombuffer(memoryview(message.data), np.uint8)
    if not hasattr(message, "encoding"):
        return _decompressed(data, message.format)
    height, width, step = int(message.height), int(message.width), int(message.step)
    encoding = message.encoding
    pixel_bytes = 2 if encoding in DEEP else CHANNELS[encoding][0] if encoding in CHANNELS else None
    if pixel_bytes is None:
        raise UserError(f"a picture has the encoding {encoding!r}; known are {', '.join([*CHANNELS, *DEEP])}.")
    if height < 1 or width < 1 or step < width * pixel_bytes or len(data) < step * height:
        raise UserError(
            f"a picture says {width}x{height} pixels of {encoding} in rows of {step} bytes, but has {len(data)} bytes."
        )
    rows = data[: step * height].reshape(height, step)[:, : width * pixel_bytes]
    if encoding in DEEP:
        deep = np.ascontiguousarray(rows).view(">u2" if message.is_bigendian else "<u2")
        return np.repeat((deep >> 8).astype(np.uint8)[..., None], 3, axis=2)
    pixels = np.ascontiguousarray(rows).reshape((height, width, pixel_bytes) if pixel_bytes > 1 else (height, width))
    conversion = CHANNELS[encoding][1]
    if conversion is None:
        return pixels
    import cv2

    return cv2.cvtColor(pixels, getattr(cv2, conversion))


def stamp_ns(message: Any) -> int:
    """When a message's header says that it was taken, in nanoseconds; 0 where it does not."""
    stamp = message.header.stamp
    seconds, rest = getattr(stamp, "sec", None), getattr(stamp, "nanosec", None)
    if seconds is None:
        seconds, rest = stamp.secs, stamp.nsecs
    return int(seconds) * 1_000_000_000 + int(rest)


def camera_entries(message: Any, rectified: bool) -> Mapping[str, Any]:
    """What a `CameraInfo` says, as ROS's own YAML has it.

    Args:
        rectified: of the rectified pictures (P), which nothing bends, and not of the raw ones (K and D).
    """
    matrix = [float(value) for value in _either(message, "k", "K")]
    coefficients = [float(value) for value in _either(message, "d", "D")]
    model = message.distortion_model
    if rectified:
        p = [float(value) for value in _either(message, "p", "P")]
        matrix, coefficients, model = [*p[0:3], *p[4:7], *p[8:11]], [], "plumb_bob"
    size = {"height": int(message.height), "width": int(message.width)}
    return {"distortion_model": model, "k": matrix, "d": coefficients, **size}


def is_rectified(topic: str) -> bool:
    """Whether a topic's pictures are rectified, by the names that `image_proc` gives."""
    return "rect" in topic.rpartition("image")[2]


def _either(message: Any, *names: str) -> Any:
    return next(getattr(message, name) for name in names if hasattr(message, name))


def _decompressed(data: np.ndarray, format: str) -> np.ndarray:
    try:
        # These two are what image_transport sends; Pillow knows formats that run programs.
        with Image.open(io.BytesIO(data.tobytes()), formats=("JPEG", "PNG")) as image:
            return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    except (*BROKEN_FILE_ERRORS, Image.DecompressionBombError) as error:
        raise UserError(f"a compressed picture ({format}) cannot be decoded ({first_line(error)}).") from error
