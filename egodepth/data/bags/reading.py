"""Bags of ROS 1 (`.bag`) and ROS 2 (a folder with `metadata.yaml`, or its `.mcap` or `.db3`), read without ROS."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from egodepth.data.bags.messages import (
    CAMERA_TYPE,
    IMAGE_TYPES,
    camera_entries,
    is_rectified,
    picture_of,
    stamp_ns,
)
from egodepth.errors import UserError, first_line

if TYPE_CHECKING:
    from rosbags.highlevel import AnyReader

log = logging.getLogger("egodepth")

SUFFIXES = (".mcap", ".db3", ".bag")
FOLDER_SIGN = "metadata.yaml"

LEAST_STEP_S = 1e-6
"""Between frames whose stamps do not grow."""


def is_bag(path: Path) -> bool:
    """Whether a path is a bag, by its name or by what the folder holds."""
    if path.is_dir():
        return (path / FOLDER_SIGN).is_file() and any(each.suffix in SUFFIXES for each in path.iterdir())
    return path.suffix.lower() in SUFFIXES and path.is_file()


@contextmanager
def open_bag(path: Path) -> "Iterator[AnyReader]":
    """A bag, with its messages' types.

    Raises:
        UserError: rosbags is not installed, or this is no bag that it can read.
    """
    try:
        from rosbags.highlevel import AnyReader, AnyReaderError
        from rosbags.typesys import Stores, get_typestore
    except ImportError as error:
        raise UserError(f"{path}: bags of ROS need rosbags: pip install 'egodepth[ros]'.") from error
    try:
        # Bags older than ROS 2 Iron hold no types; those of pictures and cameras have not changed since.
        with AnyReader([path], default_typestore=get_typestore(Stores.ROS2_HUMBLE)) as reader:
            yield reader
    except UserError:
        raise
    except (AnyReaderError, OSError, ValueError, KeyError, AssertionError) as error:
        raise UserError(f"{path}: is not a bag that can be read ({first_line(error)}). Record it again.") from error


def image_topic(path: Path, reader: "AnyReader") -> str:
    """The topic whose pictures are the bag's footage: the one with most messages, depth aside.

    Raises:
        UserError: there is none.
    """
    counts = {
        topic: info.msgcount
        for topic, info in reader.topics.items()
        if info.msgtype in IMAGE_TYPES and info.msgcount and "depth" not in topic.lower()
    }
    if not counts:
        raise UserError(f"{path}: has no topic of pictures. It holds {', '.join(sorted(reader.topics)) or 'nothing'}.")
    chosen, *others = sorted(counts, key=lambda topic: (-counts[topic], topic))
    if others:
        log.warning("%s: its pictures are those of %s; %s are left out.", path, chosen, ", ".join(others))
    return chosen


def bag_messages(path: Path, reader: "AnyReader", topic: str) -> Iterator[Any]:
    """The messages of a topic in order.

    Raises:
        UserError: one cannot be read.
    """
    connections = [each for each in reader.connections if each.topic == topic]
    for connection, _, raw in reader.messages(connections):
        yield reader.deserialize(raw, connection.msgtype)


def read_bag(path: Path) -> Iterator[tuple[np.ndarray, float]]:
    """The pictures (H, W, 3) uint8 RGB of a bag, and their seconds since the first, which grow.

    Raises:
        UserError: this is no bag that can be read, or a picture in it cannot be decoded.
    """
    with open_bag(path) as reader:
        first = last = None
        for message in bag_messages(path, reader, image_topic(path, reader)):
            first = stamp_ns(message) if first is None else first
            seconds = (stamp_ns(message) - first) / 1e9
            last = seconds if last is None else max(seconds, last + LEAST_STEP_S)
            yield _picture(path, message), last


def bag_info(path: Path) -> tuple[int, int, int, float]:
    """Height and width of the first picture of a bag, the number of pictures, and the seconds from first to last.

    Raises:
        UserError: this is no bag that can be read, or it has no picture.
    """
    with open_bag(path) as reader:
        topic = image_topic(path, reader)
        height, width = _picture(path, next(bag_messages(path, reader, topic))).shape[:2]
        return height, width, reader.topics[topic].msgcount, reader.duration / 1e9


def bag_camera(path: Path) -> Mapping[str, Any] | None:
    """What the camera of a bag's pictures says of itself, as ROS's own YAML has it; None where it says nothing.

    Raises:
        UserError: this is no bag that can be read.
    """
    with open_bag(path) as reader:
        topic = image_topic(path, reader)
        info = camera_topic(topic)
        if info not in reader.topics or reader.topics[info].msgtype != CAMERA_TYPE:
            return None
        message = next(bag_messages(path, reader, info), None)
        entries = None if message is None else camera_entries(message, is_rectified(topic))
        return entries if entries and entries["k"][0] > 0 else None  # drivers send zeros for cameras never calibrated


def camera_topic(topic: str) -> str:
    """Where the camera of a topic of pictures stands: beside it, for whatever kind of transport."""
    for transport in ("/compressed", "/theora"):
        topic = topic.removesuffix(transport)
    return f"{topic.rpartition('/')[0]}/camera_info"


def _picture(path: Path, message: Any) -> np.ndarray:
    try:
        return picture_of(message)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
