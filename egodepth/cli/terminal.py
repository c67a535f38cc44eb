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

ModelOrStarter = Annotated[
    str,
    arg(
        metavar="[MODEL]",
        help="Released model folder, run folder or hub id; starter, the model that egodepth comes with, where it "
        "is left out.",
    ),
]

FieldOfView = Annotated[float | None, arg(help="Horizontal field of view in degrees, in place of intrinsics.")]

InputIntrinsics = Annotated[
    str | None,
    arg(
        metavar="FILE|fx,fy,cx,cy|none",
        help="The inputs' camera, by which metres are right for it and lens distortion is undone: a file such as "
        "camera.json, or pixels; by default the file beside each input, or what a photograph says itself. none "
        "takes pictures as they are.",
    ),
]

ScaleOfUse = Annotated[float | None, arg(help="Metres per unit of depth, for a model that is up to scale.")]

Steadily = Annotated[
    bool, FlagCreatePairsOff, arg(help="Join each frame's depth with the one before, so that it does not flicker.")
]

CameraHeight = Annotated[float | None, arg(metavar="M", help="Height of the camera above the road in metres.")]

Speed = Annotated[
    str | None,
    arg(metavar="FILE|oxts", help="Log of speeds or places: CSV with a header, GPX, or KITTI's oxts folders."),
]

Poses = Annotated[
    Path | None, arg(metavar="FILE", help="Poses of odometry or an IMU: TUM, EuRoC's CSV, or KITTI's format.")
]
