"""How far SDFA-Net's offsets reach, module by module: the published table 2b for trained models.

    python benchmarks/offsets.py MODEL ... --data DATA [--protocol sdfa] [--split eigen]

Mean norms in pixels of each module's map over all frames of the protocol: of the offsets for the decoded feature, and
for the encoder's feature on either path. Published, in this order: SDFA-1 1.39, 0.14, 0.59; SDFA-2 5.85, 0.53, 0.56;
SDFA-3 14.89, 0.65, 0.65.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch
import tyro
from rich.console import Console
from rich.table import Table
from tyro.conf import Positional

from egodepth.data.configurations import EvaluationDataConfig
from egodepth.data.opening import open_evaluation_frames
from egodepth.data.samples import EvaluationFrames
from egodepth.errors import UserError
from egodepth.evaluation.protocols import protocol_named
from egodepth.inference.network_predictor import NetworkPredictor
from egodepth.inference.predictor import Predictor
from egodepth.models.opening import load
from egodepth.networks.sdfa_net import SDFANet, offset_norms


@dataclass(frozen=True)
class Offsets:
    """Norms of SDFA-Net's offsets, model by model."""

    models: Annotated[Positional[tuple[str, ...]], tyro.conf.arg(metavar="MODEL")]
    data: Path
    protocol: str = "sdfa"
    split: str | None = None


def main(options: Offsets) -> None:
    """Print a table of mean norms."""
    protocol = protocol_named(options.protocol)
    frames = open_evaluation_frames(options.data, protocol.frames, EvaluationDataConfig(split=options.split))
    means = {Path(model).name: mean_norms(load(model), frames) for model in options.models}
    table = Table(title="mean norm of the offsets in pixels of their maps")
    table.add_column("offsets")
    for model in means:
        table.add_column(model, justify="right")
    for name in dict.fromkeys(name for norms in means.values() for name in norms):
        table.add_row(name, *(f"{norms[name]:.2f}" if name in norms else "" for norms in means.values()))
    Console().print(table)


def mean_norms(predictor: Predictor, frames: EvaluationFrames) -> dict[str, float]:
    """Means over frames, by the names of `offset_norms`.

    Raises:
        UserError: the model is no SDFA-Net.
    """
    if not isinstance(predictor, NetworkPredictor) or not isinstance(predictor.network, SDFANet):
        raise UserError("the model is no SDFA-Net, so it has no offsets. Give another one.")
    sums: dict[str, float] = {}
    for frame in frames:
        pixels = torch.from_numpy(predictor.reduce_image(frame.image).copy())
        image = pixels.permute(2, 0, 1)[None].float() / 255
        for name, norm in offset_norms(predictor.network, image).items():
            sums[name] = sums.get(name, 0.0) + norm / len(frames)
    return sums


if __name__ == "__main__":
    try:
        main(tyro.cli(Offsets))
    except UserError as error:
        sys.exit(str(error))
