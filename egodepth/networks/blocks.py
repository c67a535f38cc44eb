"""Convolution blocks that two or more networks share."""

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
