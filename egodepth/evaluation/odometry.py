"""Absolute trajectory error over five-frame snippets, the odometry figure of SfMLearner and Monodepth2.

Source: Zhou et al. (CVPR 2017), section 4.2, with the definition that published code evaluates by: the root
of the summed squares is divided by the number of positions, not by its root, and what is chained are the
target-to-source transforms themselves, for prediction and ground truth alike.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from egodepth.progress import progress_bar

SNIPPET_FRAMES = 5

PredictTransform = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""From two consecutive images (H, W, 3) uint8 to the transform (4, 4) from the first camera to the second."""


@dataclass(frozen=True)
class OdometryResult:
    """Absolute trajectory error over the snippets of one sequence, in the unit of the ground truth (metres).

    Attributes:
        errors: one per snippet; the snippets at the end of the sequence, which are shorter, are among them.
    """

    errors: tuple[float, ...]

    @property
    def mean(self) -> float:
        return float(np.mean(self.errors))

    @property
    def std(self) -> float:
        return float(np.std(self.errors))

    def to_json(self) -> dict:
        """Plain data for `json.dumps`."""
        return {"ate_mean_m": self.mean, "ate_std_m": self.std, "snippets": len(self.errors)}


def predict_transforms(predict: PredictTransform, images: Sequence[np.ndarray], progress: bool = True) -> np.ndarray:
    """Transforms (N-1, 4, 4) between the consecutive frames of a sequence of N images."""
    with progress_bar(progress) as bar:
        pairs = bar.track(range(len(images) - 1), description="odometry")
        return np.stack([predict(images[index], images[index + 1]) for index in pairs])


def snippet_ate(transforms: np.ndarray, poses: np.ndarray, frames: int = SNIPPET_FRAMES) -> OdometryResult:
    """Absolute trajectory error of predicted transforms over all snippets of `frames` frames.

    Args:
        transforms: (N-1, 4, 4), predicted, points of frame i to frame i+1, up to scale.
        poses: (N, 4, 4), ground truth, camera to world.
    """
    if len(transforms) != len(poses) - 1 or len(poses) < 2:
        raise ValueError(f"expected N-1 transforms for N poses, N at least 2; got {len(transforms)} and {len(poses)}")
    truths = np.linalg.inv(np.linalg.inv(poses[:-1]) @ poses[1:])
    snippets = (slice(start, start + frames - 1) for start in range(len(truths)))
    errors = (trajectory_error(positions(transforms[part]), positions(truths[part]))[0] for part in snippets)
    return OdometryResult(tuple(errors))


def positions(transforms: np.ndarray) -> np.ndarray:
    """Positions (n+1, 3) along n chained transforms (n, 4, 4), from the origin, by right multiplication."""
    chained = [np.eye(4)]
    for transform in transforms:
        chained.append(chained[-1] @ transform)
    return np.stack(chained)[:, :3, 3]


def trajectory_error(predicted: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """Error of positions (n, 3) against ground truth (n, 3), and the scale applied to the prediction.

    The prediction's first position is moved on the truth's, then one least-squares scale about the origin is
    applied; it is 0 for a prediction that stands still there.
    """
    moved = predicted + (truth[0] - predicted[0])
    length = np.sum(moved**2)
    scale = float(np.sum(truth * moved) / length) if length > 0 else 0.0
    return float(np.sqrt(np.sum((scale * moved - truth) ** 2)) / len(truth)), scale
