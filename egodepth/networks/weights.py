"""Weights on disk: reading foreign files without running them, and the folder of a released model."""

import json
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from egodepth.errors import UserError, first_line
from egodepth.files import write_bytes, write_text
from egodepth.networks.model_config import CONFIG_FILE

WEIGHTS_FILE = "model.safetensors"

PARALLEL, COMPILED = "module.", "_orig_mod."
"""What wrappers of a network add to its keys."""


@dataclass(frozen=True)
class WeightsFile:
    """What a file of weights holds.

    Attributes:
        tensors: by key.
        entries: plain values that some authors store among them, such as `height`.
    """

    tensors: dict[str, Tensor]
    entries: dict[str, Any]


def read_weights(path: Path) -> WeightsFile:
    """Read a .safetensors file, or a .pth file by PyTorch's restricted unpickler; nothing in it is ever run.

    Raises:
        UserError: the file is missing, cut off, or holds pickled objects other than tensors and plain values.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file. Give the path of a .pth or .safetensors file.")
    if path.suffix == ".safetensors":
        try:
            return WeightsFile(unwrapped(load_file(path)), {})
        except SafetensorError as error:
            raise UserError(f"{path}: not a whole safetensors file ({error}). Fetch it again.") from error
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise UserError(
            f"{path}: holds pickled Python objects besides tensors, which could run code when opened, or is no "
            "PyTorch file; it was not opened. Save its state dictionary alone and give that."
        ) from error
    except (RuntimeError, EOFError, ValueError, KeyError, OSError) as error:
        raise UserError(f"{path}: not a whole PyTorch file ({first_line(error)}). Fetch it again.") from error
    if not isinstance(content, Mapping):
        raise UserError(f"{path}: holds a {type(content).__name__}, not a state dictionary. Give another file.")
    tensors = {key: value for key, value in content.items() if isinstance(value, Tensor)}
    return WeightsFile(unwrapped(tensors), {key: value for key, value in content.items() if key not in tensors})


def unwrapped(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors by the network's own keys: without what `DataParallel` and `torch.compile` put before or into them."""
    own = {key.replace(COMPILED, ""): tensor for key, tensor in tensors.items()}
    while own and all(key.startswith(PARALLEL) for key in own):
        own = {key.removeprefix(PARALLEL): tensor for key, tensor in own.items()}
    return own


def save_released(folder: Path, config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """Write `config.json` and `model.safetensors`; the weights first, so that a config never lacks them."""
    stored = {key: value.detach().cpu().contiguous() for key, value in tensors.items()}
    write_bytes(folder / WEIGHTS_FILE, save(stored))
    write_text(folder / CONFIG_FILE, json.dumps(config, indent=2) + "\n")


def check_fit(
    expected: Mapping[str, Tensor], found: Mapping[str, Tensor], source: str, remedy: str
) -> dict[str, Tensor]:
    """The tensors of `found` that a network with the state `expected` takes.

    A missing count of batches (`num_batches_tracked`) is filled in; keys that the network does not know are left out.

    Raises:
        UserError: a tensor is missing or has another shape; the first one is named, with `remedy` after it.
    """
    state = {}
    for key, tensor in expected.items():
        if key not in found:
            if not key.endswith("num_batches_tracked"):
                raise UserError(f"{source}: no tensor for {key!r} of the network. {remedy}")
            state[key] = tensor
        elif found[key].shape != tensor.shape:
            shapes = f"{tuple(found[key].shape)}, the network needs {tuple(tensor.shape)}"
            raise UserError(f"{source}: the tensor for {key!r} is {shapes}. {remedy}")
        else:
            state[key] = found[key]
    return state
