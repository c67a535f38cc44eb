"""Where a varied street is open to a side: streets that meet it, squares with parked cars, and lawns.

Without them what lies beside a road is always a kerb and then a wall or a wood, and a network learns that ground to the
left and right rises.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from egodepth.data.simulator import textures as tiles
from egodepth.data.simulator.solids import BOX, Skin
from egodepth.data.simulator.varied_planner import VariedPlanner

BETWEEN_M = (20.0, 150.0)
"""From one opening of a side to the next."""

SURFACE_M = 0.012
"""By which paved ground lies above the terrain."""

JUNCTION_M, JUNCTION_DEEP_M = 12.0, 75.0
"""Width of a street that crosses, and how far it is seen to either side."""

SHORTEST_M = 12.0
"""Roadside that is left between a junction and an opening."""

PIECE_M = (6.0, 2.0)
"""About, across and along the road, of paved ground in the hills."""


@dataclass(frozen=True)
class Opening:
    """A stretch of a roadside without plots.

    Attributes:
        deep_m: from the kerb to what stands behind.
        paved: whether its ground is, else it is the terrain's.
        parked: share of its places with a car.
    """

    start_m: float
    end_m: float
    deep_m: float
    paved: bool
    parked: float

    @property
    def middle_m(self) -> float:
        return (self.start_m + self.end_m) / 2


@dataclass(frozen=True)
class OpenPlanner(VariedPlanner):
    """Lines a road plot by plot, and leaves openings between them.

    Attributes:
        junction_m: where a street crosses the road, open to both of its sides.
    """

    junction_m: float | None = None

    def _line(self, side: int, start_m: float, end_m: float) -> None:
        along_m = start_m
        for opening in self._with_junction(self._openings(start_m, end_m)):
            super()._line(side, along_m, opening.start_m)
            self._open(side, opening)
            along_m = opening.end_m
        super()._line(side, along_m, end_m)

    def _with_junction(self, openings: Iterator[Opening]) -> Iterator[Opening]:
        """The openings of a side, in order, without those where the other street comes."""
        if self.junction_m is None:
            yield from openings
            return
        half_m = JUNCTION_M / 2
        junction = Opening(self.junction_m - half_m, self.junction_m + half_m, JUNCTION_DEEP_M, True, 0.0)
        before, after = junction.start_m - SHORTEST_M, junction.end_m + SHORTEST_M
        kept = [opening for opening in openings if opening.end_m < before or opening.start_m > after]
        yield from sorted([*kept, junction], key=lambda opening: opening.start_m)

    def _openings(self, start_m: float, end_m: float) -> Iterator[Opening]:
        random, along_m = self.random, start_m + self.random.uniform(0, BETWEEN_M[1])
        while along_m < end_m - BETWEEN_M[0]:
            kind = random.choice(["street", "street", "square", "lawn"])
            wide_m = random.uniform(6, 16) if kind == "street" else random.uniform(12, 45)
            deep_m = random.uniform(35, 80) if kind == "street" else random.uniform(10, 45)
            on_square = random.choice([0.0, 0.5, 0.8])
            parked = {"street": 0.2, "square": on_square, "lawn": 0.0}[str(kind)]
            yield Opening(along_m, along_m + wide_m, deep_m, kind != "lawn", parked)
            along_m += wide_m + random.uniform(*BETWEEN_M)

    def _open(self, side: int, opening: Opening) -> None:
        if opening.paved:
            self._pave(side, opening)
        if opening.parked:
            self._cars(side, opening)
        random, back_m = self.random, self.layout.kerb_m + opening.deep_m
        if random.random() < 0.5:
            self._wood(opening.start_m - 4, opening.end_m + 4, random.uniform(5, 14),
                       lambda reached_m: (reached_m, side * back_m), outward=(0.0, side))  # fmt: skip
        elif self.scene.place.house in ("row", "tower"):
            self._building(side, opening.middle_m, back_m, 6, max(opening.end_m - opening.start_m, 18.0))
        else:
            self._house(side, opening.middle_m, back_m, random.uniform(8, 15))
        if not opening.paved:
            for _ in range(random.integers(0, 4)):
                where_m = random.uniform(opening.start_m, opening.end_m)
                self._tree(where_m, side * random.uniform(self._back_m + 3, back_m), random.uniform(0.9, 1.8))

    def _pave(self, side: int, opening: Opening) -> None:
        """Asphalt or slabs from the kerb to the back, as dark as the road or brighter."""
        random, deep_m, wide_m = self.random, opening.deep_m, opening.end_m - opening.start_m
        skin = Skin(tiles.PAVING, (4.0, 4.0)) if random.random() < 0.3 else Skin(tiles.ROUGH, (5.0, 5.0))
        grey = self.scene.palette.asphalt * random.uniform(1.0, 1.8)
        tint = self._varied((min(grey, 0.95),) * 3, 0.03)
        across, along = (1, 1) if self.road.profile.flat else (round(deep_m / PIECE_M[0]), round(wide_m / PIECE_M[1]))
        half = (deep_m / across / 2 + 0.02, SURFACE_M, wide_m / along / 2 + 0.02)
        for lateral_m in self.layout.kerb_m + deep_m * (np.arange(across) + 0.5) / across:
            for along_m in opening.start_m + wide_m * (np.arange(along) + 0.5) / along:
                self._add(BOX, along_m, side * lateral_m, 0.0, half, skin, tint=tint, lies=True, reach_m=150)

    def _cars(self, side: int, opening: Opening) -> None:
        """Rows of cars that stand across the road, as at a junction or in a car park."""
        random = self.random
        for out_m in np.arange(4.5, opening.deep_m - 4, 9.0):
            for along_m in np.arange(opening.start_m + 1.8, opening.end_m - 1.5, 2.9):
                if random.random() < opening.parked:
                    angle = np.pi / 2 * random.choice([-1, 1]) + random.uniform(-0.05, 0.05)
                    lateral_m = side * (self.layout.kerb_m + out_m)
                    self._car(along_m, lateral_m, angle, towards=bool(random.random() < 0.5))
