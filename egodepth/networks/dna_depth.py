"""DNA-Depth: an EfficientNet, and a lattice in which every node joins its neighbours of three levels.

Source: "Deep Neighbor Layer Aggregation for Lightweight Self-Supervised Monocular Depth Estimation" (ICASSP 2024,
arXiv 2309.09272), equations 8 to 12 and figure 2. Where the text leaves a layer open, it is as in the published code.
"""

from pathlib import Path

import torch
import torch.nn.functional as F
from timm.layers import create_conv2d
from torch import Tensor, nn

from egodepth.networks.blocks import ChannelAttention, ReflectConv
from egodepth.networks.configurations import DNADepthConfig, Tap
from egodepth.networks.disparity import DisparityDecoder, EncoderDecoder, start_at
from egodepth.networks.encoders import Encoder
from egodepth.networks.pretrained import NamePlace, dna_depth_place

STOCHASTIC_DEPTH = 0.2
BATCH_NORM_MOMENTUM = 0.01
DROPOUT = 0.5

WIDTH = 64
"""Channels of all lattice features."""

LATTICE = {
    # node: (one level coarser, same level, one level finer); "F4_1" is level 4 (stride 2^4), column 1
    "F4_1": ("F5_0", "F4_0", "F3_0"),
    "F3_1": ("F4_0", "F3_0", "F2_0"),
    "F2_1": ("F3_0", "F2_0", "F1_0"),
    "F1_1": ("F2_0", "F1_0"),
    "F3_2": ("F4_1", "F3_1", "F2_1"),
    "F2_2": ("F3_1", "F2_1", "F1_1"),
    "F1_2": ("F2_1", "F1_1"),
    "F2_3": ("F3_2", "F2_2", "F1_2"),
    "F1_3": ("F2_2", "F1_2"),
    "F1_4": ("F2_3", "F1_3"),
}
"""The nodes and what each joins. Column 0 holds the encoder's five features; level 1 has no finer neighbour."""

OUTPUTS = ("F1_4", "F2_3", "F3_2")
"""The features that give the disparities of scales 1 to 3; F1_4 gives the one of scale 0 as well, enlarged."""


class Decoder(DisparityDecoder):
    """The lattice (equations 8 to 11), the step to full resolution, and the heads (equation 12).

    Args:
        encoder_channels: of the five features, fine to coarse.
    """

    def __init__(self, encoder_channels: tuple[int, ...]) -> None:
        super().__init__()
        self.entries = nn.ModuleList(SeparableConv(channels, WIDTH) for channels in encoder_channels)
        self.dropout = nn.Dropout(DROPOUT)
        self.nodes = nn.ModuleDict({name: Node(with_finer=len(inputs) == 3) for name, inputs in LATTICE.items()})
        self.tail = nn.Sequential(
            nn.Upsample(scale_factor=2, mode="nearest"),
            SeparableConv(WIDTH, WIDTH // 2),
            ReflectConv(WIDTH // 2, WIDTH // 2),
            nn.SiLU(inplace=True),
            SeparableConv(WIDTH // 2, WIDTH // 2),
        )
        self.heads = nn.ModuleList([Head(WIDTH // 2), *(Head(WIDTH) for _ in OUTPUTS)])

    def start_far(self) -> None:
        for head in self.heads:
            start_at(head.conv.pointwise)

    def states(self, features: list[Tensor], scales: int | None = None) -> list[Tensor]:
        # In the published code alone: in training the two deepest features lose half of their values.
        features = [*features[:3], *map(self.dropout, features[3:])]
        levels = zip(range(1, 6), self.entries, features, strict=True)
        lattice = {f"F{level}_0": entry(feature) for level, entry, feature in levels}
        for name, inputs in LATTICE.items():
            lattice[name] = self.nodes[name](*(lattice[neighbour] for neighbour in inputs))
        return [self.tail(lattice["F1_4"]), *(lattice[name] for name in OUTPUTS)][:scales]


class Node(nn.Module):
    """Joins a feature with its neighbours one level coarser and, where there is one, one level finer (eq. 9 to 11)."""

    def __init__(self, with_finer: bool) -> None:
        super().__init__()
        half = WIDTH // 2
        self.coarser = nn.Sequential(nn.Upsample(scale_factor=2, mode="nearest"), SeparableConv(WIDTH, half))
        self.same = SeparableConv(WIDTH, half)
        self.finer = SeparableConv(WIDTH, half, stride=2) if with_finer else None
        self.join = SeparableConv(3 * half if with_finer else 2 * half, WIDTH)
        self.fuse = ReflectConv(WIDTH, WIDTH)

    def forward(self, coarser: Tensor, same: Tensor, finer: Tensor | None = None) -> Tensor:
        """(B, 64, H, W) of features (B, 64, H/2, W/2), (B, 64, H, W) and (B, 64, 2H, 2W)."""
        neighbours = [self.coarser(coarser), self.same(same)]
        if self.finer is not None:
            neighbours.append(self.finer(finer))
        return F.silu(self.fuse(self.join(torch.cat(neighbours, dim=1))))


class Head(nn.Module):
    """Channel attention, and a separable convolution to the logits of a disparity (equation 12)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.attention = ChannelAttention(channels)
        self.conv = SeparableConv(channels, 1)

    def forward(self, features: Tensor) -> Tensor:
        """(B, channels, H, W) to (B, 1, H, W)."""
        return self.conv(self.attention(features))


class SeparableConv(nn.Sequential):
    """Depthwise 3x3 convolution without bias under TensorFlow's padding, then a 1x1 convolution with bias."""

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1) -> None:
        super().__init__()
        self.depthwise = create_conv2d(in_channels, in_channels, 3, stride=stride, padding="same", depthwise=True)
        self.pointwise = nn.Conv2d(in_channels, out_channels, kernel_size=1)


def build(config: DNADepthConfig) -> EncoderDecoder:
    """The network of a config, with random weights."""
    # The authors feed images as they are, although the ImageNet weights were made with normalised ones.
    encoder = Encoder(
        config.encoder,
        mean=0,
        deviation=1,
        drop_path_rate=STOCHASTIC_DEPTH,
        bn_momentum=BATCH_NORM_MOMENTUM,
    )
    return EncoderDecoder(encoder, Decoder(encoder.channels))


def published_place(network: nn.Module, path: Path) -> NamePlace:
    """Where the authors keep each tensor."""
    return dna_depth_place(network)


def prior_tap(config: DNADepthConfig) -> Tap:
    """Where RPrDepth's prior joins."""
    return Tap("decoder.nodes.F2_3", WIDTH, rectified=False)
