"""Motions from flow and depth, in place of a pose network's, which learns to say the same."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from egodepth.data.opening import open_evaluation_frames, open_sequence
from egodepth.data.transforms import without_augmentation
from egodepth.geometry.cameras import Camera
from egodepth.geometry.poses import pose_to_transform
from egodepth.inference.frames import place_in_drive
from egodepth.methods.frozen import FrozenNetwork
from egodepth.methods.solved_motions import Pair, SolvedMotions
from egodepth.recipes import RECIPES
from tests.data.trees import moving_scene, turning_scene
from tests.methods.batches import random_batch

SIZE = 64, 192
FOV = 80.0
TURN_DEGREES = 2.0


class Wall(nn.Module):
    """Sees everything ten units away."""

    def predict_depth(self, image: torch.Tensor) -> torch.Tensor:
        return torch.full_like(image[:, :1], 10.0)


def turning_batch():
    """A sample whose camera turns to the right: by 2 degrees from the frame before, and by 2 to the one after."""
    views = [turning_scene(yaw, SIZE, FOV) for yaw in (0.0, -TURN_DEGREES, TURN_DEGREES)]
    target, *sources = (torch.from_numpy(view).permute(2, 0, 1)[None] for view in views)
    camera = Camera.of_field_of_view(FOV, *SIZE)
    batch = random_batch(SIZE, (-1, 1), count=1)
    intrinsics = torch.from_numpy(camera.normalised())[None].float()
    return replace(batch, target=target, sources=torch.stack(sources, dim=1), intrinsics=intrinsics)


def true_motions():
    """Points of a camera that turns right by an angle turn left around it."""
    turns = torch.tensor([[0.0, math.radians(TURN_DEGREES), 0.0], [0.0, -math.radians(TURN_DEGREES), 0.0]])
    return [pose_to_transform(turn[None], torch.zeros(1, 3)) for turn in turns]


def test_a_turn_is_found_and_a_pose_network_that_says_it_is_not_corrected():
    views = without_augmentation(turning_batch())
    solved = SolvedMotions(FrozenNetwork(Wall(), *SIZE))
    motions, behind = solved.in_place_of(true_motions(), views, (0, 1))
    for found, expected in zip(motions, true_motions(), strict=True):
        torch.testing.assert_close(found[:, :3, :3], expected[:, :3, :3], atol=3e-3, rtol=0)
    assert float(behind) < 0.005
    # Two degrees are 2 % of the width in the middle of the picture, and more at its border.
    _, behind = solved.in_place_of([torch.eye(4)[None]] * 2, views, (0, 1))
    assert 0.02 < float(behind) < 0.04


def test_what_a_pose_network_says_is_pulled_to_the_turn():
    views, said = without_augmentation(turning_batch()), torch.full((1, 3), 1e-3, requires_grad=True)
    predicted = [pose_to_transform(sign * said, torch.zeros(1, 3)) for sign in (1, -1)]
    _, behind = SolvedMotions(FrozenNetwork(Wall(), *SIZE)).in_place_of(predicted, views, (0, 1))
    (gradient,) = torch.autograd.grad(behind, said)
    assert gradient[0, 1] < 0  # a turn to the right makes it less
    assert gradient[0, 1].abs() > 3 * gradient[0, [0, 2]].abs().max()


@pytest.mark.parametrize("side", [-1, 1], ids=["left", "right"])
def test_beside_pairs_the_way_is_in_the_unit_of_the_pairs(side):
    """A wall that slides past, ten units away for the start; by what the other camera sees it is 20 away."""
    pictures = [torch.from_numpy(moving_scene(frame, *SIZE)).permute(2, 0, 1)[None] for frame in (0, -1, 1, side)]
    batch = random_batch(SIZE, (-1, 1, "stereo"), count=1)
    views = without_augmentation(replace(batch, target=pictures[0], sources=torch.stack(pictures[1:], dim=1)))
    solved, standing = SolvedMotions(FrozenNetwork(Wall(), *SIZE)), [torch.eye(4)[None]] * 2
    in_its_own, _ = solved.in_place_of(standing, views, (0, 1))
    slid = in_its_own[(side + 1) // 2][:, 0, 3]  # what the other camera sees is one of the frames
    in_theirs, _ = solved.in_place_of(standing, views, (0, 1), Pair(2, 2 * slid))
    for one, other in zip(in_its_own, in_theirs, strict=True):
        assert one[0, 0, 3].abs() > 0.05
        torch.testing.assert_close(other[:, :3, 3], 2 * one[:, :3, 3], rtol=2e-2, atol=2e-3)


def test_a_pair_in_which_nothing_is_found_leaves_the_unit_of_the_start():
    views = without_augmentation(random_batch(SIZE, (-1, 1, "stereo"), count=1))
    solved, standing = SolvedMotions(FrozenNetwork(Wall(), *SIZE)), [torch.eye(4)[None]] * 2
    found, _ = solved.in_place_of(standing, views, (0, 1), Pair(2, torch.tensor([math.nan])))
    assert all(torch.isfinite(motion).all() for motion in found)


def test_a_picture_is_looked_at_once_for_all_parts_of_a_loss():
    looks = []
    wall = Wall()
    wall.predict_depth = lambda image: looks.append(1) or torch.ones_like(image[:, :1])
    start, image = FrozenNetwork(wall, *SIZE), torch.rand(1, 3, *SIZE)
    assert start.inverse_depth(image) is start.inverse_depth(image)
    start.inverse_depth(image.clone())
    assert len(looks) == 2


@pytest.mark.parametrize("loss", ["photometric", "bidirectional"])
def test_views_are_seen_by_the_solved_motions(loss):
    torch.manual_seed(0)
    pose = replace(RECIPES["video"].pose, encoder="mobilenetv3_small_050")
    recipe = replace(RECIPES["video"], height=SIZE[0], width=SIZE[1], loss=loss, start_from=None, pose=pose)
    method = recipe.build_method(recipe.build_networks())
    method.solve_motions(SolvedMotions(FrozenNetwork(Wall(), *SIZE)))
    method.wants_panels = lambda: False
    logged = {}
    method.log_training = lambda values, *_: logged.update(values)
    views = without_augmentation(turning_batch())
    expected, _ = method.solved.in_place_of(true_motions(), views, (0, 1))
    torch.testing.assert_close(method.transforms(views), torch.stack(expected))
    method._first_result(views).loss.backward()
    assert 0 < float(logged["pose_distance"]) < 0.1
    for network in (method.depth_network, method.pose_network):
        gradients = [each.grad for each in network.parameters() if each.grad is not None]
        assert gradients
        assert max(float(each.abs().max()) for each in gradients) > 0


class Seen(nn.Module):
    """Sees depth as it is given, and all of it nearer where the horizon is taken for too high."""

    def __init__(self, depth, offset):
        super().__init__()
        self.disparity = 1 / depth + offset

    def predict_depth(self, _: torch.Tensor) -> torch.Tensor:
        return 1 / self.disparity


@pytest.mark.parametrize("offset", [0.0, 0.05, 0.2])
def test_what_is_wrong_with_the_form_of_depth_turns_no_camera(offset, drive):
    """The simulated drive, whose motion is exact, and inverse depths that are all too large by as much."""
    frames = open_evaluation_frames(drive, "simulated")
    (where, number), frame, after = place_in_drive(frames[0].name), frames[0], frames[1]
    poses = open_sequence(drive, where).poses
    expected = torch.from_numpy(np.linalg.inv(poses[number + 1]) @ poses[number]).float()
    target, source = (torch.tensor(each.image).permute(2, 0, 1)[None] for each in (frame, after))
    batch = replace(random_batch(SIZE, (1,), count=1), target=target, sources=source[:, None])
    batch = replace(batch, intrinsics=torch.from_numpy(frame.camera.normalised())[None].float())
    far = torch.tensor(np.where(frame.depth > 0, frame.depth, 1e3)).float()[None, None]
    solved = SolvedMotions(FrozenNetwork(Seen(far, offset), *SIZE))
    (found,), _ = solved.in_place_of([torch.eye(4)[None]], without_augmentation(batch), (0,))
    turn = found[0, :3, :3].T @ expected[:3, :3]
    assert math.degrees(math.acos(min(1.0, (float(turn.trace()) - 1) / 2))) < 0.15
    way, truth = found[0, :3, 3], expected[:3, 3]
    assert float(torch.nn.functional.cosine_similarity(way, truth, dim=0)) > math.cos(math.radians(5))
