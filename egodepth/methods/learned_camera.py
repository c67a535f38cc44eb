"""Intrinsics that are learnt beside depth and motion, where nobody knows the camera.

Source: Gordon et al., "Depth from Videos in the Wild: Unsupervised Monocular Depth Learning from Unknown Cameras"
(ICCV 2019), section 3.5. There the pose network's features predict the intrinsics of each pair of frames. Here all
frames are one camera's, so that they share four numbers, which every pair of frames corrects.
"""

import math
from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor, nn

from egodepth.data.samples import Batch
from egodepth.data.transforms import Views
from egodepth.geometry.cameras import Camera
from egodepth.methods.configurations import LearnedCameraConfig

CENTRE_SHARE = 0.1
"""Step of the principal point, in fractions of the picture, against that of the logarithm of the focal length. A turn
of the camera explains a wrong principal point nearly as well as the right one, so it follows slowly."""

TOLERANCE = 0.005
"""Share of the picture's width by which it may be moved wrongly: two pixels of the 416 of Gordon et al."""

MEMORY_STEPS = 100
"""Over so many steps the turns that the pose network finds are averaged."""


class LearnedCamera(nn.Module):
    """The intrinsics of one camera as parameters, normalised as `Camera.normalised` gives them.

    The losses of one step are differentiated part by part, and all parts see the same camera. So a step's views get a
    copy of the intrinsics that collects the gradient (`hold`), and the parameters follow it at the end (`wishes`).

    Args:
        start: (3, 3), normalised.

    Attributes:
        log_focal: (1,), or (2,) for x and y where pixels need not be square: logarithm of the ratio to the start.
        centre_shift: (2,), of the principal point, in units of `CENTRE_SHARE` pictures.
        squared_turn: (2,), mean square of the pitch and the yaw between two views, in square radians.
    """

    def __init__(self, start: Tensor, config: LearnedCameraConfig) -> None:
        super().__init__()
        self.config = config
        self.log_focal = nn.Parameter(torch.zeros(1 if config.square_pixels else 2))
        self.centre_shift = nn.Parameter(torch.zeros(2))
        self.register_buffer("start", start.detach().float().clone())
        self.register_buffer("squared_turn", torch.zeros(2))
        self.register_buffer("turns_seen", torch.zeros(()))
        self._held: tuple[Tensor, Tensor] | None = None

    def forward(self) -> Tensor:
        """(3, 3), normalised."""
        focal = self.start.diagonal()[:2] * self.log_focal.exp()
        centre = self.start[:2, 2] + CENTRE_SHARE * self.centre_shift
        upper = torch.cat([focal.diag(), centre[:, None]], dim=1)
        return torch.cat([upper, self.start[2:]])

    def given_to(self, batch: Batch) -> Batch:
        """The batch as this camera saw it."""
        return replace(batch, intrinsics=self().expand(len(batch), 3, 3))

    def frozen(self, step: int, steps: int) -> bool:
        """Whether the camera stays as it is at this step."""
        return step >= self.config.freeze_from * steps

    def judged(self, step: int, steps: int) -> bool:
        """Whether at this step it is to be said if the motion determines the camera: before it is frozen."""
        return step == min(math.ceil(self.config.freeze_from * steps), steps) - 1

    # --- a step ------------------------------------------------------------------------------------------------

    def hold(self, views: Views) -> Views:
        """The views with intrinsics that collect the gradient of every part of the loss."""
        collecting = views.intrinsics.detach().requires_grad_()
        self._held = views.intrinsics, collecting
        return replace(views, intrinsics=collecting)

    def wishes(self) -> Iterator[Tensor]:
        """A last part of the loss whose gradient is what the other parts want of the camera; its value is zero."""
        if self._held is None:
            return
        own, collecting = self._held
        self._held = None
        if collecting.grad is not None:
            wish = (own * collecting.grad).sum()
            yield wish - wish.detach()

    def values(self) -> dict[str, Tensor]:
        """For the log: the intrinsics in fractions of the picture, and the horizontal field of view in degrees."""
        intrinsics = self().detach()
        (fx, _, cx), (_, fy, cy), _ = intrinsics
        fov = torch.rad2deg(2 * torch.atan(0.5 / fx))
        return {"camera_fx": fx, "camera_fy": fy, "camera_cx": cx, "camera_cy": cy, "camera_fov": fov}

    # --- whether the motion determines it ----------------------------------------------------------------------

    @torch.no_grad()
    def watch(self, transforms: Tensor) -> None:
        """Keep how far the camera turns between two views, of motions (..., 4, 4)."""
        rotation = transforms[..., :3, :3].flatten(0, -3).float()
        pitch = torch.atan2(rotation[:, 2, 1], rotation[:, 2, 2])
        yaw = torch.atan2(rotation[:, 0, 2], rotation[:, 2, 2])
        found = torch.stack([pitch, yaw]).square().mean(1)
        self.turns_seen += 1
        self.squared_turn += (found - self.squared_turn) / self.turns_seen.clamp(max=MEMORY_STEPS)

    def uncertainty(self, height: int, width: int) -> float:
        """Share by which the focal length may be wrong before a pair of frames shows it.

        A camera that turns by r moves the picture by f r (1 + X²), X being the tangent of the angle off the axis. The
        first part says nothing of f: a turn that is mistaken by as much hides a wrong f. The second remains: at the
        border of the picture a focal length that is wrong by the share d moves it by 2 d f r X². Gordon et al.,
        section 3.5, take the d that makes this one pixel; here it is `TOLERANCE`, so that the size of training does not
        matter, for the root mean square of the turns that the pose network finds, pitch and yaw, over the last
        `MEMORY_STEPS` steps. Where the camera goes straight on, r is the pose network's noise, and d large. By their
        true motion KITTI's drives 0005 and 0009 have 0.34 and 0.53, the straight 0013 has 2.6. It is the tolerance of
        a single pair: the focal length of many pairs is found better by far, but noise would not be told from turns.

        Args:
            height, width: of the pictures.

        Returns:
            infinity where no turn was found.
        """
        camera = Camera.from_normalised(self().detach(), height, width).intrinsics
        focal_px = camera.diagonal()[:2].flip(0)  # pitch moves rows, yaw columns
        borders = torch.tensor([height, width], device=focal_px.device) / 2 / focal_px
        moved_px = 2 * self.squared_turn.sqrt() * focal_px * borders.square()
        return TOLERANCE * width / max(float(moved_px.norm()), 1e-9)

    def turn_degrees(self) -> float:
        """Root mean square of the turn between two views."""
        return math.degrees(float(self.squared_turn.sum().sqrt()))
