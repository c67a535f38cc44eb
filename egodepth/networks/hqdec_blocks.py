"""What the parts of HQDecv2's decoder are made of: branches weighed per pixel, global context, channel interaction.

Source: the paper of FA-Depth, equations 23, 25 and 26 and figure 3; `ChannelInteraction` and `AdaAxialNPCAS` are those
of HQDec, reduced to one round and a 1x1 output, with coefficients from `AdaCoeff`.

Where the text leaves a detail open: the samplers of `GlobalFilter` have biases and neither norm nor activation; its
strides follow from a nominal image size and stay at any other, where the position embedding is interpolated; its
recoveries normalise up to 4 groups of channels; a position in `AxialSampler` is one number for all channels.
"""

import math
from itertools import pairwise

import torch
import torch.nn.functional as F
from timm.layers import EcaModule, SqueezeExcite
from timm.models.vision_transformer import Block
from torch import Tensor, nn

Size = tuple[int, int]
"""Height and width."""

MLP_RATIO = 2
INTERACTION_GROUPS = 16
RECOVERY_GROUPS = 4
ATTENTION_KERNEL = 3
"""How many neighbouring channels the channel attention looks at."""


class AdaCoeff(nn.Module):
    """Weighs branches against each other at each pixel, and adds them up (equation 23). All start with equal weight.

    Args:
        branches: how many.
    """

    def __init__(self, branches: int) -> None:
        super().__init__()
        hidden = 2 * branches
        self.layers = nn.Sequential(
            nn.Conv2d(branches, hidden, kernel_size=3, padding=1),
            nn.ELU(inplace=True),
            nn.Conv2d(hidden, hidden, kernel_size=3, padding=1),
            nn.ELU(inplace=True),
            nn.Conv2d(hidden, branches, kernel_size=3, padding=1),
        )
        nn.init.zeros_(self.layers[-1].weight)
        nn.init.zeros_(self.layers[-1].bias)

    def coefficients(self, *branches: Tensor) -> Tensor:
        """The weights (B, branches, H, W), which sum to 1 at each pixel, of branches (B, C, H, W)."""
        means = torch.cat([branch.mean(dim=1, keepdim=True) for branch in branches], dim=1)
        return torch.softmax(self.layers(means), dim=1)

    def forward(self, *branches: Tensor) -> Tensor:
        """The weighted sum (B, C, H, W) of branches (B, C, H, W)."""
        weights = self.coefficients(*branches).split(1, dim=1)
        return sum(weight * branch for weight, branch in zip(weights, branches, strict=True))


