"""What makes one varied drive unlike another: the place, its road and hills, the day, and the camera.

All of it is drawn from the seed and the drive's number. The few things that matter most (the kind of place, the day,
the focal length, the camera's height) go round in turn from drive to drive, so that a dozen drives hold all of them.
"""

from dataclasses import dataclass, field, replace

import numpy as np

from egodepth.data.simulator.road import Layout, Mount
from egodepth.data.simulator.sensor import Sensor
from egodepth.data.simulator.weather import Weather

FIELD_OF_VIEW_DEGREES = (40.0, 110.0)
CAMERA_HEIGHT_M = (1.1, 2.6)
# As shares of the field of view, so that a camera that looks down still sees where the road ends.
PITCH_OF_VIEW = (-0.04, 0.11)
MOST_PITCH_DEGREES = 9.0
CLOSED_SHARE = 0.4
JUNCTION_SHARE = 0.4
QUEUE_SHARE = 0.3
ASIDE_SHARE, ASIDE_DEGREES = 0.3, 22.0
"""In what share of drives the camera looks to a side of the road, as in a car that turns, and how far at most."""


@dataclass(frozen=True)
class Place:
    """What a kind of place looks like.

    Attributes:
        lanes: in each direction, to draw from.
        pavement_m: width to draw from; (0, 0) is a road without.
        houses: share of the roadside that is built up.
        house: `row` (walls touch), `tower`, `detached`, `hall`, or `cottage`.
        storeys: lowest and highest.
        setback_m: from the back of the pavement to the fronts.
        parking: share of the kerb with parked cars.
        spacing_m: between the things on the roadside.
        things: their kinds and weights.
        border: what runs along the plots between road and houses, to draw from.
        trees: the kinds that grow here.
        behind: trees that stand back from the road, for each 10 metres.
        woods: share of the land behind the plots that a wood's edge closes.
        people: walkers on the pavements, for each 10 metres.
        traffic_m: mean distance of oncoming cars.
        pace: of the camera car.
        bends, hills: the greatest multiples of the plain road's bends and of 4 m high hills.
    """

    lanes: tuple[int, ...]
    pavement_m: tuple[float, float]
    houses: float
    house: str
    storeys: tuple[int, int]
    setback_m: tuple[float, float]
    parking: float
    spacing_m: tuple[float, float]
    things: dict[str, float]
    border: tuple[str, ...] = ("none",)
    trees: tuple[str, ...] = ("broad",)
    behind: float = 0.0
    woods: float = 0.3
    people: float = 0.2
    traffic_m: float = 45.0
    pace: tuple[float, float] = (0.6, 1.2)
    bends: float = 1.2
    hills: float = 1.0


