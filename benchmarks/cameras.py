"""How far a model's metres hold for cameras that it was not trained with: fields of view and heights, each alone.

    python -m benchmarks.cameras starter --out cameras.json

Streets are simulated, the same places, days and drives for every camera, and the model is told each one's intrinsics.
The ratio is that of the medians of exact and predicted depth, its median over the images of all streets; 1 is right.
It is given as the model comes, and with the scale that `egodepth scale --camera-height` finds in each seed's streets.
"""

import argparse
import json
import statistics
import tempfile
from itertools import chain, product
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
    parser.add_argument("--seeds", type=int, nargs="+", default=[4000, 4001, 4002])
    options = parser.parse_args()
    model = ReleasedModel.open(options.model)
    found = []
    for degrees, height in product(FIELDS_OF_VIEW, HEIGHTS_M):
        of_seeds, by_height = zip(*(measured(model, seed, degrees, height) for seed in options.seeds), strict=True)
        ratios = list(chain(*of_seeds))
        found.append(
            {
                "degrees": degrees,
                "height_m": height,
                "ratio": statistics.median(ratios),
                "ratio_by_height": statistics.median(chain(*by_height)),
                "spread": statistics.stdev(ratios),
                "of_seeds": [statistics.median(own) for own in of_seeds],
                "images": len(ratios),
            }
        )
        print(json.dumps(found[-1]), flush=True)
    for name in ("ratio", "ratio_by_height"):
        ratios = [each[name] for each in found]
        print(f"{name}: median {statistics.median(ratios):.3f}, from {min(ratios):.3f} to {max(ratios):.3f}")
    if options.out is not None:
        write_text(options.out, json.dumps(found, indent=2) + "\n")


def measured(model: ReleasedModel, seed: int, degrees: float, height_m: float) -> tuple[list[float], list[float]]:
    """The images' ratios in the streets of a seed, as the model comes, and scaled by the camera's height."""
    with tempfile.TemporaryDirectory() as folder:
        street = judged_streets(Path(folder) / "street", seed, degrees, height_m)
        ratios = [row.ratio for row in evaluate_model(model.name, street, "simulated", scaling="none").rows]
        scale = ScaleSource(camera_height=height_m).find(model, Footage(street), "cpu").scale
    change = model.scale.metres_per_unit / scale.metres_per_unit
    return ratios, [ratio * change for ratio in ratios]


if __name__ == "__main__":
    main()
