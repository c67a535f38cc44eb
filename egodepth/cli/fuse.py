"""Points of a whole drive: `egodepth fuse`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import Positional, arg

from egodepth.cli.terminal import Debug, Device, FieldOfView, InputIntrinsics, Model, ScaleOfUse, console
from egodepth.data.configurations import given_intrinsics
from egodepth.errors import UserError

if TYPE_CHECKING:
    from egodepth.inference.predictor import Predictor


def fuse(
    model: Positional[Model],
    inputs: Annotated[
        Positional[tuple[str, ...]],
        arg(
            metavar="INPUT",
            help="Images, folders, quoted globs, or one video: the frames of one drive, in order.",
            help_behavior_hint="(one or more)",
        ),
    ],
    *,
    poses: Annotated[
        Path | None,
        arg(
            metavar="FILE",
            help="Poses of the camera in metres, camera to world: TUM (time tx ty tz qx qy qz qw) or KITTI (12 numbers "
            "a line). One for each frame, or for a video TUM's at their times from its start. Without them the model's "
            "own depth finds them, and they drift.",
        ),
    ] = None,
    out: Annotated[Path, arg(metavar="FILE", help="File of points; its name ends in .ply, .pcd or .las.")] = Path(
        "points.ply"
    ),
    voxel: Annotated[float, arg(help="Points closer than this many metres become one.")] = 0.1,
    farthest: Annotated[float, arg(help="Metres up to which a frame gives points.")] = 30.0,
    intrinsics: InputIntrinsics = None,
    fov: FieldOfView = None,
    scale: ScaleOfUse = None,
    device: Device = "cpu",
    debug: Debug = False,
) -> None:
    """Join the depth of a drive's frames into one cloud of points, by the poses of its camera."""
    for name, value in (("voxel", voxel), ("farthest", farthest), ("scale", scale)):
        if value is not None and not value > 0:
            raise UserError(f"--{name} {value:g}: must be above 0.")
    if not inputs:
        raise UserError("no INPUT: give images, a folder, a glob or a video after MODEL.")
    from egodepth.data.motion_logs.camera_poses import read_camera_poses
    from egodepth.inference.clouds import cloud_writer
    from egodepth.inference.frames import frames_of_inputs
    from egodepth.inference.fusing import fused_points
    from egodepth.inference.inputs import expand_inputs
    from egodepth.models.opening import open_for_use

    write = cloud_writer(out, "metres")
    known = None if poses is None else read_camera_poses(poses)
    expanded = expand_inputs(inputs)
    camera = given_intrinsics(fov, intrinsics)
    predictor = _scaled(open_for_use(model, device).predictor, scale)
    frames = frames_of_inputs(expanded, camera, known, predictor.time_offsets)
    if known is None:
        from egodepth.models.posing import with_own_poses

        frames = with_own_poses(predictor, frames)
    points, used = fused_points(predictor, frames, voxel, farthest)
    write(points)
    console.print(f"Wrote {len(points)} points of {used} frames to {out}, in metres.", markup=False)


def _scaled(predictor: "Predictor", scale: float | None) -> "Predictor":
    return predictor if scale is None else predictor.with_scale(scale)
