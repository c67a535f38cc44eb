"""Points of a whole drive in one space, thinned to one for each voxel."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from egodepth.errors import UserError
from egodepth.inference.frames import SeenFrame, predicted_depth
from egodepth.inference.points import POINT, farthest_of, pixel_rays, points_of

if TYPE_CHECKING:
    from egodepth.inference.predictor import Predictor

PENDING = 2_000_000
"""Points that wait before they are thinned: sorting many at once is faster than often few."""

CELLS = 1 << 20
"""Voxels along an axis on either side of the origin: 104 km at 10 cm. Three such numbers share 63 bits."""

COLOURS = ("red", "green", "blue")


class VoxelCloud:
    """Points that keep one for each voxel: the mean of the places and colours that fell into it.

    Args:
        voxel: length of a voxel's side, in the unit of the points.
    """

    def __init__(self, voxel: float) -> None:
        self._voxel = voxel
        self._cells = np.zeros(0, np.int64)
        self._sums = np.zeros((0, 7))
        self._pending: list[tuple[np.ndarray, np.ndarray]] = []
        self._waiting = 0

    def add(self, points: np.ndarray, pose: np.ndarray) -> None:
        """Add points (N,) of the type `POINT`, seen by a camera of this pose (4, 4), camera to world.

        Raises:
            UserError: they lie too far from the origin for the voxels to be counted.
        """
        places = np.stack([points[axis] for axis in "xyz"], axis=1).astype(np.float64)
        places = places @ pose[:3, :3].T + pose[:3, 3]
        cells = np.floor(places / self._voxel).astype(np.int64) + CELLS
        if cells.size and not (cells.min() >= 0 and cells.max() < 2 * CELLS):
            raise UserError(
                f"the points reach {np.abs(places).max():.0f} from the origin, too far for voxels of {self._voxel:g}. "
                "Take larger ones with --voxel, or poses that begin at the first frame."
            )
        keys = (cells[:, 0] << 42) | (cells[:, 1] << 21) | cells[:, 2]
        sums = np.column_stack([places, *(points[colour] for colour in COLOURS), np.ones(len(points))])
        self._pending.append((keys, sums))
        self._waiting += len(keys)
        if self._waiting > PENDING:
            self._thin()

    def points(self) -> np.ndarray:
        """One point (M,) of the type `POINT` for each voxel that holds any."""
        self._thin()
        found = np.empty(len(self._cells), POINT)
        means = self._sums[:, :6] / self._sums[:, 6:]
        for number, name in enumerate("xyz"):
            found[name] = means[:, number]
        for number, name in enumerate(COLOURS):
            found[name] = means[:, 3 + number].round()
        return found

    def _thin(self) -> None:
        keys = np.concatenate([self._cells, *(keys for keys, _ in self._pending)])
        sums = np.concatenate([self._sums, *(sums for _, sums in self._pending)])
        self._pending, self._waiting = [], 0
        order = np.argsort(keys, kind="stable")
        keys, sums = keys[order], sums[order]
        firsts = np.flatnonzero(np.diff(keys, prepend=-1))
        self._cells = keys[firsts]
        self._sums = np.add.reduceat(sums, firsts, axis=0) if len(firsts) else self._sums[:0]


def fused_points(
    predictor: "Predictor", frames: Iterable[SeenFrame], voxel: float, farthest: float | None = None
) -> tuple[np.ndarray, int]:
    """The points of all frames whose pose is known, in the space of the poses, and how many frames these were.

    Args:
        voxel: length of a voxel's side, in metres where depth is, else in the model's unit.
        farthest: depth up to which a frame gives points, see `farthest_of`.

    Raises:
        UserError: a frame's camera is not known, no frame has a pose, or the model is up to scale: its unit and that
            of the poses are then not the same.
    """
    if not predictor.is_metric:
        raise UserError(
            "poses are in metres, but this model's depth is up to scale. Give it metres with egodepth scale, or give "
            "the metres per unit with --scale."
        )
    cloud, used = VoxelCloud(voxel), 0
    for frame in frames:
        if frame.pose is None:
            continue
        if frame.camera is None:
            raise UserError(
                f"{frame.name}: points need the camera. Give --fov DEGREES, --intrinsics, or camera.json beside it."
            )
        depth = predicted_depth(predictor, frame)
        limit = farthest or farthest_of(depth, is_metric=True)
        cloud.add(points_of(depth, frame.image, pixel_rays(frame.camera), limit), frame.pose)
        used += 1
    if not used:
        raise UserError("no frame has a pose. Give poses of the times of these frames, or one for each frame.")
    return cloud.points(), used
