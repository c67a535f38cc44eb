"""HQDecv2: the large network that teaches FA-Depth's small ones.

Source: the paper of FA-Depth, equations 23 to 27 and figure 3; its predecessor is HQDec. Widths are not published:
those here were chosen so that parameters and multiply-accumulates are the paper's.

Where the text leaves a detail open: all settings of a module go by the stage that it stands at, not by its width;
`AdaRMv2` has an ELU after each norm but those before its sum; the local filters of `DAdaNRSUv2` are depthwise, with
zeros around and nothing behind them; the channel attention of `AttDispV2` is that of `AdaAxialNPCAS`.
"""

import torch
import torch.nn.functional as F
from timm.layers import EcaModule
from torch import Tensor, nn

from egodepth.errors import UserError
from egodepth.networks.blocks import ReflectConv
from egodepth.networks.configurations import HQDecv2Config
from egodepth.networks.disparity import DisparityDecoder, EncoderDecoder, start_at
from egodepth.networks.encoders import Encoder
from egodepth.networks.hqdec_blocks import (
    ATTENTION_KERNEL,
    AdaAxialNPCAS,
    AdaCoeff,
    ChannelInteraction,
    GlobalFilter,
    Size,
)

COARSEST = 4
"""The stage at stride 32. Stage k stands at stride 2^(k+1)."""

LATERAL_WIDTHS = (24, 48, 64, 160, 160)
"""Channels of the lateral features at each stage."""

FUSED_WIDTHS = (24, 24, 48, 64)
"""Channels after the fusion at stages 0 to 3: what the next finer stage expects."""

SQUEEZES = (2, 4, 4, 8, 8)
"""By which factor `AdaRMv2` reduces the channels at each stage."""

EMBEDDINGS, ATTENTION_HEADS = (24, 48, 64, 160, 160), (2, 4, 4, 8, 8)
"""Widths and heads of the transformer at each stage."""

REFINEMENT_DEPTH, UPSAMPLING_DEPTH, HEAD_DEPTH = 2, 1, 2
"""Transformer blocks in `AdaRMv2`, `DAdaNRSUv2` and `AttDispV2`."""

HEAD_EMBEDDINGS, HEAD_ATTENTION_HEADS = (12, 24, 32), (2, 4, 4)
"""Widths and heads of the transformer in each disparity head, fine to coarse."""


class Decoder(DisparityDecoder):
    """From the coarsest feature up: exchange with all finer stages, refine, double the size, read off a disparity.

    Args:
        encoder_channels: of the five features, fine to coarse.
        size: the nominal size of an image.
        depthwise: the local filters of `AdaRMv2` look at each channel by itself.
        attended: the global paths of the heads see the attended map.
    """

    def __init__(
        self, encoder_channels: tuple[int, ...], size: Size, depthwise: bool = True, attended: bool = True
    ) -> None:
        super().__init__()
        self.coarsest = nn.Sequential(
            Lateral(encoder_channels[COARSEST], LATERAL_WIDTHS[COARSEST], 1, COARSEST, size, depthwise),
            DAdaNRSUv2(LATERAL_WIDTHS[COARSEST], COARSEST, size),
        )
        self.stages = nn.ModuleList(
            FusedStage(encoder_channels[: stage + 1], width, stage, size, depthwise)
            for stage, width in enumerate(FUSED_WIDTHS)
        )
        self.heads = nn.ModuleList(
            AttDispV2(width, shrunk(size, scale), embedding, heads, attended)
            for scale, (width, embedding, heads) in enumerate(
                zip(FUSED_WIDTHS[:3], HEAD_EMBEDDINGS, HEAD_ATTENTION_HEADS, strict=True)
            )
        )

    @torch.no_grad()
    def start_far(self) -> None:
        for head in self.heads:
            start_at(head.local)
            head.local.bias.mul_(2)  # the factor starts at sigmoid(0)

    def states(self, features: list[Tensor], scales: int | None = None) -> list[Tensor]:
        lateral, upsampling = self.coarsest
        refined = lateral(features[COARSEST])
        state = upsampling(refined)
        states = [state, refined]
        for stage in reversed(range(COARSEST)):
            state = self.stages[stage](features[: stage + 1], state)
            states.insert(0, state)
        return states[:scales]


