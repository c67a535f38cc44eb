"""A drive in one cloud of points: checked against the exact depth of the simulated street, and against its files."""

import sys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from egodepth.data.images import read_depth_png
from egodepth.data.kitti.poses import read_poses
from egodepth.data.motion_logs.camera_poses import read_camera_poses
from egodepth.data.recognise import kind_of
from egodepth.errors import UserError
from egodepth.inference.clouds import cloud_writer
from egodepth.inference.frames import frames_of_data, frames_of_inputs
from egodepth.inference.fusing import VoxelCloud, fused_points
from egodepth.inference.inputs import expand_inputs
from egodepth.inference.points import POINT
from tests.command_line import only_line, run
from tests.data.trees import write_frames, write_video

FOCAL = "fov=80"


class Exact:
    """Stands in for a model: it knows the depth of every picture that it will be shown."""

    is_metric = True

    def __init__(self, depths=None, depth=8.0):
        self.depths, self.depth = depths or {}, depth

    def fitted_to(self, height, width):
        return self

    def predict_images(self, images, cameras=None, neighbours=None):
        return [self.depths.get(image.tobytes(), np.full(image.shape[:2], self.depth, np.float32)) for image in images]


def exact_street(drive):
    """The frames of the longer simulated drive with camera and poses, and the stand-in that knows their depth."""
    [poses, *_] = sorted(drive.glob("*/*_sync/poses.txt"))
    camera = next(iter(frames_of_data(drive, kind_of(drive)))).camera
    (fx, _, cx), (_, fy, cy), _ = camera.intrinsics.tolist()
    inputs = expand_inputs([poses.parent / "image_02" / "data"])
    frames = list(frames_of_inputs(inputs, f"{fx},{fy},{cx},{cy}", read_camera_poses(poses)))
    truth = [poses.parent / "proj_depth/groundtruth/image_02" / f"{frame.name}.png" for frame in frames]
    frames = [replace(frame, depth_m=read_depth_png(file)) for frame, file in zip(frames, truth, strict=True)]
    depths = {frame.image.tobytes(): np.where(frame.depth_m > 0, frame.depth_m, np.nan) for frame in frames}
    return frames, Exact(depths)


def test_a_fused_street_is_where_another_frame_sees_it(drive):
    frames, exact_depth = exact_street(drive)
    last = frames.pop(6)
    points, used = fused_points(exact_depth, frames, voxel=0.1, farthest=20)
    assert used == len(frames) == 11
    # Into the camera of the frame that gave no points.
    places = np.stack([points[axis] for axis in "xyz"], axis=1).astype(float)
    turned = (places - last.pose[:3, 3]) @ last.pose[:3, :3]
    intrinsics = np.array(last.camera.intrinsics.tolist())
    ahead = turned[:, 2] > 2
    pixels = turned[ahead] @ intrinsics.T
    columns, rows = np.round(pixels[:, :2] / pixels[:, 2:]).astype(int).T
    height, width = last.depth_m.shape
    inside = (columns >= 0) & (columns < width) & (rows >= 0) & (rows < height)
    exact = last.depth_m[rows[inside], columns[inside]]
    found = turned[ahead][inside, 2]
    known = exact > 0
    assert known.sum() > 3000
    error = np.abs(found - exact)[known] / exact[known]
    assert np.median(error) < 0.01
    assert np.quantile(error, 0.75) < 0.03  # the rest lies behind something, in this view


def some_points(count, spread=5.0, seed=0):
    random = np.random.default_rng(seed)
    points = np.zeros(count, POINT)
    for axis in "xyz":
        points[axis] = random.uniform(-spread, spread, count)
    for name in ("red", "green", "blue"):
        points[name] = random.integers(0, 256, count)
    return points


