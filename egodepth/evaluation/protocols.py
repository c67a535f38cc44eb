"""Evaluation protocols as values: which pixels count, and how a prediction is brought to the ground truth.

Two figures can be compared only when they come from one protocol, so every result names its own. A new
protocol is an entry of `PROTOCOLS`; what it does differently is a function in one of the fields.

Sources: Monodepth2 (Godard et al., ICCV 2019), section 4 and its published evaluation; Garg et al. (ECCV
2016) for the crop; Menze and Geiger (CVPR 2015) for KITTI Stereo 2015; the datasets specification, sections 1.6
(Cityscapes), 2.5 (DDAD), 3.2 (Make3D), 4 (KITTI's benchmarks) and 7 (all of them in one table); SDFA-Net
specification, section 8.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from egodepth.data.samples import EvaluationFrame
from egodepth.errors import UserError
from egodepth.evaluation.metrics import SEVEN
from egodepth.evaluation.names import Scaling

Window = tuple[slice, slice]
"""Rows and columns of an image."""


# --- regions ---------------------------------------------------------------------------------------------------------


def whole_image(height: int, width: int) -> Window:
    """Every pixel counts."""
    return slice(0, height), slice(0, width)


def garg_crop(height: int, width: int) -> Window:
    """The part of a KITTI image that laser points cover well; bounds are truncated, ends exclusive."""
    rows = slice(int(0.40810811 * height), int(0.99189189 * height))
    columns = slice(int(0.03594771 * width), int(0.96405229 * width))
    return rows, columns


def upper_three_quarters(height: int, width: int) -> Window:
    """Cityscapes without the lower quarter, where the bonnet is: rows 0 to 767 of 1024."""
    return slice(0, round(0.75 * height)), slice(0, width)


def manydepth_region(height: int, width: int) -> Window:
    """Where ManyDepth and its followers compare on Cityscapes: rows 256 to 767 and columns 192 to 1855 of 768x2048."""
    return slice(height // 3, height), slice(int(0.09375 * width), int(0.90625 * width))


def middle_two_to_one(height: int, width: int) -> Window:
    """The middle rows of an upright image that are half as many as its columns: Make3D's 710 to 1561 of 2272x1704."""
    rows = width // 2
    top = (height - rows) // 2
    return slice(top, top + rows), slice(0, width)


def make3d_middle_rows(height: int, width: int) -> Window:
    """The rows of Make3D's laser grid behind `middle_two_to_one`: 17 to 37 of 55."""
    rows = round(height * 21 / 55)
    top = (height - rows) // 2
    return slice(top, top + rows), slice(0, width)


# --- from a network's output to depth at the ground truth's size -----------------------------------------------------


def resize_inverse_depth(disparity: np.ndarray, height: int, width: int) -> np.ndarray:
    """Depth (height, width) from inverse depth (H, W), resized as such: bilinear, half-pixel centres.

    Nothing is smoothed when the size shrinks. An inverse depth of zero or less counts as very far.
    """
    return _depth(_bilinear(_as_tensor(disparity), height, width))


def resize_depth(disparity: np.ndarray, height: int, width: int) -> np.ndarray:
    """Depth (height, width) from inverse depth (H, W), inverted first and resized as depth: half-pixel centres."""
    return _bilinear(torch.from_numpy(_depth(_as_tensor(disparity))), height, width).numpy()


def resize_depth_with_corners(disparity: np.ndarray, height: int, width: int) -> np.ndarray:
    """As `resize_depth`, but the centres of the corner pixels stay corners (PackNet's evaluation on DDAD)."""
    return _bilinear(torch.from_numpy(_depth(_as_tensor(disparity))), height, width, align_corners=True).numpy()


def resize_to_nearest(disparity: np.ndarray, height: int, width: int) -> np.ndarray:
    """Depth (height, width) from inverse depth (H, W), each pixel the one at (floor(i H / height), floor(j W / width)).

    No value is mixed with another, so it does not matter which of the two is resized.
    """
    rows = np.arange(height) * disparity.shape[0] // height
    columns = np.arange(width) * disparity.shape[1] // width
    return _depth(_as_tensor(disparity[np.ix_(rows, columns)]))


def _as_tensor(disparity: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(disparity, dtype=np.float32))


def _bilinear(values: Tensor, height: int, width: int, align_corners: bool = False) -> Tensor:
    resized = F.interpolate(values[None, None], size=(height, width), mode="bilinear", align_corners=align_corners)
    return resized[0, 0]


