"""What stands beside a plain street: houses, trees, signs, furniture and parked cars, each of a few convex solids."""

from dataclasses import dataclass

import numpy as np

from egodepth.data.simulator import textures as tiles
from egodepth.data.simulator.road import Layout, Road, turn
from egodepth.data.simulator.solids import BOX, CYLINDER, ELLIPSOID, Builder, Skin, Solids

WALL_COLOURS = [
    (0.93, 0.88, 0.76), (0.86, 0.62, 0.46), (0.72, 0.42, 0.34), (0.95, 0.93, 0.88), (0.80, 0.78, 0.74),
    (0.78, 0.84, 0.86), (0.92, 0.78, 0.52), (0.66, 0.70, 0.60), (0.62, 0.50, 0.44), (0.88, 0.74, 0.70),
]  # fmt: skip
CAR_COLOURS = [
    (0.85, 0.86, 0.88), (0.10, 0.10, 0.12), (0.50, 0.52, 0.55), (0.62, 0.10, 0.10), (0.12, 0.20, 0.45),
    (0.95, 0.95, 0.95), (0.20, 0.34, 0.26), (0.75, 0.62, 0.30), (0.32, 0.33, 0.36), (0.15, 0.42, 0.62),
]  # fmt: skip
LEAF_COLOURS = [(0.40, 0.62, 0.22), (0.32, 0.54, 0.24), (0.52, 0.62, 0.24), (0.28, 0.46, 0.22), (0.66, 0.58, 0.26)]
ROOF_COLOURS = [(0.62, 0.32, 0.24), (0.45, 0.42, 0.42), (0.52, 0.38, 0.30), (0.34, 0.34, 0.38)]


def make_car(random: np.random.Generator, towards: bool) -> Solids:
    """A car or a van on the origin, its bonnet towards +z.

    Args:
        towards: its bonnet, not its boot, is what the camera sees.
    """
    parts, paint = Builder(), CAR_COLOURS[random.integers(len(CAR_COLOURS))]
    van = random.random() < 0.2
    wide, long = random.uniform(0.84, 0.92), random.uniform(1.95, 2.35) + 0.3 * van
    sill, belt, top = 0.22, random.uniform(0.86, 0.96) + 0.12 * van, random.uniform(1.42, 1.6) + 0.5 * van
    end = tiles.CAR_FRONT if towards else tiles.CAR_REAR
    tall = belt - sill

    def fitted(texture: int, width_m: float, height_m: float) -> Skin:
        return Skin(texture, (width_m, height_m), (0.5, 0.5))

    paint_skin = Skin(tiles.CAR_PAINT, (4.0, 4.0), tuple(random.random(2)))
    body = (fitted(tiles.CAR_SIDE, 2 * long, tall), paint_skin, fitted(end, 2 * wide, tall))
    parts.add(BOX, (0, -(sill + belt) / 2, 0), (wide, tall / 2, long), body, paint, taper=(0.06, 0.03))
    cabin_long, back = (long * 0.8, -0.15 * long) if van else (long * random.uniform(0.6, 0.68), -0.12 * long)
    glass = top - belt
    cabin = (fitted(tiles.CAR_GLASS, 2 * cabin_long, glass), paint_skin, fitted(tiles.CAR_GLASS, 1.8 * wide, glass))
    lean = (0.18, 0.15) if van else (0.24, tiles.CABIN_LEAN)
    parts.add(BOX, (0, -(belt + top) / 2, back), (0.93 * wide, glass / 2, cabin_long), cabin, paint, taper=lean)
    rubber, shade = fitted(tiles.WHEEL, 0.66, 0.66), Skin(tiles.ROUGH, (1.0, 1.0))
    across = np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])  # the wheel's axis is the car's x
    for x in (-wide + 0.1, wide - 0.1):
        for z in (-0.62 * long, 0.62 * long):
            skins = (shade, rubber, shade)
            parts.add(CYLINDER, (x, -0.32, z), (0.32, 0.12, 0.32), skins, (0.25,) * 3, across, reach_m=70)
    parts.add(BOX, (0, -0.16, 0), (wide - 0.22, 0.06, long - 0.25), shade, (0.08,) * 3, reach_m=70)
    parts.add(BOX, (0, -0.004, 0), (wide + 0.02, 0.006, long + 0.05), Skin(tiles.ROUGH, (3.0, 3.0)), (0.2,) * 3)
    return parts.build()


