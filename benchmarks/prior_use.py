"""What a student of RPrDepth makes of its prior: the same weights, asked with other references.

    python -m benchmarks.prior_use RUN PRIOR --data KITTI_2015 [--protocol kitti-2015]

RUN was trained on the reference set PRIOR. It is asked with its own references; with the same whose depths are dealt
anew, and with random ones, which say nothing (a student that does as well does not read them); with nothing added to
its feature.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import torch
import tyro
from rich.console import Console
from tyro.conf import Positional

from egodepth.data.opening import open_evaluation_frames
from egodepth.evaluation.evaluate import results_table
from egodepth.evaluation.protocols import protocol_named
from egodepth.inference.network_predictor import NetworkPredictor
from egodepth.inference.predictor import ModelFacts
from egodepth.models.evaluating import evaluate_predictor
from egodepth.models.opening import load
from egodepth.models.released import deployed
from egodepth.networks.prior import ReferenceSet
from egodepth.networks.rprdepth import RPrDepth
from egodepth.prior.building import random_references
from egodepth.recipes.restoring import restored_recipe
from egodepth.training.starting import load_trained_networks, run_options


@dataclass(frozen=True)
class PriorUse:
    """Ask one student with several priors."""

    run: Annotated[Positional[Path], tyro.conf.arg(metavar="RUN")]
    prior: Annotated[Positional[Path], tyro.conf.arg(metavar="PRIOR")]
    data: Path
    protocol: str = "kitti-2015"


def main(options: PriorUse) -> None:
    network, released = load_trained_networks(str(options.run))["depth"], load(str(options.run))
    stored = run_options(options.run)
    config = restored_recipe(stored["recipe"], stored).network
    facts = ModelFacts(released.height, released.width, released.metres_per_unit)
    protocol = protocol_named(options.protocol)
    frames = open_evaluation_frames(options.data, protocol.frames)
    results = {}
    for name, asked in variants(network.eval(), ReferenceSet.load(options.prior)):
        predictor = NetworkPredictor(deployed(asked, config), facts)
        results[name] = evaluate_predictor(predictor, frames, protocol)
    Console(width=120).print(results_table(results))


def variants(network: RPrDepth, own: ReferenceSet) -> Iterator[tuple[str, RPrDepth]]:
    """The network, changed in place for each; the next one is asked for when this one has been used."""
    dealt = torch.randperm(len(own), generator=torch.Generator().manual_seed(0))
    priors = {
        "its own references": own,
        "their depths dealt anew": replace(own, depths=own.depths[dealt]),
        "random references": random_references(own),
    }
    for name, references in priors.items():
        network.load_references(references)
        yield name, network
    torch.nn.init.zeros_(network.fusion.change.weight)
    torch.nn.init.zeros_(network.fusion.change.bias)
    yield "nothing added", network


if __name__ == "__main__":
    main(tyro.cli(PriorUse))