PLACES = {
    "town": Place((1,), (2.4, 4.0), 0.85, "row", (1, 6), (0, 1), 0.7, (4, 9),
        {"tree": 3, "lamp": 2, "sign": 2, "furniture": 2, "light": 1, "bollards": 1, "shelter": 0.5}, people=0.5),
    "downtown": Place((2, 3), (4.0, 6.5), 0.92, "tower", (5, 16), (0, 5), 0.2, (5, 12),
        {"lamp": 3, "sign": 2, "light": 3, "shelter": 1.5, "furniture": 3, "tree": 1.5, "bollards": 1, "board": 1},
        woods=0.1, people=0.9, traffic_m=28, bends=0.5, hills=0.5),
    "suburb": Place((1,), (1.5, 2.6), 0.75, "detached", (1, 2), (5, 9), 0.25, (6, 15),
        {"tree": 3, "pole": 3, "furniture": 2, "sign": 1, "lamp": 1}, ("hedge", "fence", "wall", "none"),
        ("broad", "conifer", "slim"), 0.5, 0.5, 0.12),
    "village": Place((1,), (0.9, 1.6), 0.7, "cottage", (1, 2), (0, 2.5), 0.15, (7, 16),
        {"lamp": 2, "furniture": 2, "sign": 2, "pole": 2, "tree": 1}, ("stone", "hedge", "wall"),
        ("broad", "bare", "slim"), 0.35, 0.5, 0.15, traffic_m=70, pace=(0.5, 0.9), bends=2.0, hills=1.3),
    "country": Place((1,), (0, 0), 0.06, "detached", (1, 2), (10, 25), 0.0, (9, 30),
        {"tree": 4, "pole": 3, "sign": 1, "post": 4, "bush": 4, "rock": 1}, ("none", "rail", "hedge", "fence"),
        ("broad", "bare", "slim", "conifer"), 0.5, 0.5, 0.02, 90, (0.9, 1.8), 2.0, 1.6),
    "industry": Place((1, 2), (1.6, 2.6), 0.7, "hall", (2, 3), (4, 14), 0.2, (8, 20),
        {"lamp": 3, "pole": 2, "board": 2, "sign": 2, "furniture": 1, "barrier": 2}, ("mesh", "wall", "fence"),
        ("slim", "broad"), 0.15, 0.4, 0.06, 40, bends=0.8, hills=0.6),
    "avenue": Place((2,), (4.0, 7.0), 0.7, "row", (3, 7), (4, 8), 0.5, (6.5, 7.5),
        {"tree": 7, "lamp": 2, "furniture": 1}, ("none", "hedge"), ("palm", "slim", "broad"), 0.2, 0.3, 0.4, 35,
        bends=0.6),
    "motorway": Place((2, 3), (0, 0), 0.12, "hall", (2, 4), (18, 40), 0.0, (14, 40),
        {"lamp": 2, "post": 3, "gantry": 0.7, "board": 1, "bush": 2}, ("rail", "noise", "barrier"),
        ("broad", "conifer", "slim"), 0.7, 0.7, 0.0, 35, (1.7, 2.4), 1.0, 1.2),
    "forest": Place((1,), (0, 0), 0.0, "cottage", (1, 1), (12, 20), 0.0, (8, 25),
        {"bush": 5, "post": 3, "sign": 0.6, "rock": 2}, ("none", "rail"), ("conifer", "conifer", "broad", "bare"), 3.2,
        1.0, 0.02, 110, (0.8, 1.5), 2.2, 1.6),
}  # fmt: skip


@dataclass(frozen=True)
class Day:
    """A kind of weather, at which heights of the sun it is met (radians), and what the camera makes of its light."""

    weather: Weather
    sun: tuple[float, float] = (0.7, 1.1)
    gain: float = 1.15
    noise: float = 1.0


