"""Depth that does not flicker: each frame's depth joined with the one before, moved to it, where the two agree.

Causal, with one frame of memory, at the network's size. The picture's motion is OpenCV's dense inverse search (Kroeger
et al., ECCV 2016); the camera's own motion follows from it and from the depth, by the equation of instantaneous motion
(Longuet-Higgins and Prazdny, 1980), so that no pose network is needed. What moves by itself does not follow that motion
and keeps the depth of its own frame.
"""

from dataclasses import dataclass

import numpy as np

from egodepth.errors import UserError
from egodepth.geometry.cameras import Camera

USUAL_FOCAL = 0.8
"""Focal length in widths where nothing says it: 64 degrees from left to right."""

MEMORY = 0.8
"""Weight of the earlier depth where both agree."""

TOLERANCE = 0.5
"""Logarithm of depth by which the two may differ; the weight falls to nothing there."""

AROUND = 11
LEAST_AROUND, MOST_AROUND = 0.4, 0.7
"""Pixels around a pixel, and the mean agreement there from which its earlier depth counts, and counts fully."""

SAME_LEVEL = 40.0
"""Grey levels of 255 by which a point may differ from itself one frame before."""

MOTION_PX = 4.0
MOTION_SHARE = 0.3
"""Pixels, and share of its flow, by which a point of the standing scene may miss the camera's motion."""

HELD = 0.7
"""Share of the correction of a frame's scale that is still there one frame later. The way that the camera moved is
found too short by a little, each time: at 0.95 the depths of a street were off by twice after forty frames."""

GRID = 6
"""The camera's motion is solved on one pixel in so many, in both directions."""

LARGEST_CORRECTION = 0.4
"""Logarithm of the scale between two frames beyond which they are of two scenes."""

FINEST_SCALE = 1
"""The flow is found down to half of the network's size; the preset's quarter halves the camera's way in turns."""

REWEIGHTINGS = 4

SAMPLED = 8
"""The median of the ratios is taken of one in so many."""

RIDGE = 1e-6
"""Keeps the solution finite where depth is so even that turning and moving look alike."""

LEAST_SHARE = 0.2
"""Share of the grid that must follow one motion. With less there is a cut, or all that can be seen moves."""


@dataclass(frozen=True)
class CameraMotion:
    """How points of the current frame lie in the frame before: p' = p + rotation x p + translation.

    Attributes:
        rotation: (3,), in radians.
        translation: (3,), in the unit of depth.
        columns, rows: (H, W), where that puts the pixels in the frame before.
        follows: (H, W) bool, the pixels that the picture's motion puts at about the same place.
    """

    rotation: np.ndarray
    translation: np.ndarray
    columns: np.ndarray
    rows: np.ndarray
    follows: np.ndarray


