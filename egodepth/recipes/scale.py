"""The length of a network's unit of depth, and how it was obtained."""

from dataclasses import dataclass
from typing import Literal

Origin = Literal["stereo baseline", "poses"]


@dataclass(frozen=True)
class Scale:
    """The length of a network's unit of depth.

    Attributes:
        metres_per_unit: above 0.
        origin: how it was obtained.
    """

    metres_per_unit: float
    origin: Origin