DAYS = {
    "bright": Day(Weather(), (0.75, 1.2)),
    "overcast": Day(Weather((0.06, 0.06, 0.06), (0.86, 0.88, 0.92), (214, 218, 222), (176, 182, 190), clear=20)),
    "low sun": Day(
        Weather((1.0, 0.72, 0.42), (0.34, 0.38, 0.50), (244, 214, 170), (104, 140, 190), (255, 226, 190), 115),
        (0.42, 0.6),
        gain=1.35,
    ),
    "rain": Day(
        Weather((0.03, 0.03, 0.03), (0.66, 0.70, 0.76), (184, 190, 198), (132, 140, 150), (190, 194, 200), 0,
                0.006, (178, 184, 192), 1.0), gain=1.4, noise=1.5,
    ),
    "clear": Day(
        Weather((0.92, 0.86, 0.76), (0.40, 0.45, 0.56), (176, 206, 236), (58, 112, 196), clear=190), (0.6, 1.0)
    ),
    "fog": Day(
        Weather((0.03, 0.03, 0.03), (0.82, 0.84, 0.86), (208, 211, 214), (206, 209, 213), (214, 216, 218), 20,
                0.03, (208, 211, 214), 0.2),
    ),
    "dusk": Day(
        Weather((0.10, 0.07, 0.06), (0.30, 0.33, 0.45), (150, 132, 138), (52, 64, 104), (120, 112, 128), 100),
        gain=2.2,
        noise=2.5,
    ),
    "haze": Day(
        Weather((0.62, 0.55, 0.42), (0.52, 0.52, 0.52), (226, 218, 200), (178, 190, 204), (232, 226, 214), 150,
                0.007, (222, 214, 198)), (0.5, 0.9),
    ),
    "after rain": Day(
        Weather((0.66, 0.62, 0.56), (0.46, 0.49, 0.56), (206, 214, 222), (110, 136, 172), (226, 228, 232), 80, wet=0.8),
        (0.5, 0.9),
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Scene:
    """All that is drawn of one drive before its street is.

    Attributes:
        field_of_view: horizontal, in radians.
        centre: principal point as shares of width and height.
        left_hand: the traffic keeps to the left.
        bends: multiple of the plain road's amplitudes.
        hills_m: amplitude of the longest hill.
        lanes, lane_m: in each direction, and their width.
        parking_m: from the outer lane to the kerb.
        border: what runs along the plots, one of the place's.
        closed_m: how far beyond the drive's end houses or a wood close the road, as at a junction or a bend; None
            leaves it open to the horizon.
        junction_m: how far beyond the drive's end a street crosses; None where none does.
        queues: traffic stands or crawls, bumper to bumper.
    """

    kind: str
    day: str
    place: Place
    layout: Layout
    mount: Mount
    weather: Weather
    sun_elevation: float
    sensor: Sensor
    field_of_view: float
    centre: tuple[float, float]
    left_hand: bool
    lane_m: float
    lanes: int
    parking_m: float
    bends: float
    hills_m: float
    palette: "Palette"
    border: str
    closed_m: float | None
    junction_m: float | None
    queues: bool


@dataclass(frozen=True)
class Palette:
    """Colours and materials of a place, in [0, 1] and by name; leaves are `shade` times as bright as their colours."""

    leaves: list = field(default_factory=list)
    walls: list = field(default_factory=list)
    asphalt: float = 0.38
    lines: tuple[float, float, float] = (0.86, 0.86, 0.83)
    centre_lines: tuple[float, float, float] = (0.86, 0.86, 0.83)
    centre: str = "dashed"
    edges: bool = True
    dash_m: tuple[float, float] = (4.0, 8.0)
    terrain: str = "grass"
    paving: str = "slabs"
    shade: float = 1.0


LEAVES = {
    "summer": [(0.40, 0.62, 0.22), (0.32, 0.54, 0.24), (0.28, 0.46, 0.22), (0.46, 0.62, 0.28)],
    "spring": [(0.58, 0.74, 0.30), (0.50, 0.70, 0.28), (0.86, 0.66, 0.70), (0.44, 0.64, 0.28)],
    "autumn": [(0.80, 0.48, 0.14), (0.72, 0.32, 0.14), (0.82, 0.66, 0.20), (0.44, 0.48, 0.20)],
    "dry": [(0.56, 0.56, 0.30), (0.50, 0.52, 0.34), (0.60, 0.56, 0.36), (0.38, 0.44, 0.26)],
}
WALLS = {
    "mixed": [(0.93, 0.88, 0.76), (0.86, 0.62, 0.46), (0.72, 0.42, 0.34), (0.80, 0.78, 0.74), (0.92, 0.78, 0.52)],
    "brick": [(0.66, 0.34, 0.27), (0.58, 0.30, 0.24), (0.74, 0.46, 0.36), (0.50, 0.34, 0.30)],
    "white": [(0.96, 0.95, 0.92), (0.92, 0.90, 0.86), (0.98, 0.96, 0.90), (0.84, 0.88, 0.90)],
    "bright": [(0.92, 0.70, 0.30), (0.36, 0.62, 0.66), (0.86, 0.44, 0.40), (0.60, 0.72, 0.44), (0.88, 0.82, 0.62)],
    "grey": [(0.62, 0.62, 0.62), (0.50, 0.51, 0.53), (0.72, 0.70, 0.67), (0.42, 0.43, 0.45)],
    "stone": [(0.72, 0.66, 0.54), (0.64, 0.58, 0.48), (0.78, 0.74, 0.64)],
}


def draw_scene(seed: int, number: int) -> Scene:
    """Draw the place, the day and the camera of one drive; `number` counts the drives of a seed from 1."""
    deck, random = np.random.default_rng([seed, 0, 1]), np.random.default_rng([seed, number, 1])
    kinds, days = list(deck.permutation(list(PLACES))), list(deck.permutation(list(DAYS)))
    # Nine kinds and nine days: a shift of one after each round lets all of them meet.
    turn, round_number = number - 1, (number - 1) // len(kinds)
    kind, name = str(kinds[turn % len(kinds)]), str(days[(2 * turn + round_number) % len(days)])
    place, day = PLACES[kind], DAYS[name]
    # Steps of the golden ratio and its like leave no gap and never repeat.
    field_share, height_share = ((deck.random() + number * step) % 1 for step in (0.6180, 0.7549))
    view_degrees = _between(FIELD_OF_VIEW_DEGREES, field_share)

    lanes, lane_m = int(random.choice(place.lanes)), float(random.uniform(2.9, 3.7))
    parking_m = 2.2 if place.parking else float(random.uniform(0.3, 1.6))
    left_hand = bool(random.random() < 0.3)
    own = -1 if left_hand else 1
    kerb_m, lane = lanes * lane_m + parking_m, int(random.integers(lanes))
    layout = Layout(
        kerb_m=kerb_m,
        pavement_m=float(random.uniform(*place.pavement_m)),
        own_lane_m=own * (lane + 0.5) * lane_m,
        oncoming_m=-own * 0.5 * lane_m,
        road_tile_m=(2 * kerb_m + 1.0, 16.0),
    )
    mount = Mount(
        height_m=_between(CAMERA_HEIGHT_M, height_share),
        pitch=float(np.deg2rad(min(view_degrees * random.uniform(*PITCH_OF_VIEW), MOST_PITCH_DEGREES))),
        yaw=float(np.deg2rad(_draw_yaw(random))),
        roll=float(np.deg2rad(random.normal(0, 0.7))),
        pace=float(random.uniform(*place.pace)),
    )
    palette = Palette(
        leaves=LEAVES[_one(random, LEAVES)],
        walls=WALLS[_one(random, WALLS)],
        asphalt=float(random.uniform(0.24, 0.52)),
        lines=(0.88, 0.88, 0.85),
        centre_lines=(0.86, 0.66, 0.16) if random.random() < 0.4 else (0.88, 0.88, 0.85),
        centre=str(random.choice(["dashed", "solid", "double", "none" if lanes == 1 else "double"])),
        edges=bool(random.random() < 0.7),
        dash_m=[(4.0, 8.0), (3.0, 5.333), (1.0, 2.0), (6.0, 16.0)][random.integers(4)],
        terrain=str(random.choice(["grass", "grass", "meadow", "earth", "sand", "snow"])),
        paving=str(random.choice(["slabs", "bricks", "asphalt", "concrete"])),
        shade=float(random.uniform(0.35, 1.0)),
    )
    crossed = kind != "motorway"
    return Scene(
        kind=kind,
        day=name,
        place=place,
        layout=layout,
        mount=mount,
        weather=replace(day.weather, hills=float(max(random.uniform(-0.5, 1.0), 0.0))),
        sun_elevation=float(random.uniform(*day.sun)),
        sensor=Sensor.draw(random, day.gain, day.noise),
        field_of_view=float(np.deg2rad(view_degrees)),
        centre=(float(random.uniform(0.47, 0.53)), float(random.uniform(0.42, 0.56))),
        left_hand=left_hand,
        lane_m=lane_m,
        lanes=lanes,
        parking_m=parking_m,
        bends=float(random.uniform(0.2, 1.0) * place.bends),
        hills_m=float(4.0 * place.hills * max(random.uniform(-0.3, 1.0), 0.0)),
        palette=palette,
        border=str(random.choice(place.border)),
        closed_m=float(random.uniform(20, 130)) if random.random() < CLOSED_SHARE else None,
        junction_m=float(random.uniform(9, 30)) if crossed and random.random() < JUNCTION_SHARE else None,
        queues=bool(random.random() < QUEUE_SHARE),
    )


def seen_by(scene: Scene, fov: float | None, camera_height: float | None) -> Scene:
    """A scene as another camera sees it: a field of view in degrees, metres above the road; None leaves its own."""
    mount = scene.mount
    if camera_height is not None:
        mount = replace(mount, height_m=camera_height)
    if fov is None:
        return replace(scene, mount=mount)
    view = float(np.deg2rad(fov))
    pitch = min(mount.pitch * view / scene.field_of_view, float(np.deg2rad(MOST_PITCH_DEGREES)))
    return replace(scene, mount=replace(mount, pitch=pitch), field_of_view=view)


def _draw_yaw(random: np.random.Generator) -> float:
    if random.random() < ASIDE_SHARE:
        return random.uniform(-ASIDE_DEGREES, ASIDE_DEGREES)
    return random.normal(0, 1.0)


def _between(bounds: tuple[float, float], share: float) -> float:
    return float(bounds[0] + (bounds[1] - bounds[0]) * share)


def _one(random: np.random.Generator, options: dict) -> str:
    return list(options)[random.integers(len(options))]
