"""Looking at a drive over time: `egodepth view`."""

import os
import sys
from collections.abc import Callable, Iterator
from functools import partial
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import Positional, arg

from egodepth.cli.terminal import Debug, Device, FieldOfView, InputIntrinsics, Model, console
from egodepth.data.configurations import given_intrinsics
from egodepth.errors import UserError

if TYPE_CHECKING:
    from egodepth.inference.frames import SeenFrame


def view(
    model: Positional[Model],
    inputs: Annotated[
        Positional[tuple[str, ...]],
        arg(
            metavar="INPUT",
            help="Images, folders, quoted globs or a video; or evaluation data, with its ground truth.",
            help_behavior_hint="(one or more)",
        ),
    ],
    *,
    out: Annotated[
        Path | None,
        arg(
            metavar="FILE",
            help="Write an .rrd file for Rerun's viewer, in place of opening it; view.rrd where there is no display.",
        ),
    ] = None,
    poses: Annotated[
        Path | None,
        arg(
            metavar="FILE",
            help="Poses of the camera, camera to world: TUM (time tx ty tz qx qy qz qw) or KITTI (12 numbers a line).",
        ),
    ] = None,
    frames: Annotated[int | None, arg(help="Look at so many frames and no more.")] = None,
    intrinsics: InputIntrinsics = None,
    fov: FieldOfView = None,
    split: Annotated[
        str | None, arg(help="Of evaluation data: the split; by default the one that its kind has.")
    ] = None,
    device: Device = "cpu",
    debug: Debug = False,
) -> None:
    """Look at pictures, depth, points, ground truth and error over time, in Rerun's viewer."""
    if not inputs:
        raise UserError("no INPUT: give images, a folder, a glob, a video or data after MODEL.")
    if frames is not None and frames < 1:
        raise UserError(f"--frames {frames}: must be 1 or more.")
    if out is not None and out.suffix != ".rrd":
        raise UserError(f"--out {out}: is written for Rerun's viewer. End its name in .rrd.")
    from egodepth.inference.viewing import require_rerun, show, write_recording

    require_rerun()
    camera = given_intrinsics(fov, intrinsics)
    frames_for = _frames(inputs, camera, poses, split)
    from egodepth.models.opening import open_for_use

    predictor = open_for_use(model, device).predictor
    seen = islice(frames_for(time_offsets=predictor.time_offsets), frames)
    if out is None and _has_display():
        console.print(f"Showed {show(predictor, seen)} frames.")
        return
    out = out or Path("view.rrd")
    count = write_recording(out, predictor, seen)
    console.print(f"Wrote {count} frames to {out}. Look at them with: rerun {out}", markup=False)


def _frames(
    inputs: tuple[str, ...], intrinsics: str | None, poses: Path | None, split: str | None
) -> Callable[..., Iterator["SeenFrame"]]:
    """What gives the frames of evaluation data, where the only input is such, or else of pictures and videos.

    It is told the `time_offsets` of the model's neighbours.
    """
    from egodepth.data.motion_logs.camera_poses import read_camera_poses
    from egodepth.inference.frames import frames_of_data, frames_of_inputs
    from egodepth.inference.inputs import expand_inputs

    root = Path(inputs[0])
    # What reads evaluation data comes with PyTorch; without it a folder is one of pictures.
    if len(inputs) == 1 and root.is_dir() and find_spec("torch"):
        from egodepth.data.recognise import kind_of

        kind = kind_of(root)
        if kind.evaluation_frames:
            if poses is not None:
                raise UserError(f"--poses {poses}: is for pictures and videos; {root} is {kind.title}. Leave it out.")
            return partial(frames_of_data, root, kind, split)
    if split is not None:
        raise UserError(f"--split {split}: is for evaluation data. Leave it out.")
    known = None if poses is None else read_camera_poses(poses)
    return partial(frames_of_inputs, expand_inputs(inputs), intrinsics, known)


def _has_display() -> bool:
    return sys.platform in ("darwin", "win32") or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
