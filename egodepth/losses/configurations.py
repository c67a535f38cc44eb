"""Settings of losses, as plain data."""

from dataclasses import dataclass


@dataclass(frozen=True)
class BidirectionalConfig:
    """Weights and constants of L_cr; the paper gives none, so all are our choice.

    Attributes:
        ssim_weight: share of SSIM in the photometric error; the rest is L1.
        flow_tolerance: share of the squared flow lengths that the forward-backward error may have.
        flow_tolerance_px2: what it may have besides, in square pixels.
        nearest_depth: a point nearer than this to the source camera's plane, or behind it, is not seen.
        depth_weight, feature_weight, smoothness_weight: of L_d, L_feat and L_s; L_p has weight 1.
        detach_target_features: L_feat trains the features that are sampled alone.
    """

    ssim_weight: float = 0.85
    flow_tolerance: float = 0.01
    flow_tolerance_px2: float = 0.5
    nearest_depth: float = 1e-3
    depth_weight: float = 0.5
    feature_weight: float = 0.1
    smoothness_weight: float = 1e-3
    detach_target_features: bool = False