def _depth(disparity: Tensor) -> np.ndarray:
    return (1 / disparity.clamp(min=1e-6)).numpy()


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


# --- scale -----------------------------------------------------------------------------------------------------------


def lower_median(values: np.ndarray) -> float:
    """The lower of the two middle values of an even count, as `torch.median` takes it; NumPy takes their mean."""
    middle = (values.size - 1) // 2
    return float(np.partition(values, middle, axis=None)[middle])


# --- protocols -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Protocol:
    """How one published table of figures is made. All: metrics per image, then the mean over images.

    A frame passes the fields in their order.

    Attributes:
        name: what the command line and every result call it.
        summary: one line for people.
        frames: the frames and the ground truth that it is made on, as `data.opening.open_evaluation_frames` names them.
        image_window: the part of an image that the network is shown, by its height and width.
        truth_window: the part of the ground truth that shows the same.
        region: which rows and columns of that part count.
        nearest_m, farthest_m: ground truth strictly between them counts.
        resize: takes inverse depth (H, W), a height and a width; gives depth of that size.
        scaling: "by-model" is the median ratio of each image for models that predict up to scale, and none
            for models in metres; "median" is the median ratio for every model.
        median: which median; NumPy's is the mean of the two middle values.
        clamp_m: bounds of the prediction after scaling.
        clamp_truth_m: bounds of the ground truth; none leaves it as it is.
        blend: joins the predictions of the image and its mirror when post-processing is asked for.
        metrics: names in `metrics.METRICS`, in the order of the table.
    """

    name: str
    summary: str
    frames: str
    image_window: Callable[[int, int], Window] = whole_image
    truth_window: Callable[[int, int], Window] = whole_image
    region: Callable[[int, int], Window] = whole_image
    nearest_m: float = 1e-3
    farthest_m: float = 80.0
    resize: Callable[[np.ndarray, int, int], np.ndarray] = resize_inverse_depth
    scaling: Literal["by-model", "median"] = "by-model"
    median: Callable[[np.ndarray], float] = np.median
    clamp_m: tuple[float, float] = (1e-3, 80.0)
    clamp_truth_m: tuple[float, float] | None = None
    blend: Callable[[np.ndarray, np.ndarray], np.ndarray] = blend_flipped
    metrics: tuple[str, ...] = SEVEN

    def crop(self, frame: EvaluationFrame) -> EvaluationFrame:
        """The part of a frame that the protocol shows to the network, with the ground truth of the same part."""
        rows, columns = self.image_window(*frame.image.shape[:2])
        camera = frame.camera and frame.camera.crop(
            rows.start, columns.start, rows.stop - rows.start, columns.stop - columns.start
        )
        return replace(
            frame,
            image=frame.image[rows, columns],
            depth=frame.depth[self.truth_window(*frame.depth.shape)],
            camera=camera,
            neighbours={offset: image[rows, columns] for offset, image in frame.neighbours.items()},
        )

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


EIGEN = Protocol(
    name="eigen",
    summary="Eigen split against raw laser points: Garg crop, up to 80 m",
    frames="eigen",
    region=garg_crop,
)

EIGEN_BENCHMARK = Protocol(
    name="eigen-benchmark",
    summary="Eigen split against KITTI's improved ground truth: every pixel with a value",
    frames="eigen-benchmark",
    nearest_m=0.0,
    farthest_m=np.inf,
)

# Points beyond 80 m count as 80 m instead of dropping out, and it is depth that is resized.
SDFA = Protocol(
    name="sdfa",
    summary="SDFA-Net's own: Eigen split against raw laser points, Garg crop, everything clamped to 80 m",
    frames="eigen",
    region=garg_crop,
    nearest_m=0.0,
    farthest_m=np.inf,
    resize=resize_depth,
    clamp_m=(0.0, 80.0),
    clamp_truth_m=(0.0, 80.0),
)

SDFA_BENCHMARK = replace(
    SDFA,
    name="sdfa-benchmark",
    summary="SDFA-Net's own against KITTI's improved ground truth: Garg crop, everything clamped to 80 m",
    frames="eigen-benchmark",
)

