"""What grows beside a varied street: bushes, five kinds of tree, and the edge of a wood."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from egodepth.data.simulator import textures as tiles
from egodepth.data.simulator.planner import Planner
from egodepth.data.simulator.road import turn
from egodepth.data.simulator.solids import BOX, CYLINDER, ELLIPSOID, Skin
from egodepth.data.simulator.variety import Scene


@dataclass(frozen=True)
class TreePlanner(Planner):
    """Puts the plants of a place beside its road."""

    scene: Scene

    @property
    def _leaf_colours(self) -> list[tuple[float, float, float]]:
        return [self._shaded(colour) for colour in self.scene.palette.leaves]

    def _shaded(self, colour: tuple[float, float, float]) -> tuple[float, float, float]:
        """A leaf's colour as dark as leaves are in this drive."""
        return tuple(self.scene.palette.shade * value for value in colour)

    def _shift(self) -> tuple[float, float]:
        return tuple(self.random.random(2))

    def _bush(self, along_m: float, lateral_m: float) -> None:
        random, tint = self.random, self._pick(self._leaf_colours)
        for _ in range(random.integers(1, 4)):
            radius_m = random.uniform(0.4, 1.0)
            half = (radius_m, radius_m * random.uniform(0.7, 1.0), radius_m * random.uniform(0.8, 1.3))
            skin = Skin(tiles.LEAVES, (1.8, 1.8), self._shift())
            where = along_m + random.uniform(-0.8, 0.8), lateral_m + np.sign(lateral_m) * random.uniform(0, 0.8)
            self._add(ELLIPSOID, *where, radius_m * 0.6, half, skin, tint=self._varied(tint, 0.05), reach_m=150)

    def _tree(self, along_m: float, lateral_m: float, size: float) -> None:
        kind = str(self._pick(self.scene.place.trees))
        if kind == "broad":
            super()._tree(along_m, lateral_m, size)
        else:
            getattr(self, f"_{kind}")(along_m, lateral_m, size)

    def _leaf(self) -> tuple[float, float, float]:
        return self._varied(self._pick(self._leaf_colours), 0.05)

    def _trunk(self, along_m: float, lateral_m: float, high_m: float, radius_m: float, tint: tuple) -> None:
        bark = Skin(tiles.ROUGH, (0.9, 1.8), self._shift())
        half = (radius_m, high_m / 2 + 0.15, radius_m)
        self._add(CYLINDER, along_m, lateral_m, high_m / 2 - 0.15, half, bark, tint=self._shaded(tint))

    def _conifer(self, along_m: float, lateral_m: float, size: float) -> None:
        """Three skirts, each a cone of four sides, turned against one another."""
        random, tint = self.random, self._varied(self._shaded((0.22, 0.36, 0.24)), 0.05)
        high_m = random.uniform(4.5, 8.0) * size
        self._trunk(along_m, lateral_m, 0.35 * high_m, 0.12 * size, (0.36, 0.28, 0.22))
        for skirt in range(3):
            wide_m, low_m = high_m * (0.24 - 0.055 * skirt), high_m * (0.14 + 0.26 * skirt)
            tall_m = high_m * 0.38
            self._add(BOX, along_m, lateral_m, low_m + tall_m / 2, (wide_m, tall_m / 2, wide_m),
                      Skin(tiles.LEAVES, (2.2, 2.2), self._shift()), tint=tint, taper=(0.92, 0.92),
                      angle=random.uniform(0, 1.5), reach_m=220)  # fmt: skip

    def _slim(self, along_m: float, lateral_m: float, size: float) -> None:
        """A poplar or a cypress."""
        random, high_m = self.random, self.random.uniform(6, 11) * size
        wide_m, tint = high_m * random.uniform(0.1, 0.16), self._leaf()
        self._trunk(along_m, lateral_m, 0.3 * high_m, 0.13 * size, (0.42, 0.34, 0.27))
        for middle, tall, wide in ((0.42, 0.28, 1.0), (0.62, 0.30, 0.85), (0.8, 0.2, 0.55)):
            half = (wide_m * wide, high_m * tall, wide_m * wide)
            skin = Skin(tiles.LEAVES, (2.4, 2.4), self._shift())
            self._add(
                ELLIPSOID, along_m, lateral_m, high_m * middle, half, skin, tint=self._varied(tint, 0.04), reach_m=220
            )

    def _palm(self, along_m: float, lateral_m: float, size: float) -> None:
        random, high_m = self.random, self.random.uniform(4.5, 8.5) * size
        self._trunk(along_m, lateral_m, high_m, 0.16 * size, (0.58, 0.48, 0.36))
        tint = self._varied((0.42, 0.56, 0.24), 0.06)
        leaves = Skin(tiles.LEAVES, (1.4, 1.4), self._shift())
        point, rotation = self.road.place(along_m, lateral_m)
        for frond in range(8):
            turned = turn(frond * np.pi / 4 + random.uniform(-0.2, 0.2))
            droop = random.uniform(0.1, 0.65)
            tilt = np.array([[1, 0, 0], [0, np.cos(droop), np.sin(droop)], [0, -np.sin(droop), np.cos(droop)]])
            away = rotation @ turned @ tilt
            centre = point - [0, high_m, 0] + away @ [0, 0, 1.0 * size]
            half = (0.22 * size, 0.06, 1.15 * size)
            self.solids.add(ELLIPSOID, tuple(centre), half, leaves, tint, away, reach_m=180)

    def _bare(self, along_m: float, lateral_m: float, size: float) -> None:
        """A trunk and its boughs in winter."""
        random, tint, high_m = self.random, self._varied((0.40, 0.34, 0.30), 0.06), self.random.uniform(3, 5) * size
        self._trunk(along_m, lateral_m, high_m, 0.16 * size, tint)
        point, rotation = self.road.place(along_m, lateral_m)
        bark = Skin(tiles.ROUGH, (0.6, 1.5), self._shift())
        for bough in range(9):
            long_m, lean = random.uniform(1.0, 2.2) * size, random.uniform(0.3, 1.0)
            tilt = np.array([[1, 0, 0], [0, np.cos(lean), np.sin(lean)], [0, -np.sin(lean), np.cos(lean)]])
            away = rotation @ turn(2.4 * bough) @ tilt
            foot = point - [0, high_m * random.uniform(0.55, 1.0), 0]
            half = (0.055 * size, long_m / 2, 0.055 * size)
            self.solids.add(CYLINDER, tuple(foot - away @ [0, long_m / 2, 0]), half, bark, tint, away, reach_m=120)

    def _wood(
        self,
        start_m: float,
        end_m: float,
        high_m: float,
        place: Callable[[float], tuple[float, float]],
        outward: tuple[float, float],
    ) -> None:
        """The edge of a wood on a line.

        Args:
            start_m, end_m: on the line.
            place: from there to metres along and across the road.
            outward: see `_crowns`.
        """
        reached_m = start_m
        while reached_m < end_m:
            self._crowns(*place(reached_m), high_m, outward)
            reached_m += self.random.uniform(2.2, 4.0)

    def _crowns(self, along_m: float, lateral_m: float, high_m: float, outward: tuple[float, float]) -> None:
        """One tree of a wood's edge: leaves from the ground to its top, the upper ones further back.

        Args:
            outward: along and across the road, unit length, the way into the wood.
        """
        random, tint, tall_m = self.random, self._leaf(), high_m * self.random.uniform(0.7, 1.2)
        for share, back_m in ((0.18, 0.0), (0.5, 1.2), (0.78, 2.6)):
            radius_m = random.uniform(1.8, 3.2)
            half = (radius_m, tall_m * random.uniform(0.2, 0.28), radius_m * random.uniform(0.8, 1.3))
            skin = Skin(tiles.LEAVES, (random.uniform(2, 6),) * 2, self._shift())
            where = [middle + back_m * way for middle, way in zip((along_m, lateral_m), outward, strict=True)]
            self._add(ELLIPSOID, *where, tall_m * share, half, skin, tint=self._varied(tint, 0.04), reach_m=260)
