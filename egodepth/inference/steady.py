"""Depth that does not flicker: each frame's depth joined with the one before, moved to it, where the two agree.

Causal, with one frame of memory, at half of the network's size: what flickers are walls and roads, not pixels. The
picture's motion is OpenCV's dense inverse search (Kroeger et al., ECCV 2016), begun at the camera's motion of the frame
before; the camera's own motion follows from it and from the depth, by the equation of instantaneous motion
(Longuet-Higgins and Prazdny, 1980) with all of its terms in depth, so that no pose network is needed. What moves by
itself does not follow that motion and keeps the depth of its own frame.
"""

import numpy as np

from egodepth.errors import UserError
from egodepth.geometry.cameras import Camera

USUAL_FOCAL = 0.8
"""Focal length in widths where nothing says it: 64 degrees from left to right."""

REDUCTION = 2
"""Depth is joined at a size so many times as small as the network's. Pixels below are those of that size."""

MEMORY = 0.7
"""Weight of the earlier depth where both agree, and it is as far away in both."""

NEARER = 2
"""Power of the ratio of the two depths by which the earlier one weighs less where the camera has come nearer."""

TOLERANCE = 1.0
"""Logarithm of depth by which the two may differ; the weight falls to nothing there."""

AROUND = 5
LEAST_AROUND, MOST_AROUND = 0.4, 0.7
"""Pixels around a pixel, and the mean agreement there from which its earlier depth counts, and counts fully."""

SAME_LEVEL = 40.0
"""Grey levels of 255 by which a point may differ from itself one frame before."""

MOTION_PX, MOTION_SHARE = 4.0, 0.3
"""Pixels, and share of its flow, by which a point of the standing scene may miss the camera's motion."""

SOLVED_PX, SOLVED_SHARE = 1.0, 0.1
"""The same at which a point counts a quarter for that motion."""

HELD = 0.5
"""Share of the correction of a frame's scale that is still there one frame later."""

GRID = 4
"""The camera's motion is solved on one pixel in so many, in both directions."""

LARGEST_CORRECTION = 0.4
"""Logarithm of the scale between two frames beyond which they are of two scenes."""

FINEST_SCALE = 0
"""The flow is found down to single pixels; the preset's quarter halves the camera's way in turns."""

REWEIGHTINGS = 4

SAMPLED = 2
"""The median of the ratios is taken of one in so many."""

RIDGE = 1e-6
"""Keeps the solution finite where depth is so even that turning and moving look alike."""

LEAST_SHARE = 0.2
"""Share of the grid that must follow one motion. With less there is a cut, or all that can be seen moves."""

LEAST_RATIO = 0.1
"""Share of its depth that a point keeps at least in the frame before: behind the camera it has no place."""


