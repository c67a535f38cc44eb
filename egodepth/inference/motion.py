"""How a camera moved between pictures, by a model's own depth."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from egodepth.geometry.camera_motion import camera_motion
from egodepth.geometry.cameras import Camera
from egodepth.inference.predictor import Predictor


def predicted_motions(
    predictor: Predictor,
    earlier: Sequence[np.ndarray],
    later: Sequence[np.ndarray],
    neighbours: Sequence[Mapping[int, np.ndarray]],
    camera: Camera,
    mask: np.ndarray | None = None,
) -> Tensor:
    """The transforms (B, 4, 4), earlier camera to later, in the unit of the predictor's depth for its own camera.

    Args:
        predictor: in the form of the pictures.
        earlier, later: B pictures each, (H, W, 3) uint8.
        neighbours: of the earlier ones, see `Predictor.predict_images`.
        camera: of all of them.
        mask: (height, width) bool of the predictor, the pixels that show the scene; none is all.
    """
    count = len(earlier)
    depth = torch.from_numpy(predictor.predict_inverse_depths(earlier, neighbours)).reciprocal()[:, None]
    small = camera.resize(predictor.height, predictor.width)
    intrinsics = torch.as_tensor(small.intrinsics, dtype=torch.float32).expand(count, 3, 3)
    shown = None if mask is None else torch.from_numpy(mask).expand(count, 1, -1, -1)
    return camera_motion(_tensor(predictor, earlier), _tensor(predictor, later), depth, intrinsics, shown)


def _tensor(predictor: Predictor, pictures: Sequence[np.ndarray]) -> Tensor:
    reduced = np.stack([predictor.reduce_image(picture) for picture in pictures])
    return torch.from_numpy(reduced).permute(0, 3, 1, 2).float() / 255
