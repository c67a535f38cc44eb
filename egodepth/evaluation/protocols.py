"""Evaluation protocols as values: which pixels count, and how a prediction is brought to the ground truth.

Two figures can be compared only when they come from one protocol, so every result names its own. A new
protocol is an entry of `PROTOCOLS`; what it does differently is a function in one of the fields.

Sources: Monodepth2 (Godard et al., ICCV 2019), section 4 and its published evaluation; Garg et al. (ECCV
2016) for the crop; Menze and Geiger (CVPR 2015) for KITTI Stereo 2015.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F

from egodepth.errors import UserError
from egodepth.evaluation.metrics import SEVEN

Window = tuple[slice, slice]
"""Rows and columns of an image."""

Scaling = Literal["auto", "median", "none"]
"""How predictions get their scale: by each image's medians, not at all, or as the protocol says."""


# --- regions ---------------------------------------------------------------------------------------------------------


def whole_image(height: int, width: int) -> Window:
    """Every pixel counts."""
    return slice(0, height), slice(0, width)


def garg_crop(height: int, width: int) -> Window:
    """The part of a KITTI image that laser points cover well; bounds are truncated, ends exclusive."""
    rows = slice(int(0.40810811 * height), int(0.99189189 * height))
    columns = slice(int(0.03594771 * width), int(0.96405229 * width))
    return rows, columns


# --- from a network's output to depth at the ground truth's size -----------------------------------------------------


def resize_inverse_depth(disparity: np.ndarray, height: int, width: int) -> np.ndarray:
    """Depth (height, width) from inverse depth (H, W), resized as such: bilinear, half-pixel centres.

    Nothing is smoothed when the size shrinks. An inverse depth of zero or less counts as very far.
    """
    resized = F.interpolate(
        torch.from_numpy(np.ascontiguousarray(disparity, dtype=np.float32))[None, None],
        size=(height, width),
        mode="bilinear",
        align_corners=False,
    )
    return (1 / resized.clamp(min=1e-6))[0, 0].numpy()


def blend_flipped(disparity: np.ndarray, flipped_back: np.ndarray) -> np.ndarray:
    """Join a prediction with the one of the mirrored image, which is free of the other's occlusion shadows.

    The left 5 % come from the mirrored prediction alone, the right 5 % from the direct one, the middle from
    their mean, with linear transitions up to 10 % of the width. Source: Monodepth (Godard et al., CVPR 2017).

    Args:
        disparity: (..., H, W) inverse depth of the image, at the network's resolution.
        flipped_back: (..., H, W) inverse depth of the mirrored image, mirrored back.
    """
    column = np.linspace(0, 1, disparity.shape[-1])
    left = 1 - np.clip(20 * (column - 0.05), 0, 1)
    right = left[::-1]
    blended = right * disparity + left * flipped_back + (1 - left - right) * (disparity + flipped_back) / 2
    return blended.astype(disparity.dtype)


# --- protocols -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Protocol:
    """How one published table of figures is made. All: metrics per image, then the mean over images.

    Attributes:
        name: what the command line and every result call it.
        summary: one line for people.
        region: which rows and columns of the ground truth count, by its height and width.
        nearest_m, farthest_m: ground truth strictly between them counts.
        scaling: "by-model" is the median ratio of each image for models that predict up to scale, and none
            for models in metres; "median" is the median ratio for every model.
        median: which median; NumPy's is the mean of the two middle values.
        resize: takes inverse depth (H, W), a height and a width; gives depth of that size.
        clamp_m: bounds of the prediction after scaling.
        blend: joins the predictions of the image and its mirror when post-processing is asked for.
        metrics: names in `metrics.METRICS`, in the order of the table.
    """

    name: str
    summary: str
    region: Callable[[int, int], Window] = whole_image
    nearest_m: float = 1e-3
    farthest_m: float = 80.0
    scaling: Literal["by-model", "median"] = "by-model"
    median: Callable[[np.ndarray], float] = np.median
    resize: Callable[[np.ndarray, int, int], np.ndarray] = resize_inverse_depth
    clamp_m: tuple[float, float] = (1e-3, 80.0)
    blend: Callable[[np.ndarray, np.ndarray], np.ndarray] = blend_flipped
    metrics: tuple[str, ...] = SEVEN

    def mask(self, ground_truth: np.ndarray) -> np.ndarray:
        """The pixels (H, W) bool of a ground truth (H, W) in metres that count."""
        inside = np.zeros(ground_truth.shape, dtype=bool)
        inside[self.region(*ground_truth.shape)] = True
        return inside & (ground_truth > self.nearest_m) & (ground_truth < self.farthest_m)

    def scales_by_median(self, scaling: Scaling, metric_scale: bool) -> bool:
        """Whether predictions are multiplied by the ratio of the medians.

        Args:
            scaling: "auto" is the protocol's own rule; "median" and "none" overrule it.
            metric_scale: the model predicts metres.
        """
        if scaling == "auto":
            return self.scaling == "median" or not metric_scale
        return scaling == "median"


PROTOCOLS: dict[str, Protocol] = {
    protocol.name: protocol
    for protocol in (
        Protocol(
            name="eigen",
            summary="Eigen split against raw laser points: Garg crop, up to 80 m",
            region=garg_crop,
        ),
        Protocol(
            name="eigen-benchmark",
            summary="Eigen split against KITTI's improved ground truth: every pixel with a value",
            nearest_m=0.0,
            farthest_m=np.inf,
        ),
        # Eigen's region and range, and the median ratio for every model, so that models in metres and models
        # up to scale stand in one table.
        Protocol(
            name="kitti-2015",
            summary="KITTI Stereo 2015: Garg crop, up to 80 m, median scaling for every model",
            region=garg_crop,
            scaling="median",
        ),
        # As the stereo papers report it.
        Protocol(
            name="kitti-2015-full",
            summary="KITTI Stereo 2015: every pixel with a value",
            nearest_m=0.0,
            farthest_m=np.inf,
        ),
        Protocol(
            name="simulated",
            summary="Simulated street: exact depth of every pixel up to 80 m",
        ),
    )
}


def protocol_named(name: str) -> Protocol:
    """The protocol of this name.

    Raises:
        UserError: there is none.
    """
    if name not in PROTOCOLS:
        raise UserError(f"protocol {name!r} is not known; choose one of {', '.join(PROTOCOLS)}.")
    return PROTOCOLS[name]
