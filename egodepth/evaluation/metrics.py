"""The seven depth metrics of this field, those of single benchmarks, and their mean over images.

Every metric takes the valid pixels of one image: ground truth and prediction as (N,) tensors of positive
depths in metres. The field's figure is the mean over images of the per-image value; pixels are never pooled over
images.

Sources: Eigen et al. (NeurIPS 2014), section 4.3; Monodepth2 supplement, section "evaluation"; datasets
specification, sections 3.2 (Make3D) and 4 (KITTI's benchmarks).
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric

Values = Tensor | np.ndarray


def abs_rel(ground_truth: Tensor, prediction: Tensor) -> Tensor:
    """Mean of |g - p| / g."""
    return ((ground_truth - prediction).abs() / ground_truth).mean()


def sq_rel(ground_truth: Tensor, prediction: Tensor) -> Tensor:
    """Mean of (g - p)² / g, in metres: the denominator is not squared, by custom."""
    return ((ground_truth - prediction).square() / ground_truth).mean()


def rmse(ground_truth: Tensor, prediction: Tensor) -> Tensor:
    """Root of the mean squared error, in metres."""
    return (ground_truth - prediction).square().mean().sqrt()


def rmse_log(ground_truth: Tensor, prediction: Tensor) -> Tensor:
    """Root of the mean squared error of the natural logarithms."""
    return (ground_truth.log() - prediction.log()).square().mean().sqrt()


def share_within(ground_truth: Tensor, prediction: Tensor, factor: float) -> Tensor:
    """Share of pixels whose ratio to the truth, taken so that it is at least 1, stays below `factor`."""
    ratio = torch.maximum(ground_truth / prediction, prediction / ground_truth)
    return (ratio < factor).to(ratio.dtype).mean()


def a1(ground_truth: Tensor, prediction: Tensor) -> Tensor:
    """Share of pixels within a factor of 1.25."""
    return share_within(ground_truth, prediction, 1.25)


def a2(ground_truth: Tensor, prediction: Tensor) -> Tensor:
    """Share of pixels within a factor of 1.25²."""
    return share_within(ground_truth, prediction, 1.25**2)


def a3(ground_truth: Tensor, prediction: Tensor) -> Tensor:
    """Share of pixels within a factor of 1.25³."""
    return share_within(ground_truth, prediction, 1.25**3)


def mean_log10(ground_truth: Tensor, prediction: Tensor) -> Tensor:
    """Mean of |log10 g - log10 p|: what supervised papers and FAL-Net call log10."""
    return (ground_truth.log10() - prediction.log10()).abs().mean()


def rms_log10(ground_truth: Tensor, prediction: Tensor) -> Tensor:
    """Root of the mean squared error of the decimal logarithms: what the Monodepth2 family calls log10."""
    return (ground_truth.log10() - prediction.log10()).square().mean().sqrt()


def silog(ground_truth: Tensor, prediction: Tensor) -> Tensor:
    """100 times the standard deviation of ln p - ln g, which no factor on the prediction changes."""
    error = prediction.log() - ground_truth.log()
    return 100 * (error.square().mean() - error.mean().square()).clamp(min=0).sqrt()


def sq_error_rel(ground_truth: Tensor, prediction: Tensor) -> Tensor:
    """Mean of (g - p)² / g² in percent: KITTI's benchmark squares the denominator, `sq_rel` does not."""
    return 100 * ((ground_truth - prediction) / ground_truth).square().mean()


def abs_error_rel(ground_truth: Tensor, prediction: Tensor) -> Tensor:
    """Mean of |g - p| / g in percent, as KITTI's benchmark prints it."""
    return 100 * abs_rel(ground_truth, prediction)


def irmse(ground_truth: Tensor, prediction: Tensor) -> Tensor:
    """Root of the mean squared error of the inverse depths, in 1/km."""
    return 1000 * (1 / prediction - 1 / ground_truth).square().mean().sqrt()


METRICS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "abs_rel": abs_rel,
    "sq_rel": sq_rel,
    "rmse": rmse,
    "rmse_log": rmse_log,
    "a1": a1,
    "a2": a2,
    "a3": a3,
    "mean_log10": mean_log10,
    "rms_log10": rms_log10,
    "silog": silog,
    "sq_error_rel": sq_error_rel,
    "abs_error_rel": abs_error_rel,
    "irmse": irmse,
}
SEVEN = ("abs_rel", "sq_rel", "rmse", "rmse_log", "a1", "a2", "a3")
HIGHER_IS_BETTER = frozenset({"a1", "a2", "a3"})

DepthMetrics = dict[str, float]
"""Metric values by name, in the order of the protocol's table."""


def depth_metrics(ground_truth: Values, prediction: Values, names: Sequence[str] = SEVEN) -> DepthMetrics:
    """The named metrics of one image.

    Args:
        ground_truth, prediction: (N,) valid depths in metres, positive, N at least 1.
    """
    truth, predicted = torch.as_tensor(ground_truth), torch.as_tensor(prediction)
    if truth.ndim != 1 or truth.shape != predicted.shape or truth.numel() == 0:
        raise ValueError(
            "expected two (N,) arrays of valid depths of one length, "
            f"got {tuple(truth.shape)} and {tuple(predicted.shape)}"
        )
    return {name: METRICS[name](truth, predicted).item() for name in names}


def median_ratio(
    ground_truth: np.ndarray, prediction: np.ndarray, median: Callable[[np.ndarray], float] = np.median
) -> float:
    """The factor that gives the prediction the median of the ground truth, from valid depths (N,)."""
    return float(median(ground_truth)) / float(median(prediction))


class DepthMetricsMean(Metric):
    """Mean over images of the depth metrics, also when the images are spread over processes.

    `update` takes one image; `compute` gives the mean of every metric, with `scale_ratio` (the median over
    images of median(ground truth) / median(prediction)) and `scale_ratio_std` (the standard deviation of the
    ratios divided by that median). All are NaN before the first image.
    """

    full_state_update = False
    sums: Tensor
    images: Tensor
    ratios: list[Tensor]

    def __init__(self, names: Sequence[str] = SEVEN, **options: object) -> None:
        super().__init__(**options)
        self.names = tuple(names)
        self.add_state("sums", torch.zeros(len(self.names)), dist_reduce_fx="sum")
        self.add_state("images", torch.tensor(0), dist_reduce_fx="sum")
        self.add_state("ratios", [], dist_reduce_fx="cat")

    def update(self, metrics: Mapping[str, float], ratio: float) -> None:
        """Add one image.

        Args:
            metrics: the image's value of every name.
            ratio: the image's median ratio, whether it was applied or not.
        """
        self.sums += self.sums.new_tensor([metrics[name] for name in self.names])
        self.images += 1
        self.ratios.append(self.sums.new_tensor([ratio]))

    def compute(self) -> dict[str, Tensor]:
        means = dict(zip(self.names, self.sums / self.images, strict=True))
        ratios = torch.cat(list(self.ratios)) if isinstance(self.ratios, list) and self.ratios else self.ratios
        if self.images == 0:
            unknown = self.sums.new_tensor(float("nan"))
            return means | {"scale_ratio": unknown, "scale_ratio_std": unknown}
        median = torch.quantile(ratios, 0.5)
        return means | {"scale_ratio": median, "scale_ratio_std": (ratios / median).std(correction=0)}
