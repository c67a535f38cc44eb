"""Intrinsics that are learnt beside depth and motion, where nobody knows the camera.

Source: Gordon et al., "Depth from Videos in the Wild: Unsupervised Monocular Depth Learning from Unknown Cameras"
(ICCV 2019), section 3.5. There the pose network's features predict the intrinsics of each pair of frames. Here all
frames that one camera took share four numbers, which every pair of frames corrects.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from egodepth.data.samples import Batch, LearningCamera
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


class LearnedCameras(nn.Module):
    """The intrinsics of C cameras as parameters, normalised as `Camera.normalised` gives them.

    The losses of one step are differentiated part by part, and all parts see the same cameras. So a step's views get a
    copy of the intrinsics that collects the gradient (`hold`), and the parameters follow it at the end (`wishes`).
    Samples whose intrinsics are given keep them.

    Args:
        cameras: with different names.

    Attributes:
        names: of the cameras.
        log_focal: (C, 1), or (C, 2) for x and y where pixels need not be square: logarithm of the ratio to the start.
        centre_shift: (C, 2), of the principal point, in units of `CENTRE_SHARE` pictures.
        squared_turn: (C, 2), mean square of the pitch and the yaw between two views, in square radians.
    """

    def __init__(self, cameras: Sequence[LearningCamera], config: LearnedCameraConfig) -> None:
        super().__init__()
        self.config = config
        self.names = tuple(camera.name for camera in cameras)
        count = len(cameras)
        self.log_focal = nn.Parameter(torch.zeros(count, 1 if config.square_pixels else 2))
        self.centre_shift = nn.Parameter(torch.zeros(count, 2))
        self.register_buffer("start", torch.stack([camera.start.detach().float() for camera in cameras]))
        self.register_buffer("squared_turn", torch.zeros(count, 2))
        self.register_buffer("turns_seen", torch.zeros(count))
        self._held: tuple[Tensor, Tensor] | None = None

    def forward(self) -> Tensor:
        """(C, 3, 3), normalised."""
        focal = self.start.diagonal(dim1=1, dim2=2)[:, :2] * self.log_focal.exp()
        centre = self.start[:, :2, 2] + CENTRE_SHARE * self.centre_shift
        upper = torch.cat([focal.diag_embed(), centre[..., None]], dim=2)
        return torch.cat([upper, self.start[:, 2:]], dim=1)

    def given_to(self, batch: Batch) -> Batch:
        """The batch as these cameras saw it, with intrinsics that lead back to the parameters.

        They do so where no sample is of these cameras, too: processes that train together must differentiate as many
        parts of a loss each.
        """
        places = self._places(batch.learned_cameras or (None,) * len(batch))
        learned = (places >= 0)[:, None, None]
        return replace(batch, intrinsics=torch.where(learned, self()[places.clamp(min=0)], batch.intrinsics))

    def frozen(self, step: int, steps: int) -> bool:
        """Whether the cameras stay as they are at this step."""
        return step >= self.config.freeze_from * steps

    def judged(self, step: int, steps: int) -> bool:
        """Whether at this step it is to be said if the motion determines the cameras: before they are frozen."""
        return step == min(math.ceil(self.config.freeze_from * steps), steps) - 1

    # --- a step ------------------------------------------------------------------------------------------------

    def hold(self, views: Views) -> Views:
        """The views with intrinsics that collect the gradient of every part of the loss."""
        collecting = views.intrinsics.detach().requires_grad_()
        self._held = views.intrinsics, collecting
        return replace(views, intrinsics=collecting)

    def wishes(self) -> Iterator[Tensor]:
        """A last part of the loss whose gradient is what the other parts want of the cameras; its value is zero."""
        if self._held is None:
            return
        own, collecting = self._held
        self._held = None
        if collecting.grad is not None:
            wish = (own * collecting.grad).sum()
            yield wish - wish.detach()

    def values(self) -> dict[str, Tensor]:
        """For the log: intrinsics in fractions of the picture, and the horizontal field of view in degrees.

        From the second camera on the names end in its number.
        """
        found = {}
        for number, intrinsics in enumerate(self().detach(), start=1):
            (fx, _, cx), (_, fy, cy), _ = intrinsics
            parts = {"fx": fx, "fy": fy, "cx": cx, "cy": cy, "fov": torch.rad2deg(2 * torch.atan(0.5 / fx))}
            suffix = "" if number == 1 else f"_{number}"
            found |= {f"camera_{name}{suffix}": value for name, value in parts.items()}
        return found

    def _places(self, names: Sequence[str | None]) -> Tensor:
        """Which camera each sample is of, (B,); -1 for those whose intrinsics are given."""
        places = [-1 if name is None else self.names.index(name) for name in names]
        return torch.tensor(places, device=self.start.device)

    # --- whether the motion determines them --------------------------------------------------------------------

    @torch.no_grad()
    def watch(self, transforms: Tensor, names: Sequence[str | None] | None) -> None:
        """Keep how far each camera turns between two views.

        Args:
            transforms: (S, B, 4, 4), the motions.
            names: of the cameras of the B samples; see `Batch.learned_cameras`.
        """
        places = self._places(names or ())
        rotation = transforms[..., :3, :3].float()
        pitch = torch.atan2(rotation[..., 2, 1], rotation[..., 2, 2])
        yaw = torch.atan2(rotation[..., 0, 2], rotation[..., 2, 2])
        squared = torch.stack([pitch, yaw], dim=-1).square().mean(0)
        for place in places[places >= 0].unique():
            found = squared[places == place].mean(0)
            self.turns_seen[place] += 1
            memory = self.turns_seen[place].clamp(max=MEMORY_STEPS)
            self.squared_turn[place] += (found - self.squared_turn[place]) / memory

    def uncertainties(self, height: int, width: int, squared_turn: Tensor) -> list[float]:
        """For each camera the share by which its focal length may be wrong before a pair of frames shows it.

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
            squared_turn: (C, 2), as the attribute; of all processes together where several train.
        """
        cameras = Camera.from_normalised(self().detach(), height, width).intrinsics
        focal_px = cameras.diagonal(dim1=1, dim2=2)[:, :2].flip(1)  # pitch moves rows, yaw columns
        borders = torch.tensor([height, width], device=focal_px.device) / 2 / focal_px
        moved_px = 2 * squared_turn.sqrt() * focal_px * borders.square()
        return [TOLERANCE * width / max(float(each.norm()), 1e-9) for each in moved_px]
