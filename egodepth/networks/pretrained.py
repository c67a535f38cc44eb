"""Import of published checkpoints: the authors' files and keys, mapped to ours in this one place.

Nothing else in egodepth knows how somebody else named a tensor. Key lists: specification section 11.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from egodepth.errors import UserError
from egodepth.networks.encoders import efficientnet_pytorch_names
from egodepth.networks.weights import WeightsFile, check_fit, read_weights, unwrapped

Place = tuple[str, ...]
"""A published tensor: the file that holds it, and its key there; further keys where it goes by several names."""

NamePlace = Callable[[str], Place]
"""Where the authors keep the tensor that we call by this key."""

CLASSIFIER = re.compile(r"(^|\.)_?(fc|classifier)\.")
"""The classification head that the authors' encoders carry unused."""

UNUSED = re.compile(r"^prematching_conv\.")
"""A layer of ManyDepth's that its authors build and never call."""

COMPUTED = re.compile(r"\.relative_position_index$|^backprojector\.")
"""Tables that follow from the architecture or the image size, which some authors store and we do not."""

LEFT_OUT = (CLASSIFIER, UNUSED, COMPUTED)

NESTED = "model_params"
"""Where a file keeps its state dictionary that holds the state of a training beside it."""


@dataclass(frozen=True)
class Imported:
    """What an import took, and what it left.

    Attributes:
        entries: plain values of the files, such as `height`, `width` and `use_stereo`.
        unused: keys, as `file: key`, that no tensor of ours corresponds to, without those of `LEFT_OUT`.
    """

    entries: dict[str, Any] = field(default_factory=dict)
    unused: tuple[str, ...] = ()


def import_weights(network: nn.Module, place_of: NamePlace, folder: Path, remedy: str) -> Imported:
    """Load the authors' weights in `folder` into `network`.

    A number that stands as a plain entry in a file counts as a tensor without axes.

    Raises:
        UserError: a file is missing or broken, or a tensor is missing or has another shape; the first one is named.
    """
    places = {key: place_of(key) for key in network.state_dict()}
    files = {name: _flat(read_weights(folder / name)) for name in sorted({file for file, *_ in places.values()})}
    found: dict[str, Tensor] = {}
    for key, (file, *names) in places.items():
        tensors = _numbers(files[file].entries) | files[file].tensors
        theirs = next((name for name in names if name in tensors), None)
        if theirs is not None:
            found[key] = tensors[theirs]
    network.load_state_dict(check_fit(network.state_dict(), found, str(folder), remedy))
    taken = {(file, name) for file, *names in places.values() for name in names}
    unused = tuple(
        f"{file}: {key}"
        for file, content in files.items()
        for key in content.tensors
        if (file, key) not in taken and not any(pattern.search(key) for pattern in LEFT_OUT)
    )
    entries: dict[str, Any] = {}
    for content in files.values():
        entries |= content.entries
    return Imported(entries, unused)


def _numbers(entries: Mapping[str, Any]) -> dict[str, Tensor]:
    """The plain entries that are numbers, as scalars."""
    return {key: torch.tensor(value) for key, value in entries.items() if type(value) in (int, float)}


def _flat(content: WeightsFile) -> WeightsFile:
    """The weights that a file with the state of a training keeps one level down; any other file as it is."""
    nested = content.entries.get(NESTED)
    if not isinstance(nested, Mapping):
        return content
    tensors = unwrapped({key: value for key, value in nested.items() if isinstance(value, Tensor)})
    plain = {key: value for key, value in content.entries.items() if isinstance(value, (bool, int, float, str))}
    return WeightsFile(tensors, plain)


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


# --- SDFA-Net --------------------------------------------------------------------------------------------------


def sdfa_net_place(file: str) -> NamePlace:
    """Specification section 9. A function of the file's name, as the authors' one file is named after its training."""

    def place(key: str) -> Place:
        part, rest = key.split(".", 1)
        if part == "encoder":
            return file, f"0.{_replaced(rest, SDFA_NET_ENCODER)}"
        kind, tail = rest.split(".", 1)
        if kind == "outputs":
            path, tail = tail.split(".", 1)
            return file, f"1._convs.{14 + (path == 'distilled')}.conv.{tail}"
        level, tail = tail.split(".", 1)
        count = 2 * (3 - int(level))
        if kind == "joins":
            count += tail.startswith("aggregation.")
            return file, f"1._convs.{count}.{_replaced(tail, SDFA_NET_JOINS)}"
        return file, f"1._convs.{6 + count + (kind == 'after')}.conv.{tail}"

    return place


def only_checkpoint(folder: Path) -> str:
    """The name of the one .pth file in a folder, or of the file itself if it is given.

    Raises:
        UserError: it is no folder, or holds none or several.
    """
    if folder.is_file():
        return folder.name
    if not folder.is_dir():
        raise UserError(f"{folder}: no such file or folder. Give the published .pth file.")
    names = sorted(path.name for path in folder.glob("*.pth"))
    if len(names) != 1:
        found = ", ".join(names) or "none"
        raise UserError(f"{folder}: one .pth file was expected, found {found}. Put the one to import in a folder.")
    return names[0]


SDFA_NET_ENCODER: Replacements = (
    # timm counts a patch merging to the stage after it, the authors to the one before.
    (r"^layers\.(\d)\.downsample", lambda found: f"layers.{int(found[1]) - 1}.downsample"),
    (r"^norms\.", "norm"),
)

SDFA_NET_JOINS: Replacements = (
    (r"^adapter\.0\.", "conv.conv."),
    (r"^adapter\.1\.", "bn."),
    (r"^aggregation\.", ""),
    (r"^decoded_offsets\.", "delta_gen1."),
    (r"^encoder_offsets\.raw\.", "delta_gen2."),
    (r"^encoder_offsets\.distilled\.", "delta_gen3."),
    (r"\.3\.weight$", ".3.conv.weight"),
)
"""What to replace in a key of our network, one after the other, to have the authors' within that layer."""


# --- ManyDepth -------------------------------------------------------------------------------------------------


def manydepth_place(key: str) -> Place:
    """Specification section B10: the stem and the first stage in lists of their own, the decoder as Monodepth2's.

    The range of the depth hypotheses stands in the encoder's file as plain entries.
    """
    part, rest = key.split(".", 1)
    if part == "encoder":
        return "encoder.pth", _replaced(rest, MANYDEPTH_ENCODER)
    return monodepth2_place(key)


def manydepth_teacher_place(key: str) -> Place:
    """The single-frame teacher is a network of Monodepth2's, in files beside the multi-frame network's."""
    file, *names = monodepth2_place(key)
    return f"mono_{file}", *names


PUBLISHED_TEACHER_FILES = ("mono_encoder.pth", "mono_depth.pth")

MANYDEPTH_ENCODER: Replacements = (
    (r"^body\.conv1\.", "layer0.0."),
    (r"^body\.bn1\.", "layer0.1."),
    (r"^body\.layer1\.", "layer1.1."),
    (r"^body\.", ""),
    (r"^reduce\.", "reduce_conv.0."),
)
"""What to replace in a key of our encoder, one after the other, to have the authors'."""
