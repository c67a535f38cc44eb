"""The tiles of a varied world: a plain world's with another road, ground and pavement, and a few more at the end."""

import numpy as np

from egodepth.data.simulator import textures as tiles
from egodepth.data.simulator.textures import (
    Atlas,
    U,
    V,
    bake,
    cover,
    draw_clouds,
    draw_tiles,
    muted,
    plain,
    wall,
    within,
)
from egodepth.data.simulator.variety import Scene

ZEBRA, PLANKS, STONES, CURTAIN, HALL, POSTER, BARRIER, LIGHTS, MESH = range(21, 30)


def paint_varied_atlas(random: np.random.Generator, scene: Scene) -> Atlas:
    """Draw all tiles of one drive."""
    clouds = draw_clouds(random)
    drawn = draw_tiles(random, clouds)
    drawn[tiles.ROAD] = _road(random, clouds, scene)
    drawn[tiles.TERRAIN] = _terrain(random, clouds, scene.palette.terrain)
    drawn[tiles.PAVING] = _paving(random, clouds, scene.palette.paving)
    for design in range(tiles.FACADES):
        if scene.place.house == "tower" and design != 1:
            drawn[tiles.FACADE + design] = _office(random, clouds)
        elif scene.place.house in ("detached", "cottage") and random.random() < 0.4:
            drawn[tiles.FACADE + design] = _boarded(random, drawn[tiles.FACADE + design])
    more = [_zebra, _planks, _stones, _office, _hall, _poster, _barrier, _lights, _mesh]
    return bake(drawn + [draw(random, clouds) for draw in more])


def _road(random: np.random.Generator, clouds: list[np.ndarray], scene: Scene) -> np.ndarray:
    palette, layout = scene.palette, scene.layout
    lateral, along = (U - 0.5) * layout.road_tile_m[0], V * layout.road_tile_m[1]
    brightness = palette.asphalt + 0.09 * clouds[0] + random.uniform(0.05, 0.13) * clouds[2] + 0.05 * clouds[1]
    brightness += 0.03 * np.cos(2 * np.pi * (np.abs(lateral) / scene.lane_m - 0.5) * 2)
    for _ in range(random.integers(0, 10)):  # repaired patches with tarred seams
        left, top = random.uniform(-layout.kerb_m, layout.kerb_m - 1), random.uniform(0, 13)
        wide, long = random.uniform(0.4, 2.2), random.uniform(0.5, 5)
        patch = within(lateral, along, left, top, left + wide, top + long)
        brightness[patch] += random.uniform(-0.14, 0.09)
        inside = within(lateral, along, left + 0.06, top + 0.06, left + wide - 0.06, top + long - 0.06)
        brightness[patch & ~inside] -= 0.1
    for _ in range(random.integers(0, 5)):  # manholes
        lid = np.hypot(lateral - random.uniform(-3, 3), along - random.uniform(1, 15))
        brightness[lid < 0.36] -= 0.13
        brightness[(lid < 0.26) & (clouds[2] > 0)] += 0.1
    for _ in range(random.integers(0, 8)):  # cracks
        bend = random.uniform(-4.5, 4.5) + 0.4 * np.sin(along * random.uniform(0.5, 2) + random.uniform(0, 6))
        start = random.uniform(0, 10)
        crack = (np.abs(lateral - bend + 0.3 * clouds[1]) < 0.03) & (along > start) & (along < start + 5)
        brightness[crack] -= 0.14
    tile = plain(np.clip(brightness, 0.05, 1), (1.0, 0.99, 0.97), 0)
    worn = clouds[1] + 0.5 * clouds[2] < random.uniform(0.15, 0.7)
    dash, period = palette.dash_m
    dashes = along % period < dash
    half = scene.lanes * scene.lane_m
    middle = np.abs(lateral)
    centre = {
        "dashed": (middle < 0.08) & dashes,
        "solid": middle < 0.08,
        "double": np.abs(middle - 0.14) < 0.06,
        "none": np.zeros_like(dashes),
    }[palette.centre]
    lines = np.zeros_like(dashes)
    for lane in range(1, scene.lanes):
        lines |= (np.abs(middle - lane * scene.lane_m) < 0.07) & dashes
    if palette.edges:
        lines |= np.abs(middle - half + 0.05) < 0.07
    if scene.place.parking:
        lines |= (middle > half) & ((along + 0.7) % 5.333 < 0.1)
    cover(tile, lines & worn, palette.lines, 1 + 0.1 * clouds[2])
    cover(tile, centre & worn, palette.centre_lines, 1 + 0.1 * clouds[2])
    tile[middle > layout.kerb_m - 0.25, :3] *= 0.75
    return tile


