"""What a training starts from: the networks of another run, of a model, or of the starter."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.utilities import rank_zero_only
from torch import nn

from egodepth.checked_json import Object, Text, Whole, read_checked
from egodepth.errors import UserError
from egodepth.methods.view_synthesis import ViewSynthesisMethod
from egodepth.models.folder import RUN_FILE
from egodepth.models.released import ReleasedModel
from egodepth.networks.equivalent import equivalent, merge
from egodepth.networks.weights import check_fit
from egodepth.recipes import Recipe
from egodepth.recipes.restoring import check_options, restored_recipe
from egodepth.recipes.table import recipe_named
from egodepth.training.checkpoints import has_checkpoint, read_last_checkpoint, released_weights

log = logging.getLogger("egodepth")

TRAIN_AGAIN = "Train again into another folder, or put back a copy of the file."

LARGEST_RUN_BYTES = 64 * 2**20
"""Size of `run.json`, which names each of a run's videos."""

RUN = Object(
    {"recipe": Text(), "root": Text(), "samples": Whole(), "fingerprint": Text(), "network": Object({})},
    required=("recipe", "root", "network"),
)
"""What stands in `run.json` whatever the recipe; the recipe's own options are checked by its types."""


def run_options(run: Path) -> dict[str, Any]:
    """The options that a run was made with.

    Raises:
        UserError: it is no run folder, or its file is damaged.
    """
    file = run / RUN_FILE
    options = read_checked(file, RUN, TRAIN_AGAIN, LARGEST_RUN_BYTES)
    check_options(recipe_named(options["recipe"]), options, str(file))
    return options


def load_trained_networks(source: str) -> dict[str, nn.Module]:
    """The networks of a run in the form in which they were trained, or those of an imported model.

    A model that training has released is merged and folded, so that no training can start from it; the run that
    released it keeps the form to go on from.

    Raises:
        UserError: there are none.
    """
    run = Path(source)
    if not has_checkpoint(run):
        return ReleasedModel.open(source).trainable_networks()
    options = run_options(run)
    recipe = restored_recipe(options["recipe"], options)
    networks = recipe.build_networks()
    if options.get("etm"):
        equivalent(networks["depth"], recipe.equivalent)
    state = released_weights(read_last_checkpoint(run)[1])
    for part, network in networks.items():
        prefix = f"{part}_network."
        weights = {key.removeprefix(prefix): tensor for key, tensor in state.items() if key.startswith(prefix)}
        remedy = "The run was made by another egodepth; train it again."
        network.load_state_dict(check_fit(network.state_dict(), weights, str(run), remedy))
    return networks | {"depth": merge(networks["depth"])}


def load_first_weights(recipe: Recipe, networks: Mapping[str, nn.Module]) -> None:
    """Give networks the weights that their training starts from.

    Raises:
        UserError: they cannot be read, or are of other networks.
    """
    if recipe.start_from is None:
        for part, network in networks.items():
            network.encoder.load_pretrained(recipe.pretrained_of(part))
        return
    source = f"--from {recipe.start_from}"
    trained = recipe.first_networks(load_trained_networks(recipe.start_from))
    for part, network in networks.items():
        if part not in trained and part == "pose":
            _notice(f"{source}: has no pose network; it starts from {recipe.pretrained_of(part)} weights.")
            network.encoder.load_pretrained(recipe.pretrained_of(part))
            continue
        if part not in trained:
            raise UserError(f"{source}: has no {part} network. Give a run that was trained from video.")
        state = trained[part].state_dict()
        if hasattr(network, "load_first_weights"):  # a part of it is another network
            network.load_first_weights(state, source)
        else:
            remedy = "Start from a run of the same networks."
            network.load_state_dict(check_fit(network.state_dict(), state, source, remedy))


def first_focal(recipe: Recipe) -> float | None:
    """The focal length of the model that a training starts from, so that its unit stays; None where there is none."""
    if recipe.start_from is None:
        return None
    return ReleasedModel.open(recipe.start_from).config.get("focal")


def method_as_started(recipe: Recipe) -> ViewSynthesisMethod | None:
    """The method around the networks that the training started from; None where these explained nothing yet."""
    if recipe.start_from is None or recipe.starts_from_images:
        return None
    if not _is_there(recipe.start_from):
        return None
    poses = any(view != "stereo" for view in recipe.views)
    if poses and ReleasedModel.open(recipe.start_from).config.get("pose") is None:
        return None
    networks = recipe.build_networks()
    load_first_weights(recipe, networks)
    return recipe.build_method(networks)


def _is_there(model: str) -> bool:
    """Whether what a run started from is still to be had when it ends."""
    try:
        ReleasedModel.open(model)
    except UserError:
        return False
    return True


@rank_zero_only
def _notice(message: str) -> None:
    log.warning(message)
