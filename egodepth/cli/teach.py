"""`egodepth teach`."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from egodepth.cli.terminal import Debug, Device, FieldOfView, console
from egodepth.data.configurations import DataConfig, as_intrinsics
from egodepth.errors import UserError
from egodepth.recipes.recipe import VIEWS, Mode

UNITS = {
    "metres": "in metres",
    "scale": "up to a factor of each map",
    "scale-and-shift": "up to a factor and a shift of each map",
}


def teach(
    model: Annotated[
        Positional[str],
        arg(metavar="MODEL", help="Model or run folder, hub id, or a model of transformers: hf:owner/name, hf:FOLDER."),
    ],
    data: Annotated[
        Positional[tuple[Path, ...]], arg(metavar="DATA", help="What the student will be trained on, as in train.")
    ],
    *,
    out: Annotated[Path, arg(metavar="FOLDER", help="Folder to write; maps that it holds already are kept.")],
    mode: Annotated[Mode, arg(help="Of the training to come: it says which frames are targets.")] = "mono",
    intrinsics: Annotated[str, arg(help="Camera of the frames, as in train.")] = "calibrated",
    fov: FieldOfView = None,
    width: Annotated[
        int | None,
        arg(help="Width of the maps of a model of transformers; 640 by default, as most students see frames."),
    ] = None,
    config: Annotated[DataConfig, arg(name="data")] = DataConfig(),
    device: Device = "cpu",
    debug: Debug = False,
) -> int:
    """Write the depth maps of a trained model once, for train --teacher-depth."""
    if not data:
        raise UserError("DATA is missing: give a video, a folder of frames, or a data set.")
    if width is not None and width < 1:
        raise UserError(f"--width {width}: must be 1 or more.")
    from egodepth.models.teaching import teach

    config = replace(config, beside=tuple(data[1:]))
    report = teach(model, data[0], out, config, as_intrinsics(fov, intrinsics), VIEWS[mode], width, device)
    for reason in report.skipped:
        console.print(f"skipped: {reason}", markup=False)
    if report.clipped:
        console.print(f"{report.clipped:.2%} of the values are nearer than the files can say, and were clipped.")
    there = f", {report.there} were there already" if report.there else ""
    console.print(f"Wrote {report.written} maps to {out}{there} (inverse depth, {UNITS[report.units]}).", markup=False)
    if not report.skipped:
        return 0
    print(f"egodepth: {len(report.skipped)} frames were skipped.", file=sys.stderr)
    return 1
