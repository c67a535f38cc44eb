"""A bag of depth from a bag of pictures: ROS 2's, with each picture's stamp, frame and camera. Needs rosbags."""

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from egodepth.data.bags.messages import CAMERA_TYPE, stamp_ns
from egodepth.data.bags.reading import bag_messages, camera_topic, image_topic, open_bag
from egodepth.errors import UserError
from egodepth.files import replacing
from egodepth.inference.ros_messages import Encoding, MessagePredictor, depth_fields

if TYPE_CHECKING:
    from egodepth.inference.predictor import Predictor

DEPTH, DEPTH_CAMERA = "depth/image_raw", "depth/camera_info"

IMAGE_TYPE = "sensor_msgs/msg/Image"


def predict_bag(
    predictor: "Predictor",
    bag: Path,
    out: Path,
    encoding: Encoding = "32FC1",
    storage: Literal["mcap", "sqlite3"] = "mcap",
) -> int:
    """Write the depth of a bag's pictures as a bag of ROS 2, and return how many there are.

    Beside the pictures' topic, `/cam/image_raw`, it has `/cam/depth/image_raw` and `/cam/depth/camera_info`.

    Args:
        bag: of ROS 1 or ROS 2, see `egodepth.data.bags`.
        out: folder to write; its parent may be missing.

    Raises:
        UserError: the bag cannot be read, the model is up to scale, or `out` exists or cannot be written to.
    """
    if out.exists():
        raise UserError(f"{out}: exists already. Choose another place for the bag.")
    with open_bag(bag) as reader, replacing(out) as temporary:
        from rosbags.rosbag2 import StoragePlugin, Writer
        from rosbags.typesys import Stores, get_typestore

        typestore = get_typestore(Stores.ROS2_HUMBLE)
        types = typestore.types
        topic = image_topic(bag, reader)
        model = MessagePredictor(predictor, topic)
        info = (
            next(bag_messages(bag, reader, camera_topic(topic)), None) if camera_topic(topic) in reader.topics else None
        )
        if info is not None:
            model.see_camera(info)
        parent = camera_topic(topic).rpartition("/")[0]
        count = 0
        # The writer calls its file as its folder; the folder's own name is a temporary one still.
        inner = temporary / out.name
        temporary.mkdir()
        with Writer(inner, version=8, storage_plugin=StoragePlugin[storage.upper()]) as writer:
            depths = writer.add_connection(f"{parent}/{DEPTH}", IMAGE_TYPE, typestore=typestore)
            cameras = writer.add_connection(f"{parent}/{DEPTH_CAMERA}", CAMERA_TYPE, typestore=typestore)
            for message in bag_messages(bag, reader, topic):
                header = _header(types, message)
                fields = depth_fields(model.see(message).depth_m, encoding)
                depth = types[IMAGE_TYPE](header=header, **fields)
                writer.write(depths, stamp_ns(message), typestore.serialize_cdr(depth, IMAGE_TYPE))
                if info is not None:
                    camera = _camera(types, info, header)
                    writer.write(cameras, stamp_ns(message), typestore.serialize_cdr(camera, CAMERA_TYPE))
                count += 1
        for file in inner.iterdir():
            file.replace(temporary / file.name)
        inner.rmdir()
    return count


def _header(types: dict, message):
    """A message's header as ROS 2 has it: ROS 1 counts headers as well."""
    seconds, rest = divmod(stamp_ns(message), 1_000_000_000)
    stamp = types["builtin_interfaces/msg/Time"](sec=seconds, nanosec=rest)
    return types["std_msgs/msg/Header"](stamp=stamp, frame_id=message.header.frame_id)


def _camera(types: dict, info, header):
    """The pictures' camera, for the depth that lies on their pixels; ROS 1 writes K, D, R and P."""
    matrices = {name: getattr(info, name, None) for name in "dkrp"}
    matrices = {name: getattr(info, name.upper()) if value is None else value for name, value in matrices.items()}
    region = types["sensor_msgs/msg/RegionOfInterest"](
        **{name: getattr(info.roi, name) for name in ("x_offset", "y_offset", "height", "width", "do_rectify")}
    )
    plain = {name: getattr(info, name) for name in ("height", "width", "distortion_model", "binning_x", "binning_y")}
    return types[CAMERA_TYPE](header=header, roi=region, **plain, **matrices)
