"""`egodepth calibrate`."""

from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import FlagCreatePairsOff, Positional, arg

from egodepth.cli.terminal import Debug, console
from egodepth.errors import UserError

THIN_COVERAGE = 0.6


def calibrate(
    source: Annotated[
        Positional[Path],
        arg(metavar="SOURCE", help="Folder of pictures or a video: of a chessboard, or with --self the footage."),
    ],
    *,
    out: Annotated[Path, arg(metavar="FILE", help="camera.json to write.")],
    board: Annotated[
        str | None, arg(metavar="9x6", help="Inner corners of the chessboard, across and down, where squares meet.")
    ] = None,
    square_m: Annotated[float | None, arg(help="Side of a square in metres; for the distances in the report.")] = None,
    lens: Annotated[
        Literal["opencv", "fisheye"], arg(help="Model of the lens, of a board; fisheye from about 120 degrees on.")
    ] = "opencv",
    from_footage: Annotated[
        bool, FlagCreatePairsOff, arg(name="self", help="From the footage itself, without a board.")
    ] = False,
    frames: Annotated[
        int | None, arg(help="Frames of a video to look into: 60 for a board, 80 for --self by default.")
    ] = None,
    debug: Debug = False,
) -> None:
    """Find a camera's intrinsics and lens distortion, from a chessboard or from footage alone."""
    if (board is None) != from_footage:
        raise UserError("calibrate: give --board 9x6 for pictures of a chessboard, or --self for footage without one.")
    if frames is not None and frames < 1:
        raise UserError(f"--frames {frames}: must be 1 or more.")
    if out.suffix.lower() != ".json":
        raise UserError(f"--out {out}: the name of the file ends in .json. Take camera.json.")
    if not source.exists():
        raise UserError(f"{source}: no such file or folder. Check the path.")
    if from_footage:
        _from_footage(source, out, frames or 80)
    else:
        _from_boards(source, out, board, square_m, lens, frames or 60)


def _from_boards(source: Path, out: Path, named: str, square_m: float | None, lens: str, frames: int) -> None:
    from egodepth.calibration.boards import Board, calibrate_boards
    from egodepth.calibration.writing import camera_said, write_board_calibration

    board = Board.parse(named, square_m)
    found = calibrate_boards(source, board, lens, frames)
    for name, error in found.errors_px.items():
        _say(f"{name}: {error:.2f} px")
    for name, reason in found.left_out.items():
        _say(f"{name}: left out, {reason}")
    nearest, farthest = found.distances
    unit = "squares" if square_m is None else "m"
    _say(
        f"The board was {nearest:.3g} to {farthest:.3g} {unit} away; corners cover {found.coverage:.0%} of the picture."
    )
    if found.coverage < THIN_COVERAGE:
        _say("The distortion is a guess where no corner was: add pictures with the board at the borders and corners.")
    if found.remark:
        _say(found.remark)
    write_board_calibration(out, source, board, found)
    _say(f"{camera_said(found.calibration)}: rms {found.rms_px:.2f} px over {len(found.errors_px)} pictures.")
    _say(f"Wrote {out}")


def _from_footage(source: Path, out: Path, frames: int) -> None:
    from egodepth.calibration.footage import calibrate_footage
    from egodepth.calibration.writing import camera_said, write_footage_calibration

    with console.status("calibrating") as status:
        found = calibrate_footage(source, frames, say=lambda stage: status.update(f"{stage} …"))
    for run in found.runs:
        _say(
            f"run of {run.frames} frames: {run.registered} placed, fx {run.focal_px:.1f}, k1 {run.k1:.3f}, error "
            f"{run.error_px:.2f} px"
        )
    _say(f"{found.registered} of {found.frames} frames placed, error {found.error_px:.2f} px.")
    write_footage_calibration(out, source, found)
    _say(f"{camera_said(found.calibration)}: the focal length is known to {found.deviation:.1%}.")
    if found.doubts:
        _say(f"Not to be trusted: {'; '.join(found.doubts)}. Film a chessboard (--board), or drive with turns.")
    _say(f"Wrote {out}")


def _say(line: str) -> None:
    console.print(line, markup=False)