class FusedStage(nn.Module):
    """Joins a stage with all finer ones and the coarser one, refines, and doubles the size.

    Args:
        encoder_channels: of this stage and the finer ones, fine to coarse.
        width: channels of the output.
        stage: 0 to 3.
        size: the nominal size of an image.
        depthwise: see `AdaRMv2`.
    """

    def __init__(
        self, encoder_channels: tuple[int, ...], width: int, stage: int, size: Size, depthwise: bool = True
    ) -> None:
        super().__init__()
        self.exchange = AdaIE(encoder_channels, stage, size, depthwise)
        self.refinement = nn.Sequential(
            channel_map(LATERAL_WIDTHS[stage], width), AdaRMv2(width, stage, size, depthwise)
        )
        self.upsampling = DAdaNRSUv2(width, stage, size)

    def forward(self, features: list[Tensor], coarser: Tensor) -> Tensor:
        """(B, width, 2h, 2w) of the encoder's features up to this stage, and `coarser` of its size h x w."""
        return self.upsampling(self.refinement(self.exchange(features, coarser)))


class AdaIE(nn.Module):
    """Information exchange: brings all finer features to a stage and weighs them, its own and the coarser one.

    Args:
        encoder_channels: of this stage and the finer ones, fine to coarse.
        stage: 0 to 3.
        size: the nominal size of an image.
        depthwise: see `AdaRMv2`.
    """

    def __init__(self, encoder_channels: tuple[int, ...], stage: int, size: Size, depthwise: bool = True) -> None:
        super().__init__()
        self.laterals = nn.ModuleList(
            Lateral(channels, LATERAL_WIDTHS[stage], 2 ** (stage - origin), stage, size, depthwise)
            for origin, channels in enumerate(encoder_channels)
        )
        self.coefficients = AdaCoeff(len(encoder_channels) + 1)

    def forward(self, features: list[Tensor], coarser: Tensor) -> Tensor:
        """(B, C, h, w) of the encoder's features up to this stage, and `coarser` (B, C, h, w)."""
        laterals = [lateral(feature) for lateral, feature in zip(self.laterals, features, strict=True)]
        return self.coefficients(*laterals, coarser)


class Lateral(nn.Sequential):
    """From an encoder's feature to a stage: shrinks it where the stage is coarser, sets its width, refines it.

    Args:
        stride: the factor by which the stage is coarser.
        stage: 0 to 4.
        size: the nominal size of an image.
        depthwise: see `AdaRMv2`.
    """

    def __init__(
        self, in_channels: int, out_channels: int, stride: int, stage: int, size: Size, depthwise: bool = True
    ) -> None:
        sampler = [AdaAxialNPCAS(in_channels, stride)] if stride > 1 else []
        refinement = AdaRMv2(out_channels, stage, size, depthwise)
        super().__init__(*sampler, channel_map(in_channels, out_channels), refinement)


class AdaRMv2(nn.Module):
    """Refines a map by its neighbourhood and its whole (equations 24 and 25).

    Args:
        channels: before and after.
        stage: 0 to 4.
        size: the nominal size of an image.
        depthwise: the local filter looks at each channel by itself (equations 3b and 25b), or at all of them. The
            paper's totals, 24.65 M parameters and 3.90 G, lie between both and decide nothing.
    """

    def __init__(self, channels: int, stage: int, size: Size, depthwise: bool = True) -> None:
        super().__init__()
        squeezed = channels // SQUEEZES[stage]
        self.squeeze = nn.Sequential(normed_conv(channels, squeezed, 1), nn.ELU(inplace=True))
        self.local = nn.Sequential(
            normed_conv(squeezed, squeezed, 3, groups=squeezed if depthwise else 1),
            nn.ELU(inplace=True),
            normed_conv(squeezed, channels, 1),
        )
        self.globally = nn.Sequential(
            global_filter(squeezed, stage, size, REFINEMENT_DEPTH), normed_conv(squeezed, channels, 1)
        )
        self.coefficients = AdaCoeff(3)

    def forward(self, features: Tensor) -> Tensor:
        """(B, channels, h, w) to the same shape."""
        squeezed = self.squeeze(features)
        return F.elu(self.coefficients(features, self.local(squeezed), self.globally(squeezed)))


