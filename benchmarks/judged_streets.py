"""Simulated streets of which every drive is looked at, for models that have seen none of them."""

from pathlib import Path

from egodepth.data.simulator.configuration import SimulatorConfig
from egodepth.data.simulator.writer import simulate

DRIVES, FRAMES = 9, 8
"""Nine hold each place and each kind of weather once."""


def judged_streets(out: Path, seed: int, fov: float, camera_height: float) -> Path:
    """Draw nine drives of a few frames, seen by one camera, all of them for the test."""
    config = SimulatorConfig(
        frames=FRAMES * DRIVES, drives=DRIVES, varied=True, seed=seed, fov=fov, camera_height=camera_height
    )
    street = simulate(out, config, progress=False)
    lists = street / "splits" / "simulated"
    files = [lists / f"{stage}_files.txt" for stage in ("train", "val", "test")]
    lines = {line for file in files for line in file.read_text().splitlines() if line.endswith(" l")}
    (lists / "test_files.txt").write_text("\n".join(sorted(lines)) + "\n")
    return street
