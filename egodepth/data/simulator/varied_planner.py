"""What stands beside a varied street: houses of five kinds, woods, and the clutter of many countries."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from egodepth.data.simulator import textures as tiles
from egodepth.data.simulator import varied_tiles as more_tiles
from egodepth.data.simulator.planner import ROOF_COLOURS, make_car, rows_of
from egodepth.data.simulator.road import turn
from egodepth.data.simulator.solids import BOX, CYLINDER, ELLIPSOID, Skin
from egodepth.data.simulator.varied_trees import TreePlanner

METAL = Skin(tiles.ROUGH, (0.6, 1.2))
GREY = (0.5, 0.52, 0.52)
ACROSS_M = 46.0
"""How far to either side what closes a road reaches."""

BAYS_SHARE = 0.2
"""Share of the stretches with parking where cars stand at an angle to the kerb, not along it."""

GARAGE_M = 3.4
"""Width of a garage at a house's end."""

BOARD_UPRIGHT = np.array([[1.0, 0, 0], [0, 0, 1.0], [0, -1.0, 0]])


@dataclass(frozen=True)
class VariedPlanner(TreePlanner):
    """Puts the things of a place beside its road."""

    def line_both_sides(self, start_m: float, end_m: float) -> None:
        for side in (-1, 1):
            self._line(side, start_m, end_m)
        self._crossings(start_m, end_m)
        if self.scene.kind in ("motorway", "industry", "country") and self.random.random() < 0.6:
            self._bridge(self.random.uniform(start_m + 60, end_m - 200))

    def _line(self, side: int, start_m: float, end_m: float) -> None:
        if self.layout.pavement_m > 0:
            self._pavement(side, start_m, end_m, step_m=5.0)
        self._plots(side, start_m, end_m)
        self._border(side, start_m, end_m)
        self._roadside(side, start_m, end_m)
        self._behind(side, start_m, end_m)
        self._woods(side, start_m, end_m)
        if self.scene.place.parking:
            self._park(side, start_m, end_m)

    @property
    def _wall_colours(self) -> list[tuple[float, float, float]]:
        return self.scene.palette.walls

    @property
    def _back_m(self) -> float:
        """Where the plots begin, from the middle of the road."""
        return self.layout.kerb_m + max(self.layout.pavement_m, 1.6)

    # --- houses ------------------------------------------------------------------------------------------------

    def _plots(self, side: int, start_m: float, end_m: float) -> None:
        place, random = self.scene.place, self.random
        along_m, last_m = start_m + random.uniform(GARAGE_M, 8), end_m - GARAGE_M
        while along_m < end_m:
            if random.random() > place.houses:
                gap_m = random.uniform(6, 16)
                if along_m + gap_m > last_m:
                    break
                if place.house in ("row", "tower") and place.houses > 0.5:
                    self._gap(side, along_m, gap_m)
                along_m += gap_m
                continue
            front_m = self._back_m + random.uniform(*place.setback_m)
            wide_m, space_m = {
                "row": (0.0, random.choice([0.0, 0.0, 0.0, 1.5])),
                "tower": (0.0, random.choice([0.0, 2.0, 6.0])),
                "detached": (random.uniform(8, 15), random.uniform(4, 11)),
                "cottage": (random.uniform(6, 13), random.choice([0.0, 0.0, 3.0, 8.0])),
                "hall": (random.uniform(20, 48), random.uniform(4, 16)),
            }[place.house]
            if place.house in ("row", "tower"):
                bays = int(random.integers(3, 8))
                wide_m = bays * tiles.BAY_M * random.uniform(0.9, 1.2)
            if along_m + wide_m > last_m:
                break
            if place.house in ("row", "tower"):
                self._plinth(side, along_m + wide_m / 2, front_m, 10, wide_m)
                self._building(side, along_m + wide_m / 2, front_m, bays, wide_m)
            elif place.house == "hall":
                self._hall(side, along_m + wide_m / 2, front_m, wide_m)
            else:
                self._house(side, along_m + wide_m / 2, front_m, wide_m)
            along_m += wide_m + space_m

    def _storeys(self) -> int:
        return int(self.random.integers(*self.scene.place.storeys))

    def _wall_colour(self) -> tuple[float, float, float]:
        return self._varied(self._pick(self._wall_colours))

    def _plinth(self, side: int, along_m: float, front_m: float, deep_m: float, wide_m: float) -> None:
        """Lets a house that stands level on a hill reach into the ground."""
        if not self.road.profile.flat:
            half = (deep_m / 2, 2.5, wide_m / 2)
            self._add(BOX, along_m, side * (front_m + deep_m / 2), -2.4, half, Skin(tiles.ROUGH, (2.5, 2.5)), tint=GREY)

    def _house(self, side: int, along_m: float, front_m: float, wide_m: float) -> None:
        """A house of its own with a ridged roof, a door, perhaps a porch or a garage."""
        random, storeys = self.random, int(self.random.integers(1, self.scene.place.storeys[1] + 1))
        deep_m, tall_m = random.uniform(7, 11), storeys * tiles.STOREY_M
        self._plinth(side, along_m, front_m, deep_m, wide_m)
        bays, colour = max(round(wide_m / tiles.BAY_M), 2), self._wall_colour()
        number, shift = (
            tiles.FACADE + int(random.integers(tiles.FACADES)),
            (bays / 8 + random.integers(4) / 4, storeys / 8),
        )
        walls = Skin(number, (4 * wide_m / bays, 4 * tiles.STOREY_M), shift)
        gable = Skin(number, (4 * tiles.BAY_M, 4 * tiles.STOREY_M), shift)
        lateral_m = side * (front_m + deep_m / 2)
        half = (deep_m / 2, tall_m / 2, wide_m / 2)
        self._add(BOX, along_m, lateral_m, tall_m / 2, half, (walls, Skin(tiles.ROUGH, (5, 5)), gable), tint=colour)
        door = self._varied((0.4, 0.3, 0.26), 0.3)
        where_m = along_m + wide_m * random.uniform(-0.3, 0.3)
        self._add(BOX, where_m, side * (front_m - 0.04), 1.05, (0.06, 1.05, 0.55), Skin(more_tiles.PLANKS, (2, 2)),
                  tint=door, reach_m=150)  # fmt: skip
        roof_m, roof = random.uniform(1.8, 4.2), Skin(tiles.ROOF, (6.0, 6.0), self._shift())
        tint = self._varied(self._pick(ROOF_COLOURS))
        slope = (0.98, 0.0) if random.random() < 0.55 else (random.choice([0.0, 0.7]), 0.95)
        half = (deep_m / 2 + 0.4, roof_m / 2, wide_m / 2 + 0.3)
        self._add(BOX, along_m, lateral_m, tall_m + roof_m / 2, half, roof, tint=tint, taper=slope)
        if random.random() < 0.5:
            self._add(BOX, where_m, lateral_m, tall_m + roof_m, (0.35, 0.9, 0.45), Skin(tiles.ROUGH, (2, 2)),
                      tint=(0.6, 0.42, 0.36), reach_m=150)  # fmt: skip
        setback_m = front_m - self._back_m
        if setback_m > 3.5 and random.random() < 0.6:  # a garage, and the car before it
            end_m = along_m + (wide_m + GARAGE_M) / 2 * random.choice([-1, 1])
            half, planks = (3.0, 1.3, GARAGE_M / 2), Skin(more_tiles.PLANKS, (3, 3))
            self._add(BOX, end_m, side * (front_m + 3), 1.3, half, planks, tint=colour)
            self._add(BOX, end_m, side * (front_m + 3), 2.7, (3.1, 0.12, 1.8), roof, tint=tint, reach_m=150)
            if setback_m > 5 and random.random() < 0.7:
                self._car(end_m, side * (front_m - 2.8), -side * np.pi / 2, towards=True)
        if setback_m > 2 and random.random() < 0.7:
            self._bush(along_m + random.uniform(-0.4, 0.4) * wide_m, side * (front_m - random.uniform(0.8, 1.6)))

    def _hall(self, side: int, along_m: float, front_m: float, wide_m: float) -> None:
        random, deep_m, tall_m = self.random, self.random.uniform(14, 26), self.random.uniform(5, 11)
        self._plinth(side, along_m, front_m, deep_m, wide_m)
        metal = Skin(more_tiles.HALL, (12.0, tall_m), (random.random(), 0.5))
        colour = self._varied(self._pick([*self._wall_colours, (0.5, 0.56, 0.62), (0.72, 0.74, 0.74)]))
        half, lateral_m = (deep_m / 2, tall_m / 2, wide_m / 2), side * (front_m + deep_m / 2)
        self._add(BOX, along_m, lateral_m, tall_m / 2, half, metal, tint=colour)
        if random.random() < 0.5:
            half, slope = (deep_m / 2 + 0.2, 0.9, wide_m / 2 + 0.2), (0.95, 0.0)
            self._add(BOX, along_m, lateral_m, tall_m + 0.9, half, Skin(tiles.ROOF, (8, 8)), tint=GREY, taper=slope)
        if random.random() < 0.5:  # a chimney or a tank
            radius_m, high_m = random.choice([(0.7, 16.0), (3.0, 6.0), (2.2, 9.0)])
            half, lateral_m = (radius_m, high_m / 2, radius_m), side * (front_m + deep_m + 4)
            tint = self._varied(GREY, 0.2)
            self._add(
                CYLINDER, along_m + wide_m * 0.3, lateral_m, high_m / 2, half, Skin(tiles.ROUGH, (4, 4)), tint=tint
            )

    def _bridge(self, along_m: float) -> None:
        """A road that crosses overhead on pillars."""
        concrete, tint, clear_m = (
            Skin(tiles.ROUGH, (5, 5)),
            self._varied((0.62, 0.62, 0.6)),
            self.random.uniform(5.2, 6.5),
        )
        self._add(BOX, along_m, 0, clear_m + 0.6, (32, 0.6, 4.5), concrete, tint=tint)
        for end_m in (-4.4, 4.4):
            self._add(BOX, along_m + end_m, 0, clear_m + 1.7, (32, 0.5, 0.12), concrete, tint=self._varied(tint))
        for side in (-1, 1):
            self._add(
                BOX,
                along_m,
                side * (self.layout.kerb_m + 1.6),
                clear_m / 2,
                (0.4, clear_m / 2, 3.5),
                concrete,
                tint=tint,
            )

    # --- along the plots ---------------------------------------------------------------------------------------

    def _border(self, side: int, start_m: float, end_m: float) -> None:
        """A hedge, wall, fence or rail along the plots, broken by gaps."""
        kind, random = self.scene.border, self.random
        if kind == "none":
            return
        low, high, thick_m = {
            "hedge": (0.9, 2.2, 0.45), "fence": (0.9, 1.9, 0.03), "wall": (0.6, 2.0, 0.12), "stone": (0.7, 1.5, 0.25),
            "mesh": (1.8, 2.6, 0.03), "noise": (2.8, 4.5, 0.15), "rail": (0.75, 0.8, 0.05), "barrier": (0.8, 0.9, 0.25),
        }[kind]  # fmt: skip
        skin = {
            "hedge": Skin(tiles.LEAVES, (2.4, 2.4)), "fence": Skin(more_tiles.PLANKS, (2.4, 2.4)),
            "wall": Skin(tiles.ROUGH, (2.4, 2.4)), "stone": Skin(more_tiles.STONES, (2.4, 2.4)),
            "mesh": Skin(more_tiles.MESH, (3.0, 2.4)), "noise": Skin(more_tiles.HALL, (3.0, 9.0)),
            "rail": METAL, "barrier": Skin(tiles.ROUGH, (3.0, 1.5)),
        }[kind]  # fmt: skip
        high_m, tint = random.uniform(low, high), self._border_tint(kind)
        near_road = kind in ("rail", "barrier")
        lateral_m = side * (self.layout.kerb_m + 0.7 if near_road else self._back_m + 0.35)
        along_m, left_m, step_m = start_m, 0.0, 4.0
        while along_m < end_m:
            if left_m <= 0:
                left_m = random.uniform(20, 90)
                along_m += 0.0 if near_road else random.uniform(3, 12)
                if self.scene.place.houses > 0.5 and not near_road:
                    left_m = random.uniform(8, 24)
                if along_m >= end_m:
                    break
            half = (thick_m, high_m / 2 + 0.1, step_m / 2 + 0.03)
            if kind == "rail":
                half = (thick_m, 0.16, step_m / 2 + 0.03)
                self._add(BOX, along_m, lateral_m, high_m - 0.16, half, skin, tint=tint, lies=True, reach_m=200)
                self._add(BOX, along_m, lateral_m + 0.1 * side, high_m / 2 - 0.2, (0.06, high_m / 2, 0.06), skin,
                          tint=GREY, reach_m=70)  # fmt: skip
            else:
                taper = (0.5, 0.0) if kind == "barrier" else (0.15, 0.0) if kind == "hedge" else (0.0, 0.0)
                self._add(BOX, along_m, lateral_m, high_m / 2 - 0.1, half, skin, tint=tint, lies=True, taper=taper)
                if kind == "wall":
                    half = (thick_m + 0.06, 0.04, step_m / 2 + 0.03)
                    self._add(BOX, along_m, lateral_m, high_m, half, skin, tint=GREY, lies=True, reach_m=70)
            along_m += step_m
            left_m -= step_m

    def _border_tint(self, kind: str) -> tuple[float, float, float]:
        if kind == "hedge":
            return self._pick(self._leaf_colours)
        if kind == "fence":
            return self._pick([(0.95, 0.95, 0.93), (0.62, 0.46, 0.32), (0.46, 0.36, 0.30), (0.44, 0.52, 0.44)])
        if kind == "noise":
            return self._pick([(0.6, 0.66, 0.6), (0.74, 0.70, 0.62), (0.56, 0.6, 0.68)])
        return self._varied(self._pick([(0.72, 0.72, 0.7), (0.8, 0.76, 0.68), (0.6, 0.58, 0.55)]))

    def _behind(self, side: int, start_m: float, end_m: float) -> None:
        """Trees that stand back from the road."""
        random, share = self.random, self.scene.place.behind
        deep_m = 14 if share > 1 else 22
        if share:
            for along_m in np.arange(start_m, end_m, 10 / share):
                where_m = along_m + random.uniform(-4, 4)
                lateral_m = side * (self._back_m + 2.2 + deep_m * random.random() ** 1.6)
                self._tree(float(np.clip(where_m, start_m, end_m)), lateral_m, random.uniform(0.9, 1.8))

    def _woods(self, side: int, start_m: float, end_m: float) -> None:
        """Stretches of a wood's edge behind the plots, so near and so dense that nothing is seen through it."""
        random, share = self.random, self.scene.place.woods
        near_m = self._back_m + (1.5 if self.scene.place.houses < 0.1 else 12.0)
        along_m = start_m
        while along_m < end_m:
            long_m = random.uniform(20, 120)
            if random.random() < share:
                lateral_m = side * (near_m + random.uniform(0, 22))
                self._wood(
                    along_m,
                    min(along_m + long_m, end_m),
                    random.uniform(6, 15),
                    lambda reached_m, lateral_m=lateral_m: (reached_m, lateral_m),
                    outward=(0.0, side),
                )
            along_m += long_m

    def close(self, along_m: float) -> None:
        """A wood or a row of houses across the road, as it is seen where the road ends at another or turns away."""
        if self.random.random() < 0.5:
            high_m = self.random.uniform(5, 14)
            self._wood(-ACROSS_M, ACROSS_M, high_m, lambda across_m: (along_m, across_m), outward=(1.0, 0.0))
        else:
            self._houses_across(along_m)

    def _houses_across(self, along_m: float) -> None:
        random, across_m = self.random, -ACROSS_M
        while across_m < ACROSS_M:
            wide_m, tall_m = random.uniform(8, 20), int(random.integers(1, 5)) * tiles.STOREY_M
            wall = Skin(tiles.FACADE + int(random.integers(tiles.FACADES)), (4 * tiles.BAY_M, 4 * tiles.STOREY_M))
            tint, roof_m = self._wall_colour(), random.uniform(1.5, 4.0)
            half, middle_m = (wide_m / 2, tall_m / 2, 5.0), across_m + wide_m / 2
            self._add(
                BOX, along_m + 5.0, middle_m, tall_m / 2, half, (wall, Skin(tiles.ROUGH, (5, 5)), wall), tint=tint
            )
            half, roof = (wide_m / 2 + 0.3, roof_m / 2, 5.4), Skin(tiles.ROOF, (6.0, 6.0), self._shift())
            self._add(BOX, along_m + 5.0, middle_m, tall_m + roof_m / 2, half, roof,
                      tint=self._varied(self._pick(ROOF_COLOURS)), taper=(0.0, 0.95))  # fmt: skip
            across_m += wide_m + random.choice([0.0, 0.0, 4.0])

    # --- on the roadside ---------------------------------------------------------------------------------------

    def _roadside(self, side: int, start_m: float, end_m: float) -> None:
        place, random = self.scene.place, self.random
        kinds, weights = list(place.things), np.array(list(place.things.values()))
        lateral_m = side * (self.layout.kerb_m + (0.55 if self.layout.pavement_m else 1.3))
        along_m, wires = start_m + random.uniform(0, 8), []
        while along_m < end_m:
            kind = str(kinds[random.choice(len(kinds), p=weights / weights.sum())])
            self._thing(kind, along_m, lateral_m, side)
            if kind == "pole":
                wires.append(along_m)
            along_m += random.uniform(*place.spacing_m)
        for first_m, second_m in pairwise(wires):
            if second_m - first_m < 90:
                self._wires(first_m, second_m, lateral_m + 0.3 * side)

    def _thing(self, kind: str, along_m: float, lateral_m: float, side: int) -> None:
        outward_m = lateral_m + 0.5 * side
        if kind == "tree":
            room_m = max(self.layout.pavement_m - 2.0, 0) * 0.4 if self.layout.pavement_m else self.random.uniform(1, 5)
            self._tree(along_m, outward_m + side * room_m, self.random.uniform(0.9, 1.35))
        elif kind == "lamp":
            self._lamp(along_m, lateral_m, side)
        elif kind == "sign":
            self._sign(along_m, lateral_m)
        elif kind == "furniture":
            self._furniture(along_m, outward_m)
        elif kind == "bush":
            self._bush(along_m, lateral_m + side * self.random.uniform(1.2, 5))
        else:
            getattr(self, f"_{kind}")(along_m, lateral_m, side)

    def _pole(self, along_m: float, lateral_m: float, side: int) -> None:
        """A wooden pole with cross-arms, and now and then a transformer."""
        wood, tint = Skin(tiles.ROUGH, (0.7, 2.0), self._shift()), (0.45, 0.37, 0.30)
        outward_m = lateral_m + 0.3 * side
        self._add(CYLINDER, along_m, outward_m, 4.2, (0.14, 4.2, 0.14), wood, tint=tint)
        for high_m in (7.7, 7.0):
            self._add(BOX, along_m, outward_m, high_m, (0.9, 0.06, 0.06), wood, tint=tint, reach_m=150)
        if self.random.random() < 0.3:
            self._add(
                CYLINDER, along_m, outward_m + 0.35 * side, 6.2, (0.26, 0.42, 0.26), METAL, tint=GREY, reach_m=150
            )

    def _wires(self, first_m: float, second_m: float, lateral_m: float) -> None:
        """Cables from pole to pole, hung in four straight pieces; thin, so drawn near the camera alone."""
        ends, sag_m = np.linspace(first_m, second_m, 5), 0.018 * (second_m - first_m)
        heights = 7.75 - sag_m * np.array([0, 0.75, 1, 0.75, 0])
        for across_m in (-0.75, 0.75):
            points = []
            for along_m, high_m in zip(ends, heights, strict=True):
                point, _ = self.road.place(along_m, lateral_m + across_m)
                points.append(point - [0, high_m, 0])
            for start, end in pairwise(points):
                along = (end - start) / np.linalg.norm(end - start)
                right = np.cross([0.0, 1.0, 0.0], along)
                right /= np.linalg.norm(right)
                rotation = np.column_stack([right, np.cross(along, right), along])
                half = (0.03, 0.03, np.linalg.norm(end - start) / 2)
                self.solids.add(BOX, tuple((start + end) / 2), half, METAL, (0.16,) * 3, rotation, reach_m=28)

    def _light(self, along_m: float, lateral_m: float, side: int) -> None:
        """A traffic light on a post, or on an arm over the lanes."""
        tint = self._pick([(0.25, 0.28, 0.26), (0.75, 0.62, 0.15), (0.55, 0.56, 0.56)])
        lamps = (METAL, METAL, Skin(more_tiles.LIGHTS, (0.36, 0.96), (0.5, 0.5)))
        self._add(CYLINDER, along_m, lateral_m, 1.6, (0.07, 1.6, 0.07), METAL, tint=tint)
        self._add(BOX, along_m - 0.12, lateral_m, 2.9, (0.18, 0.48, 0.12), lamps, tint=(0.2,) * 3, reach_m=150)
        if self.random.random() < 0.5:
            self._add(CYLINDER, along_m, lateral_m, 4.2, (0.08, 1.6, 0.08), METAL, tint=tint)
            self._add(BOX, along_m, lateral_m - 1.8 * side, 5.7, (1.8, 0.06, 0.06), METAL, tint=tint, reach_m=150)
            self._add(
                BOX, along_m - 0.2, lateral_m - 3.2 * side, 5.6, (0.18, 0.48, 0.12), lamps, tint=(0.2,) * 3, reach_m=150
            )

    def _shelter(self, along_m: float, lateral_m: float, side: int) -> None:
        """A bus shelter: a roof on a back and sides that one cannot look through, with a poster."""
        back_m = lateral_m + side * min(1.9, max(self.layout.pavement_m - 1.0, 0.9))
        tint, poster = self._varied((0.3, 0.34, 0.36), 0.12), Skin(more_tiles.POSTER, (1.3, 2.2), (0.5, 0.5))
        self._add(
            BOX, along_m, back_m, 1.25, (0.04, 1.15, 1.9), Skin(tiles.CAR_GLASS, (1.9, 2.3), (0.0, 0.5)), tint=tint
        )
        self._add(BOX, along_m + 1.9, back_m - 0.6 * side, 1.25, (0.65, 1.15, 0.05), poster)
        self._add(BOX, along_m, back_m - 0.6 * side, 2.5, (0.8, 0.07, 2.1), METAL, tint=tint)
        self._add(BOX, along_m, back_m - 0.4 * side, 0.5, (0.2, 0.05, 1.2), METAL, tint=(0.5, 0.4, 0.3), reach_m=80)

    def _bollards(self, along_m: float, lateral_m: float, side: int) -> None:
        tint = self._varied(self._pick([(0.3, 0.3, 0.3), (0.85, 0.85, 0.82), (0.8, 0.55, 0.2)]))
        for step in range(5):
            self._add(CYLINDER, along_m + 1.3 * step, lateral_m, 0.5, (0.08, 0.5, 0.08), METAL, tint=tint, reach_m=80)

    def _board(self, along_m: float, lateral_m: float, side: int) -> None:
        """A hoarding on two legs."""
        poster, out_m = Skin(more_tiles.POSTER, (3.6, 2.4), (0.5, 0.5)), lateral_m + 2.6 * side
        high_m = self.random.uniform(2.6, 5.0)
        for leg_m in (-1.2, 1.2):
            self._add(CYLINDER, along_m, out_m + leg_m, high_m / 2, (0.09, high_m / 2, 0.09), METAL, tint=GREY)
        self._add(BOX, along_m - 0.15, out_m, high_m, (1.8, 1.2, 0.06), (METAL, METAL, poster))

    def _barrier(self, along_m: float, lateral_m: float, side: int) -> None:
        """Works: cones and a striped board."""
        stripes = Skin(more_tiles.BARRIER, (1.0, 0.5))
        self._add(BOX, along_m, lateral_m, 0.8, (0.04, 0.2, 1.2), stripes, reach_m=120)
        for end_m in (-1.0, 1.0):
            self._add(BOX, along_m + end_m, lateral_m, 0.4, (0.05, 0.4, 0.05), METAL, tint=GREY, reach_m=60)
        for cone in range(4):
            self._add(BOX, along_m + 2 + 1.5 * cone, lateral_m - 0.9 * side, 0.35, (0.16, 0.35, 0.16), stripes,
                      taper=(0.85, 0.85), reach_m=80)  # fmt: skip

    def _post(self, along_m: float, lateral_m: float, side: int) -> None:
        """A marker post of a country road."""
        high_m = 0.5
        self._add(BOX, along_m, lateral_m, high_m, (0.07, high_m, 0.06), METAL, tint=(0.98,) * 3, reach_m=90)
        self._add(BOX, along_m, lateral_m, 0.8, (0.075, 0.1, 0.065), METAL, tint=(0.12,) * 3, reach_m=60)

    def _rock(self, along_m: float, lateral_m: float, side: int) -> None:
        size_m = self.random.uniform(0.4, 1.3)
        half = (size_m, size_m * self.random.uniform(0.5, 0.9), size_m * self.random.uniform(0.7, 1.3))
        where_m = lateral_m + side * (1.5 + size_m)
        self._add(
            ELLIPSOID, along_m, where_m, size_m * 0.2, half, Skin(more_tiles.STONES, (4, 4)), tint=(0.8, 0.78, 0.74)
        )

    def _gantry(self, along_m: float, lateral_m: float, side: int) -> None:
        """A beam across the road with signs on it."""
        reach_m = self.layout.kerb_m + 1.5
        for end in (-1, 1):
            self._add(CYLINDER, along_m, end * reach_m, 3.2, (0.16, 3.2, 0.16), METAL, tint=GREY)
        self._add(BOX, along_m, 0, 6.2, (reach_m, 0.22, 0.2), METAL, tint=GREY)
        board = (METAL, METAL, Skin(tiles.SIGN + 1, (2.4, 2.4), (0.5, 0.5)))
        for lane in range(self.scene.lanes):
            where_m = np.sign(self.layout.own_lane_m) * (lane + 0.5) * self.scene.lane_m
            self._add(BOX, along_m - 0.3, where_m, 6.4, (1.2, 1.2, 0.06), board)

    # --- on the road -------------------------------------------------------------------------------------------

    def _park(self, side: int, start_m: float, end_m: float) -> None:
        """Cars along the kerb, or side by side at an angle to it."""
        random, along_m = self.random, start_m
        own = side == np.sign(self.layout.own_lane_m)
        if random.random() < BAYS_SHARE:
            self._park_in_bays(side, start_m, end_m)
            return
        while along_m < end_m:
            along_m += random.choice([5.4, 5.8, 6.5, 9.0])
            if random.random() < self.scene.place.parking:
                lateral_m = side * (self.layout.kerb_m - 1.1 + random.uniform(-0.1, 0.1))
                self._car(along_m, lateral_m, random.uniform(-0.04, 0.04) + (0 if own else np.pi), towards=not own)

    def _park_in_bays(self, side: int, start_m: float, end_m: float) -> None:
        random, slant = self.random, float(self.random.choice([np.pi / 2, np.pi / 3, np.pi / 4]))
        out_m = 2.2 * np.sin(slant) + 0.9 * np.cos(slant)
        lateral_m = side * (self.layout.kerb_m - self.scene.parking_m + 0.3 + out_m)
        for along_m in np.arange(start_m + 2.5, end_m - 2.5, 2.7 / np.sin(slant)):
            if random.random() < self.scene.place.parking:
                backwards = bool(random.random() < 0.3)
                angle = side * slant + random.uniform(-0.05, 0.05) + np.pi * backwards
                self._car(float(along_m), lateral_m + random.uniform(-0.2, 0.2), angle, towards=backwards)

    def _car(self, along_m: float, lateral_m: float, angle: float, towards: bool) -> None:
        """A car that stands there, turned from the road's way by an angle."""
        point, rotation = self.road.place(along_m, lateral_m)
        turned = self.road.tilted(point, rotation) @ turn(angle)
        self.solids.rows.extend(rows_of(make_car(self.random, towards).moved(point, turned)))

    def _crossings(self, start_m: float, end_m: float) -> None:
        """Zebra crossings, painted in pieces a centimetre over the road."""
        if not self.layout.pavement_m:
            return
        along_m = start_m + self.random.uniform(20, 70)
        while along_m < end_m:
            wide_m = self.layout.kerb_m - 0.3
            paint = Skin(more_tiles.ZEBRA, (4.0, 4.0))
            for piece in range(-2, 2):
                self._add(BOX, along_m + 0.8 * piece + 0.4, 0, 0.0, (wide_m, 0.012, 0.4), paint, lies=True, reach_m=150)
            along_m += self.random.uniform(35, 110)
