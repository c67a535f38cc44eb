"""`config.json` of a released model: read, and checked before any network is built from it. It needs no PyTorch."""

from pathlib import Path
from typing import Any

from egodepth.checked_json import (
    Anything,
    Either,
    Flag,
    ListOf,
    MapOf,
    Number,
    Object,
    Optional,
    Text,
    Whole,
    read_checked,
)
from egodepth.configuration_shapes import OneOfKinds
from egodepth.errors import UserError
from egodepth.networks.configurations import NETWORKS, POSE_NETWORKS, SIDES

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
CONFIG_FORMAT = 3

DEPTH_KINDS: dict[str, type] = {kind.__name__: kind for kind in NETWORKS}
POSE_KINDS: dict[str, type] = {kind.__name__: kind for kind in POSE_NETWORKS}
KINDS: dict[str, type] = DEPTH_KINDS | POSE_KINDS
"""The configs of networks by the name that stands in a file as their kind."""

RELEASE_AGAIN = "Fetch or release the model again."

METRES = Number(1e-9, 1e9)
INTRINSICS = ListOf(ListOf(Number(-1e6, 1e6), 3, 3), 3, 3)
OFFSET = Number(-1000, 1000, whole=True)

CONFIG = Object(
    {
        "format": Whole(),
        "recipe": Text(longest=200),
        "network": OneOfKinds(DEPTH_KINDS),
        "pose": Optional(OneOfKinds(POSE_KINDS)),
        "teacher_network": Optional(OneOfKinds(DEPTH_KINDS)),
        "folded": Flag(),
        "intrinsics": Optional(INTRINSICS),
        "intrinsics_from": Optional(Text()),
        "focal": Optional(Number(1e-3, 1e3)),
        "learned_cameras": ListOf(
            Object(
                {"name": Text(), "footage": ListOf(Text()), "intrinsics": INTRINSICS, "assumed": Flag()},
                required=("name", "footage", "intrinsics"),
            )
        ),
        "lookups": Optional(ListOf(OFFSET, 1, 64)),
        "height": Whole(*SIDES),
        "width": Whole(*SIDES),
        "keep_aspect": Flag(),
        "metres_per_unit": Optional(METRES),
        "metres_of_width": MapOf(METRES, key=lambda key: key.isascii() and key.isdecimal(), keys="widths in pixels"),
        "metres_from": Optional(Text(longest=200)),
        "metres_error": Optional(Number(0, 1e6)),
        "metres_note": Optional(Text()),
        "provenance": Object(
            {"data": Text(longest=1_000_000), "steps": Whole(), "sources": ListOf(Either(OFFSET, Text(("stereo",))))},
            required=(),
        ),
        "depth": Anything(),
        "exported": Optional(
            Object(
                {
                    "format": Text(longest=50),
                    "file": Text(longest=200, pattern=r"[A-Za-z0-9_.-]+"),
                    "metres_in_depth": Optional(METRES),
                    "time_offsets": ListOf(OFFSET, 0, 64),
                },
                required=("format", "file", "metres_in_depth", "time_offsets"),
            )
        ),
    },
    required=("format", "recipe", "network", "folded", "height", "width", "metres_per_unit", "metres_from"),
)


def read_config(folder: Path) -> dict[str, Any]:
    """The config of a released model folder, without its tensors.

    A config of another format is given as it is: who opens it says which egodepth reads it.

    Raises:
        UserError: it is missing or damaged, or says what no released model can say.
    """
    file = folder / CONFIG_FILE
    if not file.is_file():
        raise UserError(f"{folder}: no {CONFIG_FILE} in it. Give a released model folder or a run folder.")
    config = read_checked(file, Object({"format": Whole()}, required=()), RELEASE_AGAIN)
    if config.get("format") != CONFIG_FORMAT:
        return config
    config = read_checked(file, CONFIG, RELEASE_AGAIN)
    if (config["metres_per_unit"] is None) != (config["metres_from"] is None):
        raise UserError(f"{file}: only one of metres_per_unit and metres_from is given. {RELEASE_AGAIN}")
    if DEPTH_KINDS[config["network"]["kind"]].multi_frame:
        for key in ("pose", "intrinsics", "lookups"):
            if config.get(key) is None:
                raise UserError(f"{file}: {key} is missing, which a network that matches frames needs. {RELEASE_AGAIN}")
    return config