class GlobalFilter(nn.Module):
    """F_globalv2: lets every place of a map see all others (figure 3, equations 25 and 26).

    Three overlapping samplers lead to a small grid of tokens; transformer blocks mix these; three recoveries lead back.

    Args:
        channels: of the map.
        size: of the map for an image of the nominal size; it decides the samplers' strides and the tokens' grid.
        embedding: channels of a token.
        heads: of the attention.
        depth: how many transformer blocks.
    """

    def __init__(self, channels: int, size: Size, embedding: int, heads: int, depth: int) -> None:
        super().__init__()
        self.samplers, self.recoveries = nn.ModuleList(), nn.ModuleList()
        for before, after in pairwise((channels, channels, channels, embedding)):
            stride, kernel = stride_and_kernel(size)
            self.samplers.append(
                nn.Sequential(
                    nn.Conv2d(before, before, kernel, stride, padding=kernel // 2, groups=before),
                    nn.Conv2d(before, after, kernel_size=1),
                )
            )
            self.recoveries.insert(0, Recovery(after, before))
            size = tuple(math.ceil(length / stride) for length in size)
        self.position = nn.Parameter(torch.empty(1, embedding, *size))
        nn.init.trunc_normal_(self.position, std=0.02)
        self.blocks = nn.Sequential(
            *(Block(embedding, heads, mlp_ratio=MLP_RATIO, qkv_bias=True) for _ in range(depth)),
            nn.LayerNorm(embedding),
        )

    def sampled(self, features: Tensor) -> list[Tensor]:
        """The map itself, and what each of the three samplers makes of the one before."""
        maps = [features]
        for sampler in self.samplers:
            maps.append(sampler(maps[-1]))
        return maps

    def forward(self, features: Tensor) -> Tensor:
        """(B, channels, H, W) to the same shape."""
        maps = self.sampled(features)
        context = self.attend(maps[-1])
        for recovery, (coarse, fine) in zip(self.recoveries, pairwise(reversed(maps)), strict=True):
            context = recovery(coarse + context, fine.shape[2:])
        return context

    def attend(self, tokens: Tensor) -> Tensor:
        """(B, embedding, h, w) to the same shape."""
        position, grid = self.position, tokens.shape[2:]
        if position.shape[2:] != grid:
            position = F.interpolate(position, grid, mode="bilinear", align_corners=False)
        attended = self.blocks((tokens + position).flatten(2).transpose(1, 2))
        return attended.transpose(1, 2).unflatten(2, grid)


class Recovery(nn.Module):
    """One step of `GlobalFilter` back to a finer map: Y_{i-1} from X_i + Y_i."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        same = in_channels == out_channels
        self.layers = nn.Sequential(
            nn.Identity() if same else nn.Conv2d(in_channels, out_channels, kernel_size=1),
            nn.Conv2d(out_channels, out_channels, kernel_size=3, padding=1, groups=out_channels, bias=False),
            nn.GroupNorm(math.gcd(RECOVERY_GROUPS, out_channels), out_channels),
            nn.ELU(inplace=True),
        )

    def forward(self, coarse: Tensor, size: Size) -> Tensor:
        """(B, in_channels, h, w) to (B, out_channels, *size)."""
        return self.layers(F.interpolate(coarse, size, mode="bilinear", align_corners=False))


def stride_and_kernel(size: Size) -> tuple[int, int]:
    """Stride of the sampler for a map of this size: the larger the map, the larger the step."""
    shorter = min(size)
    if shorter > 16:
        return 4, 5
    return (2, 3) if shorter > 3 else (1, 3)


class ChannelInteraction(nn.Module):
    """F_ci: filters each channel with its neighbourhood, weighs the channels, mixes them.

    Args:
        channels: a multiple of 16.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.local = nn.Conv2d(channels, channels, kernel_size=3, groups=channels)
        self.mixing = nn.Sequential(
            nn.ELU(inplace=True),
            nn.GroupNorm(INTERACTION_GROUPS, channels),
            SqueezeExcite(channels, rd_ratio=1 / 16, rd_divisor=1, act_layer=nn.SiLU),
            nn.Conv2d(channels, channels, kernel_size=1, bias=False),
            nn.GroupNorm(INTERACTION_GROUPS, channels),
            nn.ELU(inplace=True),
        )

    def forward(self, features: Tensor) -> Tensor:
        """(B, channels, H, W) to the same shape."""
        # A line of one pixel has nothing to reflect: the coarsest map of an image of 32 pixels.
        border = "reflect" if min(features.shape[2:]) > 1 else "replicate"
        return self.mixing(self.local(F.pad(features, (1, 1, 1, 1), mode=border)))


class AxialSampler(nn.Module):
    """Shrinks a map along its height: stacks neighbouring rows into channels, lets these interact, reduces them.

    Args:
        channels: before and after.
        stride: how many rows become one.
    """

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        self.position = nn.Parameter(torch.zeros(stride, 1, 1))
        self.layers = nn.Sequential(
            ChannelInteraction(stride * channels),
            EcaModule(kernel_size=ATTENTION_KERNEL),
            nn.Conv2d(stride * channels, channels, kernel_size=1),
        )

    def forward(self, features: Tensor) -> Tensor:
        """(B, channels, H, W) to (B, channels, H / stride, W)."""
        rows = features.unflatten(2, (-1, len(self.position))).transpose(2, 3)
        return self.layers((rows + self.position).flatten(1, 2))


class AdaAxialNPCAS(nn.Module):
    """Shrinks a map along its height, then its width, without dropping a pixel; maximum pooling beside it.

    Args:
        channels: before and after.
        stride: the factor on each axis.
    """

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        self.height, self.width = AxialSampler(channels, stride), AxialSampler(channels, stride)
        self.pooling = nn.MaxPool2d(stride)
        self.coefficients = AdaCoeff(2)

    def forward(self, features: Tensor) -> Tensor:
        """(B, channels, H, W) to (B, channels, H / stride, W / stride)."""
        sampled = self.width(self.height(features).transpose(2, 3)).transpose(2, 3)
        return F.elu(self.coefficients(sampled, self.pooling(features)))
