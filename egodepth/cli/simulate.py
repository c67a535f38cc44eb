"""`egodepth simulate`."""

from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from egodepth.cli.terminal import Debug, console
from egodepth.data.simulator.configuration import SimulatorConfig


def simulate(
    out: Annotated[Positional[Path], arg(metavar="OUT", help="Folder to write; must be empty or new.")],
    *,
    config: Annotated[SimulatorConfig, arg(name="")],
    debug: Debug = False,
) -> None:
    """Render a street drive with exact depth, in KITTI raw layout.

    Writes stereo frames, calibration, laser scans, exact depth, poses and split lists; training and evaluation read
    it like any KITTI data.
    """
    from egodepth.data.simulator.writer import simulate

    simulate(out, config)
    console.print(f"Wrote {out}: {config.frames} stereo frames with exact depth.")
