"""The painted surfaces of the street, each of them one square tile, and their filtered look-up.

A tile is RGBA; the alpha channel says how far a solid's tint colours it. Every tile carries detail from the size
of the tile down to single texels, so that matching by colour finds something at any distance. Ripmaps (halved in
each direction on its own) fade what is finer than a pixel, on the road too, where a pixel is a hundred times
longer than wide.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

SIZE = 512
LEVELS = 9
(ROAD, TERRAIN, PAVING, FACADE, SHOP, ROOF, LEAVES, ROUGH, CAR_SIDE, CAR_FRONT, CAR_REAR, CAR_PAINT) = (
    0, 1, 2, 3, 7, 9, 10, 11, 12, 13, 14, 15,
)  # fmt: skip
CAR_GLASS, WHEEL, SIGN, NOISE = 16, 17, 18, 20
FACADES, SHOPS, SIGNS = 4, 2, 2
STOREY_M = BAY_M = 3.0
ROAD_TILE_M = (12.0, 16.0)
CABIN_LEAN = 0.36


@dataclass(frozen=True)
class Atlas:
    """All tiles with all their halvings: (T, 2 * SIZE, 2 * SIZE) uint32, four bytes RGBA each."""

    texels: np.ndarray

    def look_up(
        self, texture: np.ndarray, u: np.ndarray, v: np.ndarray, width: np.ndarray, height: np.ndarray
    ) -> np.ndarray:
        """Colours (N, 4) float32 in [0, 255], averaged over footprints of `width` by `height` repetitions."""
        level_u = np.log2(np.clip(width * SIZE, 1, 2.0 ** (LEVELS - 1)))
        level_v = np.log2(np.clip(height * SIZE, 1, 2.0 ** (LEVELS - 1)))
        ratio = np.rint(level_v - level_u)
        level = np.clip((level_u + level_v - ratio) / 2, np.maximum(-ratio, 0), None)
        coarser = np.floor(level)
        blend = (level - coarser)[:, None]
        base = texture.astype(np.int32) << (2 * LEVELS + 2)
        fine = self._bilinear(base, u, v, coarser, coarser + ratio)
        coarse = self._bilinear(base, u, v, coarser + 1, coarser + 1 + ratio)
        coarse -= fine
        coarse *= blend
        fine += coarse
        return fine

    def _bilinear(
        self, base: np.ndarray, u: np.ndarray, v: np.ndarray, level_u: np.ndarray, level_v: np.ndarray
    ) -> np.ndarray:
        left, right, across = _taps(u, level_u)
        top, bottom, down = _taps(v, level_v)
        top, bottom = base + (top << (LEVELS + 1)), base + (bottom << (LEVELS + 1))
        opposite = 1 - across
        upper, lower = 1 - down, down
        colour = self._weighted(top + left, upper * opposite)
        colour += self._weighted(top + right, upper * across)
        colour += self._weighted(bottom + left, lower * opposite)
        colour += self._weighted(bottom + right, lower * across)
        return colour

    def _weighted(self, index: np.ndarray, weight: np.ndarray) -> np.ndarray:
        texels = self.texels.reshape(-1).take(index).view(np.uint8).reshape(-1, 4)
        return np.multiply(texels, weight[:, None], dtype=np.float32)


def _taps(coordinate: np.ndarray, level: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The two neighbouring texels of a repeating tile at a level, and how far the second one counts."""
    level = np.clip(level, 0, LEVELS - 1).astype(np.int32)
    count = SIZE >> level
    position = (coordinate - np.floor(coordinate)) * count - 0.5
    lower = np.floor(position)
    first = lower.astype(np.int32)
    start = 2 * SIZE - 2 * count  # the levels stand side by side: 512, 256, 128, …
    return start + (first & (count - 1)), start + ((first + 1) & (count - 1)), position - lower


def paint_atlas(random: np.random.Generator) -> Atlas:
    """Draw all tiles of one plain world."""
    return bake(draw_tiles(random, draw_clouds(random)))


def draw_clouds(random: np.random.Generator) -> list[np.ndarray]:
    """The noise that all tiles of a world share, coarse, middling, fine and soft: (SIZE, SIZE) within [-1, 1]."""
    return [_noise(random, roughness) for roughness in (1.6, 1.0, 0.6, 1.2)]


