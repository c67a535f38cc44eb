"""What a mutation of benchmarks/mutations.toml changed without any other test failing, tested for itself.

Sources: Monodepth2 specification, section 6, for steps; FA-Depth specification, section 9, for cosine and warm-up.
"""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from egodepth.methods.configurations import OptimiserConfig
from egodepth.methods.method import Method, learning_rate_factor
from egodepth.recipes import RECIPES


class OneWeight(Method):
    """A method with a single weight."""

    def __init__(self, optimiser: OptimiserConfig) -> None:
        super().__init__(optimiser, seed=0)
        self.weight = torch.nn.Parameter(torch.ones(1))
        self._trainer = SimpleNamespace(max_steps=1000)


def test_steps_multiply_the_rate_by_the_factor_at_the_first_step_after_each_decay_epoch():
    config = OptimiserConfig(epochs=50, decay_epochs=(30, 40), decay_factor=0.5)
    factors = [learning_rate_factor(config, step, 1000) for step in (0, 599, 600, 799, 800, 999)]
    assert factors == [1.0, 1.0, 0.5, 0.5, 0.25, 0.25]


def test_a_decay_epoch_that_ends_within_a_step_waits_for_the_next():
    config = OptimiserConfig(epochs=20, decay_epochs=(15,), decay_factor=0.1)
    assert [learning_rate_factor(config, step, 6) for step in range(6)] == [1.0] * 5 + [0.1]


def test_the_warm_up_rises_from_its_first_step_by_equal_amounts_to_the_whole_rate():
    config = OptimiserConfig(schedule="cosine", warm_up=0.005)
    assert [learning_rate_factor(config, step, 1000) for step in range(6)] == [0.2, 0.4, 0.6, 0.8, 1.0, 1.0]


def test_the_cosine_falls_from_the_whole_rate_through_the_middle_to_the_final_rate():
    config = OptimiserConfig(learning_rate=4e-4, schedule="cosine", final_learning_rate=1e-6)
    rates = [config.learning_rate * learning_rate_factor(config, step, 1000) for step in (0, 250, 500, 750, 1000)]
    low, span = 1e-6, 3.99e-4
    shares = [1, 0.5 + 2**-1.5, 0.5, 0.5 - 2**-1.5, 0]
    assert rates == pytest.approx([low + span * share for share in shares], rel=1e-9)


@pytest.mark.parametrize("name", ["sdfa-net", "fa-depth", "monodepth2"])
def test_the_optimiser_gets_all_that_the_recipe_says(name: str):
    config = replace(RECIPES[name].optimiser, warm_up=0.0)
    made = OneWeight(config).configure_optimizers()["optimizer"]
    (group,) = made.param_groups
    assert type(made) is {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[config.algorithm]
    assert group["betas"] == (config.beta1, config.beta2)
    assert group["weight_decay"] == config.weight_decay
    assert group["lr"] == config.learning_rate
