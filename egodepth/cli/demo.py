"""`egodepth demo`."""

from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from egodepth.cli.terminal import Debug, console
from egodepth.demo.configuration import DemoConfig


def demo(
    out: Annotated[Positional[Path], arg(metavar="OUT", help="Folder to write; an interrupted demo is continued.")],
    *,
    config: Annotated[DemoConfig, arg(name="")],
    debug: Debug = False,
) -> None:
    """Render a drive, train on it, evaluate and use the model, and write a report: about six minutes on two cores."""
    from egodepth.demo.run import run_demo

    result = run_demo(out, config)
    console.print(f"Done in {result.seconds / 60:.1f} minutes. Wrote")
    console.print(f"  {result.report}  curves, metrics and pictures on one page")
    console.print(f"  {result.video}  depth beside its input")
    console.print(f"  {result.model}  the model: egodepth predict {result.model} YOUR.mp4 --out DIR --format video")
