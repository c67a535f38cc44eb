"""Logs of how a camera moved: speeds, positions, poses."""
