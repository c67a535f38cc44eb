"""Copies of a teacher's maps that say less, or lie: for measuring what a student makes of them.

    python -m benchmarks.spoiled_maps maps out --seed 0

writes `out/affine`, in which each map has a factor and a shift of its own, and `out/spoiled`, in which one map of ten
is mirrored, moved sideways by a third of its width, or the same everywhere, each as often.
"""

import argparse
import json
from pathlib import Path

import numpy as np

from egodepth.data.configurations import TeacherMapsConfig
from egodepth.data.teacher_maps import DESCRIPTION, open_maps
from egodepth.files import write_text

SPOILED_EVERY = 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("maps", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    maps = open_maps(str(options.maps), options.maps, TeacherMapsConfig())
    random = np.random.default_rng(options.seed)
    keys = sorted(maps.files)
    spoiled = {keys[place]: kind for kind, place in enumerate(random.permutation(len(keys))[::SPOILED_EVERY])}
    for key in keys:
        inverse_depth = maps.read(maps.files[key])
        factor, shift = float(np.exp(random.uniform(-2, 2))), random.uniform(-1, 1) * float(np.nanmax(inverse_depth))
        save(options.out / "affine", key, factor * (inverse_depth + shift))
        save(options.out / "spoiled", key, spoilt(inverse_depth, spoiled[key]) if key in spoiled else inverse_depth)
    describe(options.out / "affine", "scale-and-shift")
    describe(options.out / "spoiled", maps.units)
    print(f"{len(keys)} maps, {len(spoiled)} of them spoiled")


def spoilt(inverse_depth: np.ndarray, kind: int) -> np.ndarray:
    """A map (H, W) that is mirrored, moved sideways, or of one depth, by turns."""
    match kind % 3:
        case 0:
            return inverse_depth[:, ::-1]
        case 1:
            return np.roll(inverse_depth, inverse_depth.shape[1] // 3, axis=1)
        case _:
            return np.full_like(inverse_depth, np.nanmedian(inverse_depth))


def save(folder: Path, key: str, values: np.ndarray) -> None:
    file = folder / f"{key}.npy"
    file.parent.mkdir(parents=True, exist_ok=True)
    np.save(file, values.astype(np.float32))


def describe(folder: Path, units: str) -> None:
    write_text(folder / DESCRIPTION, json.dumps({"values": "inverse-depth", "units": units}, indent=2) + "\n")


if __name__ == "__main__":
    main()
