"""`egodepth train`."""

from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from egodepth.cli.recipes import several
from egodepth.cli.terminal import CameraHeight, Debug, Poses, Speed, console
from egodepth.recipes import Recipe
from egodepth.scaling.asked import ScaleSource


def train(
    name: str,
    data: Annotated[
        Positional[tuple[Path, ...]],
        arg(
            metavar="DATA",
            help="KITTI raw tree, simulated drive, or pack; or any number of videos, folders of videos and folders of "
            "frames.",
        ),
    ],
    *,
    out: Annotated[Path, arg(metavar="RUN", help="Folder for checkpoints, logs, panels and the released model.")],
    recipe: Annotated[Recipe, arg(name="")],
    resume: Annotated[bool, arg(help="Continue from the run's last checkpoint; give the same options again.")] = False,
    camera_height: CameraHeight = None,
    speed: Speed = None,
    poses: Poses = None,
    debug: Debug = False,
) -> None:
    """Train a depth network from video or stereo pairs alone.

    With --camera-height, --speed or --poses a model from video gets metres in the end, as `egodepth scale` finds them.
    """
    metres = ScaleSource(camera_height, speed, poses)
    from lightning.pytorch.utilities import rank_zero_only

    from egodepth.prior.pipeline import train_whole

    first, recipe = several(data, recipe)
    model = train_whole(name, recipe, first, out, resume, metres if metres.options else None)
    if recipe.makes_its_needs:
        rank_zero_only(console.print)(f"Wrote {model} (the model); the runs that it is built on are in {out}.")
        return
    written = f"{model} (the model), {out / 'logs'} (curves) and {out / 'panels'} (pictures)"
    rank_zero_only(console.print)(f"Wrote {written}.")
