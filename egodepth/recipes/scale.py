"""The length of a network's unit of depth, and how it was obtained."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Origin = Literal["stereo baseline", "poses", "teacher depth"]


@dataclass(frozen=True)
class Scale:
    """The length of a network's unit of depth.

    Attributes:
        metres_per_unit: above 0.
        origin: how it was obtained.
        of_width: in place of `metres_per_unit` for pictures of some native widths in pixels.
    """

    metres_per_unit: float
    origin: Origin
    of_width: Mapping[int, float] = field(default_factory=dict)
