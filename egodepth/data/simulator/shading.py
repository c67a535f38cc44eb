"""The colours of what the rays have met: textures, sunlight with cast shadows, and the sky.

All of it depends on the place in the world alone, never on the eye that looks, so that a surface keeps its colour
from one eye to the other and from one frame to the next. Only filtering over the pixel's footprint differs.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from egodepth.data.simulator import textures as tiles
from egodepth.data.simulator.casting import GROUND, SKY, Hits, ShadowMap, StereoView
from egodepth.data.simulator.solids import BOX, CYLINDER, Solids
from egodepth.data.simulator.street import Street
from egodepth.data.simulator.textures import Atlas

# Pixels are painted in pieces whose arrays stay in the processor's cache.
PIECE = 8192


@dataclass(frozen=True)
class _Table:
    """What the shading needs to know of each solid in one frame; the last column is the ground.

    Attributes:
        matrix: (3, 3, N), from the camera's axes to the solid's.
        start: (2, 3, N), the eyes in the solid's axes.
        sun, up: (3, N), unit vectors in the solid's axes.
        inverse, taper, tint: (3, N), (2, N) and (N, 3), of the solid.
        kind, follows_road: (N,).
        texture, scale, offset: (3 N,), (2, 3 N) and (2, 3 N), of the solid's faces.
    """

    matrix: np.ndarray
    start: np.ndarray
    sun: np.ndarray
    up: np.ndarray
    inverse: np.ndarray
    taper: np.ndarray
    tint: np.ndarray
    kind: np.ndarray
    follows_road: np.ndarray
    texture: np.ndarray
    scale: np.ndarray
    offset: np.ndarray

    @classmethod
    def of(cls, view: StereoView, pose: np.ndarray, solids: Solids, street: Street) -> "_Table":
        solids, sun = solids + _ground(pose, street), street.sun
        origins = view.origins(pose)
        return cls(
            matrix=np.float32(np.einsum("nij,ik->jkn", solids.rotation, pose[:3, :3])),
            start=np.float32(np.einsum("nij,eni->ejn", solids.rotation, origins[:, None] - solids.centre)),
            sun=np.float32(np.einsum("nij,i->jn", solids.rotation, sun)),
            up=np.float32(-solids.rotation[:, 1].T),
            inverse=np.float32(1 / solids.half.T),
            taper=np.float32(solids.taper.T),
            tint=np.float32(solids.tint),
            kind=solids.kind,
            follows_road=solids.follows_road,
            texture=solids.texture.reshape(-1),
            scale=np.float32(solids.scale.reshape(-1, 2).T),
            offset=np.float32(solids.offset.reshape(-1, 2).T),
        )


@dataclass(frozen=True)
class _Surface:
    """Where N pixels hit something, in the axes of the solid that each hit.

    Attributes:
        solid: (N,) column in the table of solids.
        point, ray: (3, N), metres; the ray has camera z = 1.
        step_x, step_y: (3, N), change of the ray over one unit of the image plane.
        world: (3, N), the point in the world.
        pixel_m: (N,), size of a pixel at the point's depth.
    """

    solid: np.ndarray
    point: np.ndarray
    ray: np.ndarray
    step_x: np.ndarray
    step_y: np.ndarray
    world: np.ndarray
    pixel_m: np.ndarray


def paint_pair(
    view: StereoView, pose: np.ndarray, solids: Solids, hits: Hits, atlas: Atlas, shadows: ShadowMap
) -> np.ndarray:
    """Pictures (2, H, W, 3) uint8 of both eyes."""
    picture = np.empty((*hits.depth.shape, 3), dtype=np.uint8)
    for eye, pixels, light in _paint(view, pose, solids, hits, atlas, shadows):
        picture[eye].reshape(-1, 3)[pixels] = np.clip(light + 0.5, 0, 255)
    return picture


def light_pair(
    view: StereoView, pose: np.ndarray, solids: Solids, hits: Hits, atlas: Atlas, shadows: ShadowMap
) -> np.ndarray:
    """The light (2, H, W, 3) float32 that reaches both eyes, before any sensor: 255 is white paper's at noon."""
    picture = np.empty((*hits.depth.shape, 3), dtype=np.float32)
    for eye, pixels, light in _paint(view, pose, solids, hits, atlas, shadows):
        picture[eye].reshape(-1, 3)[pixels] = light
    return picture


