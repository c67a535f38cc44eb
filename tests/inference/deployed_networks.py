"""The distinct depth networks of the recipes, small, with weights under which a wrong graph shows."""

from dataclasses import replace

import torch
from timm.models.hrnet import HighResolutionModule
from torch import Tensor, nn

from egodepth.data.kitti.raw import fixed_intrinsics
from egodepth.networks.configurations import (
    DIFFNetConfig,
    DNADepthConfig,
    ManyDepthConfig,
    Monodepth2Config,
    NetworkConfig,
    RPrDepthConfig,
    SDFANetConfig,
    SmallDepthConfig,
)
from egodepth.networks.hqdec_blocks import GlobalFilter
from egodepth.networks.hqdecv2 import LATERAL_WIDTHS, Decoder
from egodepth.networks.manydepth import ManyDepth, MultiFrameDepth
from egodepth.networks.rprdepth import RPrDepth
from egodepth.networks.sdfa_net import SDFANet
from egodepth.recipes import RECIPES
from tests.seeded_weights import seeded_state

HEIGHT, WIDTH = 64, 96


def one_recipe_per_network() -> list[str]:
    """The first recipe of each kind of network: a new kind joins the tests that use this by itself."""
    first: dict[type, str] = {}
    for name, recipe in RECIPES.items():
        first.setdefault(type(recipe.network), name)
    return list(first.values())


def seeded_network(name: str) -> nn.Module:
    """A recipe's network as it is deployed, with as few layers as still have every kind of block.

    A fresh head gives nearly the same depth everywhere; these do not.
    """
    recipe = RECIPES[name]
    network = small(recipe.network).build()
    if isinstance(network, SDFANet):
        for layer in network.encoder.layers[1:]:  # the first has a block with shifted windows and one without
            layer.blocks = layer.blocks[:0]
    if isinstance(recipe.network, DIFFNetConfig):
        for module in network.encoder.body.modules():
            if isinstance(module, HighResolutionModule):
                module.branches = nn.ModuleList(branch[:1] for branch in module.branches)
    network = _seeded(network)
    if isinstance(network, RPrDepth):
        return network.folded()
    if isinstance(network, ManyDepth):
        pose = replace(recipe.pose, encoder="test_resnet").build()
        return MultiFrameDepth(network, _seeded(pose), fixed_intrinsics(HEIGHT, WIDTH)).eval()
    return network


class StageOfHQDecv2(nn.Module):
    """The finest stage of HQDecv2's decoder with its head: each kind of block that HQDecv2 has.

    Its refinement is of the kind that its lateral has, and is left out; each transformer has one block.
    """

    def __init__(self) -> None:
        super().__init__()
        encoder_width, coarser_width = 8, LATERAL_WIDTHS[0]
        decoder = Decoder((encoder_width, 8, 8, 8, 8), (HEIGHT, WIDTH))
        self.stage, self.head = decoder.stages[0], decoder.heads[0]
        self.stage.refinement[1] = nn.Identity()
        for part in self.modules():
            if isinstance(part, GlobalFilter):
                part.blocks = nn.Sequential(part.blocks[0], part.blocks[-1])
        self.stem = nn.Conv2d(3, encoder_width + coarser_width, 3, stride=2, padding=1)
        self.widths = encoder_width, coarser_width

    def predict_depth(self, image: Tensor) -> Tensor:
        feature, coarser = self.stem(image).split(self.widths, dim=1)
        return 1 + 10 * torch.sigmoid(self.head(self.stage([feature], coarser)))


def small(config: NetworkConfig) -> NetworkConfig:
    """The configuration with the smallest encoder of its family: engines take seconds for each ten layers."""
    match config:
        case Monodepth2Config():
            return replace(config, encoder="test_resnet")
        case DNADepthConfig():
            return replace(config, encoder="test_efficientnet")
        case DIFFNetConfig():
            return replace(config, encoder="hrnet_w18_small")
        case ManyDepthConfig():
            return replace(config, encoder="test_resnet", bins=8)
        case RPrDepthConfig():
            # The student's own kinds of block are in the network of its own recipe.
            return replace(config, student=Monodepth2Config("test_resnet"), references=200)
        case SDFANetConfig():
            return replace(config, sdfa_modules=(3,))  # the other joins concatenate: both kinds
        case SmallDepthConfig():
            return replace(config, repeats=(1, 1, 1, 1))
    return config


def _seeded(network: nn.Module) -> nn.Module:
    state = {
        key: (tensor.shape, "float32" if tensor.is_floating_point() else "int64")
        for key, tensor in network.state_dict().items()
        if tensor.ndim  # a single number keeps its initial value
    }
    network.load_state_dict(network.state_dict() | seeded_state(state))
    return network.eval()
