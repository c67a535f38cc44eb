"""Where an untrained depth network starts: far with stereo pairs among the views, else as the published code does."""

from dataclasses import replace

import pytest
import torch

from egodepth.geometry.depth import sigmoid_to_depth
from egodepth.networks.configurations import (
    DIFFNetConfig,
    DNADepthConfig,
    HQDecv2Config,
    Monodepth2Config,
    NetworkConfig,
    RPrDepthConfig,
    SmallDepthConfig,
)
from egodepth.networks.disparity import INITIAL_DEPTH
from egodepth.recipes import RECIPES

NETWORKS = {
    "Monodepth2": Monodepth2Config(),
    "DIFFNet": DIFFNetConfig(),
    "DNA-Depth": DNADepthConfig(),
    "SmallDepth": SmallDepthConfig(),
    "HQDecv2": HQDecv2Config(),
}
NEAR_DEPTH = 0.2


@torch.no_grad()
def first_depth(network: torch.nn.Module) -> float:
    """The median depth that an untrained network sees, in units of training."""
    disparity = network.train()(torch.rand(2, 3, 64, 192))[0]
    return sigmoid_to_depth(disparity, network.min_depth, network.max_depth).median().item()


@pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)
@pytest.mark.parametrize(
    ("mode", "depth"), [("mono", NEAR_DEPTH), ("stereo", INITIAL_DEPTH), ("mono+stereo", INITIAL_DEPTH)]
)
def test_only_with_pairs_among_the_views_a_network_starts_far(network: NetworkConfig, mode: str, depth: float) -> None:
    torch.manual_seed(0)
    recipe = replace(RECIPES["monodepth2"], network=network, mode=mode)
    assert first_depth(recipe.build_networks()["depth"]) == pytest.approx(depth, rel=0.5)


def test_the_near_start_is_the_network_as_it_is_drawn() -> None:
    recipe, built = RECIPES["monodepth2"], []
    for make in (lambda: recipe.build_networks()["depth"], recipe.network.build):
        torch.manual_seed(0)
        built.append(make().state_dict())
    assert all(torch.equal(one, other) for one, other in zip(built[0].values(), built[1].values(), strict=True))


@pytest.mark.parametrize(("mode", "depth"), [("mono", NEAR_DEPTH), ("mono+stereo", INITIAL_DEPTH)])
def test_manydepth_and_its_single_frame_network_start_alike(mode: str, depth: float) -> None:
    torch.manual_seed(0)
    networks = replace(RECIPES["manydepth"], mode=mode).build_networks()
    for part in ("depth", "teacher"):
        assert first_depth(networks[part]) == pytest.approx(depth, rel=0.5)


def test_the_student_inside_rprdepth_starts_as_its_views_ask() -> None:
    bias = {}
    for mode in ("mono", "stereo"):
        torch.manual_seed(0)
        recipe = replace(RECIPES["rprdepth"], mode=mode, network=RPrDepthConfig(references=9))
        bias[mode] = recipe.build_networks()["depth"].student.decoder.heads[0].bias.item()
    assert abs(bias["mono"]) < 0.1
    assert bias["stereo"] < -2