def _paint(
    view: StereoView, pose: np.ndarray, solids: Solids, hits: Hits, atlas: Atlas, shadows: ShadowMap
) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Eye, numbers (N,) of pixels and their colours (N, 3), piece by piece."""
    table, weather = _Table.of(view, pose, solids, shadows.street), shadows.street.weather
    for eye in range(2):
        solid = hits.solid[eye].reshape(-1)
        for pixels in _pieces(np.flatnonzero(solid != SKY)):
            surface = _locate(view, pose, table, hits, eye, pixels)
            light = _light(table, surface, atlas, shadows)
            if weather.fog_per_m:
                depth = hits.depth[eye].reshape(-1)[pixels]
                light += (1 - np.exp(-np.float32(weather.fog_per_m) * depth))[:, None] * (_colour(weather.fog) - light)
            yield eye, pixels, light
        for pixels in _pieces(np.flatnonzero(solid == SKY)):
            yield eye, pixels, _sky(view, pose, pixels, atlas, shadows.street)


def _colour(values: tuple[float, float, float]) -> np.ndarray:
    return np.array(values, dtype=np.float32)


def _pieces(pixels: np.ndarray) -> list[np.ndarray]:
    return [pixels[start : start + PIECE] for start in range(0, len(pixels), PIECE)]


def _ground(pose: np.ndarray, street: Street) -> Solids:
    """The ground as one more solid: a flat box whose top is at y = 0 below the camera, or about there in the hills."""
    one, deep_m = np.ones((1, 3)), 1.0 if street.road.profile.flat else 1e3
    return Solids(
        kind=np.array([BOX]),
        centre=np.array([[pose[0, 3], deep_m, pose[2, 3]]]),
        rotation=np.eye(3)[None],
        half=one * [1e6, deep_m, 1e6],
        taper=np.zeros((1, 2)),
        texture=np.full((1, 3), tiles.ROAD),
        scale=np.broadcast_to(1 / np.array(street.layout.road_tile_m), (1, 3, 2)),
        offset=np.broadcast_to([0.5, 0.0], (1, 3, 2)),
        tint=one,
        reach_m=np.array([np.inf]),
        follows_road=np.array([True]),
    )


def _locate(view: StereoView, pose: np.ndarray, table: _Table, hits: Hits, eye: int, pixels: np.ndarray) -> _Surface:
    solid = hits.solid[eye].reshape(-1)[pixels]
    solid = np.where(solid == GROUND, len(table.kind) - 1, solid)
    depth = hits.depth[eye].reshape(-1)[pixels]
    x, y = view.rays()
    across, down = x[pixels % view.width], y[pixels // view.width]
    step_x, step_y, forward = (table.matrix[:, column].take(solid, axis=1) for column in range(3))
    ray = step_x * across + step_y * down + forward
    point = ray * depth + table.start[eye].take(solid, axis=1)
    world = np.stack([row[0] * across + row[1] * down + row[2] for row in pose[:3, :3].tolist()]) * depth
    world += np.float32(view.origins(pose)[eye])[:, None]
    return _Surface(solid, point, ray, step_x, step_y, world, depth / np.float32(view.focal_px))


def _light(table: _Table, surface: _Surface, atlas: Atlas, shadows: ShadowMap) -> np.ndarray:
    """Colours (N, 3) in [0, 255]."""
    street, last = shadows.street, len(table.kind) - 1
    normal, axis = _normals(table, surface)
    on_ground = np.flatnonzero(surface.solid == last) if street.weather.wet or not street.road.profile.flat else None
    if not street.road.profile.flat:
        axis[on_ground] = 1
        slope = street.road.profile.slope(surface.world[2, on_ground]).astype(np.float32)
        steep = 1 / np.sqrt(1 + slope * slope)
        normal[:, on_ground] = 0
        normal[1, on_ground], normal[2, on_ground] = -steep, -slope * steep
    texel = _texel(table, surface, normal, axis, atlas, shadows)
    tintable = texel[:, 3:] * np.float32(1 / 255)
    albedo = texel[:, :3] * (1 + tintable * (table.tint.take(surface.solid, axis=0) - 1))
    facing = _dot(normal, table.sun.take(surface.solid, axis=1))
    blocked = shadows.shade(surface.world[0], -surface.world[1], surface.world[2], facing)
    sunlit = np.clip(facing, 0, 1) * (1 - blocked)
    upward = _dot(normal, table.up.take(surface.solid, axis=1))
    sunlight, skylight = _colour(street.weather.sunlight), _colour(street.weather.skylight)
    light = sunlit[:, None] * sunlight + (0.85 + 0.15 * upward)[:, None] * skylight
    colour = albedo * light
    if street.weather.wet:
        _mirror(colour, surface, normal, on_ground, atlas, street)
    return colour


def _mirror(
    light: np.ndarray, surface: _Surface, normal: np.ndarray, pixels: np.ndarray, atlas: Atlas, street: Street
) -> None:
    """Let the wet road among some pixels (M,) darken and mirror the sky, in puddles most of all.

    What stands beside the street is not traced: rays that leave sideways meet dark walls, those ahead the sky.
    """
    x, z = surface.world[0, pixels], surface.world[2, pixels]
    middle, heading = street.course(z)
    on_road = np.abs(x - middle) * np.cos(heading) < street.layout.kerb_m
    pixels, x, z = pixels[on_road], x[on_road], z[on_road]
    if not len(pixels):
        return
    ray = surface.ray[:, pixels]
    ray = ray / np.sqrt(_dot(ray, ray))
    rise = np.abs(_dot(normal[:, pixels], ray))
    spread = surface.pixel_m[pixels] / np.maximum(rise, 0.02) / 7
    noise = atlas.look_up(np.full(len(pixels), tiles.NOISE), x / 7, z / 7, surface.pixel_m[pixels] / 7, spread)
    puddle = np.clip((noise[:, 0] - 90) / 60, 0, 1) * np.float32(street.weather.wet)
    share = (0.05 + 0.95 * (1 - rise) ** 5) * (0.25 + 0.75 * puddle) * np.float32(0.75 * street.weather.wet)
    open_sky = np.clip(1.25 - 2.2 * np.abs(ray[0]), 0.25, 1)
    sky = _colour(street.weather.horizon) * open_sky[:, None]
    dark = light[pixels] * (1 - 0.4 * puddle[:, None])
    light[pixels] = dark + share[:, None] * (sky - dark)


def _dot(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return one[0] * other[0] + one[1] * other[1] + one[2] * other[2]


def _normals(table: _Table, surface: _Surface) -> tuple[np.ndarray, np.ndarray]:
    """Unit normals (3, N) in the solids' axes, and the axis (N,) whose faces' paint covers the point."""
    solid, point = surface.solid, surface.point
    inverse = table.inverse.take(solid, axis=1)
    taper = table.taper.take(solid, axis=1)
    relative = np.abs(point * inverse)
    narrowed = 0.5 - 0.5 * point[1] * inverse[1]
    relative[0] /= 1 - taper[0] * narrowed
    relative[2] /= 1 - taper[1] * narrowed
    axis = np.where(relative[0] >= relative[2], 0, 2)
    axis[relative[1] > np.maximum(relative[0], relative[2])] = 1
    normal = np.zeros_like(point)
    numbers = np.arange(len(axis))
    normal[axis, numbers] = np.sign(point[axis, numbers])

    leaning = np.flatnonzero((axis != 1) & (taper[axis // 2, numbers] > 0))
    side = axis[leaning]
    slope = taper[side // 2, leaning] * inverse[1, leaning] / (2 * inverse[side, leaning])
    normal[1, leaning] = -slope
    normal[:, leaning] /= np.sqrt(1 + slope * slope)

    kind = table.kind.take(solid)
    capped = (kind == CYLINDER) & (relative[1] > np.hypot(relative[0], relative[2]))
    axis[capped] = 1
    normal[:, capped] = [[0], [1], [0]] * np.sign(point[1, capped])
    curved = np.flatnonzero((kind != BOX) & ~capped)
    outward = point[:, curved] * inverse[:, curved] ** 2
    outward[1, kind[curved] == CYLINDER] = 0
    outward /= np.sqrt(_dot(outward, outward)) + np.float32(1e-12)
    normal[:, curved] = outward
    axis[curved] = np.abs(outward).argmax(axis=0)
    return normal, axis


def _texel(
    table: _Table, surface: _Surface, normal: np.ndarray, axis: np.ndarray, atlas: Atlas, shadows: ShadowMap
) -> np.ndarray:
    """Texture colours (N, 4), averaged over what each pixel covers of the surface."""
    face = surface.solid * 3 + axis
    sideways, flat = axis == 0, axis == 1

    def in_plane(vector: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return np.where(sideways, vector[2], vector[0]), np.where(flat, vector[2], vector[1])

    u, v = in_plane(surface.point)
    texture = table.texture.take(face)
    scale_u, scale_v = table.scale.take(face, axis=1)
    offset_u, offset_v = table.offset.take(face, axis=1)

    along_road = np.flatnonzero(table.follows_road.take(surface.solid) & flat)
    x, z = surface.world[0, along_road], surface.world[2, along_road]
    middle, heading = shadows.street.course(z)
    lateral = (x - middle) * np.cos(heading)
    u[along_road], v[along_road] = lateral, z
    beyond = along_road[
        (np.abs(lateral) > shadows.street.layout.kerb_m + 0.2) & (surface.solid[along_road] == len(table.kind) - 1)
    ]
    texture[beyond] = tiles.TERRAIN
    scale_u[beyond] = scale_v[beyond] = 1 / 8

    towards = _dot(normal, surface.ray)
    towards = np.where(np.abs(towards) < 1e-4, np.float32(1e-4), towards)
    ray_u, ray_v = in_plane(surface.ray)
    wide = tall = 0
    for step in (surface.step_x, surface.step_y):
        slide = _dot(normal, step) / towards
        step_u, step_v = in_plane(step)
        wide = wide + np.abs(step_u - ray_u * slide)
        tall = tall + np.abs(step_v - ray_v * slide)
    wide, tall = wide * surface.pixel_m * scale_u, tall * surface.pixel_m * scale_v
    return atlas.look_up(texture, u * scale_u + offset_u, v * scale_v + offset_v, wide, tall)


def _sky(view: StereoView, pose: np.ndarray, pixels: np.ndarray, atlas: Atlas, street: Street) -> np.ndarray:
    """Colours (N, 3) in [0, 255] of what is infinitely far: blue, clouds, and hills on the horizon."""
    x, y = view.rays()
    sun, weather = street.sun, street.weather
    across, down = x[pixels % view.width], y[pixels // view.width]
    rotation = pose[:3, :3].astype(np.float32)
    right, below, ahead = (row[0] * across + row[1] * down + row[2] for row in rotation)
    length = np.sqrt(right * right + below * below + ahead * ahead)
    rise = -below / length
    azimuth = np.arctan2(right, ahead)
    texture = np.full(len(pixels), tiles.NOISE)
    pixel = np.float32(1 / view.focal_px)
    # Clouds lie on a flat ceiling; the + 0.12 bends it down to the horizon.
    ceiling = np.float32(0.22) / (np.maximum(rise, 0) + 0.12)
    footprint = ceiling * pixel / (np.maximum(rise, 0) + 0.12)
    clouds = atlas.look_up(texture, right * ceiling, ahead * ceiling, footprint, footprint)[:, 0]
    cover = np.clip((clouds - weather.clear) / 70, 0, 1)[:, None]
    height = np.clip(rise / 0.5, 0, 1)[:, None]
    blue = _colour(weather.horizon) * (1 - height) + _colour(weather.zenith) * height
    glow = np.clip((right * sun[0] + below * sun[1] + ahead * sun[2]) / length, 0, 1)[:, None] ** 8 * 40
    colour = blue * (1 - cover) + _colour(weather.cloud) * cover + glow.astype(np.float32)
    still = np.full(len(pixels), pixel)
    ridge = atlas.look_up(texture, azimuth / 4, np.full_like(azimuth, 0.3), still / 4, still)[:, 0] / 255
    crest = np.clip((np.float32(weather.hills) * (0.02 + 0.09 * ridge) - rise) / pixel + 0.5, 0, 1)[:, None]
    wood = atlas.look_up(texture, azimuth * 2, rise * 6, still * 2, still * 6)[:, :1] / 255
    hills = np.array([112, 134, 142], np.float32) * (0.7 + 0.6 * wood)
    if weather.fog_per_m:
        hills += (_colour(weather.fog) - hills) * np.float32(1 - np.exp(-weather.fog_per_m * 1500))
        air_m = 60 / np.maximum(rise, np.float32(0.03))
        colour += (1 - np.exp(-np.float32(weather.fog_per_m) * air_m))[:, None] * (_colour(weather.fog) - colour)
    return colour * (1 - crest) + hills * crest
