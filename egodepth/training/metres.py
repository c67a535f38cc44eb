"""Metres of a model that was trained from video alone, found on its own footage when training ends."""

import logging
from pathlib import Path

from lightning.pytorch.utilities import rank_zero_only

from egodepth.data.configurations import LEARNED_WAYS
from egodepth.errors import UserError
from egodepth.models.released import ReleasedModel
from egodepth.models.rescaling import write_scale
from egodepth.recipes import Recipe
from egodepth.scaling.asked import ScaleSource
from egodepth.scaling.found import Footage
from egodepth.scaling.sequences import check_sequences

log = logging.getLogger("egodepth")


def check_metres(source: ScaleSource, recipe: Recipe, data: Path) -> None:
    """Raises UserError: training's data cannot tell the scale in this way, or need not."""
    options = ", ".join(source.options)
    if len(source.options) > 1:
        raise UserError(f"{options}: each gives the scale. Give one of them.")
    if "stereo" in recipe.views:
        raise UserError(f"{options}: stereo pairs give the scale by their baseline. Leave it out.")
    for root in (data, *recipe.data.beside):
        try:
            check_sequences(root)
        except UserError as error:
            raise UserError(f"{options}: {error}") from error
    source.check_files()


@rank_zero_only
def write_metres(source: ScaleSource, model: Path, recipe: Recipe, data: Path, cache_folder: Path) -> None:
    """Find the scale of a released model on the footage that it was trained on, and write it into its config.

    Args:
        cache_folder: where training unpacked its frames.

    Raises:
        UserError: the footage does not tell; the model stays as it is.
    """
    # Cameras that were learnt are known from the model, KITTI's from its calibration.
    given = "calibrated" if recipe.intrinsics in (*LEARNED_WAYS, "fixed") else recipe.intrinsics
    footage = Footage(data, given, beside=recipe.data.beside, cache_folder=cache_folder)
    released = ReleasedModel.open(model)
    try:
        found = source.find(released, footage)
    except UserError as error:
        raise UserError(f"{error} The model is in {model}, and its depth is up to scale.") from error
    for line in found.said():
        log.info("%s", line)
    write_scale(released, found.scale, focal=found.focal)
