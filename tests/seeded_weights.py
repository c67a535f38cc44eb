"""Checkpoints in the authors' layout whose values follow from their keys alone.

A network that imports such files computes numbers which anyone can compute again from the key list, so a test can
hold every layer and every key against reference values without a published weight. The rule is stated in the
specification of Monodepth2, section 13.4.
"""

import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

KeyList = Mapping[str, Mapping[str, tuple[Sequence[int], str]]]
"""Per file, the shape and the type of each key: what the `*-keys.json` files in tests/reference hold."""


def seeded_tensor(key: str, shape: Sequence[int]) -> Tensor:
    """The float32 tensor of this key: its generator is seeded with the CRC-32 of the key in UTF-8.

    Kernels are scaled by their fan-in, norms and biases kept near the values of a trained network.
    """
    generator = torch.Generator().manual_seed(zlib.crc32(key.encode()))
    if key.endswith("running_var"):
        return 1 + 0.1 * torch.rand(*shape, generator=generator)
    values = torch.randn(*shape, generator=generator)
    if len(shape) >= 2:
        return values * (shape[0] / values.numel()) ** 0.5
    if key.endswith(("running_mean", "bias")):
        return 0.1 * values
    return 0.7 + 0.1 * values


def seeded_state(keys: Mapping[str, tuple[Sequence[int], str]]) -> dict[str, Tensor]:
    """A state dictionary of these keys; integer tensors, such as counts of batches, are zero."""
    return {
        key: seeded_tensor(key, shape) if dtype == "float32" else torch.zeros(tuple(shape), dtype=torch.int64)
        for key, (shape, dtype) in keys.items()
    }


def write_seeded_checkpoints(folder: Path, key_list: KeyList) -> None:
    """Write one .pth file per entry of the key list, as the authors' training does."""
    for file, keys in key_list.items():
        torch.save(seeded_state(keys), folder / file)
