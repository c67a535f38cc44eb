"""Poses by a model's own depth, chained over a drive."""

from dataclasses import replace

import numpy as np
import pytest

from egodepth.data.images import list_images
from egodepth.data.kitti.poses import read_poses
from egodepth.inference.frames import frames_of_inputs
from egodepth.inference.inputs import expand_inputs
from egodepth.models.opening import load
from egodepth.models.posing import with_own_poses
from egodepth.models.released import ReleasedModel
from tests.scaling.exact_model import METRES_PER_UNIT, know, write_model


@pytest.fixture
def frames(drive):
    [folder, *_] = sorted(drive.glob("*/*_drive_0001_sync/image_02/data"))
    found = list(frames_of_inputs(expand_inputs([folder]), None))
    assert len(found) == len(list_images(folder))
    return found


@pytest.fixture
def truth(drive):
    [file] = drive.glob("*/*_drive_0001_sync/poses.txt")
    return read_poses(file)


def test_exact_depth_finds_the_way_in_its_unit(frames, truth, drive, monkeypatch, tmp_path):
    know(monkeypatch, next(drive.glob("*/*_drive_0001_sync")))
    predictor = ReleasedModel.open(write_model(tmp_path / "run" / "model").parent).predictor().with_scale(1.0)
    poses = np.stack([frame.pose for frame in with_own_poses(predictor, frames)])
    np.testing.assert_allclose(poses[0], np.eye(4))
    steps, true_steps = (np.linalg.norm(np.diff(each[:, :3, 3], axis=0), axis=1) for each in (poses, truth))
    np.testing.assert_allclose(steps * METRES_PER_UNIT, true_steps, rtol=0.03)
    end = np.linalg.inv(truth[0]) @ truth[-1]
    np.testing.assert_allclose(poses[-1][:3, 3] * METRES_PER_UNIT, end[:3, 3], atol=0.03 * np.linalg.norm(end[:3, 3]))
    np.testing.assert_allclose(poses[-1][:3, :3], end[:3, :3], atol=0.02)


def test_a_lens_twice_as_long_goes_twice_as_far(frames):
    """What looks alike through it is twice as far away, and so is the next place."""
    predictor = load("starter")
    longer = [replace(frame, camera=replace(frame.camera, intrinsics=doubled(frame.camera))) for frame in frames[:2]]
    near, far = ([*with_own_poses(predictor, some)][-1].pose[:3, 3] for some in (frames[:2], longer))
    assert np.linalg.norm(far) / np.linalg.norm(near) == pytest.approx(2, rel=0.1)


def doubled(camera):
    intrinsics = np.array(camera.intrinsics)
    intrinsics[0, 0] *= 2
    intrinsics[1, 1] *= 2
    return intrinsics


@pytest.mark.parametrize("model", ["starter", "starter-large"])
def test_starters_find_their_way_along_a_street(frames, truth, model):
    found = [frame.pose for frame in with_own_poses(load(model), frames)][-1][:3, 3]
    end = (np.linalg.inv(truth[0]) @ truth[-1])[:3, 3]
    assert np.linalg.norm(found - end) < 0.2 * np.linalg.norm(end)


def test_frames_of_no_known_camera_have_no_pose(frames):
    blind = [replace(frame, camera=None) for frame in frames[:3]]
    assert [frame.pose for frame in with_own_poses(load("starter"), blind)] == [None] * 3
