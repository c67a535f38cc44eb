"""The motion of a camera from one picture to another, by optical flow and the depth of the first."""

from torch import Tensor

from egodepth.geometry.epipolar import solved_motion
from egodepth.geometry.matches import matches


def camera_motion(
    first: Tensor, second: Tensor, depth: Tensor, intrinsics: Tensor, mask: Tensor | None = None
) -> Tensor:
    """The transforms (B, 4, 4), first camera to second, in the unit of depth.

    Args:
        first, second: (B, 3, H, W) in [0, 1].
        depth: (B, 1, H, W) of the first ones.
        intrinsics: (B, 3, 3), in pixels.
        mask: (B, 1, H, W) bool, the pixels that show the scene; none is all.

    Where few points of the first are found in the second, the transform is the identity: the camera stands still.
    """
    found = matches(first, second, depth, mask, finest=True)
    return solved_motion(found.points(intrinsics), found.places, found.valid, intrinsics)