def draw_tiles(random: np.random.Generator, clouds: list[np.ndarray]) -> list[np.ndarray]:
    """The tiles (SIZE, SIZE, 4) of a plain world, in the order of their numbers."""
    return [
        _road(random, clouds),
        _terrain(clouds),
        _paving(random, clouds),
        *(_facade(random, clouds, design) for design in range(FACADES)),
        *(_shop(random, clouds) for _ in range(SHOPS)),
        _roof(random, clouds),
        _leaves(random, clouds),
        _rough(clouds),
        _car_side(clouds),
        _car_end(clouds, np.array([0.95, 0.95, 0.85])),
        _car_end(clouds, np.array([0.75, 0.08, 0.06])),
        _car_paint(clouds),
        _car_glass(clouds),
        _wheel(clouds),
        *(_sign(clouds, design) for design in range(SIGNS)),
        plain(0.5 + 0.5 * clouds[0]),
    ]


def bake(tiles: list[np.ndarray]) -> Atlas:
    """Tiles with all their halvings."""
    texels = np.empty((len(tiles), 2 * SIZE, 2 * SIZE), dtype=np.uint32)
    with ThreadPoolExecutor(2) as threads:
        list(threads.map(_fill_ripmap, texels, tiles))
    return Atlas(texels)


def _fill_ripmap(texels: np.ndarray, tile: np.ndarray) -> None:
    """Write a tile (SIZE, SIZE, 4) and its halvings, each direction on its own, into (2 SIZE, 2 SIZE) texels."""
    ripmap = texels.view(np.uint8).reshape(2 * SIZE, 2 * SIZE, 4)
    row = 0
    while len(tile):
        column, strip = 0, np.clip(tile * 255 + 0.5, 0, 255)
        while strip.shape[1]:
            height, width = strip.shape[:2]
            ripmap[row : row + height, column : column + width] = strip
            column += width
            strip = (strip[:, : width // 2 * 2 : 2] + strip[:, 1::2]) * np.float32(0.5)
        row += len(tile)
        tile = (tile[: len(tile) // 2 * 2 : 2] + tile[1::2]) * np.float32(0.5)


# --- drawing ---------------------------------------------------------------------------------------------------

V, U = np.mgrid[0:SIZE, 0:SIZE].astype(np.float32) / SIZE


def _noise(random: np.random.Generator, roughness: float) -> np.ndarray:
    """A repeating random field, (SIZE, SIZE) within [-1, 1], with amplitude falling as frequency^-roughness."""
    spectrum = np.fft.rfft2(random.standard_normal((SIZE, SIZE)))
    frequency = np.hypot(np.fft.fftfreq(SIZE)[:, None], np.fft.rfftfreq(SIZE)[None]) * SIZE
    frequency[0, 0] = np.inf
    field = np.fft.irfft2(spectrum * np.maximum(frequency, 3) ** -roughness)
    return np.clip(field / (2.5 * field.std()), -1, 1).astype(np.float32)


def plain(brightness: np.ndarray, colour: tuple[float, float, float] = (1, 1, 1), tintable: float = 1.0) -> np.ndarray:
    tile = np.empty((SIZE, SIZE, 4), dtype=np.float32)
    tile[..., :3] = brightness[..., None] * np.array(colour, dtype=np.float32)
    tile[..., 3] = tintable
    return tile


def cover(tile: np.ndarray, where: np.ndarray, colour: tuple | np.ndarray, texture: np.ndarray | float = 1.0) -> None:
    """Paint untintable colour over a part of a tile."""
    inside = np.flatnonzero(where)
    colours = colour.reshape(-1, 3)[inside] if np.ndim(colour) == 3 else np.asarray(colour, dtype=np.float32)
    brightness = texture.reshape(-1, 1)[inside] if np.ndim(texture) else np.float32(texture)
    texels = tile.reshape(-1, 4)
    texels[inside, :3] = colours * brightness
    texels[inside, 3] = 0


def within(u: np.ndarray, v: np.ndarray, left: float, top: float, right: float, bottom: float) -> np.ndarray:
    return (u >= left) & (u < right) & (v >= top) & (v < bottom)


def muted(random: np.random.Generator, low: float, high: float) -> np.ndarray:
    """A random colour that is closer to grey than to neon."""
    return 0.6 * random.uniform(low, high) + 0.4 * random.uniform(low, high, 3)


def _road(random: np.random.Generator, clouds: list[np.ndarray]) -> np.ndarray:
    lateral, along = (U - 0.5) * ROAD_TILE_M[0], V * ROAD_TILE_M[1]
    tracks = 0.04 * np.cos(2 * np.pi * (np.abs(lateral) - 1.0) / 1.5) * (np.abs(lateral) < 3.4)
    brightness = 0.38 + tracks + 0.10 * clouds[0] + 0.10 * clouds[2] + 0.05 * clouds[1]
    for _ in range(7):  # repaired patches with tarred seams
        left, top = random.uniform(-5, 4), random.uniform(0, 14)
        wide, long = random.uniform(0.5, 1.6), random.uniform(0.6, 4)
        patch = within(lateral, along, left, top, left + wide, top + long)
        seam = patch & ~within(lateral, along, left + 0.06, top + 0.06, left + wide - 0.06, top + long - 0.06)
        brightness[patch] += random.uniform(-0.12, 0.08)
        brightness[seam] -= 0.12
    for _ in range(3):  # manholes
        lid = np.hypot(lateral - random.uniform(-3, 3), along - random.uniform(1, 15))
        brightness[lid < 0.36] -= 0.14
        brightness[(lid < 0.26) & (clouds[2] > 0)] += 0.1
    for _ in range(5):  # cracks
        bend = random.uniform(-4.5, 4.5) + 0.4 * np.sin(along * random.uniform(0.5, 2) + random.uniform(0, 6))
        start = random.uniform(0, 10)
        brightness[(np.abs(lateral - bend + 0.3 * clouds[1]) < 0.03) & (along > start) & (along < start + 5)] -= 0.14
    tile = plain(np.clip(brightness, 0.05, 1), (1.0, 0.99, 0.97), 0)
    worn = clouds[1] + 0.5 * clouds[2] < 0.55
    dashes = (np.abs(lateral) < 0.08) & (along % 8 < 4)
    edges = np.abs(np.abs(lateral) - 3.45) < 0.06
    bays = (np.abs(lateral) > 3.45) & ((along + 0.7) % 5.333 < 0.1)
    cover(tile, (dashes | edges | bays) & worn, (0.86, 0.86, 0.83), 1 + 0.1 * clouds[2])
    gutter = np.abs(lateral) > 5.35
    tile[gutter, :3] *= 0.75
    return tile


def _terrain(clouds: list[np.ndarray]) -> np.ndarray:
    tile = plain(0.55 + 0.22 * clouds[2] + 0.22 * clouds[1], (0.55, 0.66, 0.36), 0)
    cover(tile, clouds[0] > 0.35, (0.62, 0.53, 0.40), 0.8 + 0.3 * clouds[2])
    return tile


def _paving(random: np.random.Generator, clouds: list[np.ndarray]) -> np.ndarray:
    row, column = (V * 8).astype(int), (U * 8).astype(int)
    slabs = random.uniform(-0.1, 0.1, (8, 8))[row, column]
    brightness = 0.62 + slabs + 0.10 * clouds[2] + 0.12 * clouds[0]
    brightness[((U * 8) % 1 < 0.05) | ((V * 8) % 1 < 0.05)] *= 0.6
    return plain(np.clip(brightness, 0.1, 1), (1.0, 0.97, 0.92))


def wall(clouds: list[np.ndarray], brick: bool) -> np.ndarray:
    brightness = 0.78 + 0.10 * clouds[0] + 0.08 * clouds[2]
    if brick:
        course = np.floor(V * 128)
        joints = ((V * 128) % 1 < 0.25) | ((U * 48 + 0.5 * (course % 2)) % 1 < 0.1)
        brightness = brightness + np.where(joints, 0.12, 0.14 * np.roll(clouds[2], 37, axis=0))
    return np.clip(brightness, 0.1, 1)


def _facade(random: np.random.Generator, clouds: list[np.ndarray], design: int) -> np.ndarray:
    """Four bays by four storeys, 12 m square."""
    tile = plain(wall([np.roll(cloud, 97 * design, axis=1) for cloud in clouds], brick=design % 2 == 1))
    wide, tall = random.uniform(0.32, 0.62), random.uniform(0.42, 0.62)
    sill = random.uniform(0.18, 0.28)
    frame_colour = random.choice([[0.92, 0.92, 0.9], [0.35, 0.25, 0.18], [0.25, 0.3, 0.28]])
    mullions, shutters = random.integers(1, 4), random.random() < 0.5
    u, v = (U * 4) % 1, (V * 4) % 1
    left, right, bottom = 0.5 - wide / 2, 0.5 + wide / 2, 1 - sill
    top = bottom - tall
    tile[within(u, v, 0, 0.0, 1, 0.05), :3] *= 0.72  # a course between the storeys
    cover(tile, within(u, v, left - 0.06, bottom, right + 0.06, bottom + 0.05), (0.7, 0.68, 0.64))
    if shutters:
        colour = muted(random, 0.15, 0.5)
        slats = 0.8 + 0.3 * ((v * 40) % 1 > 0.5)
        for start in (left - 0.17, right + 0.03):
            cover(tile, within(u, v, start, top, start + 0.14, bottom), colour, slats)
    cover(tile, within(u, v, left - 0.03, top - 0.03, right + 0.03, bottom), frame_colour)
    glass = within(u, v, left, top, right, bottom - 0.02)
    darkness = random.uniform(0.12, 0.4, (4, 4))[(V * 4).astype(int), (U * 4).astype(int)]
    cover(tile, glass, (0.75, 0.9, 1.0), darkness + 0.25 * (bottom - v) + 0.08 * clouds[1])
    drawn = random.uniform(0, 0.8, (4, 4))[(V * 4).astype(int), (U * 4).astype(int)]
    curtains = glass & (np.abs(u - 0.5) > wide / 2 * (1.15 - drawn))
    cover(tile, curtains, (0.82, 0.78, 0.70), 0.75 + 0.2 * np.sin(u * 220))
    bars = glass & (((u - left) / wide * mullions) % 1 < 0.06) | glass & (np.abs(v - top - tall * 0.35) < 0.012)
    cover(tile, bars, frame_colour)
    return tile


def _shop(random: np.random.Generator, clouds: list[np.ndarray]) -> np.ndarray:
    """Four ground-floor bays, 12 m wide and one storey high: windows, doors and a board with lettering."""
    tile = plain(wall(clouds, brick=False) * 0.85)
    bay, u = (U * 4).astype(int), (U * 4) % 1
    for number in range(4):
        here = bay == number
        colour = muted(random, 0.1, 0.75)
        door = random.random() < 0.4
        board = here & within(u, V, 0.06, 0.04, 0.94, 0.2)
        cover(tile, board, colour, 0.9 + 0.15 * clouds[2])
        letters = board & within(u, V, 0.16, 0.08, 0.84, 0.16) & (np.sin(u * 90 + 3 * np.sin(u * 41)) > 0.1)
        cover(tile, letters, 1 - colour)
        left, right = (0.3, 0.7) if door else (0.1, 0.9)
        opening = here & within(u, V, left, 0.26, right, 1.0 if door else 0.82)
        cover(tile, opening, colour * 0.6 if door else (0.3, 0.32, 0.34), 0.8 + 0.4 * clouds[1])
        if door:
            panels = opening & ((u * 10) % 2 > 0.3) & ((V * 8) % 2 > 0.25)
            cover(tile, panels, colour * 0.85, 0.9 + 0.2 * clouds[2])
        else:
            wares = 0.5 * random.uniform(0.1, 0.9, (8, 12, 3)) + 0.5 * random.uniform(0.1, 0.9, (8, 12, 1))
            shown = wares[(V * 16).astype(int) % 8, (u * 12).astype(int)]
            cover(tile, opening & (V > 0.5) & ((V * 16) % 1 > 0.25), shown, 0.7 + 0.2 * clouds[2])
    tile[V > 0.93, :3] *= 0.6
    return tile


def _roof(random: np.random.Generator, clouds: list[np.ndarray]) -> np.ndarray:
    courses = 0.75 + 0.25 * ((V * 32) % 1)
    brightness = courses * (0.7 + 0.15 * clouds[2] + 0.15 * clouds[0]) * np.where((U * 48) % 1 < 0.12, 0.75, 1)
    return plain(np.clip(brightness, 0.1, 1))


def _leaves(random: np.random.Generator, clouds: list[np.ndarray]) -> np.ndarray:
    clumps = 0.55 + 0.45 * clouds[1] + 0.25 * clouds[2]
    clumps = np.where(clouds[1] < -0.25, clumps * 0.5, clumps)
    tile = plain(np.clip(clumps, 0.08, 1.0))
    tile[..., 0] *= 1 + 0.2 * clouds[3]
    return tile


def _rough(clouds: list[np.ndarray]) -> np.ndarray:
    return plain(np.clip(0.75 + 0.16 * clouds[2] + 0.16 * clouds[1], 0.1, 1))


def _painted(clouds: list[np.ndarray]) -> np.ndarray:
    """Car paint: smooth, with the dust that keeps it from being blank."""
    return np.clip(0.82 + 0.10 * clouds[0] + 0.05 * clouds[2], 0, 1)


def _car_side(clouds: list[np.ndarray]) -> np.ndarray:
    """Left to right is the car's length, top to bottom the height of its body."""
    tile = plain(_painted(clouds) * (1.08 - 0.35 * V))
    for gap in (0.30, 0.52, 0.72):
        tile[np.abs(U - gap) < 0.004, :3] *= 0.35
    tile[np.abs(V - 0.42) < 0.015, :3] *= 1.15
    for handle in (0.48, 0.68):
        cover(tile, within(U, V, handle - 0.025, 0.22, handle + 0.01, 0.28), (0.2, 0.2, 0.2))
    for arch in (0.19, 0.81):
        cover(tile, np.hypot(U - arch, (V - 1.02) * 0.16) < 0.092, (0.06, 0.06, 0.06))
    cover(tile, V > 0.9, (0.12, 0.12, 0.12))
    return tile


def _car_end(clouds: list[np.ndarray], lamps: np.ndarray) -> np.ndarray:
    tile = plain(_painted(clouds) * (1.0 - 0.2 * V))
    from_middle = np.abs(U - 0.5)
    cover(tile, (from_middle > 0.31) & (from_middle < 0.47) & within(U, V, 0, 0.18, 1, 0.46), lamps)
    grille = (from_middle < 0.26) & within(U, V, 0, 0.2, 1, 0.42)
    cover(tile, grille, (0.16, 0.16, 0.17), 1 + 0.8 * ((V * 30) % 1 > 0.5))
    cover(tile, (from_middle < 0.15) & within(U, V, 0, 0.52, 1, 0.68), (0.9, 0.9, 0.85))
    figures = (from_middle < 0.12) & within(U, V, 0, 0.55, 1, 0.65) & (np.sin(U * 180) > 0)
    cover(tile, figures, (0.1, 0.1, 0.1))
    cover(tile, V > 0.78, (0.13, 0.13, 0.13), 1 + 0.3 * clouds[2])
    return tile


def _car_paint(clouds: list[np.ndarray]) -> np.ndarray:
    return plain(_painted(clouds))


def _car_glass(clouds: list[np.ndarray]) -> np.ndarray:
    tile = plain(_painted(clouds))
    from_middle = np.abs(U - 0.5)
    # The outer pillars lean as the cabin of a car does.
    glass = (from_middle < 0.46 - CABIN_LEAN / 2 * (1 - V)) & (from_middle > 0.015) & (V > 0.1) & (V < 0.92)
    cover(tile, glass, (0.20, 0.24, 0.28), 0.7 + 0.5 * (1 - V) + 0.3 * clouds[0])
    return tile


def _wheel(clouds: list[np.ndarray]) -> np.ndarray:
    radius, angle = np.hypot(U - 0.5, V - 0.5), np.arctan2(V - 0.5, U - 0.5)
    tile = plain(0.13 + 0.03 * clouds[2], tintable=0)
    rim = radius < 0.33
    cover(tile, rim, (0.62, 0.62, 0.64), 1 + 0.2 * clouds[2])
    cover(tile, rim & (np.cos(angle * 5) < -0.1) & (radius > 0.1), (0.15, 0.15, 0.15))
    return tile


def _sign(clouds: list[np.ndarray], design: int) -> np.ndarray:
    tile = plain(0.9 + 0.05 * clouds[2], tintable=0)
    if design == 0:  # a round speed limit
        radius = np.hypot(U - 0.5, V - 0.5)
        cover(tile, radius > 0.36, (0.8, 0.08, 0.08))
        digits = within(U, V, 0.3, 0.33, 0.47, 0.67) | within(U, V, 0.53, 0.33, 0.7, 0.67)
        holes = within(U, V, 0.36, 0.4, 0.47, 0.6) | within(U, V, 0.58, 0.4, 0.64, 0.6)
        cover(tile, digits & ~holes, (0.08, 0.08, 0.08))
    else:  # a blue board with a white arrow
        cover(tile, within(U, V, 0.04, 0.04, 0.96, 0.96), (0.1, 0.25, 0.65))
        arrow = within(U, V, 0.42, 0.4, 0.58, 0.85) | ((V > 0.15) & (V < 0.42) & (np.abs(U - 0.5) < V - 0.15))
        cover(tile, arrow, (0.95, 0.95, 0.95))
    return tile
