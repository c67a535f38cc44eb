"""DIFFNet: an HRNet whose stages all reach the decoder, which weighs their channels by attention.

Source: Zhou, Greenwood, Taylor, "Self-Supervised Monocular Depth Estimation with Internal Feature Fusion"
(BMVC 2021, arXiv 2110.09482), section 3 and figures 2 and 3; widths and padding as in the published code.
"""

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from egodepth.networks.blocks import ChannelAttention, ConvELU, ReflectConv
from egodepth.networks.configurations import DIFFNetConfig, Tap
from egodepth.networks.disparity import DisparityDecoder, EncoderDecoder
from egodepth.networks.encoders import HighResolutionEncoder
from egodepth.networks.pretrained import NamePlace, diffnet_place

FUSION_WIDTHS = (32, 64, 128, 256)
"""Channels after the fusion at strides 2, 4, 8 and 16."""

FULL_WIDTH = 16
"""Channels at full resolution."""


class Decoder(DisparityDecoder):
    """From the coarsest feature up: double the size, join all features of that size, weigh, convolve.

    Args:
        encoder_channels: of the features at each of the five strides, fine to coarse.
    """

    def __init__(self, encoder_channels: tuple[tuple[int, ...], ...]) -> None:
        super().__init__()
        coarser = (*FUSION_WIDTHS[1:], sum(encoder_channels[4]))
        self.fusions = nn.ModuleList(
            AttentionFusion(width + sum(joined), out_width)
            for width, joined, out_width in zip(coarser, encoder_channels[:4], FUSION_WIDTHS, strict=True)
        )
        self.tail = nn.Sequential(
            ConvELU(FUSION_WIDTHS[0], FULL_WIDTH),
            nn.Upsample(scale_factor=2, mode="nearest"),
            ConvELU(FULL_WIDTH, FULL_WIDTH),
        )
        self.heads = nn.ModuleList(ReflectConv(width, 1) for width in (FULL_WIDTH, *FUSION_WIDTHS[:3]))

    def states(self, features: list[list[Tensor]], scales: int | None = None) -> list[Tensor]:
        states = []
        state = features[4][0]
        for level in (3, 2, 1, 0):
            state = self.fusions[level](state, features[level])
            states.insert(0, state)
        return [self.tail(state), *states][:scales]


class AttentionFusion(nn.Module):
    """Joins a coarse feature with finer ones, weighs the channels, convolves.

    Args:
        in_channels: of all inputs together.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.attention = ChannelAttention(in_channels)
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=1)

    def forward(self, coarse: Tensor, fine: list[Tensor]) -> Tensor:
        """(B, out_channels, H, W) of a feature (B, C, H/2, W/2) and features (B, C_j, H, W)."""
        enlarged = F.interpolate(coarse, scale_factor=2, mode="nearest")
        return torch.relu(self.conv(self.attention(torch.cat([enlarged, *fine], dim=1))))


def build(config: DIFFNetConfig) -> EncoderDecoder:
    """The network of a config, with random weights."""
    encoder = HighResolutionEncoder(config.encoder)
    return EncoderDecoder(encoder, Decoder(encoder.channels))


def published_place(network: nn.Module, path: Path) -> NamePlace:
    """Where the authors keep each tensor."""
    return diffnet_place


def prior_tap(config: DIFFNetConfig) -> Tap:
    """Where RPrDepth's prior joins."""
    return Tap("decoder.fusions.1", FUSION_WIDTHS[1], rectified=True)
