"""What holds the unit of depth, and how much of it is at the ends of the range."""

import math

import pytest
import torch
from torch import Tensor

from egodepth.geometry.depth import sigmoid_to_depth, sigmoid_to_disparity
from egodepth.losses.scale import border_shares, scale_anchor


def test_the_pull_is_the_squared_logarithm_of_how_far_the_typical_depth_is_from_its_anchor():
    for factor in (0.25, 1.0, 4.0):
        pull = scale_anchor(torch.full((2, 1, 4, 6), 0.7 * factor), 0.7)
        assert float(pull) == pytest.approx(math.log(factor) ** 2, abs=1e-6)


def test_a_fifth_of_the_picture_that_is_sky_does_not_move_the_unit():
    depth = torch.full((1, 1, 10, 10), 0.7)
    depth[..., :2, :] = 100
    assert float(scale_anchor(depth, 0.7)) == pytest.approx(0, abs=1e-6)


def test_half_of_the_pixels_share_the_pull():
    depth = torch.linspace(0.2, 4, 100).view(1, 1, 10, 10).requires_grad_()
    scale_anchor(depth, 0.7).backward()
    assert int(depth.grad.count_nonzero()) == 50
    assert depth.grad.min() >= 0


def test_pixels_that_show_no_scene_count_for_nothing():
    depth = torch.full((1, 1, 4, 4), 0.7)
    mask = torch.ones_like(depth, dtype=torch.bool)
    mask[..., 1:, :] = False
    depth[~mask] = 50
    depth.requires_grad_()
    pull = scale_anchor(depth, 0.7, mask)
    assert pull.item() == pytest.approx(0, abs=1e-6)
    nothing = scale_anchor(depth, 0.7, torch.zeros_like(mask))
    nothing.backward()
    assert nothing.item() == 0
    assert depth.grad.count_nonzero() == 0


def test_shares_at_the_borders_are_of_the_pixels_that_show_the_scene():
    disparity = torch.tensor([0.999, 0.985, 0.97, 0.5, 0.03, 0.019, 0.001, 0.5]).view(1, 1, 2, 4)
    assert [float(share) for share in border_shares(disparity)] == [0.25, 0.25]
    mask = torch.tensor([True] * 4 + [False] * 4).view(1, 1, 2, 4)
    assert [float(share) for share in border_shares(disparity, mask=mask)] == [0.5, 0.0]


def fitted(weight: float) -> tuple[Tensor, float]:
    """The sigmoid disparities, and the error, of depth and motion that were fitted to how pixels move.

    Depths and motion times one factor move the pixels alike, and a smoothness of inverse depth that is not divided by
    its mean falls with that factor: the drift that Wang et al. describe.
    """
    true_ratio = torch.logspace(-0.8, -1.8, 64).view(1, 1, 8, 8)
    logits = torch.zeros_like(true_ratio, requires_grad=True)
    log_motion = torch.tensor(math.log(0.02), requires_grad=True)
    optimiser = torch.optim.Adam([logits, log_motion], lr=0.03)
    for _ in range(3000):
        disparity = sigmoid_to_disparity(torch.sigmoid(logits))
        error = ((log_motion.exp() * disparity).log() - true_ratio.log()).square().mean()
        smoothness = disparity.diff(dim=-1).abs().mean() + disparity.diff(dim=-2).abs().mean()
        optimiser.zero_grad()
        (error + 0.03 * smoothness + weight * scale_anchor(1 / disparity, 0.7)).backward()
        optimiser.step()
    return torch.sigmoid(logits.detach()), float(error.detach())


def test_depth_that_drifts_out_of_the_range_is_held_in_it():
    drifted, _ = fitted(0.0)
    held, error = fitted(0.01)
    assert float(border_shares(drifted)[1]) > 0.5
    assert [float(share) for share in border_shares(held)] == [0, 0]
    assert error < 1e-3
    assert math.exp(float(scale_anchor(sigmoid_to_depth(held), 0.7)) ** 0.5) < 2
