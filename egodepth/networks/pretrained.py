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
from egodepth.networks.encoders import efficientnet_pytorch_names
from egodepth.networks.weights import check_fit, read_weights

Place = tuple[str, ...]
"""A published tensor: the file that holds it, and its key there; further keys where it goes by several names."""

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
    files = {name: read_weights(folder / name) for name in sorted({file for file, *_ in places.values()})}
    found: dict[str, Tensor] = {}
    for key, (file, *names) in places.items():
        tensors = files[file].tensors
        theirs = next((name for name in names if name in tensors), None)
        if theirs is not None:
            found[key] = tensors[theirs]
    network.load_state_dict(check_fit(network.state_dict(), found, str(folder), mend))
    taken = {(file, name) for file, *names in places.values() for name in names}
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

Replacements = tuple[tuple[str, str | Callable[[re.Match[str]], str]], ...]
"""Patterns and what takes their place, one after the other."""


def _replaced(key: str, replacements: Replacements) -> str:
    for pattern, replacement in replacements:
        key = re.sub(pattern, replacement, key)
    return key


# --- DNA-Depth -------------------------------------------------------------------------------------------------


def dna_depth_place(network: nn.Module) -> NamePlace:
    """Specification section 6. A function of the network, as the authors count its encoder's blocks through."""
    encoder_names = {ours: theirs for theirs, ours in efficientnet_pytorch_names(network.encoder.body).items()}

    def place(key: str) -> Place:
        part, rest = key.split(".", 1)
        if part == "encoder":
            return "encoder.pth", f"model.{encoder_names[rest.removeprefix('body.')]}"
        return "depth.pth", _replaced(rest, DNA_DEPTH_DECODER)

    return place


DNA_DEPTH_DECODER: Replacements = (
    (r"^entries\.(\d)", lambda found: f"iconv{int(found[1]) + 1}_0"),
    (r"^nodes\.F(\d)_(\d)", lambda found: f"simfpn{found[1]}_{int(found[2]) - 1}"),
    (r"\.coarser\.1\.", ".up_conv."),
    (r"\.same\.", ".conv."),
    (r"\.finer\.", ".down_conv."),
    (r"\.join\.", ".iconv."),
    (r"\.fuse\.", ".cat_conv.conv."),
    (r"^tail\.1\.", "upconv1."),
    (r"^tail\.2\.", "conv1.0.conv."),
    (r"^tail\.4\.", "conv1.2."),
    (r"^heads\.(\d)\.conv\.", r"disp\1.0."),
    (r"^heads\.(\d)\.attention\.squeeze", r"attn_\1.fc.0"),
    (r"^heads\.(\d)\.attention\.excite", r"attn_\1.fc.2"),
    (r"(depth|point)wise\.", r"\1wise_conv.conv."),
)
"""What to replace in a key of our decoder, one after the other, to have the authors'."""


# --- DIFFNet ---------------------------------------------------------------------------------------------------


def diffnet_place(key: str) -> Place:
    """Specification section A4: the authors' decoder registers each layer in a list and under a name of its own."""
    part, rest = key.split(".", 1)
    if part == "encoder":
        return "encoder.pth", rest.removeprefix("body.")
    layer = ".".join(rest.split(".")[:2])
    tail = _replaced(rest, DIFFNET_TAILS)
    return "depth.pth", f"decoder.{list(DIFFNET_LAYERS).index(layer)}.{tail}", f"convs.{DIFFNET_LAYERS[layer]}.{tail}"


DIFFNET_LAYERS = {
    "tail.0": "up_x9_0",
    "tail.2": "up_x9_1",
    "fusions.3": "72",
    "fusions.2": "36",
    "fusions.1": "18",
    "fusions.0": "9",
    "heads.0": "dispConvScale0",
    "heads.1": "dispConvScale1",
    "heads.2": "dispConvScale2",
    "heads.3": "dispConvScale3",
}
"""Our layers of the decoder, and the authors' names for them in the order of their list."""

DIFFNET_TAILS: Replacements = (
    (r"^tail\.\d\.conv\.", "conv.conv."),
    (r"^fusions\.\d\.attention\.squeeze\.", "ca.fc.0."),
    (r"^fusions\.\d\.attention\.excite\.", "ca.fc.2."),
    (r"^fusions\.\d\.conv\.", "conv_se."),
    (r"^heads\.\d\.", "conv."),
)
"""What to replace in a key of our decoder to have the authors' key within that layer."""
