"""What KITTI knows about depth: calibration files, velodyne scans, disparity maps, and the frames to evaluate on.

Sources: Monodepth2 specification, sections 8.1 and 8.4 (raw drives); datasets specification, section 4.2 (KITTI
Stereo 2015). KITTI: Geiger et al., IJRR 2013; Menze and Geiger, CVPR 2015.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from egodepth.data.images import image_size, is_image, natural_key, read_depth_png, read_image, read_png16
from egodepth.data.kitti.raw import CAMERA_OF_SIDE, KittiTree, read_calibration
from egodepth.data.samples import EvaluationFrame, EvaluationFrames
from egodepth.data.splits import SplitLine
from egodepth.errors import UserError
from egodepth.geometry.cameras import Camera, pinhole

DepthFrom = Literal["velodyne_x", "camera_z"]
GroundTruth = Literal["velodyne", "velodyne_z", "improved"]

STEREO_2015_FOCAL_PX = {1242: 721.5377, 1241: 718.856, 1224: 707.0493, 1226: 707.0912, 1238: 718.3351}
PUBLISHED_BASELINE_M = 0.54


def velodyne_depth(
    points: np.ndarray,
    projection: np.ndarray,
    rectification: np.ndarray,
    velodyne_to_camera: np.ndarray,
    height: int,
    width: int,
    depth_from: DepthFrom = "velodyne_x",
) -> np.ndarray:
    """Rasterise a laser scan into a sparse depth map, as the published Eigen ground truth was made.

    Points behind the scanner are dropped; where several fall on one pixel the smallest depth stays, and a negative
    one becomes 0. A point in front of the scanner and behind the camera survives, as it does in the published maps.

    Args:
        points: (N, 3 or more), x forward, y left, z up, in metres; further columns are ignored.
        projection: (3, 4), P_rect of the camera.
        rectification: (3, 3), R_rect of camera 0.
        velodyne_to_camera: (4, 4), scanner to camera 0.
        height, width: of the map, in pixels.
        depth_from: the depth of a point is its x in the scanner's frame (published Eigen figures) or its z in the
            camera's.

    Returns:
        (H, W) float32 in metres, 0 where no point falls.

    Source: Monodepth2 specification, section 8.4, with the linear index that gives each pixel its own number.
    """
    points = points[points[:, 0] >= 0, :3].astype(np.float64)
    rectify = np.eye(4)
    rectify[:3, :3] = rectification
    to_image = projection @ rectify @ velodyne_to_camera
    projected = points @ to_image[:, :3].T + to_image[:, 3]
    with np.errstate(divide="ignore", invalid="ignore"):
        # The files count pixels from one; np.round rounds halves to even, as the published code does.
        pixels = np.round(projected[:, :2] / projected[:, 2:]) - 1
    inside = ((pixels >= 0) & (pixels < (width, height))).all(axis=1)
    columns, rows = pixels[inside].astype(np.int64).T
    depths = points[inside, 0] if depth_from == "velodyne_x" else projected[inside, 2]

    nearest = np.full(height * width, np.inf)
    np.minimum.at(nearest, rows * width + columns, depths)
    nearest[~np.isfinite(nearest) | (nearest < 0)] = 0
    return nearest.reshape(height, width).astype(np.float32)


def read_velodyne(file: Path | str) -> np.ndarray:
    """Read a scan as (N, 4) float32: x, y, z in metres and reflectance.

    Raises:
        UserError: the file is missing, empty or not a whole number of points.
    """
    file = Path(file)
    if not file.is_file():
        raise UserError(f"{file}: no such velodyne scan. Download the drive's velodyne_points or leave the frame out.")
    size = file.stat().st_size
    if size == 0 or size % 16:
        raise UserError(f"{file}: {size} bytes are not a whole number of 16-byte points. Copy the file again.")
    return np.fromfile(file, dtype=np.float32).reshape(-1, 4)


class KittiRawFrames(EvaluationFrames):
    """Frames of KITTI raw drives, or of simulated ones, with ground truth depth.

    Args:
        root: the folder that holds the dates.
        lines: the frames, as a split file names them.
        ground_truth: `velodyne` projects the frame's scan and takes the scanner's x as depth (the published Eigen
            protocol), `velodyne_z` the camera's z, `improved` reads `proj_depth/groundtruth` (also the exact depth
            of simulated drives).
        time_offsets: of frames to read as well, where there are any.

    Raises:
        UserError: a line names a frame that is missing or has no ground truth.
    """

    def __init__(
        self,
        root: Path | str,
        lines: Sequence[SplitLine],
        ground_truth: GroundTruth = "velodyne",
        time_offsets: Sequence[int] = (),
    ) -> None:
        self.root = Path(root)
        self.lines = tuple(lines)
        self.ground_truth = ground_truth
        self.time_offsets = tuple(time_offsets)
        self._tree = KittiTree(self.root)
        for line in self.lines:
            self._tree.require(line)
            if not self._ground_truth_file(line).is_file():
                raise UserError(
                    f"{line.origin or self.root}: `{line}` has no ground truth {self._ground_truth_file(line)}. "
                    "Leave the line out or choose another protocol."
                )

    def __len__(self) -> int:
        return len(self.lines)

    def __getitem__(self, index: int) -> EvaluationFrame:
        line = self.lines[index]
        around = {offset: self._tree.find(line.folder, line.side, line.frame + offset) for offset in self.time_offsets}
        return EvaluationFrame(
            name=str(line),
            image=read_image(self._tree.require(line)),
            depth=self._depth(line),
            camera=self._tree.calibration(line.folder).camera(line.side),
            neighbours={offset: read_image(file) for offset, file in around.items() if file},
        )

    def _ground_truth_file(self, line: SplitLine) -> Path:
        drive = self.root / line.folder
        if self.ground_truth == "improved":
            return drive / "proj_depth" / "groundtruth" / CAMERA_OF_SIDE[line.side] / f"{line.frame:010d}.png"
        return drive / "velodyne_points" / "data" / f"{line.frame:010d}.bin"

    def _depth(self, line: SplitLine) -> np.ndarray:
        file = self._ground_truth_file(line)
        if self.ground_truth == "improved":
            return read_depth_png(file)
        calibration = self._tree.calibration(line.folder)
        return velodyne_depth(
            read_velodyne(file),
            calibration.projection(line.side),
            calibration.rectification,
            self._velodyne_to_camera(line.folder),
            *calibration.size,
            depth_from="velodyne_x" if self.ground_truth == "velodyne" else "camera_z",
        )

    def _velodyne_to_camera(self, folder: str) -> np.ndarray:
        file = (self.root / folder).parent / "calib_velo_to_cam.txt"
        values = read_calibration(file)
        if not {"R", "T"} <= values.keys():
            raise UserError(f"{file}: has no R and T. Copy the calibration of that date again.")
        transform = np.eye(4)
        transform[:3, :3] = values["R"].reshape(3, 3)
        transform[:3, 3] = values["T"]
        return transform


@dataclass(frozen=True)
class _DisparityPair:
    stem: str
    image: Path
    disparity: Path


class KittiStereo2015Frames(EvaluationFrames):
    """The left images of KITTI Stereo 2015 with depth from their disparity maps.

    Args:
        root: the data set's folder or its `training` folder. Files are named `NNNNNN_10` or `NNNNNN`.
        baseline_m: 0.54 in the published evaluations; the rectified cameras of the 1242 pixel wide images are 0.5327 m
            apart by their calibration, which makes all depths 1.4 % smaller.

    Raises:
        UserError: the layout is another one, an image is missing, or an image's focal length is not known because
            its width is not KITTI's and `calib_cam_to_cam` has no file for it.
    """

    def __init__(self, root: Path | str, baseline_m: float = PUBLISHED_BASELINE_M) -> None:
        root = Path(root)
        self.folder = root / "training" if (root / "training").is_dir() else root
        self.baseline_m = baseline_m
        self._pairs = self._find_pairs()
        self._focal_px = [self._focal(pair) for pair in self._pairs]

    def __len__(self) -> int:
        return len(self._pairs)

    def __getitem__(self, index: int) -> EvaluationFrame:
        pair = self._pairs[index]
        depth = disparity_to_depth(read_png16(pair.disparity) / 256, self._focal_px[index], self.baseline_m)
        image, focal_px = read_image(pair.image), self._focal_px[index]
        height, width = image.shape[:2]
        # The maps are of the focal length alone; where the centre lies is nobody's question.
        camera = Camera(pinhole(focal_px, focal_px, (width - 1) / 2, (height - 1) / 2), height, width)
        return EvaluationFrame(name=pair.stem, image=image, depth=depth, camera=camera)

    def _find_pairs(self) -> list[_DisparityPair]:
        disparities, images = self.folder / "disp_occ_0", self.folder / "image_2"
        if not (disparities.is_dir() and images.is_dir()):
            raise UserError(f"{self.folder}: expected the folders image_2 and disp_occ_0 of KITTI Stereo 2015.")
        image_of = {path.stem: path for path in images.iterdir() if is_image(path)}
        pairs = []
        for disparity in sorted(disparities.glob("*.png"), key=natural_key):
            if disparity.stem not in image_of:
                raise UserError(f"{disparity}: has no image of that name in {images}. Copy it or remove the map.")
            pairs.append(_DisparityPair(disparity.stem, image_of[disparity.stem], disparity))
        if not pairs:
            raise UserError(f"{disparities}: holds no disparity map. Copy KITTI Stereo 2015 again.")
        return pairs

    def _focal(self, pair: _DisparityPair) -> float:
        calibration = self.folder / "calib_cam_to_cam" / f"{pair.stem.removesuffix('_10')}.txt"
        if calibration.is_file() and "P_rect_02" in (values := read_calibration(calibration)):
            return float(values["P_rect_02"][0])
        width = image_size(pair.image)[1]
        if width not in STEREO_2015_FOCAL_PX:
            raise UserError(
                f"{pair.image}: the focal length of an image {width} pixels wide is not known. Add {calibration}, "
                "or use the images at their native size."
            )
        return STEREO_2015_FOCAL_PX[width]


def disparity_to_depth(disparity: np.ndarray, focal_px: float, baseline_m: float) -> np.ndarray:
    """Depth in metres (H, W) float32 from disparity in pixels; 0 stays 0, which means unknown in both."""
    depth = np.zeros_like(disparity, dtype=np.float32)
    np.divide(focal_px * baseline_m, disparity, out=depth, where=disparity > 0)
    return depth
