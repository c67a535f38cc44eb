"""What a depth model asks of a machine: time for a picture, memory, and the size of its weights."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Self

from egodepth.checked_json import Number, Object, Optional, Text

COST = Object(
    {
        "device": Text(),
        "weights_mb": Number(0, 1e7),
        "seconds": Number(0, 1e6),
        "memory_mb": Optional(Number(0, 1e7)),
    },
    required=("device", "weights_mb", "seconds"),
)
"""A cost as JSON has it."""

TELLS = 1.1
"""Ratio from which on a difference is told."""


@dataclass(frozen=True)
class Cost:
    """What a model asks of a machine.

    Attributes:
        device: that ran it, with the number of threads of a processor; figures of two devices are not to be compared.
        weights_mb: size of its weights in files, 10^6 bytes.
        seconds: for one picture, the median.
        memory_mb: by how much its process grew at most, or PyTorch's peak on a GPU, 10^6 bytes; None if unknown.
    """

    device: str
    weights_mb: float
    seconds: float
    memory_mb: float | None = None

    @classmethod
    def from_json(cls, said: Mapping[str, Any]) -> Self:
        """From an object of the shape `COST`."""
        return cls(**{field.name: said.get(field.name) for field in fields(cls)})

    def to_json(self) -> dict[str, Any]:
        """With three digits, as far as it can be measured."""
        return {
            name: value if value is None or isinstance(value, str) else float(f"{value:.3g}")
            for name, value in vars(self).items()
        }


def compared(ours: Cost, theirs: Cost) -> Sequence[str]:
    """How much faster, smaller and thriftier the first is, in words; time and memory only where one device had both."""
    ratios = [("{} times as small", "{} times as large", theirs.weights_mb / max(ours.weights_mb, 1e-9))]
    if ours.device == theirs.device:
        speed = "{} times as fast", "{} times as slow", theirs.seconds / max(ours.seconds, 1e-9)
        ratios.insert(0, speed)
        if ours.memory_mb and theirs.memory_mb:
            ratios.append(("with 1/{} of the memory", "with {} times the memory", theirs.memory_mb / ours.memory_mb))
    return [
        (better if ratio > 1 else worse).format(_times(max(ratio, 1 / ratio)))
        for better, worse, ratio in ratios
        if ratio > 0 and max(ratio, 1 / ratio) >= TELLS
    ]


def _times(ratio: float) -> str:
    return f"{ratio:.0f}" if ratio >= 10 else f"{ratio:.1f}"
