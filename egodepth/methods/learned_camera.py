"""Principal points that are learnt beside depth and motion, where nobody knows the camera.

Source: Gordon et al., "Depth from Videos in the Wild: Unsupervised Monocular Depth Learning from Unknown Cameras"
(ICCV 2019), section 3.5. There the pose network's features predict the intrinsics of each pair of frames. Here all
frames that one camera took share them: the focal length is found before training (egodepth/training/cameras.py), and
every pair corrects the principal point.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from egodepth.data.samples import Batch, LearningCamera
from egodepth.data.transforms import Views
from egodepth.methods.configurations import LearnedCameraConfig

CENTRE_SHARE = 0.1
"""Pictures in a unit of the parameter. A turn of the camera explains a wrong principal point nearly as well as the
right one, so it follows slowly."""


class LearnedCameras(nn.Module):
    """The intrinsics of C cameras as parameters, normalised as `Camera.normalised` gives them.

    The losses of one step are differentiated part by part, and all parts see the same cameras. So a step's views get a
    copy of the intrinsics that collects the gradient (`hold`), and the parameters follow it at the end (`wishes`).
    Samples whose intrinsics are given keep them.

    Args:
        cameras: with different names.

    Attributes:
        names: of the cameras.
        centre_shift: (C, 2), of the principal point, in units of `CENTRE_SHARE` pictures.
        moves: (C, 1), 1 for cameras whose principal point is learnt; 0 for those that stay where they start.
        assumed: (C,) bool, the cameras whose focal length nothing told.
    """

    def __init__(self, cameras: Sequence[LearningCamera], config: LearnedCameraConfig) -> None:
        super().__init__()
        self.config = config
        self.names = tuple(camera.name for camera in cameras)
        count = len(cameras)
        self.centre_shift = nn.Parameter(torch.zeros(count, 2))
        self.register_buffer("start", torch.stack([camera.start.detach().float() for camera in cameras]))
        self.register_buffer("moves", torch.tensor([[float(camera.moves)] for camera in cameras]))
        self.register_buffer("assumed", torch.tensor([camera.assumed for camera in cameras]))
        self._held: tuple[Tensor, Tensor] | None = None

    def forward(self) -> Tensor:
        """(C, 3, 3), normalised."""
        centre = self.start[:, :2, 2] + CENTRE_SHARE * self.moves * self.centre_shift
        upper = torch.cat([self.start[:, :2, :2], centre[..., None]], dim=2)
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
