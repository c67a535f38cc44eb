"""`egodepth data`: check data, and pack it."""

import sys
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from egodepth.cli.recipes import several
from egodepth.cli.terminal import Debug, console
from egodepth.recipes import Recipe


def check(
    data: Annotated[Positional[Path], arg(metavar="DATA", help="Any data that training or evaluation reads.")],
    *,
    split: Annotated[str | None, arg(help="Folder in DATA/splits, or a path to split lists.")] = None,
    every_file: Annotated[
        bool, arg(help="Decode every picture instead of a sample, and find where the camera stands still.")
    ] = False,
    debug: Debug = False,
) -> int:
    """Report what a folder of data is, what can be used, what is missing or broken, and how to fix it."""
    from egodepth.data.checking import check_data

    report = check_data(data, split, every_file)
    for line in report.lines():
        console.print(line, markup=False)
    for fault in report.faults:
        print(f"egodepth: {fault}", file=sys.stderr)
    return report.exit_code


def pack(
    name: str,
    data: Annotated[
        Positional[tuple[Path, ...]],
        arg(metavar="DATA", help="Any data that the recipe trains on, or several videos; left unchanged."),
    ],
    *,
    out: Annotated[Path, arg(metavar="PACK", help="Folder to write; an interrupted pack is continued.")],
    recipe: Annotated[Recipe, arg(name="")],
    debug: Debug = False,
) -> None:
    """Resize the frames of DATA once for a recipe; training from the pack gives the same samples, faster."""
    from egodepth.training.runs import pack_data

    first, recipe = several(data, recipe)
    report = pack_data(recipe, first, out)
    size = f"{report.samples} samples, {report.frames} frames, {report.bytes / 2**20:.0f} MiB"
    console.print(f"Wrote {out}: {size}.")
