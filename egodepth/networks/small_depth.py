"""SmallDepth: depthwise and 1x1 convolutions, sums for skips, and branches that training drops at times.

Source: FA-Depth, equations 2 to 12, with their misprints corrected as the specification's sections 2.1 to 2.3 say. The
paper gives neither widths nor kernel sizes; the default configuration has its number of parameters and operations.
"""

from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from egodepth.errors import UserError
from egodepth.networks.configurations import SmallDepthConfig, Tap
from egodepth.networks.disparity import DisparityDecoder, EncoderDecoder, start_at
from egodepth.networks.drop import RAMP_SHARE, SampleDrop
from egodepth.networks.weights import check_fit, read_weights

DILATIONS = (1, 2)
"""Dilations of the branches for dense and for sparse neighbourhoods, in the encoder's blocks and in the heads."""

REACH = max(DILATIONS)
"""How far a head looks, in pixels."""


class SmallDepth(EncoderDecoder):
    """The network whole. Its finest state is at half resolution, one octave coarser than in other networks.

    `forward` and `with_features` give the heads' maps as they are, (B, 1, H / 2^(k+1), W / 2^(k+1)) for k = 0 to 3;
    losses enlarge every disparity to the image's size anyway. `finest`, and with it `predict_depth`, enlarges the
    first one, so that inference sees (B, 1, H, W) as from any network.
    """

    def __init__(self, encoder: nn.Module, decoder: DisparityDecoder) -> None:
        super().__init__(encoder, decoder)
        self.register_buffer("corners", _corners(), persistent=False)

    def finest(self, image: Tensor) -> Tensor:
        # What `_enlarged` does, in convolutions: engines take five times longer to interpolate a single channel.
        padded = F.pad(super().finest(image), (1, 1, 1, 1), mode="replicate")
        return F.pixel_shuffle(F.conv2d(padded, self.corners), 2)


class SmallEncoder(nn.Module):
    """Five features: the stem (X_enc^0), then four stages of one downsampling and n residual blocks each (eq. 9)."""

    def __init__(
        self,
        widths: Sequence[int],
        middles: Sequence[int],
        repeats: Sequence[int],
        pb_dsr: float,
        pb_sd: float,
        ramp_share: float | None = RAMP_SHARE,
    ) -> None:
        super().__init__()
        self.channels = tuple(widths)
        self.stem = nn.Sequential(_normed(3, widths[0], 3, stride=2), nn.SiLU(inplace=True))
        self.stages = nn.ModuleList(
            nn.Sequential(
                SparseDown(finer, width, SampleDrop(pb_sd, ramp_share)),
                *(SparseResidual(width, middle, lambda: SampleDrop(pb_dsr, ramp_share)) for _ in range(n)),
            )
            for finer, width, middle, n in zip(widths[:-1], widths[1:], middles, repeats, strict=True)
        )

    def load_pretrained(self, source: str) -> None:
        """Start from weights of this encoder.

        Args:
            source: `none`, or the path of an encoder's state dictionary (.pth or .safetensors).

        Raises:
            UserError: the file is missing, foreign or of other widths; or `imagenet` is asked for.
        """
        if source == "none":
            return
        remedy = "Give a SmallDepth encoder's weights with --pretrained PATH, or start without (--pretrained none)."
        if source == "imagenet":
            raise UserError(f"pretrained 'imagenet': there are no ImageNet weights of SmallDepth's encoder. {remedy}")
        self.load_state_dict(check_fit(self.state_dict(), read_weights(Path(source)).tensors, source, remedy))

    def forward(self, image: Tensor) -> list[Tensor]:
        """Features (B, channels[i], H / 2^(i+1), W / 2^(i+1)) of an image (B, 3, H, W) in [0, 1]."""
        features = [self.stem(image)]
        for stage in self.stages:
            features.append(stage(features[-1]))
        return features