class Steady:
    """Joins the depths of a video's frames, one after the other.

    Args:
        focal: focal length of the frames' camera in widths.

    Raises:
        UserError: OpenCV is not installed.
    """

    def __init__(self, focal: float) -> None:
        try:
            import cv2
        except ModuleNotFoundError as error:
            raise UserError("--steady needs OpenCV: pip install 'egodepth[lenses]'.") from error
        self._cv2 = cv2
        self._focal = focal
        self._flow = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)
        self._flow.setFinestScale(FINEST_SCALE)
        self._rays: tuple[np.ndarray, np.ndarray] | None = None
        self.restart()

    @classmethod
    def of_camera(cls, camera: Camera | None, focal: float | None) -> "Steady":
        """For frames of a camera; where that is not known, of the model's focal length in widths, or of a usual one."""
        known = focal if camera is None else float(camera.normalised()[0, 0])
        return cls(known or USUAL_FOCAL)

    def restart(self) -> None:
        """Forget what came before: the next frame does not follow it."""
        self._grey: np.ndarray | None = None
        self._inverse_depth: np.ndarray | None = None
        self._correction = 0.0

    def __call__(self, image: np.ndarray, inverse_depth: np.ndarray) -> np.ndarray:
        """The next frame's inverse depth, joined with what came before.

        Args:
            image: (H, W, 3) uint8 RGB.
            inverse_depth: (H, W) float32, above 0.

        Returns:
            (H, W) float32.
        """
        grey = self._cv2.cvtColor(image, self._cv2.COLOR_RGB2GRAY)
        joined = inverse_depth
        if self._grey is not None and self._grey.shape == grey.shape:
            joined = self._joined(grey, inverse_depth)
        self._grey, self._inverse_depth = grey, joined
        return joined

    def _joined(self, grey: np.ndarray, inverse_depth: np.ndarray) -> np.ndarray:
        x, y = self._rays_of(*grey.shape)
        motion = self._motion(self._flow.calc(grey, self._grey, None), inverse_depth)
        if motion is None:
            self._correction = 0.0
            return inverse_depth
        # By the camera's motion, not by the picture's, which is a guess where a road is plain.
        there = motion.columns, motion.rows
        remap, linear = self._cv2.remap, self._cv2.INTER_LINEAR
        earlier = remap(self._inverse_depth, *there, linear, borderMode=self._cv2.BORDER_CONSTANT)
        seen = remap(self._grey, *there, linear, borderMode=self._cv2.BORDER_CONSTANT).astype(np.float32)
        # The depth of a point in the frame before, brought to this one: z' = z (1 + wx y - wy x) + tz.
        turned = 1 + motion.rotation[0] * y - motion.rotation[1] * x
        carried = turned * earlier / np.maximum(1 - motion.translation[2] * earlier, 0.2)
        stands = (earlier > 0) & motion.follows & (np.abs(seen - grey) < SAME_LEVEL)
        ratio = np.log(np.where(stands, carried / inverse_depth, 1.0))
        middle = float(np.median(ratio[stands][::SAMPLED])) if stands.mean() >= LEAST_SHARE else np.inf
        if abs(middle) > LARGEST_CORRECTION:
            self._correction = 0.0
            return inverse_depth
        self._correction = HELD * middle
        differing = ratio - np.float32(self._correction)
        agrees = (stands * np.maximum(1 - (differing / TOLERANCE) ** 2, 0)).astype(np.float32)
        # One moving thing is judged as one: parts of it happen to agree, and the border between would show.
        around = self._cv2.blur(agrees, (AROUND, AROUND))
        weight = MEMORY * agrees * np.clip((around - LEAST_AROUND) / (MOST_AROUND - LEAST_AROUND), 0, 1)
        return inverse_depth * np.exp(np.float32(self._correction) + weight * differing)

    def _motion(self, flow: np.ndarray, inverse_depth: np.ndarray) -> CameraMotion | None:
        """The camera's motion that most of the flow (H, W, 2) follows; None where little of it follows any."""
        height, width = inverse_depth.shape
        x, y = self._rays_of(height, width)
        focal_px = np.float32(self._focal * width)
        part = (slice(GRID // 2, None, GRID), slice(GRID // 2, None, GRID))
        equations = _equations(x[part].ravel(), y[part].ravel(), inverse_depth[part].ravel())
        observed = flow[part].reshape(-1, 2) / focal_px
        allowed = self._allowed(flow[part].reshape(-1, 2)) / focal_px
        weights = np.ones(len(observed), np.float32)
        for _ in range(REWEIGHTINGS):
            weighted = equations * weights[:, None, None]
            rows = equations.reshape(-1, 6)
            normal = weighted.reshape(-1, 6).T @ rows + RIDGE * np.eye(6)
            solved = np.linalg.solve(normal, weighted.reshape(-1, 6).T @ observed.ravel())
            missed = np.linalg.norm(equations @ solved - observed, axis=1)
            weights = 1 / (1 + (missed / allowed) ** 2) ** 2
        if (missed < allowed).mean() < LEAST_SHARE:
            return None
        tx, ty, tz, wx, wy, wz = (np.float32(each) for each in solved)
        along = tz * inverse_depth + wx * y - wy * x
        across = (tx * inverse_depth + wy - wz * y - x * along) * focal_px
        down = (ty * inverse_depth - wx + wz * x - y * along) * focal_px
        missed = np.hypot(across - flow[..., 0], down - flow[..., 1])
        rotation, translation = solved[3:].astype(np.float32), solved[:3].astype(np.float32)
        columns = across + (x * focal_px + np.float32((width - 1) / 2))
        rows = down + (y * focal_px + np.float32((height - 1) / 2))
        return CameraMotion(rotation, translation, columns, rows, missed < self._allowed(flow))

    @staticmethod
    def _allowed(flow_px: np.ndarray) -> np.ndarray:
        return MOTION_PX + MOTION_SHARE * np.hypot(flow_px[..., 0], flow_px[..., 1])

    def _rays_of(self, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
        """x / z and y / z of the pixels, (H, W) each; the principal point lies in the middle."""
        if self._rays is None or self._rays[0].shape != (height, width):
            rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
            focal_px = np.float32(self._focal * width)
            self._rays = (columns - (width - 1) / 2) / focal_px, (rows - (height - 1) / 2) / focal_px
        return self._rays


def _equations(x: np.ndarray, y: np.ndarray, inverse_depth: np.ndarray) -> np.ndarray:
    """The matrix (N, 2, 6) from translation and rotation to the flow of points, in units of the focal length."""
    none = np.zeros_like(x)
    horizontal = [inverse_depth, none, -x * inverse_depth, -x * y, 1 + x * x, -y]
    vertical = [none, inverse_depth, -y * inverse_depth, -(1 + y * y), x * y, x]
    return np.stack([np.stack(horizontal, axis=1), np.stack(vertical, axis=1)], axis=1)
