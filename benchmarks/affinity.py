"""How well RPrDepth's affinity finds the teacher's depth, for several starts and rates, with all else held still.

    python benchmarks/affinity.py DATA --teacher TEACHER --student STUDENT --prior PRIOR

TEACHER and STUDENT are runs, trained from stereo pairs; PRIOR is the teacher's. Alignments and temperature alone are
trained by L_aux, on training images without augmentation, and looked at on validation images: abs_rel of D_c to the
teacher's depth, beside that of each image's median, and how many references count.
"""

import logging
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch
import tyro
from torch import Tensor
from tyro.conf import Positional

from egodepth.data.opening import open_training_sets
from egodepth.data.samples import Batch, TrainingDataset
from egodepth.data.transforms import resize, resized, without_augmentation
from egodepth.methods.prior_guided import hint_errors, hint_loss
from egodepth.models.released import ReleasedModel
from egodepth.networks.configurations import RPrDepthConfig
from egodepth.networks.prior import ReferenceSet
from egodepth.prior.building import random_references, with_references
from egodepth.recipes import RECIPES
from egodepth.training.starting import load_trained_networks


@dataclass(frozen=True)
class Options:
    """Where everything is, and how long to train.

    Attributes:
        images: of the training set that are looked at, as many as there are of the validation set at most.
        steps: of two images each.
        references: drawn for each step.
    """

    data: Annotated[Positional[Path], tyro.conf.arg(metavar="DATA")]
    teacher: str
    student: str
    prior: Path
    images: int = 80
    steps: int = 250
    references: int = 2000
    seed: int = 0


@dataclass(frozen=True)
class Trial:
    """Alignments' and temperature's rate, the first temperature, what is averaged, and on which set."""

    rate: float
    temperature: float
    averaged: str = "inverse_depth"
    random: bool = False


TRIALS = (
    Trial(1e-4, 10.0, "depth"),
    Trial(3e-3, 10.0, "depth"),
    Trial(3e-3, 10.0),
    Trial(1e-2, 10.0),
    Trial(3e-3, 20.0),
    Trial(3e-3, 30.0),
    Trial(3e-3, 20.0, random=True),
)

Seen = tuple[Tensor, Tensor]
"""Images (B, 3, H, W) at the student's size, and the teacher's depths of them (B, 1, H, W)."""


def main(options: Options) -> None:
    teacher, student = ReleasedModel.open(options.teacher), ReleasedModel.open(options.student)
    recipe = RECIPES["monodepth2"]
    with tempfile.TemporaryDirectory() as folder:
        sets = open_training_sets(
            options.data, recipe.data, recipe.intrinsics, ("stereo",), *teacher.size, cache_folder=Path(folder)
        )
        training, validation = (
            seen(each, teacher, student.size, options.images) for each in (sets.training, sets.validation)
        )
    for trial in TRIALS:
        run(trial, options, student, training, validation)


@torch.no_grad()
def seen(dataset: TrainingDataset, teacher: ReleasedModel, size: tuple[int, int], count: int) -> Seen:
    rich, images, depths = teacher.rich_teacher(), [], []
    for place in range(0, len(dataset), max(1, len(dataset) // count)):
        views = without_augmentation(Batch.of([dataset[place]], [place], dataset.source_ids))
        images.append(resized(views, *size).target)
        depths.append(resize(rich.pseudo_depth(views), *size))
    return torch.cat(images), torch.cat(depths)


def run(trial: Trial, options: Options, student: ReleasedModel, training: Seen, validation: Seen) -> None:
    torch.manual_seed(options.seed)
    references = ReferenceSet.load(options.prior)
    if trial.random:
        references = random_references(references)
    config = RPrDepthConfig(student=student.network, temperature=trial.temperature, averaged=trial.averaged)
    trained = load_trained_networks(options.student)["depth"]
    network = with_references(config, trained, references).eval().requires_grad_(False)
    affinity = network.fusion.affinity_parameters()
    for parameter in affinity:
        parameter.requires_grad_(True)
    optimiser = torch.optim.Adam(affinity, lr=trial.rate)
    figures = [look(network, validation)]
    for _ in range(options.steps):
        places = torch.randint(len(training[0]), (2,))
        with network.only_references(torch.randperm(len(references))[: options.references]):
            hint = network.with_features(training[0][places])[1].hint_depth
        optimiser.zero_grad()
        hint_loss(hint, training[1][places]).backward()
        optimiser.step()
    figures.append(look(network, validation))
    print(trial, "; at first, at last:", *figures, flush=True)


@torch.no_grad()
def look(network: torch.nn.Module, validation: Seen) -> dict[str, float]:
    features = network.with_features(validation[0])[1]
    found = hint_errors(features.hint_depth, validation[1]) | {"references": features.effective_references}
    return {name: round(value.item(), 3) for name, value in found.items()}


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING)
    main(tyro.cli(Options))
