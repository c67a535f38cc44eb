"""What all commands share: the terminal that they write to, and the option that shows tracebacks."""

from pathlib import Path
from typing import Annotated

from rich.console import Console
from tyro.conf import FlagCreatePairsOff, arg

console = Console(highlight=False, soft_wrap=True, markup=False)
"""Without markup: `[red]` in the name of a file is a part of it."""

Debug = Annotated[bool, FlagCreatePairsOff, arg(help="Show the traceback of an error.")]

Device = Annotated[str, arg(help="Where the network runs: cpu, cuda, cuda:1, mps.")]

Model = Annotated[str, arg(metavar="MODEL", help="Released model folder, run folder or hub id.")]

CameraHeight = Annotated[float | None, arg(metavar="M", help="Height of the camera above the road in metres.")]

Speed = Annotated[
    str | None,
    arg(metavar="FILE|oxts", help="Log of speeds or places: CSV with a header, GPX, or KITTI's oxts folders."),
]

Poses = Annotated[
    Path | None, arg(metavar="FILE", help="Poses of odometry or an IMU: TUM, EuRoC's CSV, or KITTI's format.")
]
