"""`egodepth scale`."""

from pathlib import Path
from typing import Annotated

from tyro.conf import FlagCreatePairsOff, Positional, arg

from egodepth.cli.terminal import CameraHeight, Debug, Device, Model, Poses, Speed, console
from egodepth.errors import UserError
from egodepth.scaling.asked import ScaleSource


def scale(
    model: Positional[Model],
    data: Annotated[
        Positional[Path],
        arg(metavar="DATA", help="KITTI drive or tree, simulated drive, video, folder of videos, or folder of frames."),
    ],
    *,
    camera_height: CameraHeight = None,
    speed: Speed = None,
    poses: Poses = None,
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
    source = ScaleSource(camera_height, speed, poses)
    _check(source, known, fps)
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
        # This needs what training needs: readers of data sets, and pose networks.
        from egodepth.models.released import ReleasedModel

        released = ReleasedModel.open(model)
        found = source.find(released, footage, device)
    for line in found.said():
        console.print(line, markup=False)
    if before := released.scale:
        console.print(f"Before it was {before.metres_per_unit:.4g} m ({before.said()}).", markup=False)
    if not dry_run:
        folder = write_scale(released, found.scale, out, found.focal)
        console.print(f"Wrote {folder / 'config.json'}: {found.scale.said()}.", markup=False)


def _check(source: ScaleSource, known: Path | None, fps: float | None) -> None:
    """Raises UserError: not exactly one source is given, or a number is none."""
    if len(source.options) + (known is not None) != 1:
        raise UserError("scale: give one of --camera-height M, --speed FILE, --poses FILE and --known FILE.")
    if fps is not None and not 0 < fps <= 1000:
        raise UserError(f"--fps {fps:g}: expected 0 to 1000, in frames per second.")
