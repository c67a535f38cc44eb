"""`egodepth scale`."""

from pathlib import Path
from typing import Annotated

from tyro.conf import FlagCreatePairsOff, Positional, arg

from egodepth.cli.terminal import Debug, Device, Model, console
from egodepth.errors import UserError


def scale(
    model: Positional[Model],
    data: Annotated[
        Positional[Path],
        arg(metavar="DATA", help="KITTI drive or tree, simulated drive, video, folder of videos, or folder of frames."),
    ],
    *,
    camera_height: Annotated[float | None, arg(metavar="M", help="Height of the camera above the road in metres.")] = (
        None
    ),
    speed: Annotated[
        str | None,
        arg(metavar="FILE|oxts", help="Log of speeds or places: CSV with a header, GPX, or KITTI's oxts folders."),
    ] = None,
    poses: Annotated[
        Path | None, arg(metavar="FILE", help="Poses of odometry or an IMU: TUM, EuRoC's CSV, or KITTI's format.")
    ] = None,
    known: Annotated[
        Path | None,
        arg(
            metavar="FILE",
            help="Measured distances: lines of picture, column, row and metres, columns and rows from 0.",
        ),
    ] = None,
    intrinsics: Annotated[
        str, arg(metavar="FX,FY,CX,CY|FILE", help="The footage's camera; by default the camera.json beside it.")
    ] = "calibrated",
    fov: Annotated[
        float | None, arg(metavar="DEGREES", help="The footage's horizontal field of view, in place of --intrinsics.")
    ] = None,
    fps: Annotated[float | None, arg(help="Frames per second of a folder of frames, for --speed and --poses.")] = None,
    out: Annotated[Path | None, arg(metavar="DIR", help="Write a copy of the model there, and leave MODEL alone.")] = (
        None
    ),
    dry_run: Annotated[bool, FlagCreatePairsOff, arg(help="Print the scale and write nothing.")] = False,
    device: Device = "cpu",
    debug: Debug = False,
) -> None:
    """Give a trained model metres without labels: by camera height, speed, poses, or measured distances."""
    _check(camera_height, speed, poses, known, fps)
    from egodepth.data.configurations import as_intrinsics
    from egodepth.models.folder import ModelFolder
    from egodepth.models.rescaling import write_scale
    from egodepth.scaling.distances import scale_from_points
    from egodepth.scaling.found import Footage

    footage = Footage(data, as_intrinsics(fov, intrinsics), fps)
    if known is not None:
        released = ModelFolder.open(model)
        found = scale_from_points(model, footage, known, device)
    else:
        # These need what training needs: readers of data sets, and pose networks.
        from egodepth.models.released import ReleasedModel
        from egodepth.scaling import sources

        released = ReleasedModel.open(model)
    if camera_height is not None:
        found = sources.scale_from_height(released, footage, camera_height, device)
    elif speed is not None:
        found = sources.scale_from_speed(released, footage, speed, device)
    elif poses is not None:
        found = sources.scale_from_poses(released, footage, poses, device)
    for line in found.said():
        console.print(line, markup=False)
    if before := released.scale:
        console.print(f"Before it was {before.metres_per_unit:.4g} m ({before.said()}).", markup=False)
    if not dry_run:
        folder = write_scale(released, found.scale, out, found.focal)
        console.print(f"Wrote {folder / 'config.json'}: {found.scale.said()}.", markup=False)


def _check(
    camera_height: float | None, speed: str | None, poses: Path | None, known: Path | None, fps: float | None
) -> None:
    """Raises UserError: not exactly one source is given, or a number is none."""
    if sum(each is not None for each in (camera_height, speed, poses, known)) != 1:
        raise UserError("scale: give one of --camera-height M, --speed FILE, --poses FILE and --known FILE.")
    if camera_height is not None and not 0.02 <= camera_height <= 100:
        raise UserError(f"--camera-height {camera_height:g}: expected 0.02 to 100, in metres.")
    if fps is not None and not 0 < fps <= 1000:
        raise UserError(f"--fps {fps:g}: expected 0 to 1000, in frames per second.")