def _terrain(random: np.random.Generator, clouds: list[np.ndarray], kind: str) -> np.ndarray:
    colour, patch = {
        "grass": ((0.50, 0.68, 0.32), (0.62, 0.56, 0.40)),
        "meadow": ((0.66, 0.66, 0.34), (0.48, 0.62, 0.30)),
        "earth": ((0.58, 0.44, 0.32), (0.46, 0.52, 0.30)),
        "sand": ((0.84, 0.72, 0.52), (0.66, 0.60, 0.42)),
        "snow": ((1.25, 1.28, 1.34), (0.70, 0.66, 0.60)),
    }[kind]
    tile = plain(0.58 + 0.20 * clouds[2] + 0.18 * clouds[1], colour, 0)
    cover(tile, clouds[0] > random.uniform(0.1, 0.5), patch, 0.72 + 0.3 * clouds[2])
    return tile


def _paving(random: np.random.Generator, clouds: list[np.ndarray], kind: str) -> np.ndarray:
    rows, columns = {"slabs": (8, 8), "bricks": (40, 20), "asphalt": (1, 1), "concrete": (2, 1)}[kind]
    row, column = (
        (V * rows).astype(int),
        (U * columns + 0.5 * ((V * rows).astype(int) % 2 if rows > 8 else 0)).astype(int),
    )
    stones = random.uniform(-0.1, 0.1, (rows, columns + 1))[row, column]
    brightness = random.uniform(0.42, 0.68) + stones + 0.10 * clouds[2] + 0.12 * clouds[0]
    seam = 0.05 if rows <= 8 else 0.12
    if kind != "asphalt":
        shifted = U * columns + (0.5 * (row % 2) if rows > 8 else 0)
        brightness[(shifted % 1 < seam * min(columns, 8) / 8) | ((V * rows) % 1 < seam * min(rows, 8) / 8)] *= 0.6
    tint = (1.0, 0.78, 0.66) if kind == "bricks" and random.random() < 0.6 else (1.0, 0.98, 0.94)
    return plain(np.clip(brightness, 0.1, 1), tint)


def _office(random: np.random.Generator, clouds: list[np.ndarray]) -> np.ndarray:
    """Four bays by four storeys of a glass front, 12 m square."""
    tile = plain(wall(clouds, brick=False) * random.uniform(0.7, 1.0))
    columns = int(random.choice([1, 2, 3]))
    u, v = (U * 4 * columns) % 1, (V * 4) % 1
    band = random.uniform(0.1, 0.38)
    glass = (u > random.uniform(0.05, 0.2)) & (v > band)
    panes = random.uniform(0.25, 0.75, (4, 4 * columns))[(V * 4).astype(int), (U * 4 * columns).astype(int)]
    colour = muted(random, 0.3, 0.8) * [0.85, 1.0, 1.12]
    cover(tile, glass, colour, panes + 0.12 * clouds[1] + 0.2 * (1 - v))
    lit = random.random((4, 4 * columns))[(V * 4).astype(int), (U * 4 * columns).astype(int)] < 0.12
    cover(tile, glass & lit, (0.95, 0.88, 0.66), 0.75 + 0.2 * clouds[2])
    cover(tile, glass & (v < band + 0.05), (0.24, 0.25, 0.27))
    return tile


def _boarded(random: np.random.Generator, facade: np.ndarray) -> np.ndarray:
    """A facade whose wall is clad with boards."""
    tile, boards = facade.copy(), np.where((V * 56) % 1 < 0.16, 0.62, 1.0)
    is_wall = facade[..., 3] > 0
    tile[is_wall, :3] = (0.86 * boards * random.uniform(0.95, 1.05))[is_wall][:, None]
    return tile


def _zebra(random: np.random.Generator, clouds: list[np.ndarray]) -> np.ndarray:
    tile = plain(0.34 + 0.1 * clouds[2] + 0.06 * clouds[0], tintable=0)
    cover(tile, ((U * 4) % 1 < 0.5) & (clouds[1] < 0.55), (0.88, 0.88, 0.86), 1 + 0.1 * clouds[2])
    return tile


