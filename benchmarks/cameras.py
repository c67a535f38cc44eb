"""How far a model's metres hold for cameras that it was not trained with: fields of view and heights, each alone.

    python -m benchmarks.cameras starter --out cameras.json

Streets are simulated, the same places, days and drives for every camera, and the model is told each one's intrinsics.
The ratio is that of the medians of exact and predicted depth, its median over images; 1 is right. It is given as the
model comes, and with the scale that `egodepth scale --camera-height` finds in the same street.
"""

import argparse
import json
import statistics
import tempfile
from pathlib import Path

from benchmarks.judged_streets import judged_streets
from egodepth.files import write_text
from egodepth.models.evaluating import evaluate_model
from egodepth.models.released import ReleasedModel
from egodepth.scaling.asked import ScaleSource
from egodepth.scaling.found import Footage

FIELDS_OF_VIEW = 45, 60, 75, 90
HEIGHTS_M = 1.3, 1.65, 2.2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--seed", type=int, default=4000)
    options = parser.parse_args()
    model = ReleasedModel.open(options.model)
    before = model.scale.metres_per_unit
    found = []
    for degrees in FIELDS_OF_VIEW:
        for height in HEIGHTS_M:
            with tempfile.TemporaryDirectory() as folder:
                street = judged_streets(Path(folder) / "street", options.seed, degrees, height)
                result = evaluate_model(options.model, street, "simulated", scaling="none")
                rescaled = ScaleSource(camera_height=height).find(model, Footage(street), "cpu")
            found.append(
                {
                    "degrees": degrees,
                    "height_m": height,
                    "ratio": result.scale_ratio,
                    "ratio_by_height": result.scale_ratio * before / rescaled.scale.metres_per_unit,
                    "spread": result.scale_ratio_std,
                    "abs_rel": result.metrics["abs_rel"],
                    "images": result.images,
                }
            )
            print(json.dumps(found[-1]), flush=True)
    for name in ("ratio", "ratio_by_height"):
        ratios = [each[name] for each in found]
        print(f"{name}: median {statistics.median(ratios):.3f}, from {min(ratios):.3f} to {max(ratios):.3f}")
    if options.out is not None:
        write_text(options.out, json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