class DAdaNRSUv2(nn.Module):
    """Doubles the size by pixel shuffling of local and global context, and bilinearly beside it (equation 27).

    Args:
        channels: before and after.
        stage: 0 to 4.
        size: the nominal size of an image.
    """

    def __init__(self, channels: int, stage: int, size: Size) -> None:
        super().__init__()
        self.near, self.wide = (
            nn.Conv2d(channels, channels, kernel, padding=kernel // 2, groups=channels) for kernel in (3, 5)
        )
        self.globally = global_filter(channels, stage, size, UPSAMPLING_DEPTH)
        self.interaction = ChannelInteraction(4 * channels)
        self.coefficients = AdaCoeff(2)

    def forward(self, features: Tensor) -> Tensor:
        """(B, channels, h, w) to (B, channels, 2h, 2w)."""
        context = [self.near(features), self.wide(features), self.globally(features), features]
        shuffled = F.pixel_shuffle(self.interaction(torch.cat(context, dim=1)), 2)
        enlarged = F.interpolate(features, scale_factor=2, mode="bilinear", align_corners=False)
        return self.coefficients(shuffled, enlarged)


class AttDispV2(nn.Module):
    """From an attended map to the logits of its disparity: a local one, and a factor below 1 from the whole map.

    Args:
        channels: of the map.
        size: of the map for an image of the nominal size.
        embedding, heads: of the transformer.
        attended: the factor sees the map after the channel attention too, as in HQDec's code.
    """

    def __init__(self, channels: int, size: Size, embedding: int, heads: int, attended: bool = True) -> None:
        super().__init__()
        self.attended = attended
        self.attention = EcaModule(kernel_size=ATTENTION_KERNEL)
        self.local = ReflectConv(channels, 1)
        self.globally = nn.Sequential(
            GlobalFilter(channels, size, embedding, heads, HEAD_DEPTH), nn.Conv2d(channels, 1, kernel_size=1)
        )
        # Weights of the usual size put whole maps anywhere from a quarter of the initial depth to 2.5 times it.
        nn.init.normal_(self.globally[-1].weight, std=0.01)
        nn.init.zeros_(self.globally[-1].bias)

    def forward(self, features: Tensor) -> Tensor:
        """(B, channels, h, w) to (B, 1, h, w)."""
        attended = self.attention(features)
        return self.local(attended) * torch.sigmoid(self.globally(attended if self.attended else features))


def channel_map(in_channels: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(in_channels, out_channels, kernel_size=1), nn.ELU(inplace=True))


def normed_conv(in_channels: int, out_channels: int, kernel: int, groups: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(in_channels, out_channels, kernel, padding=kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(out_channels))


def global_filter(channels: int, stage: int, size: Size, depth: int) -> GlobalFilter:
    """A `GlobalFilter` with the settings of a stage, for images of this nominal size."""
    return GlobalFilter(channels, shrunk(size, stage + 1), EMBEDDINGS[stage], ATTENTION_HEADS[stage], depth)


def shrunk(size: Size, halvings: int) -> Size:
    height, width = size
    return height >> halvings, width >> halvings


def build(config: HQDecv2Config) -> EncoderDecoder:
    """The network of a config, with random weights."""
    if config.height is None or config.width is None:
        raise UserError("HQDecv2: its strides follow from the size of its images. Give one, as by .at_size(128, 416).")
    if min(config.height, config.width) <= 0 or config.height % 32 or config.width % 32:
        raise UserError(f"nominal size {config.height}x{config.width}: not multiples of 32. Choose one like 128x416.")
    encoder = Encoder(config.encoder, mean=0.5, deviation=0.5)
    size = config.height, config.width
    return EncoderDecoder(encoder, Decoder(encoder.channels, size, config.depthwise_local, config.attended_heads))
