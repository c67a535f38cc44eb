"""A procedural street with exact depth, poses and intrinsics, written as KITTI raw data."""

from egodepth.data.simulator.writer import MARKER, SimulatorConfig, simulate

__all__ = ["MARKER", "SimulatorConfig", "simulate"]
