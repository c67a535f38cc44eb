"""The golden steps of ManyDepth: its recipe at a small size, weights that follow from names, frames from hashes."""

from dataclasses import dataclass, replace

import torch
from torch import nn

from egodepth.data.samples import Batch
from egodepth.networks.manydepth import ManyDepth
from egodepth.recipes import RECIPES
from tests.golden.steps import fill_by_name, golden_batch, in_float64

SIZE, STEPS = (64, 96), 20
BINS = 0.1, 0.4
"""Seeded weights see everything at about 0.2 units; here matching can find it."""


@dataclass(frozen=True)
class Case:
    """One step of twenty.

    Attributes:
        step: freezing begins at 15.
        draws: what becomes of the two samples' lookup frames: `kept` as they are, `static` or `missing`.
        future: match with the frame after, too.
        seed: of the frames; chosen so that all processors round the jittered colours to the same levels.
    """

    step: int
    draws: tuple[str, str]
    future: bool = False
    seed: int = 0


CASES = {
    "still camera, last step before freezing": Case(14, ("static", "kept"), seed=1),
    "missing frame, before freezing": Case(7, ("kept", "missing"), seed=1),
    "frame after, before freezing": Case(6, ("kept", "kept"), future=True),
    "still camera, first step after freezing": Case(15, ("kept", "static")),
    "frame after and missing frames, after freezing": Case(16, ("kept", "missing"), future=True, seed=1),
}


def batch_of(case: Case) -> Batch:
    return golden_batch(SIZE, (-1, 1), seed=case.seed)


def networks_of(case: Case) -> dict[str, nn.Module]:
    """Depth, teacher and pose network of the recipe, in float64."""
    networks = {name: fill_by_name(network) for name, network in RECIPES["manydepth"].build_networks().items()}
    in_float64(networks["depth"], "with_features")
    in_float64(networks["teacher"], "forward")
    in_float64(networks["pose"], "forward")
    start_bins(networks["depth"])
    return networks


def start_bins(network: ManyDepth) -> None:
    """Set the range of the hypotheses, in float32 as in training, where it follows depths of that precision."""
    encoder = network.encoder
    encoder.min_depth_bin, encoder.max_depth_bin = map(torch.tensor, BINS)


def method_of(case: Case) -> nn.Module:
    """The training method of the recipe."""
    recipe = replace(RECIPES["manydepth"], height=SIZE[0], width=SIZE[1], pretrained="none", future=case.future)
    return recipe.build_method(networks_of(case))
