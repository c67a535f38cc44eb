"""The pull to the unit of depth as part of a training step: with video alone, and not with stereo pairs."""

from dataclasses import replace

import pytest

from egodepth.errors import UserError
from egodepth.recipes import RECIPES, Recipe
from tests.command_line import TINY
from tests.golden.steps import Step, fill_by_name, golden_batch, take_step

SIZE = 64, 96


def small(name: str, weight: float | None, **changes) -> Recipe:
    recipe = replace(RECIPES[name], height=SIZE[0], width=SIZE[1], pretrained="none", **changes)
    return replace(recipe, scale_anchor=replace(recipe.scale_anchor, weight=weight))


def step_of(recipe: Recipe) -> Step:
    """One step of the recipe, and what its callbacks are shown, on weights that follow from their names."""
    networks = {name: fill_by_name(network) for name, network in recipe.build_networks().items()}
    method = recipe.build_method(networks)
    step = take_step(method, golden_batch(SIZE, recipe.views), 5, 100)
    assert all(0 <= float(share) <= 1 for share in method.border_shares)
    return step


@pytest.mark.parametrize("loss", ["photometric", "bidirectional"])
def test_the_pull_is_part_of_the_loss_of_video_alone(loss):
    changes = {"network": replace(RECIPES["monodepth2"].network, encoder=TINY), "loss": loss}
    published, held = (step_of(small("monodepth2", weight, **changes)) for weight in (None, 0.01))
    assert "scale_anchor" not in published.logged
    pull = held.logged["scale_anchor"]
    assert pull > 0.1
    assert held.loss == pytest.approx(published.loss + 0.01 * pull, rel=1e-5)


def test_the_pyramid_loss_is_pulled_once():
    changes = {"network": replace(RECIPES["monodepth2"].network, encoder=TINY), "pyramid": True}
    held = step_of(small("monodepth2", 0.01, **changes))
    assert held.logged["scale_anchor"] > 0.1


def test_manydepths_single_frame_network_is_pulled_and_the_other_follows_it():
    published, held = (step_of(small("manydepth", weight)) for weight in (0.0, 0.01))
    assert "scale_anchor" not in published.logged
    assert held.loss == pytest.approx(published.loss + 0.01 * held.logged["scale_anchor"], rel=1e-5)
    assert held.gradient_norms["depth"] == pytest.approx(published.gradient_norms["depth"], rel=1e-5)
    assert held.gradient_norms["teacher"] != pytest.approx(published.gradient_norms["teacher"], rel=1e-5)


@pytest.mark.parametrize("mode", ["stereo", "mono+stereo"])
def test_nothing_pulls_where_a_stereo_pair_fixes_the_unit(mode):
    changes = {"network": replace(RECIPES["monodepth2"].network, encoder=TINY), "mode": mode}
    published, given = (step_of(small("monodepth2", weight, **changes)) for weight in (None, 0.01))
    assert given == published


def test_an_anchor_is_refused_where_a_stereo_pair_fixes_the_unit():
    with pytest.raises(UserError, match=r"--scale-anchor\.weight: .*stereo pairs fix the scale"):
        small("monodepth2", 0.01, mode="stereo").check_options(RECIPES["monodepth2"])
