"""ManyDepth's multi-frame network: Monodepth2's, with a cost volume against frames of other times inside its encoder.

Source: Watson et al., "The Temporal Opportunist: Self-Supervised Multi-Frame Monocular Depth" (CVPR 2021), section 3;
specification sections B2 and B4. The 1x1 convolution "prematching_conv", which the published weights hold and the
authors' network never calls, is not built.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from egodepth.errors import UserError
from egodepth.geometry.cameras import Camera
from egodepth.geometry.depth import MIN_DEPTH, sigmoid_to_depth
from egodepth.networks.configurations import ManyDepthConfig, Spacing, offsets_to
from egodepth.networks.cost_volume import CostVolume, depth_hypotheses, match, unmatched
from egodepth.networks.disparity import DisparityNetwork, Features
from egodepth.networks.encoders import Encoder
from egodepth.networks.monodepth2 import Decoder
from egodepth.networks.pose import PoseNetwork, motion_to
from egodepth.networks.pretrained import NamePlace, manydepth_place
from egodepth.networks.weights import check_fit

FIRST_RANGE = (0.1, 10.0)
"""Nearest and farthest hypothesis before the teacher has said anything, in units of training."""

BIN_MEMORY = 0.99
"""What share of the bins' range a batch leaves as it was."""

MATCHING_STRIDE = 4
MATCHING_KEYS = ("encoder.reduce.", "encoder.min_depth_bin", "encoder.max_depth_bin")
"""How the names of the tensors begin that a single-frame network does not have."""

RESNET_PARTS = ("conv1", "bn1", "act1", "maxpool", "layer1", "layer2", "layer3", "layer4")


@dataclass(frozen=True)
class Lookups:
    """Other frames of the same scene, earlier or later, that the current image is matched with.

    Attributes:
        images: (B, L, 3, H, W) in [0, 1].
        transforms: (B, L, 4, 4), current camera to lookup camera.
        valid: (B, L) bool, false where a frame is missing.
        intrinsics: (B, 3, 3) in pixels of the images, without skew.
    """

    images: Tensor
    transforms: Tensor
    valid: Tensor
    intrinsics: Tensor


def look_up(
    pose_network: PoseNetwork,
    image: Tensor,
    frames: Mapping[int, Tensor],
    offsets: Sequence[int],
    intrinsics: Tensor,
) -> Lookups:
    """The frames at some time offsets, with the motions to them that a pose network finds (section B3); all valid.

    Args:
        image: (B, 3, H, W) in [0, 1], the current frame.
        frames: others of that shape by their offset; all from the current one to each of `offsets`.
        intrinsics: (B, 3, 3) in pixels.
    """
    transforms = torch.stack([motion_to(pose_network, image, frames, offset) for offset in offsets], dim=1)
    valid = torch.ones(transforms.shape[:2], dtype=torch.bool, device=image.device)
    return Lookups(torch.stack([frames[offset] for offset in offsets], dim=1), transforms, valid, intrinsics)


@dataclass(frozen=True)
class Matched:
    """What the matching encoder gives.

    Attributes:
        features: five maps for the decoder, at strides 2 to 32; that of stride 4 is the one from before matching.
        fused: (B, C, H / 4, W / 4), features and cost volume together: what the deeper layers read.
        volume: (B, bins, H / 4, W / 4), the cost volume.
    """

    features: tuple[Tensor, ...]
    fused: Tensor
    volume: CostVolume


