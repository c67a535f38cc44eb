"""KITTI's odometry benchmark: sequences of images with poses."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from egodepth.data.images import list_images
from egodepth.data.samples import PosedSequence
from egodepth.errors import UserError
from egodepth.files import read_text


def benchmark_sequences(root: Path) -> dict[str, Callable[[], PosedSequence]]:
    """Openers of the benchmark's sequences that have poses, `poses/NN.txt` and `sequences/NN/image_2`."""
    return {
        file.stem: partial(read_sequence, file.stem, root / "sequences" / file.stem / "image_2", file)
        for file in sorted((root / "poses").glob("*.txt"))
    }


def read_sequence(name: str, images: Path, poses: Path) -> PosedSequence:
    """A sequence from its folder of images and its file of poses.

    Raises:
        UserError: one of them is missing or damaged, or they differ in number.
    """
    return PosedSequence(name, list_images(images), read_poses(poses))


def read_poses(file: Path | str) -> np.ndarray:
    """Read camera-to-world poses (N, 4, 4) float64 from lines of 12 numbers, the rows of 3x4 matrices.

    Raises:
        UserError: the file is missing or empty, or a line has another form.
    """
    file = Path(file)
    if not file.is_file():
        raise UserError(f"{file}: no such pose file. Check the path.")
    poses = []
    for number, line in enumerate(read_text(file).splitlines(), 1):
        if not line.strip():
            continue
        try:
            rows = np.array(line.split(), dtype=np.float64).reshape(3, 4)
        except ValueError:
            raise UserError(f"{file}, line {number}: expected 12 numbers, found `{line.strip()[:60]}`.") from None
        poses.append(np.vstack([rows, [0, 0, 0, 1]]))
    if not poses:
        raise UserError(f"{file}: is empty. Expected one pose of 12 numbers a line.")
    return np.stack(poses)
