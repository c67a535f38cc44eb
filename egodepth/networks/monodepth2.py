"""Monodepth2's depth network: a U-Net over a classification encoder.

Source: Godard et al., "Digging Into Self-Supervised Monocular Depth Estimation" (ICCV 2019), section 3.4 and
supplementary table 7; layer table in the specification's section 3.
"""

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from egodepth.networks.blocks import ConvELU, ReflectConv
from egodepth.networks.configurations import Monodepth2Config, Tap
from egodepth.networks.disparity import DisparityDecoder, EncoderDecoder
from egodepth.networks.encoders import Encoder
from egodepth.networks.pretrained import NamePlace, monodepth2_place

DECODER_WIDTHS = (16, 32, 64, 128, 256)
SCALES = 4


class Decoder(DisparityDecoder):
    """From the coarsest feature up: convolve, double the size, join the skip, convolve, read off a disparity.

    Args:
        encoder_channels: of the five features, fine to coarse.
    """

    def __init__(self, encoder_channels: tuple[int, ...]) -> None:
        super().__init__()
        coarser = (*DECODER_WIDTHS[1:], encoder_channels[4])
        skips = (0, *encoder_channels[:4])
        self.before = nn.ModuleList(map(ConvELU, coarser, DECODER_WIDTHS))
        self.after = nn.ModuleList(
            ConvELU(width + skip, width) for width, skip in zip(DECODER_WIDTHS, skips, strict=True)
        )
        self.heads = nn.ModuleList(ReflectConv(DECODER_WIDTHS[scale], 1) for scale in range(SCALES))

    def states(self, features: list[Tensor], scales: int | None = None) -> list[Tensor]:
        state = features[4]
        states = [state]
        for level in reversed(range(len(DECODER_WIDTHS))):
            state = F.interpolate(self.before[level](state), scale_factor=2, mode="nearest")
            if level > 0:
                state = torch.cat([state, features[level - 1]], dim=1)
            state = self.after[level](state)
            states.insert(0, state)
        return states[:scales]


def build(config: Monodepth2Config) -> EncoderDecoder:
    """The network of a config, with random weights."""
    encoder = Encoder(config.encoder)
    return EncoderDecoder(encoder, Decoder(encoder.channels))


def published_place(network: nn.Module, path: Path) -> NamePlace:
    """Where the authors keep each tensor."""
    return monodepth2_place


def prior_tap(config: Monodepth2Config) -> Tap:
    """Where RPrDepth's prior joins."""
    return Tap("decoder.after.2", DECODER_WIDTHS[2], rectified=False)
