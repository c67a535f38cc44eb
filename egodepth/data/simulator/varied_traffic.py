"""Those who move in a varied street: cars, vans, lorries, buses, cyclists and walkers."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from egodepth.data.simulator import textures as tiles
from egodepth.data.simulator.planner import CAR_COLOURS, make_car
from egodepth.data.simulator.road import turn
from egodepth.data.simulator.solids import BOX, CYLINDER, ELLIPSOID, Builder, Skin, Solids
from egodepth.data.simulator.street import Traveller
from egodepth.data.simulator.varied_openings import JUNCTION_DEEP_M, JUNCTION_M
from egodepth.data.simulator.varied_tiles import POSTER
from egodepth.data.simulator.variety import Scene

CLOTHES = [
    (0.15, 0.17, 0.24), (0.70, 0.16, 0.14), (0.86, 0.84, 0.80), (0.20, 0.34, 0.58), (0.24, 0.40, 0.26),
    (0.88, 0.70, 0.22), (0.42, 0.30, 0.24), (0.55, 0.56, 0.58), (0.62, 0.34, 0.50), (0.10, 0.10, 0.11),
]  # fmt: skip
SKINS = [(0.88, 0.70, 0.58), (0.72, 0.52, 0.40), (0.48, 0.34, 0.26), (0.34, 0.23, 0.18)]
LONGEST_M = 6.0
"""Half the length of the longest vehicle, and a metre."""

ACROSS = np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])  # a cylinder's axis becomes x


def vehicle(random: np.random.Generator, towards: bool) -> Solids:
    """A car most often, a lorry or a bus now and then, on the origin with its front towards +z."""
    return make_lorry(random, towards) if random.random() < 0.14 else make_car(random, towards)


def make_lorry(random: np.random.Generator, towards: bool) -> Solids:
    """A bus, or a lorry with a box behind its cab."""
    parts, paint = Builder(), CAR_COLOURS[random.integers(len(CAR_COLOURS))]
    wide, long, top = random.uniform(1.15, 1.25), random.uniform(3.2, 5.0), random.uniform(2.7, 3.5)
    end = tiles.CAR_FRONT if towards else tiles.CAR_REAR
    paint_skin, middle = Skin(tiles.CAR_PAINT, (4.0, 4.0), tuple(random.random(2))), (0.5, 0.5)
    if random.random() < 0.5:
        windows = Skin(tiles.CAR_GLASS, (2.0, 1.1), (0.0, 0.5))
        body = (Skin(tiles.CAR_SIDE, (2 * long, 1.3), middle), paint_skin, Skin(end, (2 * wide, 1.3), middle))
        parts.add(BOX, (0, -1.0, 0), (wide, 0.65, long), body, paint)
        ends = (windows, paint_skin, Skin(tiles.CAR_GLASS, (2 * wide, 1.1), middle))
        parts.add(BOX, (0, -2.15, 0), (wide, 0.5, long), ends, paint)
        parts.add(BOX, (0, -2.8, 0), (wide, 0.15, long), paint_skin, paint)
    else:
        cab = long - 0.9
        box = Skin(POSTER, (5.0, 2.6), tuple(random.random(2))) if random.random() < 0.5 else paint_skin
        back = Skin(tiles.CAR_PAINT, (2.5, 2.5))
        tint = CAR_COLOURS[random.integers(len(CAR_COLOURS))]
        parts.add(
            BOX, (0, -(0.9 + top) / 2, -0.95), (wide, (top - 0.9) / 2, long - 0.95), (box, paint_skin, back), tint
        )
        parts.add(BOX, (0, -0.95, cab), (wide - 0.05, 0.55, 0.9), Skin(end, (2 * wide, 1.1), middle), paint)
        glass = (Skin(tiles.CAR_GLASS, (1.8, 0.9), middle), paint_skin, Skin(tiles.CAR_GLASS, (2 * wide, 0.9), middle))
        parts.add(BOX, (0, -1.95, cab), (wide - 0.05, 0.45, 0.9), glass, paint, taper=(0.05, 0.1))
        parts.add(BOX, (0, -0.7, -0.9), (wide - 0.1, 0.2, long - 0.9), Skin(end, (2 * wide, 0.4), middle), (0.2,) * 3)
    rubber, shade = Skin(tiles.WHEEL, (0.95, 0.95), middle), Skin(tiles.ROUGH, (1.0, 1.0))
    for x in (-wide + 0.14, wide - 0.14):
        for z in (-0.6 * long, 0.7 * long):
            skins = (shade, rubber, shade)
            parts.add(CYLINDER, (x, -0.47, z), (0.47, 0.15, 0.47), skins, (0.25,) * 3, ACROSS, reach_m=100)
    parts.add(BOX, (0, -0.004, 0), (wide + 0.02, 0.006, long + 0.05), Skin(tiles.ROUGH, (3.0, 3.0)), (0.2,) * 3)
    return parts.build()


def make_walker(random: np.random.Generator) -> Solids:
    """A person on the origin, who looks towards +z."""
    parts, size = Builder(), random.uniform(0.62, 1.08) if random.random() < 0.2 else random.uniform(0.92, 1.08)
    cloth = Skin(tiles.ROUGH, (0.5, 0.5), tuple(random.random(2)))
    _body(parts, random, size, cloth)
    trousers, step = CLOTHES[random.integers(len(CLOTHES))], random.uniform(0.02, 0.2)
    for side in (-1, 1):
        lean = np.arctan(side * step / 0.8)
        swing = np.array([[1, 0, 0], [0, np.cos(lean), -np.sin(lean)], [0, np.sin(lean), np.cos(lean)]])
        half = (0.075 * size, 0.43 * size, 0.09 * size)
        parts.add(CYLINDER, (0.1 * side * size, -0.43 * size, 0), half, cloth, trousers, swing, reach_m=90)
    parts.add(CYLINDER, (0, -0.004, 0), (0.3, 0.006, 0.3), cloth, (0.25,) * 3, reach_m=60)
    return parts.build()


def make_cyclist(random: np.random.Generator) -> Solids:
    """A rider on a bicycle on the origin, who looks towards +z."""
    parts, cloth = Builder(), Skin(tiles.ROUGH, (0.5, 0.5), tuple(random.random(2)))
    frame, rubber = CAR_COLOURS[random.integers(len(CAR_COLOURS))], Skin(tiles.WHEEL, (0.7, 0.7), (0.5, 0.5))
    for z in (-0.52, 0.52):
        parts.add(CYLINDER, (0, -0.34, z), (0.34, 0.025, 0.34), (cloth, rubber, cloth), (0.2,) * 3, ACROSS, reach_m=90)
    parts.add(BOX, (0, -0.62, 0), (0.03, 0.14, 0.45), cloth, frame, taper=(0, 0.3), reach_m=90)
    parts.add(BOX, (0, -0.98, 0.42), (0.27, 0.03, 0.03), cloth, (0.15,) * 3, reach_m=60)
    _body(parts, random, 1.0, cloth, lift_m=0.1)
    trousers = CLOTHES[random.integers(len(CLOTHES))]
    for side in (-1, 1):
        parts.add(CYLINDER, (0.1 * side, -0.62 - 0.08 * side, 0.08), (0.07, 0.34, 0.09), cloth, trousers, reach_m=90)
    return parts.build()


def _body(parts: Builder, random: np.random.Generator, size: float, cloth: Skin, lift_m: float = 0.0) -> None:
    coat, skin = CLOTHES[random.integers(len(CLOTHES))], SKINS[random.integers(len(SKINS))]
    half = (0.23 * size, 0.33 * size, 0.15 * size)
    parts.add(ELLIPSOID, (0, -1.13 * size - lift_m, 0), half, cloth, coat, reach_m=120)
    parts.add(BOX, (0, -1.12 * size - lift_m, 0), (0.19 * size, 0.28 * size, 0.11 * size), cloth, coat, reach_m=120)
    parts.add(ELLIPSOID, (0, -1.58 * size - lift_m, 0), (0.1 * size, 0.13 * size, 0.11 * size), cloth, skin, reach_m=90)
    hair = (0.1 * size, 0.08 * size, 0.11 * size)
    parts.add(ELLIPSOID, (0, -1.65 * size - lift_m, -0.02), hair, cloth, (0.2, 0.15, 0.1), reach_m=90)


def vary_traffic(
    random: np.random.Generator,
    scene: Scene,
    poses: np.ndarray,
    times_s: np.ndarray,
    junction_m: float | None,
) -> tuple[Traveller, ...]:
    """Who else is on the way during one drive; `junction_m` is where a street crosses its road."""
    drive = _Drive(random, scene, poses, times_s)
    present = [*drive.ahead(), *drive.beside(), *drive.oncoming()]
    if junction_m is not None:
        present = [traveller for traveller in present if not drive.passes(traveller, junction_m)]
        present += drive.across(junction_m)
    return (*present, *drive.people())


@dataclass(frozen=True)
class _Drive:
    """One drive of the camera car, among others."""

    random: np.random.Generator
    scene: Scene
    poses: np.ndarray
    times_s: np.ndarray

    @property
    def duration_s(self) -> float:
        return max(float(self.times_s[-1]), 1.0)

    @property
    def start_m(self) -> float:
        return float(self.poses[0, 2, 3])

    @property
    def length_m(self) -> float:
        return float(self.poses[-1, 2, 3]) - self.start_m

    @property
    def mean_m_per_s(self) -> float:
        return self.length_m / self.duration_s

    @property
    def own(self) -> float:
        """The side of the camera's lane, 1 or -1."""
        return float(np.sign(self.scene.layout.own_lane_m))

    def _vehicle(self, towards: bool = False) -> tuple[Solids, float]:
        """One on the origin, and half of its length."""
        solids = vehicle(self.random, towards)
        return solids, float(solids.corners()[..., 2].max())

    def ahead(self) -> Iterator[Traveller]:
        """In the camera's lane, at its mean speed: close behind each other in a queue."""
        random, mean = self.random, self.mean_m_per_s
        if random.random() > 0.65:
            return
        # The camera car swings around its mean speed; what drives ahead keeps out of its reach.
        reach_m = float((self.poses[:, 2, 3] - self.start_m - mean * self.times_s).max())
        sway_m = 0.3 if self.scene.queues else 1.0
        place_m = self.start_m + reach_m + sway_m + random.uniform(3.5, 8 if self.scene.queues else 18)
        for _ in range(random.integers(2, 5)):
            solids, half_m = self._vehicle()
            yield Traveller(solids, place_m + half_m, self.scene.layout.own_lane_m, mean, sway_m)
            place_m += 2 * half_m + random.uniform(2, 5) + (0 if self.scene.queues else random.uniform(15, 35))

    def beside(self) -> Iterator[Traveller]:
        """In other lanes of the camera's side, a little faster or slower."""
        random = self.random
        for lane in range(self.scene.lanes):
            lateral_m = (lane + 0.5) * self.scene.lane_m
            if abs(lateral_m - abs(self.scene.layout.own_lane_m)) < 0.1:
                continue
            speed = self.mean_m_per_s * (random.uniform(0, 0.6) if self.scene.queues else random.uniform(0.85, 1.2))
            place_m = self.start_m + random.uniform(-15, 5 if self.scene.queues else 15)
            for _ in range(random.integers(4, 9) if self.scene.queues else random.integers(1, 5)):
                solids, half_m = self._vehicle()
                yield Traveller(solids, place_m + half_m, self.own * lateral_m, speed, 0.3)
                place_m += 2 * half_m + (random.uniform(1.5, 4) if self.scene.queues else random.uniform(9, 40))

    def oncoming(self) -> Iterator[Traveller]:
        random, queues = self.random, self.scene.queues
        far_m = self.scene.place.traffic_m
        for lane in range(self.scene.lanes):
            lateral_m = -self.own * (lane + 0.5) * self.scene.lane_m
            pace = random.uniform(0.02, 0.4) if queues else random.uniform(0.8, 1.2)
            speed, along_m = -self.mean_m_per_s * pace, self.start_m + random.uniform(0, 12 if queues else far_m)
            end_m = self.start_m + (90 if queues else self.length_m - speed * self.duration_s + 80)
            while along_m < end_m:
                solids, half_m = self._vehicle(towards=True)
                yield Traveller(solids, along_m + half_m, lateral_m, speed, 0.3)
                along_m += 2 * half_m + (random.uniform(1.5, 5) if queues else random.uniform(10, 2 * far_m))

    def passes(self, traveller: Traveller, junction_m: float) -> bool:
        """Whether one comes to a junction while the camera drives."""
        reached_m = traveller.start_m + traveller.speed_m_per_s * self.duration_s
        low_m, high_m = sorted([traveller.start_m, reached_m])
        return low_m - LONGEST_M < junction_m + JUNCTION_M / 2 and high_m + LONGEST_M > junction_m - JUNCTION_M / 2

    def across(self, junction_m: float) -> Iterator[Traveller]:
        """On the street that crosses: some drive by, some wait at the mouth of it, one may be turning."""
        random, kerb_m = self.random, self.scene.layout.kerb_m
        for lane, direction in ((-1, self.own), (1, -self.own)):
            along_m, sideways = junction_m + lane * JUNCTION_M / 4, direction * random.uniform(2, 11)
            way = random.choice(["drive", "drive", "wait", "empty"])
            if way == "drive":
                # Those who come later wait out of sight, where the street is closed.
                lateral_m = -direction * (JUNCTION_DEEP_M + abs(sideways) * self.duration_s)
                while direction * lateral_m < JUNCTION_DEEP_M:
                    solids, half_m = self._vehicle(towards=bool(random.random() < 0.5))
                    yield Traveller(solids, along_m, lateral_m, 0.0, 0.0, sideways, JUNCTION_DEEP_M)
                    lateral_m += direction * (2 * half_m + random.uniform(2, 5) + random.exponential(10))
            elif way == "wait":
                lateral_m = -direction * (kerb_m + random.uniform(0.5, 3))
                for _ in range(random.integers(1, 5)):
                    solids, half_m = self._vehicle(towards=bool(random.random() < 0.5))
                    turned = solids.moved(np.zeros(3), turn(direction * np.pi / 2))
                    yield Traveller(turned, along_m, lateral_m - direction * half_m, 0.0, 0.0)
                    lateral_m -= direction * (2 * half_m + random.uniform(1.5, 4))
        if random.random() < 0.5:
            angle, speed = random.uniform(-np.pi, np.pi), random.uniform(0.2, 4) / self.duration_s
            lateral_m, along_m = random.uniform(-kerb_m, kerb_m), junction_m + random.uniform(-2, 4)
            solids, _ = self._vehicle(towards=bool(np.cos(angle) < 0))
            yield Traveller(solids, along_m, lateral_m, speed * np.cos(angle), 0.0, speed * np.sin(angle), kerb_m + 6)

    def people(self) -> Iterator[Traveller]:
        """On the pavements, on bicycles along the kerb, and across the road."""
        random, layout, place = self.random, self.scene.layout, self.scene.place
        end_m, pavement_m = self.start_m + self.length_m + 90, max(layout.pavement_m, 1.0)
        for _ in range(random.poisson(place.people * (end_m - self.start_m) / 10)):
            side, speed = random.choice([-1, 1]), random.choice([-1, 1]) * random.uniform(0.7, 1.7)
            lateral_m = side * (layout.kerb_m + 0.4 + (pavement_m - 0.5) * random.random())
            yield Traveller(make_walker(random), random.uniform(self.start_m + 2, end_m), lateral_m, speed, 0.1)
        if not place.people:
            return
        for _ in range(random.integers(0, 4)):  # along the kerb, or the parked cars
            side = random.choice([-1, 1])
            speed = side * self.own * random.uniform(2.5, 5.5)
            lateral_m = side * (self.scene.lanes * self.scene.lane_m - 0.35)
            if side == self.own and self.scene.lanes == 1:
                lateral_m += side * 0.35
            along_m = self.start_m + random.uniform(8, self.length_m + 60)
            yield Traveller(make_cyclist(random), along_m, lateral_m, speed, 0.0)
        for _ in range(random.poisson(2 * place.people)):  # across the road, well ahead of the camera's place then
            start_s, along = random.uniform(-4, self.duration_s), random.uniform(18, 60)
            speed = random.choice([-1, 1]) * random.uniform(0.9, 1.6)
            rim_m = layout.kerb_m + 1.0
            lateral_m = -np.sign(speed) * rim_m - speed * start_s
            along_m = self.start_m + self.mean_m_per_s * (start_s + 2 * rim_m / abs(speed)) + along
            yield Traveller(make_walker(random), along_m, lateral_m, 0.0, 0.0, speed, rim_m)
