"""How well cameras of known fields of view are found: from a chessboard, and from the footage alone.

    python benchmarks/calibrating.py FOLDER --out calibrating.json

For each field of view two simulated drives are rendered into FOLDER, left pictures alone: through a plain street, which
hardly bends, and through one that bends six times as much. A chessboard is drawn as the same camera sees it from 15
sides. Boards and drives are calibrated as `egodepth calibrate` does it, which training does too where it can trust it;
what turns tell is found as `egodepth train video` finds it elsewhere.
"""

import argparse
import json
import math
import tempfile
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from egodepth.calibration.boards import Board, calibrate_boards
from egodepth.calibration.footage import calibrate_footage
from egodepth.data.configurations import LEARNED
from egodepth.data.opening import open_training_sets
from egodepth.data.simulator.casting import StereoView, cast_pair, cast_shadows
from egodepth.data.simulator.configuration import SimulatorConfig
from egodepth.data.simulator.shading import paint_pair
from egodepth.data.simulator.street import build_street
from egodepth.data.simulator.textures import paint_atlas
from egodepth.data.simulator.writer import stereo_view
from egodepth.errors import UserError
from egodepth.files import write_text
from egodepth.networks.configurations import size_for
from egodepth.progress import tracked
from egodepth.recipes import recipe_named
from egodepth.training.cameras import started_cameras

SIZE = (544, 960)
BOARD = Board(9, 6)
BOARD_PICTURES = 15
SQUARE_PX = 80
BENDS = {"plain": 1.0, "winding": 6.0}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--degrees", type=float, nargs="+", default=[40, 60, 80, 100])
    parser.add_argument("--frames", type=int, default=240, help="of each drive, at 10 a second")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    found = []
    for degrees in options.degrees:
        found.append(measured(options.folder / f"{degrees:g}", degrees, options.frames, options.seed))
        print(json.dumps(found[-1]), flush=True)
        if options.out:
            write_text(options.out, json.dumps(found, indent=2) + "\n")


def measured(folder: Path, degrees: float, frames: int, seed: int) -> dict[str, object]:
    """True and found focal lengths in pixels, and what each way says of itself."""
    height, width = SIZE
    view = stereo_view(SimulatorConfig(height=height, width=width, seed=seed))
    view = replace(view, focal_px=0.5 * width / math.tan(math.radians(degrees) / 2))
    write_boards(folder / "boards", view, seed)
    board = calibrate_boards(folder / "boards", BOARD)
    result = {"degrees": degrees, "true_px": view.focal_px, "boards_px": board.calibration.fx, "rms_px": board.rms_px}
    for name, bends in BENDS.items():
        write_drive(folder / name, view, frames, seed, bends)
        result[name] = {"self": from_structure(folder / name), "turns": from_turns(folder / name, width)}
    return result


def from_structure(drive: Path) -> dict[str, object]:
    """What `egodepth calibrate --self` finds, and how far it trusts it."""
    try:
        found = calibrate_footage(drive)
    except UserError as error:
        return {"says": str(error)}
    runs = [run.focal_px for run in found.runs]
    return {"px": found.calibration.fx, "says_share": found.deviation, "runs_px": runs, "doubts": found.doubts}


def from_turns(drive: Path, width: int) -> dict[str, object]:
    """What `egodepth train video` starts from without COLMAP, where the turns tell."""
    recipe = replace(recipe_named("video"), intrinsics=LEARNED)
    size = size_for(recipe.height, recipe.width, SIZE)
    with tempfile.TemporaryDirectory() as cache:
        sets = open_training_sets(drive, recipe.data, LEARNED, recipe.views, *size, Path(cache))
        sets = replace(sets, learning=tuple(replace(camera, paths=()) for camera in sets.learning))
        try:
            [camera] = started_cameras(sets, recipe, move=False, folder=Path(cache))
        except UserError as error:
            return {"says": str(error)}
    return {"px": float(camera.start[0, 0]) * width}


def write_drive(folder: Path, view: StereoView, frames: int, seed: int, bends: float) -> None:
    """The left pictures of a drive; those that an earlier call left are kept."""
    folder.mkdir(parents=True, exist_ok=True)
    street = build_street(np.random.default_rng([seed, 1]), frames, 10.0, False, bends)
    atlas, shadows = paint_atlas(np.random.default_rng([seed, 0])), cast_shadows(street)
    for frame in tracked(range(frames), folder.parent.name):
        file = folder / f"{frame:06d}.png"
        if not file.is_file():
            solids, pose = street.solids_at(frame), street.poses[frame]
            hits = cast_pair(view, pose, solids, street.road.profile)
            Image.fromarray(paint_pair(view, pose, solids, hits, atlas, shadows)[0]).save(file, compress_level=1)


def write_boards(folder: Path, view: StereoView, seed: int) -> None:
    """A chessboard as the camera sees it, from many sides and all over the picture."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng([seed, 2])
    squares = np.indices((BOARD.rows + 1, BOARD.columns + 1)).sum(0) % 2
    flat = np.pad(np.kron(squares, np.ones((SQUARE_PX, SQUARE_PX))) * 195 + 30, SQUARE_PX, constant_values=225)
    to_squares = np.diag([1 / SQUARE_PX, 1 / SQUARE_PX, 1.0])
    to_squares[:2, 2] = -1 - np.array([BOARD.columns + 1, BOARD.rows + 1]) / 2
    camera = np.array([[view.focal_px, 0, view.centre_x_px], [0, view.focal_px, view.centre_y_px], [0, 0, 1]])
    reach = np.array([view.width, view.height]) / 2 / view.focal_px
    for number in range(BOARD_PICTURES):
        turned = cv2.Rodrigues(np.array([*random.uniform(-0.45, 0.45, 2), random.uniform(-0.2, 0.2)]))[0]
        # So near that the board with its margin takes 60 to 90 % of the picture's width.
        distance = (BOARD.columns + 3) / (random.uniform(0.6, 0.9) * 2 * reach[0])
        side = np.array([(0, 0), (-1, -1), (1, -1), (-1, 1), (1, 1)][number % 5]) * reach * distance * 0.25
        plane = np.column_stack([turned[:, 0], turned[:, 1], [*side, distance]])
        seen = cv2.warpPerspective(
            flat.astype(np.uint8),
            camera @ plane @ to_squares,
            (view.width, view.height),
            flags=cv2.INTER_AREA,
            borderValue=200,
        )
        Image.fromarray(np.repeat(seen[..., None], 3, axis=2)).save(folder / f"{number:02d}.png", compress_level=1)


if __name__ == "__main__":
    main()
