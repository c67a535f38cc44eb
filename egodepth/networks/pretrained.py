"""Import of published checkpoints: the authors' files and keys, mapped to ours in this one place.

Nothing else in egodepth knows how somebody else named a tensor. Key lists: specification section 11.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from egodepth.errors import UserError
from egodepth.networks.weights import check_fit, read_weights

Place = tuple[str, str]
"""A published tensor: the file that holds it, and its key there."""

NamePlace = Callable[[str], Place]
"""Where the authors keep the tensor that we call by this key."""

CLASSIFIER = re.compile(r"(^|\.)_?(fc|classifier)\.")
"""The classification head that the authors' encoders carry unused."""


@dataclass(frozen=True)
class Imported:
    """What an import took, and what it left.

    Attributes:
        entries: plain values of the files, such as `height`, `width` and `use_stereo`.
        unused: keys, as `file: key`, that no tensor of ours corresponds to, without the classification head.
    """

    entries: dict[str, Any] = field(default_factory=dict)
    unused: tuple[str, ...] = ()


def import_weights(network: nn.Module, place_of: NamePlace, folder: Path, mend: str) -> Imported:
    """Load the authors' weights in `folder` into `network`.

    Raises:
        UserError: a file is missing or broken, or a tensor is missing or has another shape; the first one is named.
    """
    places = {key: place_of(key) for key in network.state_dict()}
    files = {name: read_weights(folder / name) for name in sorted({file for file, _ in places.values()})}
    found: dict[str, Tensor] = {
        key: files[file].tensors[theirs] for key, (file, theirs) in places.items() if theirs in files[file].tensors
    }
    network.load_state_dict(check_fit(network.state_dict(), found, str(folder), mend))
    taken = set(places.values())
    unused = tuple(
        f"{file}: {key}"
        for file, content in files.items()
        for key in content.tensors
        if (file, key) not in taken and not CLASSIFIER.search(key)
    )
    entries: dict[str, Any] = {}
    for content in files.values():
        entries |= content.entries
    return Imported(entries, unused)


def has_files(folder: Path, names: tuple[str, ...]) -> bool:
    """Whether the folder holds all of these files.

    Raises:
        UserError: it is no folder.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder. Give the folder with the published .pth files.")
    return all((folder / name).is_file() for name in names)


# --- Monodepth2 ------------------------------------------------------------------------------------------------


def monodepth2_place(key: str) -> Place:
    """Specification section 11: ten ConvBlocks counted from the coarsest, then the heads of scales 0 to 3."""
    part, rest = key.split(".", 1)
    if part == "encoder":
        return "encoder.pth", re.sub(r"^body\.", "encoder.", rest)
    kind, index, tail = rest.split(".", 2)
    if kind == "heads":
        return "depth.pth", f"decoder.{10 + int(index)}.conv.{tail}"
    count = 2 * (4 - int(index)) + (kind == "after")
    return "depth.pth", f"decoder.{count}.conv.{tail}"


def monodepth2_pose_place(key: str) -> Place:
    """The pose network's encoder, and its four convolutions, between which ours counts the activations."""
    part, rest = key.split(".", 1)
    if part == "encoder":
        return "pose_encoder.pth", re.sub(r"^body\.", "encoder.", rest)
    index, tail = rest.split(".", 1)
    return "pose.pth", f"net.{int(index) // 2}.{tail}"


PUBLISHED_POSE_FILES = ("pose_encoder.pth", "pose.pth")