def _planks(random: np.random.Generator, clouds: list[np.ndarray]) -> np.ndarray:
    board = random.uniform(-0.14, 0.1, 16)[(U * 16).astype(int)]
    brightness = 0.72 + board + 0.1 * clouds[1] + 0.1 * np.roll(clouds[2], 91, axis=1)
    brightness = np.where((U * 16) % 1 < 0.1, 0.2, brightness)
    return plain(np.clip(brightness, 0.08, 1))


def _stones(random: np.random.Generator, clouds: list[np.ndarray]) -> np.ndarray:
    row = (V * 10).astype(int)
    shifted = U * 8 + 0.37 * row + 0.25 * clouds[0]
    stone = random.uniform(-0.2, 0.15, (10, 16))[row, np.floor(shifted).astype(int) % 8]
    brightness = 0.7 + stone + 0.14 * clouds[2] + 0.1 * clouds[1]
    brightness = np.where((shifted % 1 < 0.09) | ((V * 10 + 0.1 * clouds[1]) % 1 < 0.12), 0.32, brightness)
    return plain(np.clip(brightness, 0.1, 1))


def _hall(random: np.random.Generator, clouds: list[np.ndarray]) -> np.ndarray:
    """12 m of corrugated metal with a gate and a band of windows."""
    tile = plain(np.clip(0.74 + 0.12 * np.sin(U * 2 * np.pi * 48) + 0.1 * clouds[0] + 0.06 * clouds[2], 0.1, 1))
    gate = within(U, V, 0.12, 0.45, 0.42, 1.0)
    cover(tile, gate, muted(random, 0.2, 0.7), 0.8 + 0.25 * ((V * 24) % 1 > 0.3))
    band = within(U, V, 0.5, 0.16, 0.96, 0.3)
    cover(tile, band, (0.3, 0.35, 0.4), 0.8 + 0.3 * clouds[1])
    cover(tile, band & ((U * 24) % 1 < 0.1), (0.75, 0.75, 0.75))
    return tile


def _poster(random: np.random.Generator, clouds: list[np.ndarray]) -> np.ndarray:
    tile = plain(0.9 + 0.06 * clouds[2], tintable=0)
    fields = random.uniform(0.1, 0.95, (3, 4, 3))
    cover(tile, within(U, V, 0.03, 0.03, 0.97, 0.97), fields[(V * 3).astype(int), (U * 4).astype(int)], 1.0)
    for _ in range(5):
        x, y, size = *random.uniform(0.1, 0.9, 2), random.uniform(0.06, 0.28)
        cover(tile, np.hypot(U - x, V - y) < size, random.uniform(0.05, 1.0, 3), 0.9 + 0.15 * clouds[1])
    letters = within(U, V, 0.1, 0.62, 0.9, 0.78) & (np.sin(U * 75 + 3 * np.sin(U * 31)) > 0)
    cover(tile, letters, random.uniform(0, 1, 3).round())
    return tile


def _barrier(random: np.random.Generator, clouds: list[np.ndarray]) -> np.ndarray:
    """Red and white slanting stripes."""
    tile = plain(0.92 + 0.05 * clouds[2], tintable=0)
    cover(tile, ((U + V) * 4) % 1 < 0.5, (0.82, 0.14, 0.10), 0.9 + 0.1 * clouds[2])
    return tile


def _lights(random: np.random.Generator, clouds: list[np.ndarray]) -> np.ndarray:
    """Three lamps of a traffic light, one of which is lit."""
    tile, lit = plain(0.14 + 0.04 * clouds[2], tintable=0), int(random.integers(3))
    for lamp, colour in enumerate([(1.0, 0.15, 0.1), (1.0, 0.75, 0.1), (0.1, 0.95, 0.5)]):
        disc = np.hypot(U - 0.5, (V - (lamp + 0.5) / 3) * 3) < 0.38
        cover(tile, disc, colour, 1.0 if lamp == lit else 0.25)
    return tile


def _mesh(random: np.random.Generator, clouds: list[np.ndarray]) -> np.ndarray:
    """A panel of a metal fence, closed, since solids let no ray through."""
    tile = plain(0.5 + 0.1 * clouds[0] + 0.06 * clouds[2])
    wires = ((U * 32) % 1 < 0.18) | ((V * 10) % 1 < 0.1)
    tile[wires, :3] *= 1.55
    tile[((U * 2) % 1 < 0.04) | (V < 0.03), :3] *= 0.5
    return tile
