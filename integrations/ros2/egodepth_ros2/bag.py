"""`bag MODEL BAG --out FOLDER`: the depth of a recorded drive as a bag of ROS 2. Needs rosbags and no ROS."""

import sys
from pathlib import Path
from typing import Literal

import tyro
from tyro.conf import Positional

import egodepth
from egodepth.errors import UserError
from egodepth.inference.depth_bags import predict_bag


def bag(
    model: Positional[str],
    recorded: Positional[Path],
    *,
    out: Path,
    encoding: Literal["32FC1", "16UC1"] = "32FC1",
    storage: Literal["mcap", "sqlite3"] = "mcap",
    scale: float | None = None,
    device: str = "cpu",
) -> None:
    """Write the depth of a bag's pictures as a bag.

    Args:
        model: released model folder, run folder, hub id, or starter.
        recorded: bag of ROS 1 (.bag) or ROS 2 (folder, .mcap, .db3).
        out: folder of the new bag.
        encoding: metres as floats, or millimetres as whole numbers.
        storage: of the new bag.
        scale: metres per unit of depth, for a model that is up to scale.
        device: where the network runs.
    """
    predictor = egodepth.load(model, device)
    if scale is not None:
        predictor = predictor.with_scale(scale)
    count = predict_bag(predictor, recorded, out, encoding, storage)
    print(f"Wrote {count} depth images to {out}.")


def main() -> None:
    """The program."""
    try:
        tyro.cli(bag)
    except UserError as error:
        print(f"bag: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
