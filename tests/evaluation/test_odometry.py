"""Absolute trajectory error over snippets."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from egodepth.evaluation.odometry import positions, predict_transforms, snippet_ate, trajectory_error
from egodepth.geometry.poses import pose_to_transform

REFERENCE = json.loads((Path(__file__).parents[1] / "reference" / "metrics.json").read_text())["trajectory_error"]


def drive(frames: int, seed: int = 0) -> np.ndarray:
    """Camera-to-world poses (N, 4, 4) of a curved drive that does not start at the origin."""
    generator = torch.Generator().manual_seed(seed)
    turns = 0.05 * torch.randn(frames, 3, generator=generator)
    moves = torch.tensor([0.0, 0.0, 1.0]) + 0.1 * torch.randn(frames, 3, generator=generator)
    poses = [np.eye(4)]
    for step in pose_to_transform(turns, moves).double().numpy():
        poses.append(poses[-1] @ step)
    return np.stack(poses[1:])


def relative(poses: np.ndarray) -> np.ndarray:
    return np.linalg.inv(np.linalg.inv(poses[:-1]) @ poses[1:])


def test_scale_and_error_have_their_reference_values():
    error, scale = trajectory_error(
        np.array(REFERENCE["prediction"], float), np.array(REFERENCE["ground_truth"], float)
    )
    assert scale == pytest.approx(REFERENCE["scale"], abs=1e-6)
    assert error == pytest.approx(REFERENCE["error"], abs=1e-6)


@given(st.integers(2, 12), st.floats(0.01, 100), st.integers(0, 1000))
def test_right_transforms_up_to_scale_have_no_error(frames, scale, seed):
    poses = drive(frames, seed)
    transforms = relative(poses)
    transforms[:, :3, 3] *= scale
    result = snippet_ate(transforms, poses)
    assert result.mean == pytest.approx(0, abs=1e-6)
    assert len(result.errors) == frames - 1


def test_the_short_snippets_at_the_end_are_counted():
    poses = drive(6)
    wrong = relative(poses)
    wrong[-1, :3, 3] = [5.0, 0.0, 0.0]
    errors = snippet_ate(wrong, poses).errors
    assert len(errors) == 5
    assert errors[0] == pytest.approx(0, abs=1e-9)
    assert all(error > 0.01 for error in errors[1:])


def test_one_snippet_is_measured_as_its_positions_are():
    poses = drive(5)
    wrong = relative(poses)
    wrong[:, 0, 3] += 0.1
    expected, _ = trajectory_error(positions(wrong), positions(relative(poses)))
    assert snippet_ate(wrong, poses).errors[0] == pytest.approx(expected)


def test_a_prediction_that_stands_still_has_a_finite_error():
    poses = drive(8)
    result = snippet_ate(np.repeat(np.eye(4)[None], 7, axis=0), poses)
    assert np.isfinite(result.errors).all()
    assert json.loads(json.dumps(result.to_json()))["snippets"] == 7


def test_a_count_of_transforms_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="N-1 transforms"):
        snippet_ate(relative(drive(4)), drive(6))


def test_the_pose_predictor_sees_every_pair_in_temporal_order():
    images = [np.full((2, 3, 3), value, np.uint8) for value in (10, 20, 40)]

    def predict(first: np.ndarray, second: np.ndarray) -> np.ndarray:
        transform = np.eye(4)
        transform[0, 3] = float(second[0, 0, 0]) - float(first[0, 0, 0])
        return transform

    assert predict_transforms(predict, images, progress=False)[:, 0, 3].tolist() == [10, 20]