class Steady:
    """Joins the depths of a video's frames, one after the other.

    A camera's motion is (6,): translation, in the unit of depth, and rotation, in radians. Points p of a frame lie at
    p + rotation x p + translation in the frame before.

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
        self._search = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)
        self._search.setFinestScale(FINEST_SCALE)
        self._pixels: tuple[np.ndarray, ...] = ()
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
        self._lose()

    def __call__(self, image: np.ndarray, inverse_depth: np.ndarray) -> np.ndarray:
        """The next frame's inverse depth, joined with what came before.

        Args:
            image: (H, W, 3) uint8 RGB.
            inverse_depth: (H, W) float32, above 0.

        Returns:
            (H, W) float32.
        """
        grey = self._reduced(self._cv2.cvtColor(image, self._cv2.COLOR_RGB2GRAY))
        small, factor = self._reduced(inverse_depth), None
        if self._grey is not None and self._grey.shape == grey.shape:
            factor = self._factor(grey, small)
        self._grey, self._inverse_depth = grey, small if factor is None else small * factor
        if factor is None:
            self._lose()
            return inverse_depth
        height, width = inverse_depth.shape
        return inverse_depth * self._cv2.resize(factor, (width, height), interpolation=self._cv2.INTER_LINEAR)

    def _lose(self) -> None:
        self._motion: np.ndarray | None = None
        self._correction = 0.0

    def _reduced(self, picture: np.ndarray) -> np.ndarray:
        height, width = (-(-side // REDUCTION) for side in picture.shape)
        return self._cv2.resize(picture, (width, height), interpolation=self._cv2.INTER_AREA)

    def _factor(self, grey: np.ndarray, inverse_depth: np.ndarray) -> np.ndarray | None:
        """What an inverse depth (h, w) is multiplied by to join that of the frame before; None where it does not."""
        begun = None if self._motion is None else self._flow_by(self._motion, inverse_depth)
        flow = self._search.calc(grey, self._grey, begun)
        self._motion = motion = self._solved(flow, inverse_depth)
        if motion is None:
            return None
        # By the camera's motion, not by the picture's, which is a guess where a road is plain.
        standing = self._flow_by(motion, inverse_depth)
        columns, rows, x, y = self._pixels_of(*grey.shape)
        there = columns + standing[..., 0], rows + standing[..., 1]
        remap, linear = self._cv2.remap, self._cv2.INTER_LINEAR
        earlier = remap(self._inverse_depth, *there, linear, borderMode=self._cv2.BORDER_CONSTANT)
        seen = remap(self._grey, *there, linear, borderMode=self._cv2.BORDER_CONSTANT).astype(np.float32)
        # The depth of a point in the frame before, brought to this one: z' = z (1 + wx y - wy x) + tz.
        _, _, tz, wx, wy, _ = motion
        nearer = (1 + wx * y - wy * x) / np.maximum(1 - tz * earlier, 0.2)
        follows = _length(standing - flow) < _allowed(flow)
        stands = (earlier > 0) & follows & (np.abs(seen - grey) < SAME_LEVEL)
        ratio = np.log(np.where(stands, nearer * earlier / inverse_depth, 1.0))
        middle = float(np.median(ratio[stands][::SAMPLED])) if stands.mean() >= LEAST_SHARE else np.inf
        if abs(middle) > LARGEST_CORRECTION:
            return None
        self._correction = HELD * middle
        differing = ratio - np.float32(self._correction)
        agrees = (stands * np.maximum(1 - (differing / TOLERANCE) ** 2, 0)).astype(np.float32)
        # One moving thing is judged as one: parts of it happen to agree, and the border between would show.
        around = self._cv2.blur(agrees, (AROUND, AROUND))
        weight = MEMORY * agrees * np.clip((around - LEAST_AROUND) / (MOST_AROUND - LEAST_AROUND), 0, 1)
        # Depth is less wrong the nearer a thing is: what was wrong with it from farther away should not stay.
        weight /= np.maximum(nearer, 1) ** NEARER
        return np.exp(np.float32(self._correction) + weight * differing)

    def _solved(self, flow: np.ndarray, inverse_depth: np.ndarray) -> np.ndarray | None:
        """The camera's motion that most of the flow (h, w, 2) follows; None where little of it follows any."""
        height, width = inverse_depth.shape
        _, _, x, y = self._pixels_of(height, width)
        focal_px = np.float32(self._focal * width)
        part = (slice(GRID // 2, None, GRID), slice(GRID // 2, None, GRID))
        moved = flow[part].reshape(-1, 2)
        equations = _equations(x[part].ravel(), y[part].ravel(), inverse_depth[part].ravel(), moved / focal_px)
        observed, allowed = moved.T.ravel() / focal_px, _allowed(moved) / focal_px
        close = (SOLVED_PX + SOLVED_SHARE * _length(moved)) / focal_px
        weights = np.ones(len(moved), np.float32)
        for _ in range(REWEIGHTINGS):
            weighted = equations * np.concatenate([weights, weights])[:, None]
            normal = weighted.T @ equations + RIDGE * np.eye(6)
            motion = np.linalg.solve(normal, weighted.T @ observed).astype(np.float32)
            missed = np.hypot(*np.split(equations @ motion - observed, 2))
            weights = 1 / (1 + (missed / close) ** 2) ** 2
        return motion if (missed < allowed).mean() >= LEAST_SHARE else None

    def _flow_by(self, motion: np.ndarray, inverse_depth: np.ndarray) -> np.ndarray:
        """By how many pixels (h, w, 2) what stands has moved in the frame before, if the camera moved like that."""
        tx, ty, tz, wx, wy, wz = motion
        _, _, x, y = self._pixels_of(*inverse_depth.shape)
        farther = np.maximum(1 + tz * inverse_depth + wx * y - wy * x, LEAST_RATIO)
        across = (x + tx * inverse_depth + wy - wz * y) / farther - x
        down = (y + ty * inverse_depth - wx + wz * x) / farther - y
        return np.stack([across, down], axis=-1) * np.float32(self._focal * x.shape[1])

    def _pixels_of(self, height: int, width: int) -> tuple[np.ndarray, ...]:
        """Columns, rows, x / z and y / z of the pixels, (h, w) each; the principal point lies in the middle."""
        if not self._pixels or self._pixels[0].shape != (height, width):
            rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
            focal_px = np.float32(self._focal * width)
            x, y = (columns - (width - 1) / 2) / focal_px, (rows - (height - 1) / 2) / focal_px
            self._pixels = columns, rows, x, y
        return self._pixels


def _length(flow: np.ndarray) -> np.ndarray:
    return np.hypot(flow[..., 0], flow[..., 1])


def _allowed(flow: np.ndarray) -> np.ndarray:
    """By how many pixels a point that moved like that may miss the camera's motion."""
    return MOTION_PX + MOTION_SHARE * _length(flow)


def _equations(x: np.ndarray, y: np.ndarray, inverse_depth: np.ndarray, moved: np.ndarray) -> np.ndarray:
    """The matrix (2 N, 6) from a camera's motion to the flow of N points, first across and then down.

    In units of the focal length. Where a point has moved to, not where it was, times what it is farther away there: so
    the way is right for near things, too.

    Args:
        x, y, inverse_depth: (N,).
        moved: (N, 2), the flow.
    """
    none, there, below = np.zeros_like(x), x + moved[:, 0], y + moved[:, 1]
    across = [inverse_depth, none, -there * inverse_depth, -there * y, 1 + there * x, -y]
    down = [none, inverse_depth, -below * inverse_depth, -(1 + below * y), below * x, x]
    return np.concatenate([np.stack(across, axis=1), np.stack(down, axis=1)])
