"""A model whose networks know a simulated drive: its depth and its motion, exact up to one factor."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from egodepth.data.images import read_depth_png, read_image
from egodepth.data.kitti.poses import read_poses
from egodepth.models.released import ReleasedModel, save_model
from egodepth.recipes import RECIPES
from tests.command_line import TINY

METRES_PER_UNIT = 31.7
HEIGHT, WIDTH = 64, 192
SKY_M = 200.0


def picture_key(image: Tensor) -> bytes:
    """What tells pictures (3, H, W) in [0, 1] apart."""
    return (image * 255).round().byte().permute(1, 2, 0).contiguous().numpy().tobytes()


class ExactDepth(nn.Module):
    """Looks up the depth of a drive's pictures, in units."""

    def __init__(self, drive: Path) -> None:
        super().__init__()
        self.nothing = nn.Parameter(torch.zeros(()))
        self.depths = {}
        for picture in sorted(drive.glob("image_02/data/*.png")):
            depth = read_depth_png(drive / "proj_depth" / "groundtruth" / "image_02" / picture.name)
            known = np.where(depth > 0, depth, SKY_M) / METRES_PER_UNIT
            self.depths[read_image(picture).tobytes()] = torch.from_numpy(known.astype(np.float32))

    def predict_depth(self, image: Tensor) -> Tensor:
        return torch.stack([self.depths[picture_key(each)] for each in image])[:, None]

    forward = predict_depth


class ExactPose(nn.Module):
    """Looks up the motion between a drive's pictures, in units."""

    def __init__(self, drive: Path) -> None:
        super().__init__()
        self.nothing = nn.Parameter(torch.zeros(()))
        pictures = sorted(drive.glob("image_02/data/*.png"))
        self.places = {
            read_image(path).tobytes(): pose
            for path, pose in zip(pictures, read_poses(drive / "poses.txt"), strict=True)
        }

    def forward(self, earlier: Tensor, later: Tensor) -> tuple[Tensor, Tensor]:
        motions = [
            np.linalg.inv(self.places[picture_key(two)]) @ self.places[picture_key(one)]
            for one, two in zip(earlier, later, strict=True)
        ]
        moved = torch.tensor(np.stack([each[:3, 3] for each in motions]) / METRES_PER_UNIT).float()
        return torch.zeros(len(moved), 2, 3), moved[:, None].repeat(1, 2, 1)


def write_model(folder: Path) -> Path:
    """A released model of tiny networks, up to scale, as training from video writes one."""
    recipe = RECIPES["monodepth2"]
    recipe = replace(
        recipe,
        height=HEIGHT,
        width=WIDTH,
        network=replace(recipe.network, encoder=TINY),
        pose=replace(recipe.pose, encoder=TINY),
    )
    save_model(folder, "monodepth2", recipe, recipe.build_networks(), None, {"data": "drive"}, folded=False)
    return folder


def know(monkeypatch, drive: Path) -> None:
    """Let every released model have the networks that know a drive."""
    monkeypatch.setattr(ReleasedModel, "depth_network", lambda self: ExactDepth(drive))
    monkeypatch.setattr(ReleasedModel, "pose_network", lambda self: ExactPose(drive))
