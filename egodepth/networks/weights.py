"""Weights on disk: reading foreign files without running them, and the folder of a released model."""

import hashlib
import json
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from egodepth.errors import UserError, first_line
from egodepth.files import write_bytes, write_text
from egodepth.networks.model_config import CONFIG_FILE, WEIGHTS_FILE
from egodepth.networks.pickles import Damaged, Foreign, check_torch_file

DIGEST_KEY = "egodepth digest"
"""In a safetensors file's metadata: `tensors_digest` of what it holds."""

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

    What was damaged on its way is found: by the digest of files that we wrote, and by the checksums of PyTorch's.

    Raises:
        UserError: the file is missing, damaged, or holds pickled objects other than tensors and plain values.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file. Give the path of a .pth or .safetensors file.")
    if path.suffix == ".safetensors":
        return WeightsFile(unwrapped(read_tensors(path, "Fetch it again.")[0]), {})
    content = read_pickled(path, "Fetch it again.")
    tensors = {key: value for key, value in content.items() if isinstance(value, Tensor)}
    return WeightsFile(unwrapped(tensors), {key: value for key, value in content.items() if key not in tensors})


def read_pickled(path: Path, remedy: str) -> dict[str, Any]:
    """The dictionary in a file that `torch.save` wrote: weights of others, or a checkpoint. Nothing in it is ever run.

    Args:
        remedy: what to do about a damaged file, a sentence.

    Raises:
        UserError: it is damaged, claims more memory than it holds, or holds objects besides tensors and plain values.
    """
    try:
        check_torch_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (Foreign, pickle.UnpicklingError) as error:
        raise UserError(
            f"{path}: holds pickled Python objects besides tensors, which could run code when opened, or is no "
            "PyTorch file; it was not opened. Save its state dictionary alone and give that."
        ) from error
    except (Damaged, MemoryError) as error:
        raise UserError(f"{path}: not a whole PyTorch file ({first_line(error)}). {remedy}") from error
    except Exception as error:  # bytes that are whole and wrong fail anywhere in PyTorch, with any type
        raise UserError(f"{path}: not a whole PyTorch file ({first_line(error)}). {remedy}") from error
    if not isinstance(content, Mapping):
        raise UserError(f"{path}: holds a {type(content).__name__}, not a state dictionary. Give another file.")
    # SDFA-Net's published files keep the state of the optimiser under a tuple.
    return {key: value for key, value in content.items() if isinstance(key, str)}


def save_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write a safetensors file with a digest of its tensors, whole or not at all."""
    stored = {key: value.detach().cpu().contiguous() for key, value in tensors.items()}
    write_bytes(path, save(stored, {DIGEST_KEY: tensors_digest(stored)}))


def read_tensors(path: Path, remedy: str) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors and the metadata of a safetensors file.

    Tensors that have a digest with them are held against it; files of others, and of earlier versions, have none.

    Raises:
        UserError: it is damaged.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = dict(file.metadata() or {})
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, not a dict
    except Exception as error:  # of the library's own type, or any of PyTorch's where a header lies
        raise UserError(f"{path}: not a whole safetensors file ({first_line(error)}). {remedy}") from error
    if DIGEST_KEY in metadata and metadata[DIGEST_KEY] != tensors_digest(tensors):
        raise UserError(f"{path}: is damaged: its weights are not those that were written. {remedy}")
    return tensors, metadata


def tensors_digest(tensors: Mapping[str, Tensor]) -> str:
    """The SHA-256 of tensors by name, types and shapes included; 100 MB take 0.17 s of one core."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()


def unwrapped(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors by the network's own keys: without what `DataParallel` and `torch.compile` put before or into them."""
    own = {key.replace(COMPILED, ""): tensor for key, tensor in tensors.items()}
    while own and all(key.startswith(PARALLEL) for key in own):
        own = {key.removeprefix(PARALLEL): tensor for key, tensor in own.items()}
    return own


def save_released(folder: Path, config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """Write `config.json` and `model.safetensors`; the weights first, so that a config never lacks them."""
    save_tensors(folder / WEIGHTS_FILE, tensors)
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
