"""How well motions between frames are solved, against the inertial unit of KITTI's car.

    python -m benchmarks.motions KITTI/2011_09_26/*_sync [--model starter-large] [--every 6]

From each frame to the next one: by points whose depth a model gives (resection), and by epipolar lines from there on,
which is what `--motion flow` trains with. The unit gives how fast the car turns and goes. The direction of the way has
no such truth: a car that drives goes straight ahead, and what leads aside is off.
"""

import argparse
import json
from pathlib import Path

import cv2
import numpy as np
import torch

from egodepth.data.images import read_image, resize_image
from egodepth.geometry.epipolar import solved_motion
from egodepth.geometry.matches import matches
from egodepth.geometry.resection import resection
from egodepth.methods.solved_motions import EVERY_PX
from egodepth.models.opening import load

FOCAL_PX, CENTRE = 721.5377, (609.5593, 172.854)
SIZE = 128, 416
SECONDS = 0.1036
"""Between frames."""
SPEED, TURN = 8, 22
"""Columns of the unit's files: metres forward, and radians to the left, a second. What stands turns right then."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("drives", type=Path, nargs="+")
    parser.add_argument("--model", default="starter-large")
    parser.add_argument("--every", type=int, default=6)
    options = parser.parse_args()
    model, errors = load(options.model), {"resection": [], "epipolar": []}
    for drive in options.drives:
        files = sorted((drive / "image_02" / "data").iterdir())
        for file, after in zip(files[:: options.every], files[1 :: options.every], strict=False):
            said = drive / "oxts" / "data" / f"{file.stem}.txt"
            if said.is_file():
                unit = np.array(said.read_text().split(), dtype=float)
                for name, motion in solved(model, read_image(file), read_image(after)).items():
                    errors[name].append(compared(motion, unit[SPEED] * SECONDS, np.degrees(unit[TURN]) * SECONDS))
    for name, found in errors.items():
        turn, aside, length = np.array(found).T
        figures = {
            "pairs": len(found),
            "turn off, median, degrees": float(np.median(np.abs(turn))),
            "turn off, largest, degrees": float(np.abs(turn).max()),
            "way aside, median, share of its length": float(np.median(aside)),
            "way aside, largest": float(aside.max()),
            "length to the car's, median": float(np.median(length)),
            "its spread": float(length.std()),
        }
        print(name, json.dumps({key: round(figure, 3) for key, figure in figures.items()}))


def solved(model, image: np.ndarray, after: np.ndarray) -> dict[str, torch.Tensor]:
    """The motions (4, 4) from one frame to the next one, (H, W, 3) uint8, by either way."""
    height, width = image.shape[:2]
    scale = np.array([SIZE[1] / width, SIZE[0] / height])
    (fx, fy), (cx, cy) = FOCAL_PX * scale, np.array(CENTRE) * scale
    intrinsics = torch.tensor([[[fx, 0, cx], [0, fy, cy], [0, 0, 1]]], dtype=torch.float32)
    ratio = 1.0 if model.focal is None else FOCAL_PX / width / model.focal
    depth = ratio / cv2.resize(model.predict_inverse_depth(image), SIZE[::-1])
    one, other = (
        torch.tensor(resize_image(each, *SIZE)).permute(2, 0, 1)[None].float() / 255 for each in (image, after)
    )
    found = matches(one, other, torch.from_numpy(depth)[None, None].float(), every_px=EVERY_PX)
    points = found.points(intrinsics)
    ways = {"resection": resection, "epipolar": solved_motion}
    return {name: solve(points, found.places, found.valid, intrinsics)[0] for name, solve in ways.items()}


def compared(motion: torch.Tensor, metres: float, degrees: float) -> tuple[float, float, float]:
    """By how many degrees the turn is off; what share of the way leads aside; and its length, in the car's."""
    turn, _ = cv2.Rodrigues(motion[:3, :3].double().numpy())
    way = motion[:3, 3].numpy()
    length = float(np.linalg.norm(way))
    return float(np.degrees(turn[1, 0])) - degrees, float(np.hypot(*way[:2])) / length, length / metres


if __name__ == "__main__":
    main()
