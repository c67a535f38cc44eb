"""Convolution blocks that two or more networks share."""

import torch
from torch import Tensor, nn


class ReflectConv(nn.Conv2d):
    """3x3 convolution with bias over a reflected border; the image size stays."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, kernel_size=3, padding=1, padding_mode="reflect")


class ConvELU(nn.Module):
    """`ReflectConv` and an ELU."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = ReflectConv(in_channels, out_channels)
        self.activation = nn.ELU(inplace=True)

    def forward(self, features: Tensor) -> Tensor:
        """(B, in_channels, H, W) to (B, out_channels, H, W)."""
        return self.activation(self.conv(features))


ATTENTION_REDUCTION = 16


class ChannelAttention(nn.Module):
    """Weighs each channel by what all channels hold on average (squeeze and excitation, without biases)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.squeeze = nn.Linear(channels, channels // ATTENTION_REDUCTION, bias=False)
        self.excite = nn.Linear(channels // ATTENTION_REDUCTION, channels, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        """(B, channels, H, W) to the same shape."""
        weights = torch.sigmoid(self.excite(torch.relu(self.squeeze(features.mean((2, 3))))))
        return features * weights[:, :, None, None]
