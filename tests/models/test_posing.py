"""Poses by a model's pose network, chained over a drive."""

import numpy as np
import pytest
import torch
from torch import nn

from egodepth.data.images import list_images
from egodepth.data.kitti.poses import read_poses
from egodepth.errors import UserError
from egodepth.inference.frames import frames_of_inputs
from egodepth.inference.inputs import expand_inputs
from egodepth.models.posing import with_predicted_poses
from egodepth.models.released import ReleasedModel


class Turning(nn.Module):
    """Stands in for a pose network: between two frames points come 0.5 units nearer, and turn by 0.1 about y."""

    def forward(self, earlier, later):
        return torch.tensor([[[0.0, 0.1, 0.0]]]), torch.tensor([[[0.0, 0.0, -0.5]]])


@pytest.fixture(scope="module")
def starter():
    return ReleasedModel.open("starter")


def drive_frames(drive, intrinsics):
    [folder, *_] = sorted(drive.glob("*/*_sync/image_02/data"))
    return list(frames_of_inputs(expand_inputs([folder]), intrinsics)), folder


def test_motions_are_chained_in_the_unit_of_the_depth(starter, drive, monkeypatch):
    monkeypatch.setattr(ReleasedModel, "pose_network", lambda self: Turning())
    predictor = starter.predictor()
    focal = 2 * predictor.focal * 192  # twice as long as the training's: depths are twice as large
    frames, _ = drive_frames(drive, f"{focal},{focal},95.5,31.5")
    poses = [frame.pose for frame in with_predicted_poses(starter, predictor, frames[:3])]
    turn = np.array([[np.cos(0.1), 0, np.sin(0.1)], [0, 1, 0], [-np.sin(0.1), 0, np.cos(0.1)]])
    step = np.eye(4)
    step[:3, :3], step[:3, 3] = turn.T, turn.T @ [0, 0, 0.5 * 2 * predictor.metres_per_unit]
    for number, pose in enumerate(poses):
        np.testing.assert_allclose(pose, np.linalg.matrix_power(step, number), atol=1e-5)


def test_the_starter_finds_its_way_along_a_street(starter, drive):
    frames, folder = drive_frames(drive, "fov=81")
    found = [frame.pose for frame in with_predicted_poses(starter, starter.predictor(), frames)][-1][:3, 3]
    assert len(frames) == len(list_images(folder))
    truth = read_poses(folder.parents[1] / "poses.txt")[-1][:3, 3]
    assert found[2] > 0
    assert np.linalg.norm(found - truth) < 0.5 * np.linalg.norm(truth)


def test_a_model_without_a_pose_network_is_refused(starter, drive, monkeypatch):
    monkeypatch.setitem(starter.config, "pose", None)
    frames, _ = drive_frames(drive, "fov=81")
    with pytest.raises(UserError, match="has no pose network"):
        list(with_predicted_poses(starter, starter.predictor(), frames))
