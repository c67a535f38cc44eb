"""The single-frame network that ManyDepth trains beside the other, by itself."""

from dataclasses import replace
from pathlib import Path

from egodepth.errors import UserError
from egodepth.inference.network_predictor import NetworkPredictor
from egodepth.inference.predictor import Predictor
from egodepth.models.released import ReleasedModel


def single_frame(run: Path) -> Predictor:
    """The single-frame network of a run of several frames.

    Raises:
        UserError: the run has none.
    """
    model = ReleasedModel.open(str(run))
    network = model.single_frame_network()
    if network is None:
        raise UserError(f"{run}: holds no single-frame network. Take a run of ManyDepth.")
    return NetworkPredictor(network, replace(model.predictor().facts, time_offsets=()))
