"""Training with FA-Depth's bidirectional weighted loss, L_cr.

Source: FA-Depth, equation 21. Every frame is seen once by the depth network; target and sources then explain each
other both ways.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from egodepth.data.transforms import Views
from egodepth.geometry.depth import enlarged_depth
from egodepth.losses.bidirectional import BidirectionalTerms, bidirectional_loss, bidirectional_terms, frame_pair
from egodepth.losses.configurations import BidirectionalConfig
from egodepth.losses.photometric import at_size
from egodepth.losses.smoothness import edge_aware_smoothness, mean_normalised
from egodepth.methods.configurations import OptimiserConfig
from egodepth.methods.view_synthesis import StepResult, TrainingSetup, ViewSynthesisMethod, rescaled
from egodepth.networks.disparity import DisparityNetwork, Features
from egodepth.networks.pose import PoseNetwork


class BidirectionalMethod(ViewSynthesisMethod):
    """Training with L_cr; the arguments are those of `ViewSynthesisMethod`."""

    def __init__(
        self,
        depth_network: DisparityNetwork,
        pose_network: PoseNetwork | None,
        config: BidirectionalConfig,
        setup: TrainingSetup,
        optimiser: OptimiserConfig,
        seed: int,
    ) -> None:
        super().__init__(depth_network, pose_network, setup, optimiser, seed)
        self.config = config

    def step_result(self, views: Views, seen: Views | None = None) -> StepResult:
        seen = seen or views
        frames = torch.cat([seen.target_jittered[None], seen.sources_jittered.transpose(0, 1)])
        disparities, features = self.depth_network.with_features(frames.flatten(0, 1))
        images = torch.cat([views.target[None], views.sources.transpose(0, 1)])
        transforms = self.transforms(seen)
        pair = frame_pair(_paired(images), transforms, views.intrinsics, views.mask)
        pairs = _paired(features.decoder[0].float().unflatten(0, images.shape[:2]))

        losses, finest = [], None
        for scale, disparity in enumerate(rescaled(disparities, seen, views)):
            picture = F.adaptive_avg_pool2d(images.flatten(0, 1), disparity.shape[-2:])
            depth = self._depth(disparity, views.size).unflatten(0, images.shape[:2])
            terms = bidirectional_terms(_paired(depth), pairs, pair, self.config)
            mask = at_size(views.mask, picture.shape[-2:])
            mask = None if mask is None else mask.repeat(len(images), 1, 1, 1)
            smoothness = edge_aware_smoothness(mean_normalised(disparity.float(), mask), picture, mask) / 2**scale
            losses.append(bidirectional_loss(terms, smoothness, self.config))
            if finest is None:
                finest = depth[0].detach(), terms
        depth, terms = finest
        return StepResult(
            torch.stack(losses).mean(),
            _values(losses, terms),
            tuple(disparity[: len(depth)] for disparity in disparities),
            Features(*(tuple(maps[: len(depth)] for maps in side) for side in (features.encoder, features.decoder))),
            depth,
            _pictures(views, terms),
            transforms.detach(),
        )

    def _depth(self, disparity: Tensor, size: tuple[int, int]) -> Tensor:
        return enlarged_depth(disparity, size, *self.depth_range)


def _paired(frames: Tensor) -> Tensor:
    """From target and S sources (1 + S, B, ...) to the pairs (2, S, B, ...) of the target with each source."""
    target, sources = frames[:1], frames[1:]
    return torch.stack([target.expand_as(sources), sources])


def _values(losses: list[Tensor], terms: BidirectionalTerms) -> dict[str, Tensor]:
    values = {f"loss_scale_{scale}": loss for scale, loss in enumerate(losses)}
    names = ("photometric", "depth", "feature", "valid_share", "flow_share")
    return values | {name: getattr(terms, name).mean() for name in names}


def _pictures(views: Views, terms: BidirectionalTerms) -> dict[str, Tensor]:
    """How much each pixel of the target counts against each source, (B, 1, H, W)."""
    return {
        f"weight {source}": weight[:, None] for source, weight in zip(views.source_ids, terms.weight[0], strict=True)
    }
