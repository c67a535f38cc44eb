"""The seeded inputs on which the published functions were measured (specification section 13.2)."""

from dataclasses import dataclass

import torch
from torch import Tensor

from egodepth.geometry.poses import pose_to_transform

HEIGHT, WIDTH = 32, 64


@dataclass(frozen=True)
class ReferenceInputs:
    """Images A, B, C, four sigmoid disparities, and the poses of the sources before and after."""

    a: Tensor
    b: Tensor
    c: Tensor
    disparities: tuple[Tensor, ...]
    axis_angle: Tensor
    translation: Tensor

    def transforms(self) -> Tensor:
        """(2, B, 4, 4): to the earlier source (inverted) and to the later one."""
        return torch.stack(
            [
                pose_to_transform(self.axis_angle[:, 0, 0], self.translation[:, 0, 0], invert=True),
                pose_to_transform(self.axis_angle[:, 1, 0], self.translation[:, 1, 0]),
            ]
        )


def reference_inputs() -> ReferenceInputs:
    generator = torch.Generator().manual_seed(2024)

    def draw(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator)

    a, b, c = (draw(2, 3, HEIGHT, WIDTH) for _ in range(3))
    disparities = tuple(draw(2, 1, HEIGHT >> scale, WIDTH >> scale) for scale in range(4))
    axis_angle = (draw(2, 2, 1, 3) - 0.5) * 0.02
    translation = (draw(2, 2, 1, 3) - 0.5) * 0.1
    return ReferenceInputs(a, b, c, disparities, axis_angle, translation)


def analytic_image(phase: float) -> Tensor:
    """A smooth image without a random number in it, (2, 3, H, W)."""
    b = torch.arange(2.0)[:, None, None, None]
    c = torch.arange(3.0)[None, :, None, None]
    y = torch.arange(float(HEIGHT))[None, None, :, None]
    x = torch.arange(float(WIDTH))[None, None, None, :]
    return 0.5 + 0.4 * torch.sin(0.10 * (c + 1) * x + 0.07 * y + 0.5 * b + phase)


def default_intrinsics() -> Tensor:
    """KITTI's fixed intrinsics at 32x64, (2, 3, 3) in pixels, principal point at W/2 and H/2."""
    matrix = torch.tensor([[0.58 * WIDTH, 0, 0.5 * WIDTH], [0, 1.92 * HEIGHT, 0.5 * HEIGHT], [0, 0, 1]])
    return matrix.repeat(2, 1, 1)