class SparseDown(nn.Module):
    """SD, equation 2: context within each channel plus a mixture of channels, both at every other pixel."""

    def __init__(self, in_channels: int, out_channels: int, drop: SampleDrop) -> None:
        super().__init__()
        # Each channel has out / in kernels of its own. Engines are fast at depthwise convolutions, and run one grouped
        # convolution with several outputs for an input in three times the time.
        self.context = nn.ModuleList(
            _normed(in_channels, in_channels, 3, stride=2, groups=in_channels)
            for _ in range(out_channels // in_channels)
        )
        self.channel = _normed(in_channels, out_channels, 1, stride=2)
        self.drop = drop
        self.activation = nn.SiLU(inplace=True)

    def forward(self, features: Tensor) -> Tensor:
        """(B, in_channels, H, W) to (B, out_channels, H/2, W/2)."""
        context = torch.cat([filtered(features) for filtered in self.context], dim=1)
        return self.activation(context.add_(self.drop(self.channel(features))))


class SparseResidual(nn.Module):
    """DSR, equation 3: two depthwise convolutions of different reach between two 1x1 convolutions, and a residual."""

    def __init__(self, channels: int, middle: int, new_drop: Callable[[], SampleDrop]) -> None:
        super().__init__()
        self.expand = nn.Sequential(_normed(channels, middle, 1), nn.SiLU(inplace=True))
        self.near, self.sparse = (
            nn.Sequential(
                _normed(middle, middle, 3, groups=middle, dilation=dilation),
                nn.SiLU(inplace=True),
                new_drop(),
            )
            for dilation in DILATIONS
        )
        self.contract = _normed(middle, channels, 1)
        self.activation = nn.SiLU(inplace=True)

    def forward(self, features: Tensor) -> Tensor:
        """(B, channels, H, W) to the same shape."""
        middle = self.expand(features)
        # The sums may overwrite what the branches made: no gradient needs it again.
        context = self.near(middle).add_(self.sparse(middle)).add_(middle)
        return self.activation(self.contract(context).add_(features))


class SmallDecoder(DisparityDecoder):
    """From the coarsest feature up: enlarge, add the skip (equation 10), read off a disparity (equation 11).

    Args:
        encoder_channels: of the five features, fine to coarse.
    """

    def __init__(self, encoder_channels: Sequence[int]) -> None:
        super().__init__()
        *widths, _ = encoder_channels
        self.ups = nn.ModuleList(map(SparseUp, encoder_channels[1:], widths))
        self.heads = nn.ModuleList(map(DoubleHead, widths))

    def start_far(self) -> None:
        for head in self.heads:
            start_at(head.near)
            start_at(head.sparse)

    def states(self, features: list[Tensor], scales: int | None = None) -> list[Tensor]:
        *skips, state = features
        states = [state]
        for up, skip in zip(reversed(self.ups), reversed(skips), strict=True):
            state = skip + up(state)
            states.insert(0, state)
        return states[:scales]

    def disparities(self, states: list[Tensor]) -> tuple[Tensor, ...]:
        return tuple(head(state) for head, state in zip(self.heads, states, strict=False))


class SparseUp(nn.Module):
    """Up, equation 6: fewer channels, twice the size, each step a 1x1 and a depthwise 3x3 convolution."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.reduce = _normed(in_channels, out_channels, 1)
        self.smooth = _normed(out_channels, out_channels, 3, groups=out_channels)
        self.mix = _normed(out_channels, out_channels, 1)
        self.mix_activation = nn.ELU(inplace=True)
        self.refine = _normed(out_channels, out_channels, 3, groups=out_channels)
        self.refine_activation = nn.ELU(inplace=True)

    def forward(self, coarse: Tensor) -> Tensor:
        """(B, in_channels, H, W) to (B, out_channels, 2H, 2W)."""
        reduced = self.smooth(self.reduce(coarse))
        # A 1x1 convolution and an interpolation may change places, and before it there are four times fewer pixels.
        # In training they may not: the batch norm would measure its statistics on other pixels.
        mixed = self.mix(_enlarged(reduced)) if self.training else _enlarged(self.mix(reduced))
        return self.refine_activation(self.refine(self.mix_activation(mixed)))


class DoubleHead(nn.Module):
    """The mean of two disparities, one seen from dense and one from sparse neighbours (equation 11)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.near, self.sparse = (
            nn.Conv2d(channels, 1, kernel_size=3, padding=dilation, dilation=dilation) for dilation in DILATIONS
        )
        self.register_buffer("shifts", _shifts(), persistent=False)

    def forward(self, state: Tensor) -> Tensor:
        """Sigmoid disparity (B, 1, H, W) of a state (B, channels, H, W)."""
        if self.training or not isinstance(self.near, nn.Conv2d):  # equivalent transformation makes kernels in calls
            logits = torch.cat([self.near(state), self.sparse(state)], dim=1)
        else:
            logits = self._logits(state)
        return torch.sigmoid(logits).mean(dim=1, keepdim=True)

    def _logits(self, state: Tensor) -> Tensor:
        """(B, 2, H, W), what the two convolutions give, in the order that suits inference.

        Engines compute sixteen outputs where a kernel has one. So channels are mixed first, by a 1x1 convolution with
        an output for each tap of both kernels, and then moved to where the taps look and summed.
        """
        kernels = torch.cat([self.near.weight, self.sparse.weight]).flatten(2)
        taps = F.conv2d(state, kernels.transpose(1, 2).flatten(0, 1)[:, :, None, None])
        moved = F.conv2d(taps, self.shifts, padding=REACH, groups=len(self.shifts))
        biases = torch.cat([self.near.bias, self.sparse.bias])
        return moved.unflatten(1, (len(DILATIONS), -1)).sum(dim=2) + biases[:, None, None]


def _normed(
    in_channels: int, out_channels: int, kernel_size: int, stride: int = 1, groups: int = 1, dilation: int = 1
) -> nn.Sequential:
    """A convolution without bias, padded so that stride alone changes the size, and its batch norm."""
    padding = dilation * (kernel_size // 2)
    conv = nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(out_channels))


def _enlarged(features: Tensor) -> Tensor:
    """(B, C, 2H, 2W) of features (B, C, H, W), bilinearly."""
    return F.interpolate(features, scale_factor=2, mode="bilinear", align_corners=False)


def _shifts() -> Tensor:
    """(18, 1, 5, 5), kernels that fetch a pixel's neighbour for each tap of both convolutions of a head."""
    kernels = torch.zeros(9 * len(DILATIONS), 1, 2 * REACH + 1, 2 * REACH + 1)
    for tap, (dilation, row, column) in enumerate(product(DILATIONS, (-1, 0, 1), (-1, 0, 1))):
        kernels[tap, 0, REACH + dilation * row, REACH + dilation * column] = 1
    return kernels


def _corners() -> Tensor:
    """(4, 1, 3, 3), bilinear weights of the four pixels that one becomes when a map is enlarged to twice its size."""
    before, after = torch.tensor([1 / 4, 3 / 4, 0]), torch.tensor([0, 3 / 4, 1 / 4])
    return torch.stack([torch.outer(row, column) for row, column in product((before, after), repeat=2)])[:, None]


def build(config: SmallDepthConfig) -> SmallDepth:
    """The network of a config, with random weights."""
    drops = config.pb_dsr, config.pb_sd, config.ramp_share
    encoder = SmallEncoder(config.widths, config.middles, config.repeats, *drops)
    return SmallDepth(encoder, SmallDecoder(config.widths))


def prior_tap(config: SmallDepthConfig) -> Tap:
    """Where RPrDepth's prior joins: the part that comes from below; the skip is added to it afterwards."""
    return Tap("decoder.ups.1", config.widths[1], rectified=False)
