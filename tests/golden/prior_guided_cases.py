"""The golden steps of RPrDepth: its recipe at a small size, weights that follow from names, frames from hashes."""

from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import nn

from egodepth.data.samples import Batch
from egodepth.methods.prior_guided import MatchingTeacher, RichTeacher, SingleImageTeacher
from egodepth.networks.configurations import ManyDepthConfig, Monodepth2Config, PoseConfig
from egodepth.networks.prior import ReferenceSet
from egodepth.recipes import RECIPES
from tests.golden.steps import fill_by_name, golden_batch, in_float64
from tests.hashed_inputs import hashed_uniform

SIZE, RICH, STEPS = (64, 96), (96, 160), 20
REFERENCES, CHANNELS = 60, 64
BINS = 0.1, 0.4
"""Seeded weights see everything at about 0.2 units; here matching can find it."""

_ENTRIES = {"alone": "finest", "network": "finest", "pose": "forward"}

TEMPERATURE = 10.0
"""At which it starts in training."""


@dataclass(frozen=True)
class Case:
    """One step of twenty.

    Attributes:
        teacher: ManyDepth with the frames before and after, or Monodepth2.
        reliable_only: its depth counts where its single-frame network agrees.
        references_per_step: of the 60 of the set.
        seed: of the frames; chosen so that all processors round the jittered colours to the same levels.
    """

    step: int
    teacher: Literal["matching", "single"] = "matching"
    reliable_only: bool = False
    references_per_step: int = 25_000
    seed: int = 0


CASES = {
    "references of the step": Case(10, references_per_step=24),
    "all references, other draws": Case(11, seed=2),
    "reliability mask": Case(11, reliable_only=True),
    "single-image teacher": Case(11, teacher="single", references_per_step=24),
}


def batch_of(case: Case) -> Batch:
    return golden_batch(RICH, (-1, 1), seed=case.seed)


def references() -> ReferenceSet:
    """Hashed features of unequal level and spread, and depths as the teachers find them."""
    spread = 0.2 + hashed_uniform((CHANNELS,), 51)
    features = 2 * hashed_uniform((CHANNELS,), 52) + spread * hashed_uniform((REFERENCES, CHANNELS), 53)
    depths = 0.1 + 0.4 * hashed_uniform((REFERENCES,), 54)
    return ReferenceSet.of(features.half(), depths.half(), {})


def networks_of(case: Case) -> dict[str, nn.Module]:
    """Depth and pose network of the recipe, in float64, the depth network with its reference set."""
    recipe = RECIPES["rprdepth"]
    recipe = replace(recipe, network=replace(recipe.network, references=REFERENCES))
    networks = {name: fill_by_name(network) for name, network in recipe.build_networks().items()}
    depth = networks["depth"]
    with torch.no_grad():
        depth.fusion.temperature.fill_(TEMPERATURE)
    in_float64(depth, "with_features")
    in_float64(networks["pose"], "forward")
    depth.load_references(references())
    return networks


def parts_of(networks: dict[str, nn.Module]) -> dict[str, nn.Module]:
    """What has a gradient norm of its own: the networks, the fusion, and of that the temperature, one number."""
    fusion = networks["depth"].fusion
    return {**networks, "fusion": fusion, "temperature": nn.ParameterList([fusion.temperature])}


def teacher_networks(case: Case) -> dict[str, nn.Module]:
    """`alone`, which sees one frame; beside the teacher that matches `network` and `pose`."""
    networks = {"alone": Monodepth2Config()}
    if case.teacher == "matching":
        networks |= {"network": ManyDepthConfig(), "pose": PoseConfig()}
    # All in one, so that the two depth networks, whose layers share their names, do not see the same depth.
    filled = fill_by_name(nn.ModuleDict({name: config.build() for name, config in networks.items()})).eval()
    built = {name: in_float64(network, _ENTRIES[name]) for name, network in filled.items()}
    if case.teacher == "matching":
        encoder = built["network"].encoder
        encoder.min_depth_bin, encoder.max_depth_bin = map(torch.tensor, BINS)
    return built


def teacher_of(case: Case) -> RichTeacher:
    networks = teacher_networks(case)
    if case.teacher == "single":
        return SingleImageTeacher(networks["alone"])
    helper = networks["alone"] if case.reliable_only else None
    return MatchingTeacher(networks["network"], networks["pose"], helper=helper)


def method_of(case: Case) -> nn.Module:
    """The training method of the recipe."""
    recipe = RECIPES["rprdepth"]
    losses = replace(recipe.losses, reliable_only=case.reliable_only, references_per_step=case.references_per_step)
    recipe = replace(recipe, height=SIZE[0], width=SIZE[1], pretrained="none", losses=losses)
    return recipe.build_method(networks_of(case), teacher_of(case))
