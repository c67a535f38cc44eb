"""The training steps of view synthesis that are pinned, and how the package is set up for each."""

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from egodepth.data.samples import Batch
from egodepth.methods.distillation import Teacher
from egodepth.recipes import RECIPES
from tests.golden.steps import fill_by_name, golden_batch, in_float64

STEPS = 100

SOURCES = {"mono": (-1, 1), "stereo": ("stereo",), "mono+stereo": (-1, 1, "stereo")}

TEACHER_SIZE = 96, 128

RECIPE_SHARE = 0.1


@dataclass(frozen=True)
class Case:
    """One pinned step.

    Attributes:
        recipe: whose network, losses and weights are those of the package.
        step: of `STEPS`; it decides augmentation, drops and drop rates.
        size: height and width of the views as they are.
        frames: height and width of the frames as they are read.
        mode: which views are the sources.
        etm, pyramid, summed: equivalent transformation, the pyramid loss, and whether its levels are added up first.
        largest_share: of the loss, that APX counts for at most; none means no teacher.
    """

    recipe: str
    step: int
    size: tuple[int, int] = (64, 96)
    frames: tuple[int, int] = (64, 96)
    mode: str = "mono"
    etm: bool = False
    pyramid: bool = False
    summed: bool = False
    largest_share: float | None = None


CASES = {
    "monodepth2 mono": Case("monodepth2", step=73),
    "monodepth2 stereo": Case("monodepth2", step=53, mode="stereo"),
    "monodepth2 mono+stereo": Case("monodepth2", step=24, mode="mono+stereo"),
    "monodepth2 pyramid": Case("monodepth2", step=53, frames=(64, 128), mode="mono+stereo", pyramid=True),
    "dna-depth-b0": Case("dna-depth-b0", step=73),
    "diffnet": Case("diffnet", step=86),
    "small-depth": Case("small-depth", step=73),
    "hqdecv2": Case("hqdecv2", step=73),
    "fa-depth": Case("fa-depth", step=73, frames=(64, 128), etm=True, pyramid=True, largest_share=RECIPE_SHARE),
    "fa-depth summed": Case("fa-depth", step=73, frames=(64, 128), etm=True, pyramid=True, summed=True),
    "fa-depth unbounded": Case("fa-depth", step=73, etm=True, largest_share=1e6),
}
"""Each step draws colours for at least one sample, and a flip for at least one.

At about half of all steps some pixel of the 8-bit colour changes is truncated one level lower on a processor without
AVX2, which seeded networks turn into the third digit of the loss; at other steps a pixel's mask hangs on the seventh
digit. These steps gave the same figures with and without AVX2.
"""


def build_case(case: Case) -> nn.Module:
    """The package's training step for a case, its networks on seeded weights and in float64."""
    recipe = RECIPES[case.recipe]
    height, width = case.size
    changes: dict[str, Any] = {"etm": case.etm, "pyramid": case.pyramid, "mode": case.mode}
    if case.summed:
        changes["pyramid_loss"] = replace(recipe.pyramid_loss, sequential=False)
    if case.recipe == "hqdecv2":
        changes["network"] = replace(recipe.network, height=height, width=width)
    recipe = replace(recipe, height=height, width=width, pretrained="none", pose_pretrained="none", **changes)
    with torch.random.fork_rng():
        networks = recipe.build_networks()
        method = recipe.build_method(networks, _teacher(recipe, case.largest_share))
    in_float64(fill_by_name(networks["depth"]), "with_features")
    if "pose" in networks:
        in_float64(fill_by_name(networks["pose"]), "forward")
    return method


def _teacher(recipe: Any, largest_share: float | None) -> Teacher | None:
    """HQDecv2 on seeded weights, its heads made bold: 2.5 % of what it sees is far enough for APX's mask."""
    if largest_share is None:
        return None
    height, width = TEACHER_SIZE
    network = fill_by_name(replace(RECIPES["hqdecv2"].network, height=height, width=width).build())
    with torch.no_grad():
        for parameter in network.decoder.heads.parameters():
            parameter *= 16
    # The recipe's own share stays the recipe's, so that the stored numbers notice where it changes.
    changes = {} if largest_share == RECIPE_SHARE else {"largest_share": largest_share}
    return Teacher(in_float64(network, "with_features"), height, width, replace(recipe.distillation, **changes))


def batch_of(case: Case) -> Batch:
    return golden_batch(case.frames, SOURCES[case.mode])
