"""Pose networks: the motion of the camera between two images.

Sources: Godard et al. (ICCV 2019), supplementary section, for Monodepth2's over a ResNet; FA-Depth for the one over
FBNetV3, whose variant and decoder the paper leaves open: b, and Monodepth2's decoder for one motion instead of two.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from egodepth.geometry.poses import pose_to_transform
from egodepth.networks.configurations import FBNetPoseConfig, PoseConfig
from egodepth.networks.encoders import Encoder

MOTION_SCALE = 0.01
"""Keeps the first motions near zero, so that training starts from almost unwarped images."""


class FBNetEncoder(Encoder):
    """FBNetV3 up to the 1x1 convolution that widens its coarsest feature sixfold for a classifier."""

    def __init__(self, name: str, in_channels: int = 3) -> None:
        super().__init__(name, in_channels)
        stages = self.body.blocks
        self.coarsest_channels = stages[-1][0].conv.in_channels
        stages[-1] = nn.Identity()

    @property
    def channels(self) -> tuple[int, ...]:
        return (*super().channels[:4], self.coarsest_channels)


class PoseNetwork(nn.Module):
    """Axis-angle and translation from a pair of images in temporal order.

    Args:
        encoder: of two stacked images.
        motions: that the decoder gives. Monodepth2's gives two, though one is used: so the published weights have it.
    """

    def __init__(self, encoder: Encoder, motions: int = 2) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = nn.Sequential(
            nn.Conv2d(encoder.channels[4], 256, kernel_size=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(256, 256, kernel_size=3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(256, 256, kernel_size=3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(256, 6 * motions, kernel_size=1),
        )

    def forward(self, earlier: Tensor, later: Tensor) -> tuple[Tensor, Tensor]:
        """Motion that maps points of the earlier camera to the later one.

        Args:
            earlier, later: (B, 3, H, W) in [0, 1].

        Returns:
            axis-angle in radians and translation in units of training, each (B, motions, 3); only index 0 of the
            second axis is trained.
        """
        motion = self.decoder(self.encoder(torch.cat([earlier, later], dim=1))[4]).mean((2, 3))
        motion = MOTION_SCALE * motion.float().unflatten(1, (-1, 6))
        return motion[..., :3], motion[..., 3:]


def motion_to(network: PoseNetwork, target: Tensor, frames: Mapping[int, Tensor], offset: int) -> Tensor:
    """The motion (B, 4, 4) from the target camera to that of another time, chained over the frames between.

    Args:
        target: (B, 3, H, W), the frame of offset 0.
        frames: (B, 3, H, W) each by their time offset; all from the target to `offset`.
        offset: time offset of the other frame, not zero.
    """
    step = 1 if offset > 0 else -1
    frames = {**frames, 0: target}
    transform = None
    for time in range(step, offset + step, step):
        earlier, later = (frames[time - 1], frames[time]) if step > 0 else (frames[time], frames[time + 1])
        axis_angle, translation = network(earlier, later)
        motion = pose_to_transform(axis_angle[:, 0], translation[:, 0], invert=step < 0)
        transform = motion if transform is None else motion @ transform
    return transform


def build(config: PoseConfig | FBNetPoseConfig) -> PoseNetwork:
    """FA-Depth's over an FBNetV3, Monodepth2's over any other encoder."""
    if config.encoder.startswith("fbnetv3_"):
        return PoseNetwork(FBNetEncoder(config.encoder, in_channels=6), motions=1)
    return PoseNetwork(Encoder(config.encoder, in_channels=6))
