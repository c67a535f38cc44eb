"""Whether a picture of another field of view had better be brought to that of the training before it is seen.

    python -m benchmarks.fields_of_view MODEL --ddad DGP --out fields-of-view.json

As `predict` does it, the picture is seen whole and its metres are multiplied by the ratio of the focal lengths. Here a
wider picture is also cut to the training's field of view, and a narrower one is padded to it by its border's colours.
The same pixels count both ways: those of the cut. Streets are simulated at 1.65 m; DDAD's cameras have laser points.
"""

import argparse
import json
import statistics
import tempfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from benchmarks.judged_streets import judged_streets
from egodepth.data.ddad.scenes import DdadFrames
from egodepth.data.opening import open_evaluation_frames
from egodepth.data.samples import EvaluationFrame
from egodepth.errors import UserError
from egodepth.evaluation.protocols import protocol_named
from egodepth.files import write_text
from egodepth.inference.predictor import Predictor
from egodepth.models.opening import load

FIELDS_OF_VIEW = 45, 60, 75, 90
HEIGHT_M = 1.65
FARTHEST_M = 80.0
DDAD_CAMERAS = {1: "front", 5: "left", 6: "right", 7: "left, behind", 8: "right, behind", 9: "behind"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--ddad", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--seed", type=int, default=4000)
    options = parser.parse_args()
    predictor = load(options.model)
    found = {}
    for degrees in FIELDS_OF_VIEW:
        with tempfile.TemporaryDirectory() as folder:
            street = judged_streets(Path(folder) / "street", options.seed, degrees, HEIGHT_M)
            frames = open_evaluation_frames(street, protocol_named("simulated").frames)
            found[f"street, {degrees} degrees"] = compared(predictor, frames)
    for number, where in DDAD_CAMERAS.items() if options.ddad else ():
        try:
            frames = DdadFrames(options.ddad, camera=f"camera_{number:02d}")
        except UserError:  # one of the scenes is without it
            continue
        found[f"DDAD's format, camera {number} ({where})"] = compared(predictor, frames)
    print(json.dumps(found, indent=2))
    if options.out is not None:
        write_text(options.out, json.dumps(found, indent=2) + "\n")


def compared(predictor: Predictor, frames: Iterable[EvaluationFrame]) -> dict[str, float]:
    """Ratio of the medians and relative error in metres, of both ways; means over the frames."""
    rows = []
    for frame in frames:
        ratio = predictor.focal_ratio(frame.camera)
        top, left, height, width = middle(frame.image.shape[:2], min(1.0, ratio))
        part = np.s_[top : top + height, left : left + width]
        whole = seen(predictor, frame.image, frame.camera)[part]
        if ratio < 1:
            brought = seen(predictor, frame.image[part], frame.camera.crop(top, left, height, width))
        else:
            brought = padded(predictor, frame.image, ratio)
        truth = frame.depth[part]
        counted = (truth > 0) & (truth < FARTHEST_M)
        rows.append([each for depth in (whole, brought) for each in judged(depth[counted], truth[counted])])
    ratios, errors, brought_ratios, brought_errors = (
        [float(value) for value in column] for column in zip(*rows, strict=True)
    )
    return {
        "focal ratio": round(ratio, 3),
        "images": len(rows),
        "scale ratio": statistics.median(ratios),
        "abs_rel": statistics.fmean(errors),
        "scale ratio, brought to the training's": statistics.median(brought_ratios),
        "abs_rel, brought to the training's": statistics.fmean(brought_errors),
    }


def middle(size: tuple[int, int], share: float) -> tuple[int, int, int, int]:
    """Top, left, height and width of the middle part of a picture."""
    height, width = (max(1, round(share * side)) for side in size)
    return (size[0] - height) // 2, (size[1] - width) // 2, height, width


def seen(predictor: Predictor, image: np.ndarray, camera: object) -> np.ndarray:
    """The depth (H, W) of a picture, seen whole."""
    return predictor.fitted_to(*image.shape[:2]).predict_images([np.ascontiguousarray(image)], [camera])[0]


def padded(predictor: Predictor, image: np.ndarray, ratio: float) -> np.ndarray:
    """The depth (H, W) of a picture that is made `ratio` times as wide and high before it is seen."""
    above, beside = (round(side * (ratio - 1) / 2) for side in image.shape[:2])
    larger = np.pad(image, ((above, above), (beside, beside), (0, 0)), mode="edge")
    depth = seen(predictor, larger, None)
    return depth[above : above + image.shape[0], beside : beside + image.shape[1]]


def judged(depth: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """Ratio of the medians of the exact and the predicted depth, and the relative error as it comes."""
    return float(np.median(truth) / np.median(depth)), float(np.mean(np.abs(depth - truth) / truth))


if __name__ == "__main__":
    main()
