"""The course of a street, its cross-section, and how the camera car drives along it."""

from dataclasses import dataclass

import numpy as np

from egodepth.data.simulator.profile import FLAT, Profile
from egodepth.data.simulator.textures import ROAD_TILE_M


@dataclass(frozen=True)
class Layout:
    """The cross-section of a street; sides are metres to the right of its middle.

    Attributes:
        kerb_m: from the middle of the road to either kerb.
        pavement_m: width of each pavement.
        own_lane_m, oncoming_m: middles of the lanes of the camera and of those who meet it.
        road_tile_m: width and length of the road's texture.
    """

    kerb_m: float = 5.6
    pavement_m: float = 3.2
    own_lane_m: float = 1.75
    oncoming_m: float = -1.75
    road_tile_m: tuple[float, float] = ROAD_TILE_M


@dataclass(frozen=True)
class Mount:
    """How the camera sits on the car, and how fast the car is.

    Attributes:
        pitch, yaw, roll: radians; a positive pitch looks down.
        pace: speed as a multiple of the usual 5 to 12 m/s.
    """

    height_m: float = 1.65
    pitch: float = 0.0
    yaw: float = 0.0
    roll: float = 0.0
    pace: float = 1.0


@dataclass(frozen=True)
class Road:
    """A gently winding road: its middle lies at x = sum of sines of z, its ground at the heights of a profile."""

    amplitudes_m: np.ndarray
    lengths_m: np.ndarray
    phases: np.ndarray
    profile: Profile = FLAT

    def middle(self, z: np.ndarray | float) -> np.ndarray:
        """x of the middle of the road."""
        angle = 2 * np.pi * np.asarray(z)[..., None] / self.lengths_m + self.phases
        return (self.amplitudes_m * np.sin(angle)).sum(-1)

    def heading(self, z: np.ndarray | float) -> np.ndarray:
        """Angle of the road from the z axis towards x, in radians."""
        angle = 2 * np.pi * np.asarray(z)[..., None] / self.lengths_m + self.phases
        return np.arctan((2 * np.pi * self.amplitudes_m / self.lengths_m * np.cos(angle)).sum(-1))

    def place(self, along_m: float, lateral_m: float) -> tuple[np.ndarray, np.ndarray]:
        """Ground point (3,) beside the road and rotation (3, 3) of what faces along it there."""
        heading = self.heading(along_m)
        z = along_m - lateral_m * np.sin(heading)
        point = [self.middle(along_m) + lateral_m * np.cos(heading), -self.profile.height(z), z]
        return np.array(point), turn(float(heading))

    def tilted(self, point: np.ndarray, rotation: np.ndarray) -> np.ndarray:
        """The rotation of what lies on the ground at a point instead of standing upright."""
        return rotation if self.profile.flat else self.profile.tilt(float(point[2])) @ rotation


def turn(angle: float) -> np.ndarray:
    """Rotation (3, 3) about the vertical, from z towards x."""
    return np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]])


def drive_along(
    random: np.random.Generator, road: Road, times_s: np.ndarray, layout: Layout, mount: Mount
) -> np.ndarray:
    """Camera poses (frames, 4, 4) of a car that speeds up and slows down, drifts in its lane and bounces."""
    mean, swing = random.uniform(7.5, 9.5) * mount.pace, random.uniform(1.0, 2.5) * mount.pace
    periods_s, phases = random.uniform([4, 3, 1.2, 1.7, 0.9], [9, 6, 1.8, 2.6, 1.4]), random.uniform(0, 6.28, 5)
    angles = 2 * np.pi * times_s[:, None] / periods_s + phases
    # Integral of mean + swing * sin: always between 5 and 12 metres a second, times the pace.
    along = mean * times_s - swing * periods_s[0] / (2 * np.pi) * (np.cos(angles[:, 0]) - np.cos(phases[0]))
    drift = 0.35 * np.sin(angles[:, 1])
    steering = 0.35 * 2 * np.pi / periods_s[1] / mean * np.cos(angles[:, 1])
    poses = np.tile(np.eye(4), (len(times_s), 1, 1))
    for index, along_m in enumerate(along):
        point, _ = road.place(along_m, layout.own_lane_m + drift[index])
        pitch = 0.004 * np.sin(angles[index, 2]) - mount.pitch
        roll = 0.004 * np.sin(angles[index, 3]) + mount.roll
        nod = np.array([[1, 0, 0], [0, np.cos(pitch), -np.sin(pitch)], [0, np.sin(pitch), np.cos(pitch)]])
        lean = np.array([[np.cos(roll), -np.sin(roll), 0], [np.sin(roll), np.cos(roll), 0], [0, 0, 1]])
        course = turn(float(road.heading(along_m)) + steering[index] + mount.yaw)
        poses[index, :3, :3] = road.tilted(point, course) @ nod @ lean
        poses[index, :3, 3] = point - [0, mount.height_m + 0.012 * np.sin(angles[index, 4]), 0]
    return poses