# Eigen's region and range, and the median ratio for every model, so that models in metres and models up to scale
# stand in one table.
KITTI_2015 = Protocol(
    name="kitti-2015",
    summary="KITTI Stereo 2015: Garg crop, up to 80 m, median scaling for every model",
    frames="kitti-2015",
    region=garg_crop,
    scaling="median",
)

# As the stereo papers report it.
KITTI_2015_FULL = Protocol(
    name="kitti-2015-full",
    summary="KITTI Stereo 2015: every pixel with a value",
    frames="kitti-2015",
    nearest_m=0.0,
    farthest_m=np.inf,
)

# The benchmark's server reads depth from 16-bit PNGs in steps of 1/256 m, where 0 means missing.
KITTI_BENCHMARK = Protocol(
    name="kitti-benchmark",
    summary="KITTI's depth prediction benchmark on its 1,000 selected validation images: every pixel with a value",
    frames="kitti-benchmark",
    nearest_m=0.0,
    farthest_m=np.inf,
    clamp_m=(1 / 256, 80.0),
    metrics=("silog", "sq_error_rel", "abs_error_rel", "irmse", *SEVEN),
)

CITYSCAPES = Protocol(
    name="cityscapes",
    summary="Cityscapes test set as ManyDepth compares on it: 1664x512 pixels of the upper three quarters, up to 80 m",
    frames="cityscapes",
    image_window=upper_three_quarters,
    truth_window=upper_three_quarters,
    region=manydepth_region,
)

CITYSCAPES_SMDE = replace(
    CITYSCAPES,
    name="cityscapes-smde",
    summary="Cityscapes test set, ManyDepth's region, depth resized instead of inverse depth, lower median",
    nearest_m=0.0,
    resize=resize_depth,
    median=lower_median,
    clamp_m=(0.0, 80.0),
)

DDAD = Protocol(
    name="ddad",
    summary="DDAD's front camera as PackNet compares on it: up to 200 m",
    frames="ddad",
    nearest_m=0.0,
    farthest_m=200.0,
    resize=resize_depth_with_corners,
    median=lower_median,
    clamp_m=(0.0, 200.0),
)

DDAD_SC = replace(
    DDAD,
    name="ddad-sc",
    summary="DDAD's front camera as SC-Depth compares on it: 0.1 to 200 m",
    nearest_m=0.1,
    resize=resize_depth,
    median=np.median,
    clamp_m=(0.1, 200.0),
    metrics=(*SEVEN, "mean_log10"),
)

# FA-Depth's own rows are made up to 80 m, beside copied ones up to 200 m (datasets specification, section 2.5).
DDAD_80 = Protocol(
    name="ddad-80",
    summary="DDAD's front camera up to 80 m, inverse depth resized",
    frames="ddad",
)

# "C1". KITTI's unit of length means nothing to Make3D's cameras, so models in metres are scaled too.
MAKE3D = Protocol(
    name="make3d",
    summary="Make3D as the Monodepth2 family compares on it: middle 2:1 of the image, up to 70 m, median scaling",
    frames="make3d",
    image_window=middle_two_to_one,
    truth_window=make3d_middle_rows,
    nearest_m=0.0,
    farthest_m=70.0,
    resize=resize_to_nearest,
    scaling="median",
    clamp_m=(-np.inf, 70.0),
    metrics=("abs_rel", "sq_rel", "rmse", "rms_log10", "mean_log10"),
)

SIMULATED = Protocol(
    name="simulated",
    summary="Simulated street: exact depth of every pixel up to 80 m",
    frames="simulated",
)

PROTOCOLS: dict[str, Protocol] = {
    protocol.name: protocol
    for protocol in (
        EIGEN,
        EIGEN_BENCHMARK,
        SDFA,
        SDFA_BENCHMARK,
        KITTI_2015,
        KITTI_2015_FULL,
        KITTI_BENCHMARK,
        CITYSCAPES,
        CITYSCAPES_SMDE,
        DDAD,
        DDAD_SC,
        DDAD_80,
        MAKE3D,
        SIMULATED,
    )
}


def protocol_named(name: str) -> Protocol:
    """The protocol of this name.

    Raises:
        UserError: there is none.
    """
    if name not in PROTOCOLS:
        near = get_close_matches(name, PROTOCOLS, n=1)
        choice = f"Did you mean {near[0]}?" if near else f"Choose one of {', '.join(PROTOCOLS)}."
        raise UserError(f"there is no protocol {name!r}. {choice}")
    return PROTOCOLS[name]