@given(st.floats(0.3, 3), st.integers(1, 400))
def test_each_voxel_keeps_one_point_inside_it(voxel, count):
    points = some_points(count)
    cloud = VoxelCloud(voxel)
    cloud.add(points[: count // 2], np.eye(4))
    cloud.add(points[count // 2 :], np.eye(4))
    cells = {tuple(np.floor(np.array(point.tolist()[:3]) / voxel).astype(int)) for point in points}
    found = cloud.points()
    assert len(found) == len(cells)
    places = np.stack([found[axis] for axis in "xyz"], axis=1)
    assert places.mean(axis=0) == pytest.approx(0, abs=5)
    inside = np.abs(places / voxel - np.floor(places / voxel) - 0.5) <= 0.5 + 1e-3
    assert inside.all()


def test_a_voxel_has_the_mean_of_its_points_and_colours():
    points = np.zeros(2, POINT)
    points["z"], points["red"] = (0.2, 0.4), (10, 21)
    cloud = VoxelCloud(1.0)
    for point in np.split(points, 2):
        cloud.add(point, np.eye(4))
    [found] = cloud.points()
    assert found["z"] == pytest.approx(0.3)
    assert found["red"] == 16


def test_points_too_far_for_the_voxels_are_refused():
    moved = np.eye(4)
    moved[0, 3] = 5_000_000  # places of UTM
    with pytest.raises(UserError, match=r"too far for voxels of 0\.1"):
        VoxelCloud(0.1).add(some_points(3), moved)


# --- poses ------------------------------------------------------------------------------------------------------------


def tum(file, rows):
    file.write_text("# time x y z qx qy qz qw\n" + "\n".join(" ".join(map(str, row)) for row in rows))
    return file


def test_both_formats_of_poses_say_the_same(tmp_path):
    half = np.sqrt(0.5)
    file = tum(tmp_path / "tum.txt", [(100.0, 1, 2, 3, 0, half, 0, half), (101.0, 1, 2, 4, 0, 0, 0, 1)])
    kitti = tmp_path / "kitti.txt"
    kitti.write_text("0 0 1 1 0 1 0 2 -1 0 0 3\n1 0 0 1 0 1 0 2 0 0 1 4\n")
    np.testing.assert_allclose(read_camera_poses(file).poses, read_poses(kitti), atol=1e-9)
    np.testing.assert_allclose(read_camera_poses(kitti).poses, read_poses(kitti), atol=1e-9)
    middle = read_camera_poses(file).at(0.5)
    assert middle[:3, 3] == pytest.approx([1, 2, 3.5])
    angle = np.radians(45)
    np.testing.assert_allclose(middle[0, :3], [np.cos(angle), 0, np.sin(angle)], atol=1e-9)
    assert read_camera_poses(file).at(1.5) is None


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("1 0 0 0 0 2 0 0 0 0 1 0", "its matrices are no rotations"),
        ("0 1 2 3 0 0 0 3", "no unit quaternions"),
        ("0 1 2 3", "poses of another form. Expected TUM"),
        ("100,1,2,3,1,0,0,0", "poses of another form"),
    ],
)
def test_what_is_no_pose_is_refused(tmp_path, text, match):
    (tmp_path / "poses.txt").write_text(text)
    with pytest.raises(UserError, match=match):
        read_camera_poses(tmp_path / "poses.txt")


def test_frames_of_a_video_take_the_pose_of_their_time_and_pictures_one_each(tmp_path):
    write_video(tmp_path / "drive.mp4", range(6))
    poses = read_camera_poses(tum(tmp_path / "poses.txt", [(0, 0, 0, 0, 0, 0, 0, 1), (0.3, 0, 0, 3, 0, 0, 0, 1)]))
    frames = list(frames_of_inputs(expand_inputs([tmp_path / "drive.mp4"]), FOCAL, poses))
    for frame in frames:
        if frame.seconds <= 0.3:
            assert frame.pose[2, 3] == pytest.approx(10 * frame.seconds)
        else:
            assert frame.pose is None
    assert sum(frame.pose is not None for frame in frames) > 2
    write_frames(tmp_path / "frames", range(3))
    with pytest.raises(UserError, match="has 2 poses, but there are more frames"):
        list(frames_of_inputs(expand_inputs([tmp_path / "frames"]), FOCAL, poses))
    write_frames(tmp_path / "one", range(1))
    with pytest.raises(UserError, match="has 2 poses, but there are 1 frames"):
        list(frames_of_inputs(expand_inputs([tmp_path / "one"]), FOCAL, poses))


# --- files ------------------------------------------------------------------------------------------------------------


def test_a_pcd_file_holds_the_points(tmp_path):
    points = some_points(7)
    cloud_writer(tmp_path / "points.pcd", "metres")(points)
    header, _, body = (tmp_path / "points.pcd").read_bytes().partition(b"DATA binary\n")
    fields = dict(line.split(" ", 1) for line in header.decode().splitlines() if not line.startswith("#"))
    assert fields["FIELDS"] == "x y z rgb"
    assert fields["POINTS"] == fields["WIDTH"] == "7"
    found = np.frombuffer(body, [("x", "<f4"), ("y", "<f4"), ("z", "<f4"), ("bgra", "u1", 4)])
    assert np.array_equal(found["y"], points["y"])
    assert np.array_equal(found["bgra"][:, 2], points["red"])
    assert np.array_equal(found["bgra"][:, 0], points["blue"])


def test_a_las_file_holds_the_points_with_z_up(tmp_path):
    laspy = pytest.importorskip("laspy", reason="needs the extra `points`")
    points = some_points(7, spread=900)
    cloud_writer(tmp_path / "points.las", "metres")(points)
    las = laspy.read(tmp_path / "points.las")
    np.testing.assert_allclose(las.x, points["x"], atol=1e-3)
    np.testing.assert_allclose(las.y, points["z"], atol=1e-3)
    np.testing.assert_allclose(las.z, -points["y"], atol=1e-3)
    assert np.array_equal(np.asarray(las.green) // 257, points["green"])


def test_files_that_cannot_be_written_are_refused_before_anything_is_predicted(tmp_path, monkeypatch):
    with pytest.raises(UserError, match=r"End it in \.ply, \.pcd or \.las"):
        cloud_writer(tmp_path / "points.xyz", "metres")
    monkeypatch.setitem(sys.modules, "laspy", None)
    with pytest.raises(UserError, match=r"LAS files need laspy: pip install 'egodepth\[points\]'"):
        cloud_writer(tmp_path / "points.las", "metres")


def test_the_command_fuses_pictures_by_their_poses(drive, tmp_path, capsys):
    [poses, *_] = sorted(drive.glob("*/*_sync/poses.txt"))
    out = tmp_path / "street.ply"
    words = "fuse", "starter", poses.parent / "image_02" / "data", "--poses", poses, "--fov", 81, "--voxel", 0.2
    assert run(*words, "--out", out) == 0
    assert "points of 12 frames" in capsys.readouterr().out
    assert out.read_bytes().startswith(b"ply\n")
    assert run(*words[:5], "--fov", 81, "--voxel", 0) == 2
    assert "--voxel 0: must be above 0" in only_line(capsys.readouterr().err)
