"""Those who move in a varied street: cars, vans, lorries, buses, cyclists and walkers."""

import numpy as np

from egodepth.data.simulator import textures as tiles
from egodepth.data.simulator.planner import CAR_COLOURS, make_car
from egodepth.data.simulator.solids import BOX, CYLINDER, ELLIPSOID, Builder, Skin, Solids
from egodepth.data.simulator.street import Traveller
from egodepth.data.simulator.varied_tiles import POSTER
from egodepth.data.simulator.variety import Scene

CLOTHES = [
    (0.15, 0.17, 0.24), (0.70, 0.16, 0.14), (0.86, 0.84, 0.80), (0.20, 0.34, 0.58), (0.24, 0.40, 0.26),
    (0.88, 0.70, 0.22), (0.42, 0.30, 0.24), (0.55, 0.56, 0.58), (0.62, 0.34, 0.50), (0.10, 0.10, 0.11),
]  # fmt: skip
SKINS = [(0.88, 0.70, 0.58), (0.72, 0.52, 0.40), (0.48, 0.34, 0.26), (0.34, 0.23, 0.18)]
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
    random: np.random.Generator, scene: Scene, poses: np.ndarray, times_s: np.ndarray
) -> tuple[Traveller, ...]:
    """Who else is on the way during one drive."""
    layout, place = scene.layout, scene.place
    duration_s = max(float(times_s[-1]), 1.0)
    start_m, length_m = float(poses[0, 2, 3]), float(poses[-1, 2, 3] - poses[0, 2, 3])
    mean, own = length_m / duration_s, np.sign(layout.own_lane_m)
    present = []
    # The camera car swings around its mean speed; what drives ahead keeps out of its reach.
    ahead_m = start_m + random.uniform(14, 20) + 5 * max(scene.mount.pace - 1, 0)
    if random.random() < 0.65:
        present.append(Traveller(vehicle(random, towards=False), ahead_m, layout.own_lane_m, mean, 1.0))
        ahead_m += random.uniform(22, 45)
        present.append(Traveller(vehicle(random, towards=False), ahead_m, layout.own_lane_m, mean, 1.5))
    for lane in range(scene.lanes):
        lateral_m = (lane + 0.5) * scene.lane_m
        if abs(lateral_m - abs(layout.own_lane_m)) > 0.1:  # beside the camera, a little faster or slower
            speed, place_m = mean * random.uniform(0.85, 1.2), start_m + random.uniform(-15, 15)
            for _ in range(random.integers(1, 5)):
                present.append(Traveller(vehicle(random, towards=False), place_m, own * lateral_m, speed, 0.8))
                place_m += random.uniform(13, 45)
        speed, along_m = -mean * random.uniform(0.8, 1.2), start_m + random.uniform(5, place.traffic_m)
        while along_m < start_m + length_m - speed * duration_s + 80:
            present.append(Traveller(vehicle(random, towards=True), along_m, -own * lateral_m, speed, 0.5))
            along_m += random.uniform(14, 2 * place.traffic_m)
    end_m = start_m + length_m + 90
    pavement_m = max(layout.pavement_m, 1.0)
    for _ in range(random.poisson(place.people * (end_m - start_m) / 10)):
        side, speed = random.choice([-1, 1]), random.choice([-1, 1]) * random.uniform(0.7, 1.7)
        lateral_m = side * (layout.kerb_m + 0.4 + (pavement_m - 0.5) * random.random())
        present.append(Traveller(make_walker(random), random.uniform(start_m + 2, end_m), lateral_m, speed, 0.1))
    if place.people:
        for _ in range(random.integers(0, 4)):  # along the kerb, or the parked cars
            side = random.choice([-1, 1])
            speed = side * own * random.uniform(2.5, 5.5)
            lateral_m = side * (scene.lanes * scene.lane_m - 0.35)
            if side == own and scene.lanes == 1:
                lateral_m += side * 0.35
            along_m = start_m + random.uniform(8, length_m + 60)
            present.append(Traveller(make_cyclist(random), along_m, lateral_m, speed, 0.0))
        for _ in range(random.poisson(2 * place.people)):  # across the road, well ahead of the camera's place then
            start_s, along = random.uniform(-4, duration_s), random.uniform(18, 60)
            speed = random.choice([-1, 1]) * random.uniform(0.9, 1.6)
            rim_m = layout.kerb_m + 1.0
            lateral_m = -np.sign(speed) * rim_m - speed * start_s
            along_m = start_m + mean * (start_s + 2 * rim_m / abs(speed)) + along
            walker = Traveller(make_walker(random), along_m, lateral_m, 0.0, 0.0, speed, rim_m)
            present.append(walker)
    return tuple(present)
