"""The length of a network's unit of depth, and how it was obtained."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Origin = Literal["stereo baseline", "poses", "teacher depth", "camera height", "speed", "odometry", "known distances"]

STANDING_M = 0.2
"""A camera that moved less between two frames says nothing but noise; 2 m/s at 10 Hz."""


@dataclass(frozen=True)
class Scale:
    """The length of a network's unit of depth.

    Attributes:
        metres_per_unit: above 0.
        origin: how it was obtained.
        of_width: in place of `metres_per_unit` for pictures of some native widths in pixels.
        error: by which the scale of a single picture usually differs from it, as a share; None where nobody knows.
        note: what it was obtained from, for people to read.
    """

    metres_per_unit: float
    origin: Origin
    of_width: Mapping[int, float] = field(default_factory=dict)
    error: float | None = None
    note: str | None = None

    def said(self) -> str:
        """In what a depth is, how that is known, and how well: `metres from camera height, ± 4 %`."""
        error = "" if self.error is None else f", ± {100 * self.error:.2g} %"
        return f"metres from {self.origin}{error}"

    def as_metadata(self) -> dict[str, str]:
        """The scale as an exported model carries it, for programs that read it without egodepth."""
        known = {"metres_per_unit": f"{self.metres_per_unit:.6g}", "metres_from": self.origin}
        if self.error is not None:
            known["metres_error"] = f"{self.error:.4g}"
        return known if self.note is None else {**known, "metres_note": self.note}
