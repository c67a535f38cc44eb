"""How much less depth flickers with `--steady`, what that costs in accuracy, and what it costs in time.

    egodepth simulate STREET --frames 160 --drives 2 --moving-cars --seed 77
    python -m benchmarks.steady starter STREET --out steady.json

The error of each pixel is the logarithm of predicted over exact depth. Flicker is how much that error differs between
a point's place in a frame and in the next one, where the exact depth and the exact poses say that both see it: a scale
that is wrong throughout costs nothing, a wall that pumps does. Each frame is timed by both ways in turn.
"""

import argparse
import json
import statistics
import time
from pathlib import Path

import numpy as np

from benchmarks.regions import OCCLUDED, seen_from
from egodepth.data.images import list_images, read_depth_png, read_image
from egodepth.data.kitti.poses import read_poses
from egodepth.data.kitti.raw import KittiTree
from egodepth.files import write_text
from egodepth.inference.steady import Steady
from egodepth.models.opening import open_for_use


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("street", type=Path)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    model = open_for_use(options.model, pictures=None).predictor
    results = [
        measured(model, options.street, drive) for drive in sorted(options.street.glob("*/*_sync")) if drive.is_dir()
    ]
    shown = {key: statistics.mean(result[key] for result in results) for key in results[0]}
    shown["flicker_ratio"] = shown["flicker_steady"] / shown["flicker"]
    shown["time_share"] = shown["steady_ms"] / shown["frame_ms"]
    for key, value in shown.items():
        print(f"{key:16} {value:.4f}")
    if options.out is not None:
        write_text(options.out, json.dumps(shown, indent=2) + "\n")


def measured(model, street: Path, drive: Path) -> dict[str, float]:
    """The figures of one drive."""
    frames = list_images(drive / "image_02" / "data")
    truths = drive / "proj_depth" / "groundtruth" / "image_02"
    poses = read_poses(drive / "poses.txt")
    camera = KittiTree(street).calibration(f"{drive.parent.name}/{drive.name}").camera("l")
    fitted = model.fitted_to(camera.height, camera.width)
    steady = Steady(float(camera.normalised()[0, 0]))
    errors: dict[str, list] = {"plain": [], "steady": []}
    abs_rel: dict[str, list[float]] = {"plain": [], "steady": []}
    seconds: dict[str, list[float]] = {"frame": [], "steady": []}
    depths = []
    for frame in frames:
        start = time.perf_counter()
        image = fitted.reduce_image(read_image(frame))
        inverse_depth = fitted.predict_inverse_depth(image)
        middle = time.perf_counter()
        joined = steady(image, inverse_depth)
        end = time.perf_counter()
        fitted.enlarge(inverse_depth, camera.height, camera.width)
        seconds["frame"].append(middle - start + time.perf_counter() - end)
        seconds["steady"].append(end - middle)
        exact = read_depth_png(truths / f"{frame.stem}.png")
        depths.append(exact)
        for name, each in (("plain", inverse_depth), ("steady", joined)):
            depth = fitted.enlarge(each, camera.height, camera.width)
            known = (exact > 0) & (exact < 80)
            error = np.where(known, np.log(depth / np.where(known, exact, 1)), np.nan)
            errors[name].append(error)
            scaled = depth[known] * np.median(exact[known]) / np.median(depth[known])
            abs_rel[name].append(float(np.mean(np.abs(scaled / exact[known] - 1))))
    intrinsics = camera.intrinsics.astype(np.float64)
    flicker = {name: flicker_of(each, depths, poses, intrinsics) for name, each in errors.items()}
    return {
        "flicker": flicker["plain"],
        "flicker_steady": flicker["steady"],
        "abs_rel": statistics.mean(abs_rel["plain"]),
        "abs_rel_steady": statistics.mean(abs_rel["steady"]),
        "frame_ms": 1000 * statistics.median(seconds["frame"]),
        "steady_ms": 1000 * statistics.median(seconds["steady"]),
    }


def flicker_of(errors: list[np.ndarray], depths: list[np.ndarray], poses: np.ndarray, intrinsics: np.ndarray) -> float:
    """Mean difference of the error of points between a frame and the next, over all of a drive."""
    differences = []
    for place in range(len(errors) - 1):
        motion = np.linalg.inv(poses[place + 1]) @ poses[place]
        seen = seen_from(depths[place], motion, intrinsics)
        visible = np.abs(depths[place + 1][seen.rows, seen.columns] / seen.depth - 1) < OCCLUDED
        difference = np.abs(errors[place + 1][seen.rows, seen.columns] - errors[place][seen.inside])[visible]
        differences.append(float(np.nanmean(difference)))
    return statistics.mean(differences)


if __name__ == "__main__":
    main()
