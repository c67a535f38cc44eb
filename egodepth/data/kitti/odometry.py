"""KITTI's odometry benchmark: sequences of images with poses."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from egodepth.data.images import list_images
from egodepth.data.kitti.poses import read_poses
from egodepth.data.samples import PosedSequence


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
