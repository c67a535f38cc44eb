"""What a user gives to find a model's scale by, on the command line of `scale` and of `train`."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from egodepth.errors import UserError

if TYPE_CHECKING:
    from egodepth.models.released import ReleasedModel
    from egodepth.scaling.found import Footage, Found

CAMERA_HEIGHT_M = (0.02, 100.0)


@dataclass(frozen=True)
class ScaleSource:
    """One thing that is known of the camera or its motion.

    Attributes:
        camera_height: above the road, in metres.
        speed: a log of speeds or places, or `oxts`.
        poses: file of poses in metres.

    Raises:
        UserError: the height is no camera's.
    """

    camera_height: float | None = None
    speed: str | None = None
    poses: Path | None = None

    def __post_init__(self) -> None:
        least, most = CAMERA_HEIGHT_M
        if self.camera_height is not None and not least <= self.camera_height <= most:
            raise UserError(f"--camera-height {self.camera_height:g}: expected {least:g} to {most:g}, in metres.")

    @property
    def options(self) -> list[str]:
        """The options that were given."""
        given = {"--camera-height": self.camera_height, "--speed": self.speed, "--poses": self.poses}
        return [option for option, value in given.items() if value is not None]

    def check_files(self) -> None:
        """Raises UserError: a log cannot be read."""
        from egodepth.data.motion_logs.poses import read_pose_log
        from egodepth.data.motion_logs.reading import read_track
        from egodepth.scaling.sources import OXTS

        if self.speed not in (None, OXTS):
            read_track(Path(self.speed))
        if self.poses is not None:
            read_pose_log(self.poses)

    def find(self, model: "ReleasedModel", footage: "Footage", device: str = "cpu") -> "Found":
        """The scale of a model.

        Raises:
            UserError: the footage, or what is known of it, does not tell.
        """
        from egodepth.scaling import sources

        if self.camera_height is not None:
            return sources.scale_from_height(model, footage, self.camera_height, device)
        if self.speed is not None:
            return sources.scale_from_speed(model, footage, self.speed, device)
        return sources.scale_from_poses(model, footage, self.poses, device)
