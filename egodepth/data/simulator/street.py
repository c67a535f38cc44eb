"""A street with all that stands and drives in it, and the camera's way through it, drawn from one seed."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from egodepth.data.simulator.planner import Planner, make_car
from egodepth.data.simulator.road import Layout, Mount, Road, drive_along, turn
from egodepth.data.simulator.solids import Builder, Solids
from egodepth.data.simulator.weather import Weather

VIEW_M = 320.0
GROUND_REACH_M = 400.0


@dataclass(frozen=True)
class Traveller:
    """A car or a person on the way: the solids about their own ground point, and where they are at a time.

    They look where they go; one who stands looks along the road, unless its solids are turned.

    Attributes:
        sideways_m_per_s, widest_m: of one who crosses the road, and how far from its middle that ends.
    """

    solids: Solids
    start_m: float
    lateral_m: float
    speed_m_per_s: float
    sway_m: float
    sideways_m_per_s: float = 0.0
    widest_m: float = 100.0

    def at(self, time_s: float, road: Road) -> Solids:
        along_m = self.start_m + self.speed_m_per_s * time_s + self.sway_m * np.sin(0.8 * time_s)
        lateral_m = np.clip(self.lateral_m + self.sideways_m_per_s * time_s, -self.widest_m, self.widest_m)
        point, rotation = road.place(along_m, lateral_m)
        rotation = rotation @ turn(float(np.arctan2(self.sideways_m_per_s, self.speed_m_per_s)))
        return self.solids.moved(point, road.tilted(point, rotation))


@dataclass(frozen=True)
class Street:
    """One street of a world, with everything that a picture of it depends on.

    Attributes:
        poses: (frames, 4, 4), left camera to world.
        times_s: (frames,).
        sun: (3,), unit vector towards the sun.
        start_m, end_m: z of the first and the last thing in the street.
    """

    road: Road
    solids: Solids
    travellers: tuple[Traveller, ...]
    poses: np.ndarray
    times_s: np.ndarray
    sun: np.ndarray
    start_m: float
    end_m: float
    layout: Layout
    weather: Weather

    def course(self, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The road's middle and heading (N,) at many points: read off a table of one row per metre."""
        table, middle, heading = self._course
        return np.float32(np.interp(z, table, middle)), np.float32(np.interp(z, table, heading))

    @cached_property
    def _course(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        table = np.arange(np.floor(self.start_m) - 100, self.end_m + GROUND_REACH_M)
        return table, self.road.middle(table), self.road.heading(table)

    def solids_at(self, frame: int) -> Solids:
        """Everything that stands or drives there at a frame."""
        present = self.solids
        for traveller in self.travellers:
            present = present + traveller.at(self.times_s[frame], self.road)
        return present


def build_street(
    random: np.random.Generator, frames: int, frames_per_second: float, moving_cars: bool, bends: float = 1
) -> Street:
    """Draw a street long enough for a drive of this many frames.

    Args:
        bends: multiple of the usual ones; with 6 the car turns by about a degree from frame to frame.
    """
    road = Road(
        amplitudes_m=random.uniform(0.4, 1.0, 3) * [5.0, 3.0, 1.2] * random.choice([-1, 1], 3) * bends,
        lengths_m=random.uniform(0.8, 1.25, 3) * [420.0, 230.0, 120.0],
        phases=random.uniform(0, 2 * np.pi, 3),
    )
    times_s = np.arange(frames) / frames_per_second
    layout = Layout()
    poses = drive_along(random, road, times_s, layout, Mount())
    start_m, end_m = -30.0, float(poses[-1, 2, 3]) + VIEW_M
    azimuth = random.choice([-1, 1]) * random.uniform(0.5, 2.6)
    elevation = random.uniform(0.7, 1.1)
    sun = np.array([np.cos(elevation) * np.sin(azimuth), -np.sin(elevation), np.cos(elevation) * np.cos(azimuth)])
    planner = Planner(random, road, Builder(), layout)
    planner.line_both_sides(start_m, end_m)
    travellers = _traffic(random, poses, times_s) if moving_cars else ()
    return Street(road, planner.solids.build(), travellers, poses, times_s, sun, start_m, end_m, layout, Weather())


def _traffic(random: np.random.Generator, poses: np.ndarray, times_s: np.ndarray) -> tuple[Traveller, ...]:
    """A car ahead in the own lane, at about the own speed, and others coming towards the camera."""
    duration_s = max(float(times_s[-1]), 1.0)
    length_m = float(poses[-1, 2, 3] - poses[0, 2, 3])
    cars = [Traveller(make_car(random, towards=False), random.uniform(14, 20), 1.75, length_m / duration_s, 1.5)]
    along_m = random.uniform(15, 35)
    while along_m < length_m + 10 * duration_s + 60:
        cars.append(Traveller(make_car(random, towards=True), along_m, -1.75, -random.uniform(8.5, 9.5), 0.5))
        along_m += random.uniform(18, 50)
    return tuple(cars)