class MatchingEncoder(Encoder):
    """A ResNet that is interrupted at stride 4 to match its features with those of other frames.

    Args:
        name: of a timm ResNet.
        bins: depth hypotheses.

    Attributes:
        min_depth_bin, max_depth_bin: scalars, the range of the hypotheses in units of training; kept with the weights.
    """

    min_depth_bin: Tensor
    max_depth_bin: Tensor

    def __init__(self, name: str, bins: int, spacing: Spacing) -> None:
        super().__init__(name)
        if not all(hasattr(self.body, part) for part in RESNET_PARTS):
            raise UserError(f"encoder {name!r}: is no ResNet, which matching needs. Choose one such as resnet18.")
        if bins < 2:
            raise UserError(f"bins: {bins} depth hypotheses span no range. Give at least 2.")
        self.bins, self.spacing = bins, spacing
        width = self.channels[1]
        self.reduce = nn.Conv2d(width + bins, width, kernel_size=3, padding=1)
        for key, depth in zip(("min_depth_bin", "max_depth_bin"), FIRST_RANGE, strict=True):
            self.register_buffer(key, torch.tensor(depth))

    def forward(self, image: Tensor, lookups: Lookups | None = None) -> Matched:
        """Match an image (B, 3, H, W) in [0, 1] with its lookup frames; without them the cost volume is zero."""
        half, quarter = self._until_matching(image)
        depths = self.depths()
        if lookups is None:
            volume = unmatched(quarter, depths)
        else:
            # No gradient, yet in training these batches too count in the statistics of the norms.
            with torch.no_grad():
                _, theirs = self._until_matching(lookups.images.flatten(0, 1))
            theirs = theirs.unflatten(0, lookups.images.shape[:2])
            intrinsics = _of_features(lookups.intrinsics)
            volume = match(quarter, theirs, lookups.transforms, lookups.valid, intrinsics, depths)
        trusted = (volume.cost * volume.confidence).to(quarter.dtype)
        fused = torch.relu(self.reduce(torch.cat([quarter, trusted], dim=1)))
        deep = [fused]
        for stage in (self.body.layer2, self.body.layer3, self.body.layer4):
            deep.append(stage(deep[-1]))
        return Matched((half, quarter, *deep[1:]), fused, volume)

    def depths(self) -> Tensor:
        """The hypotheses (bins,) in ascending order, in units of training."""
        return depth_hypotheses(self.min_depth_bin, self.max_depth_bin, self.bins, self.spacing)

    @torch.no_grad()
    def update_bins(self, teacher_depth: Tensor) -> None:
        """Let the range follow the depths (B, 1, H, W) that a single-frame network finds (paper, section 3.3)."""
        depth = teacher_depth.float().flatten(1)
        nearest = (0.9 * depth.amin(1).mean()).clamp(min=MIN_DEPTH)
        farthest = 1.1 * depth.amax(1).mean()
        self.min_depth_bin.lerp_(nearest, 1 - BIN_MEMORY)
        self.max_depth_bin.lerp_(farthest, 1 - BIN_MEMORY)

    def _until_matching(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Features at strides 2 and 4."""
        body = self.body
        half = body.act1(body.bn1(body.conv1((image - self.mean) / self.deviation)))
        return half, body.layer1(body.maxpool(half))


def _of_features(intrinsics: Tensor) -> Tensor:
    """Intrinsics (B, 3, 3) in pixels of the features from those in pixels of the image.

    Without a shift by half a pixel: the stem's strided layers are centred on every fourth pixel, starting at 0.
    """
    return intrinsics / intrinsics.new_tensor([[MATCHING_STRIDE], [MATCHING_STRIDE], [1.0]])


def _passing_on(kernel: Tensor) -> Tensor:
    """A kernel of the shape (C, C + bins, 3, 3) of `kernel` whose output is the first C channels as they are."""
    identity = torch.zeros_like(kernel)
    nn.init.dirac_(identity)
    return identity


@dataclass(frozen=True)
class MatchedFeatures(Features):
    """Features of a network that matches, and what the matching said, for the losses.

    Attributes:
        fused: (B, C, H / 4, W / 4), features and cost volume together.
        lowest_cost_depth: (B, 1, H / 4, W / 4), in units of training, without gradient.
        confidence: (B, 1, H / 4, W / 4) bool, where the matching can be relied on.
    """

    fused: Tensor
    lowest_cost_depth: Tensor
    confidence: Tensor


class ManyDepth(DisparityNetwork):
    """A disparity network that also takes other frames; with one image alone it runs on a zero cost volume."""

    def __init__(self, encoder: MatchingEncoder, decoder: Decoder) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder

    def forward(self, image: Tensor, lookups: Lookups | None = None) -> tuple[Tensor, ...]:
        """Sigmoid disparities in (0, 1), fine to coarse: (B, 1, H / 2^s, W / 2^s) for s = 0 to 3.

        Args:
            image: (B, 3, H, W) in [0, 1], H and W multiples of 32.
            lookups: of the same size.
        """
        return self.with_features(image, lookups)[0]

    def with_features(
        self, image: Tensor, lookups: Lookups | None = None
    ) -> tuple[tuple[Tensor, ...], MatchedFeatures]:
        matched = self.encoder(image, lookups)
        states = self.decoder.states(matched.features, len(self.decoder.heads))
        volume = matched.volume
        features = MatchedFeatures(
            matched.features, tuple(states), matched.fused, volume.lowest_cost_depth, volume.confidence
        )
        return self.decoder.disparities(states), features

    def finest(self, image: Tensor, lookups: Lookups | None = None) -> Tensor:
        return self.decoder(self.encoder(image, lookups).features, scales=1)[0]

    def predict_depth(self, image: Tensor, lookups: Lookups | None = None) -> Tensor:
        """Depth (B, 1, H, W) in units of training, for an image (B, 3, H, W) in [0, 1] and its lookup frames."""
        return sigmoid_to_depth(self.finest(image, lookups), self.min_depth, self.max_depth)

    def load_first_weights(self, state: Mapping[str, Tensor], source: str) -> None:
        """Start from a trained network of this kind, or from a single-frame one with the same encoder and decoder.

        From a single-frame network it starts as that same function: the layer that takes the cost volume passes the
        features on and does not look at the volume yet.

        Args:
            state: of the trained network.
            source: for messages.

        Raises:
            UserError: the state is of another network.
        """
        own = self.state_dict()
        matching = {key: tensor for key, tensor in own.items() if key.startswith(MATCHING_KEYS)}
        if state.keys().isdisjoint(matching):
            state = {**state, **matching, "encoder.reduce.weight": _passing_on(self.encoder.reduce.weight)}
            state["encoder.reduce.bias"] = torch.zeros_like(self.encoder.reduce.bias)
        remedy = "Start from a run of ManyDepth, or of Monodepth2 with the same encoder."
        self.load_state_dict(check_fit(own, state, source, remedy))

    def update_bins(self, teacher_depth: Tensor) -> None:
        """Let the range of the hypotheses follow the teacher's depths (B, 1, H, W), once after each batch."""
        self.encoder.update_bins(teacher_depth)


class MultiFrameDepth(nn.Module):
    """ManyDepth as it is used: other frames are matched by the motions that the pose network finds.

    Args:
        network: matches frames.
        pose_network: of the same training.
        intrinsics: (3, 3) of the camera, normalised as `egodepth.geometry.Camera.normalised` gives them.
        lookups: time offsets of the frames that are matched with; -1 is the one before.

    Attributes:
        time_offsets: of the frames that are needed: the lookups, and those on the way to them.
        frames: how many pictures are stacked along the channels of an input: the current one and these.
    """

    def __init__(
        self, network: ManyDepth, pose_network: PoseNetwork, intrinsics: Tensor, lookups: Sequence[int] = (-1,)
    ) -> None:
        super().__init__()
        self.network = network
        self.pose_network = pose_network
        self.lookups = tuple(lookups)
        self.time_offsets = offsets_to(lookups)
        self.frames = 1 + len(self.time_offsets)
        self.register_buffer("intrinsics", intrinsics.float(), persistent=False)

    def predict_depth(self, pictures: Tensor) -> Tensor:
        """Depth (B, 1, H, W) in units of training.

        Args:
            pictures: (B, 3 * frames, H, W) in [0, 1], the current frame and those of `time_offsets`. A black one is
                missing, as in the published code; without any the depth is that of a single frame. (B, 3, H, W) has
                none at all.
        """
        image, *others = pictures.split(3, dim=1)
        if not others:
            return self.network.predict_depth(image)
        frames = dict(zip(self.time_offsets, others, strict=True))
        intrinsics = Camera.from_normalised(self.intrinsics, *image.shape[-2:]).intrinsics.expand(image.shape[0], 3, 3)
        found = look_up(self.pose_network, image, frames, self.lookups, intrinsics)
        present = {offset: frame.flatten(1).amax(1) > 0 for offset, frame in frames.items()}
        ways = [torch.stack([present[between] for between in offsets_to([offset])]) for offset in self.lookups]
        valid = torch.stack([way.all(0) for way in ways], dim=1)
        return self.network.predict_depth(image, replace(found, valid=valid))


def build(config: ManyDepthConfig) -> ManyDepth:
    """Raises UserError: the encoder is no ResNet, or there are too few bins."""
    encoder = MatchingEncoder(config.encoder, config.bins, config.bin_spacing)
    return ManyDepth(encoder, Decoder(encoder.channels))


def published_place(network: nn.Module, path: Path) -> NamePlace:
    """Where the authors keep each tensor."""
    return manydepth_place
