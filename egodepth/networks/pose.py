"""Monodepth2's pose network: the motion of the camera between two images.

Source: Godard et al. (ICCV 2019), supplementary section; specification section 3.3, "separate_resnet".
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from egodepth.networks.encoders import Encoder

MOTION_SCALE = 0.01
"""Keeps the first motions near zero, so that training starts from almost unwarped images."""


@dataclass(frozen=True)
class PoseConfig:
    """The pose network.

    Attributes:
        encoder: a timm model; its stem is widened to two stacked images.
    """

    encoder: str = "resnet18.tv_in1k"

    def build(self) -> "PoseNetwork":
        return PoseNetwork(Encoder(self.encoder, in_channels=6))


class PoseNetwork(nn.Module):
    """Axis-angle and translation from a pair of images in temporal order."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder
        # Twelve outputs for two motions, though one is used: so the published weights have it.
        self.decoder = nn.Sequential(
            nn.Conv2d(encoder.channels[4], 256, kernel_size=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(256, 256, kernel_size=3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(256, 256, kernel_size=3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(256, 12, kernel_size=1),
        )

    def forward(self, earlier: Tensor, later: Tensor) -> tuple[Tensor, Tensor]:
        """Motion that maps points of the earlier camera to the later one.

        Args:
            earlier, later: (B, 3, H, W) in [0, 1].

        Returns:
            axis-angle in radians and translation in units of training, each (B, 2, 3); only index 0 of the
            second axis is trained.
        """
        motion = self.decoder(self.encoder(torch.cat([earlier, later], dim=1))[4]).mean((2, 3))
        motion = MOTION_SCALE * motion.float().unflatten(1, (2, 6))
        return motion[..., :3], motion[..., 3:]
