"""A varied street of one drive: its road, what stands and moves there, and the camera's way."""

import numpy as np

from egodepth.data.simulator.profile import FLAT, Profile
from egodepth.data.simulator.road import Road, drive_along
from egodepth.data.simulator.solids import Builder
from egodepth.data.simulator.street import GROUND_REACH_M, VIEW_M, Street
from egodepth.data.simulator.varied_openings import OpenPlanner
from egodepth.data.simulator.varied_traffic import vary_traffic
from egodepth.data.simulator.variety import Scene

KNOT_M = 2.0
STEEPEST = 0.14


def build_varied_street(
    random: np.random.Generator, scene: Scene, frames: int, frames_per_second: float, moving: bool
) -> Street:
    """Draw a street of a scene, long enough for a drive of this many frames."""
    times_s = np.arange(frames) / frames_per_second
    longest_m = 12 * scene.mount.pace * float(times_s[-1]) + VIEW_M + GROUND_REACH_M + 100
    road = Road(
        amplitudes_m=random.uniform(0.4, 1.0, 3) * [5.0, 3.0, 1.2] * random.choice([-1, 1], 3) * scene.bends,
        lengths_m=random.uniform(0.9, 1.25, 3) * [420.0, 230.0, 120.0],
        phases=random.uniform(0, 2 * np.pi, 3),
        profile=_draw_profile(random, scene.hills_m, longest_m),
    )
    poses = drive_along(random, road, times_s, scene.layout, scene.mount)
    start_m, end_m = -30.0, float(poses[-1, 2, 3]) + VIEW_M
    azimuth, elevation = random.uniform(-np.pi, np.pi), scene.sun_elevation
    sun = np.array([np.cos(elevation) * np.sin(azimuth), -np.sin(elevation), np.cos(elevation) * np.cos(azimuth)])
    junction_m = None if scene.junction_m is None else float(poses[-1, 2, 3]) + scene.junction_m
    planner = OpenPlanner(random, road, Builder(), scene.layout, scene, junction_m)
    planner.line_both_sides(start_m, end_m)
    if scene.closed_m is not None:
        planner.close(float(poses[-1, 2, 3]) + scene.closed_m)
    travellers = vary_traffic(random, scene, poses, times_s, junction_m) if moving else ()
    return Street(
        road, planner.solids.build(), travellers, poses, times_s, sun, start_m, end_m, scene.layout, scene.weather
    )


def _draw_profile(random: np.random.Generator, hills_m: float, longest_m: float) -> Profile:
    """Hills of up to one in seven; level ground where `hills_m` is 0."""
    if hills_m == 0:
        return FLAT
    knots_m = np.arange(-250.0, longest_m, KNOT_M)
    heights_m = np.zeros_like(knots_m)
    for share, length_m in ((1.0, 340.0), (0.35, 150.0), (0.08, 60.0)):
        angle = 2 * np.pi * knots_m / (length_m * random.uniform(0.85, 1.3)) + random.uniform(0, 2 * np.pi)
        heights_m += share * hills_m * np.sin(angle)
    steepest = np.abs(np.diff(heights_m)).max() / KNOT_M
    heights_m *= min(1.0, STEEPEST / steepest)
    return Profile(knots_m, heights_m - np.interp(0, knots_m, heights_m))