@dataclass(frozen=True)
class Planner:
    """Puts things beside a road, one side after the other."""

    random: np.random.Generator
    road: Road
    solids: Builder
    layout: Layout

    def line_both_sides(self, start_m: float, end_m: float) -> None:
        for side in (-1, 1):
            self._pavement(side, start_m, end_m)
            self._buildings(side, start_m, end_m)
            self._roadside(side, start_m, end_m)
            self._parked_cars(side, start_m, end_m)

    @property
    def _leaf_colours(self) -> list[tuple[float, float, float]]:
        return LEAF_COLOURS

    @property
    def _wall_colours(self) -> list[tuple[float, float, float]]:
        return WALL_COLOURS

    def _pick(self, options: list) -> tuple:
        return options[self.random.integers(len(options))]

    def _varied(self, colour: tuple[float, float, float], amount: float = 0.08) -> tuple[float, float, float]:
        return tuple(np.clip(np.array(colour) + self.random.uniform(-amount, amount), 0.03, 1.0))

    def _add(self, kind: int, along_m: float, lateral_m: float, height_m: float, half: tuple, skins, **more) -> None:
        """Add a solid whose middle is `height_m` above the ground, turned as the road is there."""
        point, rotation = self.road.place(along_m, lateral_m)
        if more.pop("lies", False):
            rotation = self.road.tilted(point, rotation)
        if "angle" in more:
            rotation = rotation @ turn(more.pop("angle"))
        self.solids.add(kind, (point[0], point[1] - height_m, point[2]), half, skins, rotation=rotation, **more)

    def _pavement(self, side: int, start_m: float, end_m: float, step_m: float = 8.0) -> None:
        stone, slabs = Skin(tiles.ROUGH, (2.0, 2.0)), Skin(tiles.PAVING, (4.0, 4.0))
        for along_m in np.arange(start_m, end_m, step_m):
            lateral_m = side * (self.layout.kerb_m + self.layout.pavement_m / 2)
            half = (self.layout.pavement_m / 2 - 0.14, 0.075, step_m / 2 + 0.1)
            self._add(
                BOX,
                along_m,
                lateral_m + 0.14 * side,
                0.065,
                half,
                (stone, slabs, stone),
                reach_m=150,
                follows_road=True,
                lies=True,
            )
            half = (0.15, 0.075, step_m / 2 + 0.1)
            lateral_m = side * (self.layout.kerb_m + 0.15)
            self._add(BOX, along_m, lateral_m, 0.075, half, stone, tint=(0.95, 0.94, 0.9), reach_m=150, lies=True)

    def _buildings(self, side: int, start_m: float, end_m: float) -> None:
        along_m = start_m + self.random.uniform(0, 5)
        front_m = self.layout.kerb_m + self.layout.pavement_m
        while along_m < end_m:
            if self.random.random() < 0.16:
                gap_m = self.random.uniform(5, 12)
                self._gap(side, along_m, gap_m)
                along_m += gap_m
                continue
            bays = int(self.random.integers(3, 8))
            wide_m = bays * tiles.BAY_M * self.random.uniform(0.9, 1.15)
            self._building(side, along_m + wide_m / 2, front_m + self.random.choice([0, 0, 0.4, 1.2]), bays, wide_m)
            along_m += wide_m + self.random.choice([0.0, 0.0, 0.0, 1.5])

    def _building(self, side: int, along_m: float, front_m: float, bays: int, wide_m: float) -> None:
        random, storeys = self.random, self._storeys()
        tall_m, deep_m = storeys * tiles.STOREY_M, random.uniform(9, 13)
        colour = self._varied(self._pick(self._wall_colours))
        number = tiles.FACADE + int(random.integers(tiles.FACADES))
        bay_m = wide_m / bays
        # The offsets put the corner of a window bay at the corner of the house.
        shift = (bays / 8 + random.integers(4) / 4, storeys / 8)
        windows = Skin(number, (4 * bay_m, 4 * tiles.STOREY_M), shift)
        gable = Skin(number, (4 * tiles.BAY_M, 4 * tiles.STOREY_M), shift)
        lateral_m = side * (front_m + deep_m / 2)
        ground_m = 3.2
        shops = Skin(tiles.SHOP + int(random.integers(tiles.SHOPS)), (4 * bay_m, ground_m), (shift[0], 0.5))
        base = self._varied(colour, 0.12)
        half = (deep_m / 2 + 0.08, ground_m / 2, wide_m / 2)
        self._add(BOX, along_m, lateral_m, ground_m / 2, half, shops, tint=base)
        half = (deep_m / 2, tall_m / 2, wide_m / 2)
        self._add(
            BOX,
            along_m,
            lateral_m,
            ground_m + tall_m / 2,
            half,
            (windows, Skin(tiles.ROUGH, (5, 5)), gable),
            tint=colour,
        )
        trim, eaves_m = Skin(tiles.ROUGH, (3.0, 3.0)), ground_m + tall_m
        self._add(
            BOX, along_m, lateral_m, ground_m, (deep_m / 2 + 0.2, 0.1, wide_m / 2), trim, tint=self._varied(colour, 0.2)
        )
        self._add(BOX, along_m, lateral_m, eaves_m, (deep_m / 2 + 0.3, 0.18, wide_m / 2 + 0.05), trim, tint=base)
        if random.random() < 0.6:
            roof_m = random.uniform(1.8, 3.5)
            half = (deep_m / 2 + 0.25, roof_m / 2, wide_m / 2)
            roof = Skin(tiles.ROOF, (6.0, 6.0), tuple(random.random(2)))
            slope = (random.choice([0.98, 0.6]), random.choice([0.0, 0.25]))
            tint = self._pick(ROOF_COLOURS)
            self._add(BOX, along_m, lateral_m, eaves_m + roof_m / 2, half, roof, tint=tint, taper=slope)
            half = (0.35, 1.0, 0.45)
            where_m = along_m + wide_m * random.uniform(-0.3, 0.3)
            self._add(BOX, where_m, lateral_m - side * 1.2, eaves_m + roof_m * 0.8, half, trim, tint=tint, reach_m=120)
        if random.random() < 0.35:  # an awning over the shop
            half, cloth = (0.7, 0.12, wide_m * 0.3), self._varied((0.6, 0.45, 0.35), 0.3)
            self._add(BOX, along_m, side * (front_m - 0.6), 2.7, half, trim, tint=cloth, taper=(0.2, 0), reach_m=120)

    def _storeys(self) -> int:
        return int(self.random.integers(1, 6))

    def _gap(self, side: int, along_m: float, gap_m: float) -> None:
        """A side street or a garden: a hedge or a wall at the back, a tree, and a house beyond."""
        random, middle_m = self.random, along_m + gap_m / 2
        if random.random() < 0.6:
            leaves = Skin(tiles.LEAVES, (2.4, 2.4), tuple(random.random(2)))
            high_m = random.uniform(0.8, 2.0)
            half = (0.5, high_m / 2, gap_m / 2)
            lateral_m = side * (self.layout.kerb_m + self.layout.pavement_m + 0.6)
            self._add(BOX, middle_m, lateral_m, high_m / 2, half, leaves, tint=self._pick(self._leaf_colours))
            self._tree(middle_m, side * (self.layout.kerb_m + self.layout.pavement_m + 4), 1.3)
        self._building(side, middle_m, random.uniform(20, 30), 5, 15.0)

    def _roadside(self, side: int, start_m: float, end_m: float) -> None:
        random, lateral_m = self.random, side * (self.layout.kerb_m + 0.7)
        along_m = start_m + random.uniform(0, 8)
        leafy = random.uniform(0.3, 0.6)
        while along_m < end_m:
            kind = random.random()
            if kind < leafy:
                self._tree(along_m, lateral_m + 0.2 * side, random.uniform(0.7, 1.15))
            elif kind < leafy + 0.2:
                self._lamp(along_m, lateral_m - 0.2 * side, side)
            elif kind < leafy + 0.35:
                self._sign(along_m, lateral_m - 0.2 * side)
            else:
                self._furniture(along_m, lateral_m + 0.3 * side)
            along_m += random.uniform(4, 11)

    def _tree(self, along_m: float, lateral_m: float, size: float) -> None:
        random = self.random
        trunk_m = random.uniform(2.3, 3.0) * size
        bark = Skin(tiles.ROUGH, (0.9, 1.8), tuple(random.random(2)))
        half = (0.14 * size, trunk_m / 2 + 0.3, 0.14 * size)
        self._add(CYLINDER, along_m, lateral_m, trunk_m / 2 + 0.3, half, bark, tint=(0.42, 0.34, 0.27))
        colour = self._pick(self._leaf_colours)
        for layer in range(7):
            angle, out_m = 2.4 * layer, (0.75 if layer else 0.0) * size
            radius_m = random.uniform(0.75, 1.25) * size
            self._add(
                ELLIPSOID,
                along_m + out_m * np.cos(angle),
                lateral_m + out_m * np.sin(angle),
                trunk_m + 0.8 * size + random.uniform(0, 1.7) * size,
                (radius_m, radius_m * random.uniform(0.7, 0.95), radius_m * random.uniform(0.9, 1.1)),
                Skin(tiles.LEAVES, (2.6, 2.6), tuple(random.random(2))),
                tint=self._varied(colour, 0.05),
                angle=random.uniform(0, 3),
                reach_m=200,
            )

    def _lamp(self, along_m: float, lateral_m: float, side: int) -> None:
        metal, grey = Skin(tiles.ROUGH, (0.6, 1.2)), (0.5, 0.52, 0.52)
        self._add(CYLINDER, along_m, lateral_m, 3.2, (0.075, 3.2, 0.075), metal, tint=grey)
        self._add(BOX, along_m, lateral_m - 0.6 * side, 6.35, (0.65, 0.05, 0.05), metal, tint=grey, reach_m=150)
        self._add(
            BOX, along_m, lateral_m - 1.3 * side, 6.3, (0.3, 0.09, 0.14), metal, tint=(0.8, 0.8, 0.75), reach_m=150
        )
        self._add(CYLINDER, along_m, lateral_m, 0.5, (0.12, 0.5, 0.12), metal, tint=grey, reach_m=100)

    def _sign(self, along_m: float, lateral_m: float) -> None:
        metal = Skin(tiles.ROUGH, (0.5, 1.0))
        self._add(CYLINDER, along_m, lateral_m, 1.35, (0.04, 1.35, 0.04), metal, tint=(0.7, 0.7, 0.7), reach_m=120)
        if self.random.random() < 0.5:
            disc = Skin(tiles.SIGN, (0.76, 0.76), (0.5, 0.5))
            upright = np.array([[1.0, 0, 0], [0, 0, 1.0], [0, -1.0, 0]])  # the disc's axis points along the road
            point, rotation = self.road.place(along_m - 0.07, lateral_m)
            self.solids.add(
                CYLINDER,
                (point[0], point[1] - 2.5, point[2]),
                (0.38, 0.02, 0.38),
                disc,
                rotation=rotation @ upright,
                reach_m=120,
            )
        else:
            board = Skin(tiles.SIGN + 1, (0.7, 0.7), (0.5, 0.5))
            self._add(BOX, along_m - 0.07, lateral_m, 2.45, (0.35, 0.35, 0.02), board, reach_m=120)

    def _furniture(self, along_m: float, lateral_m: float) -> None:
        """A box on the pavement: a cabinet, a bin or a bollard, a planter with a shrub."""
        random, skin = self.random, Skin(tiles.ROUGH, (1.5, 1.5), tuple(self.random.random(2)))
        colour = self._varied((0.45, 0.45, 0.42), 0.3)
        kind = random.integers(3)
        if kind == 0:
            high_m = random.uniform(0.9, 1.5)
            self._add(BOX, along_m, lateral_m, high_m / 2, (0.25, high_m / 2, 0.5), skin, tint=colour, reach_m=120)
        elif kind == 1:
            self._add(CYLINDER, along_m, lateral_m, 0.5, (0.28, 0.5, 0.28), skin, tint=colour, reach_m=120)
        else:
            leaves = Skin(tiles.LEAVES, (1.5, 1.5), tuple(random.random(2)))
            self._add(BOX, along_m, lateral_m, 0.35, (0.4, 0.35, 0.8), skin, tint=colour, reach_m=120)
            tint = self._pick(self._leaf_colours)
            self._add(ELLIPSOID, along_m, lateral_m, 0.9, (0.5, 0.5, 0.85), leaves, tint=tint, reach_m=120)

    def _parked_cars(self, side: int, start_m: float, end_m: float) -> None:
        random, along_m = self.random, start_m
        while along_m < end_m:
            along_m += random.choice([5.4, 5.8, 6.5, 9.0, 16.0])
            car = make_car(random, towards=side < 0)
            point, rotation = self.road.place(along_m, side * (self.layout.kerb_m - 1.05 + random.uniform(-0.1, 0.1)))
            turned = self.road.tilted(point, rotation)
            turned = turned @ turn(random.uniform(-0.03, 0.03) + (np.pi if side < 0 else 0))
            self.solids.rows.extend(rows_of(car.moved(point, turned)))


def rows_of(solids: Solids) -> list[tuple]:
    return list(zip(*vars(solids).values(), strict=True))
