"""Roads and logs of real drives: KITTI's cameras stand 1.65 m above the road."""

from pathlib import Path

import numpy as np
import pytest

from egodepth.data.images import read_depth_png
from egodepth.data.kitti.raw import KittiTree
from egodepth.data.motion_logs.oxts import read_oxts
from egodepth.data.motion_logs.track import Track
from egodepth.scaling.height import road_of

pytestmark = pytest.mark.realdata

DATE = "2011_09_26"
HEIGHT_M = 1.65


@pytest.fixture
def real() -> Path:
    root = Path(__file__).parents[2].parent / "shared" / "data" / "kitti"
    if not root.is_dir():
        pytest.skip("the KITTI sample is not beside the repository")
    return root


def test_the_road_of_laser_depth_is_as_far_below_the_camera_as_it_is(real):
    drive = f"{DATE}/{DATE}_drive_0001_sync"
    intrinsics = KittiTree(real).calibration(drive).camera("l").normalised()
    planes = []
    for file in sorted((real / drive / "proj_depth" / "groundtruth" / "image_02").glob("*.png")):
        depth = read_depth_png(file)
        planes.append(road_of(np.where(depth > 0, depth, 1), intrinsics, depth > 0))
    assert len(planes) == 12
    np.testing.assert_allclose([plane.distance for plane in planes], HEIGHT_M, rtol=0.025)
    assert all(plane.inliers > 0.85 and plane.tilt_degrees < 2 for plane in planes)


def places(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    rows = np.array([file.read_text().split()[:2] for file in sorted((folder / "data").glob("*.txt"))], dtype=float)
    return rows[:, 0], rows[:, 1]


@pytest.mark.parametrize("number", ["0009", "0013"])
def test_speeds_and_places_of_a_drive_say_the_same_way(real, number):
    folder = real / DATE / f"{DATE}_drive_{number}_sync" / "oxts"
    track, seconds = read_oxts(folder)
    by_places = Track.of_places(folder, track.seconds, *places(folder))
    ends = np.array([[track.seconds[0]], [track.seconds[-1]]])
    assert track.moved_m(*ends) == pytest.approx(by_places.moved_m(*ends), rel=0.005)
    assert len(seconds) > 140
