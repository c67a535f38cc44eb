"""What the optimiser of each recipe does to a weight, step by step, against Adam's and the schedules' own formulas.

The loss is the weight times a number that is drawn for each step, so that every step's gradient is known. What Adam is
given (rates, betas, decay of weights), when the rate changes, and whether an older gradient stays, all show in the
path of the weight.
"""

import math
from collections.abc import Iterator

import lightning.pytorch as lightning
import pytest
import torch
from torch import Tensor, nn

from egodepth.methods.configurations import OptimiserConfig
from egodepth.methods.method import Method
from egodepth.recipes import RECIPES
from tests.hashed_inputs import hashed_uniform

STEPS = 400
"""FA-Depth's warm-up is two of them; each of SDFA-Net's epochs is eight."""

START = 1.0
EPSILON = 1e-8

RATES = {
    "monodepth2": lambda step: 1e-4 if step < 0.75 * STEPS else 1e-5,
    "dna-depth-b0": lambda step: 1e-4 if step < 0.875 * STEPS else 1e-5,
    "diffnet": lambda step: 1e-4 if step < 0.7 * STEPS else 1e-5,
    "fa-depth": lambda step: warmed_cosine(step, 4e-4),
    "hqdecv2": lambda step: warmed_cosine(step, 1e-4),
    "manydepth": lambda step: 1e-4 if step < 0.75 * STEPS else 1e-5,
    "rprdepth": lambda step: 1e-4 if step < 0.75 * STEPS else 1e-5,
    "sdfa-net": lambda step: 1e-4 if step < 0.6 * STEPS else 5e-5 if step < 0.8 * STEPS else 2.5e-5,
}
"""The learning rate of each step, by recipe: specifications monodepth2 6, dna_depth 5, diffnet_manydepth A3 and B8,
fa_depth 9, rprdepth 6, sdfa_net 7."""

BETAS = {"sdfa-net": (0.5, 0.999)}
WEIGHT_DECAYS = {"fa-depth": 0.01, "hqdecv2": 0.01}


def warmed_cosine(step: int, top: float, last: float = 1e-6) -> float:
    """Two steps of warm-up, then half a cosine from the top towards the last rate."""
    if step < 2:
        return top * (step + 1) / 2
    return last + (top - last) * (1 + math.cos(math.pi * (step - 2) / (STEPS - 2))) / 2


def path_of_adam(recipe: str, gradients: list[float]) -> list[float]:
    """The weight after each step of Adam, or of AdamW where weights decay (Kingma and Ba; Loshchilov and Hutter)."""
    (beta1, beta2), decay = BETAS.get(recipe, (0.9, 0.999)), WEIGHT_DECAYS.get(recipe, 0.0)
    weight, mean, square, path = START, 0.0, 0.0, []
    for step, gradient in enumerate(gradients):
        rate = RATES[recipe](step)
        mean = beta1 * mean + (1 - beta1) * gradient
        square = beta2 * square + (1 - beta2) * gradient**2
        unbiased_mean, unbiased_square = mean / (1 - beta1 ** (step + 1)), square / (1 - beta2 ** (step + 1))
        weight -= rate * (decay * weight + unbiased_mean / (math.sqrt(unbiased_square) + EPSILON))
        path.append(weight)
    return path


class OneWeight(Method):
    """A scheme whose loss is a weight times the batch; it keeps the weight of each step."""

    def __init__(self, optimiser: OptimiserConfig) -> None:
        super().__init__(optimiser, seed=0)
        self.weight = nn.Parameter(torch.tensor(START, dtype=torch.float64))
        self.path: list[float] = []

    def losses(self, batch: Tensor) -> Iterator[Tensor]:
        yield 0.25 * (self.weight * batch).sum()
        yield 0.75 * (self.weight * batch).sum()

    def networks(self) -> dict[str, nn.Module]:
        return {}

    def on_train_batch_end(self, *_: object) -> None:
        self.path.append(float(self.weight.detach()))


def trained(method: OneWeight, gradients: Tensor) -> list[float]:
    trainer = lightning.Trainer(
        accelerator="cpu",
        max_steps=STEPS,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        log_every_n_steps=STEPS,
    )
    trainer.fit(method, torch.utils.data.DataLoader(gradients, batch_size=1))
    return method.path


@pytest.mark.parametrize("recipe", RATES)
def test_the_optimiser_of_a_recipe_moves_a_weight_as_its_paper_s_would(recipe: str) -> None:
    gradients = hashed_uniform((STEPS,), 7).double() - 0.3
    found = trained(OneWeight(RECIPES[recipe].optimiser), gradients)
    assert found == pytest.approx(path_of_adam(recipe, gradients.tolist()), rel=1e-9)
