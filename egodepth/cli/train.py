"""The commands that train models, or make what training stands on: train, data pack, prior, reproduce."""

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Union

import tyro
from tyro.conf import AvoidSubcommands, FlagCreatePairsOff, Positional, UseAppendAction, arg, subcommand

from egodepth.cli.terminal import Debug, console
from egodepth.errors import UserError
from egodepth.recipes import RECIPES, Recipe


@dataclass(frozen=True)
class Train:
    """Train a depth network from video or stereo pairs alone."""

    data: Annotated[
        Positional[Path],
        arg(metavar="DATA", help="KITTI raw tree, simulated drive, folder of frames, or video file."),
    ]
    out: Annotated[Path, arg(metavar="RUN", help="Folder for checkpoints, logs, panels and the released model.")]
    recipe: Annotated[Recipe, arg(name="")]
    resume: Annotated[bool, arg(help="Go on where the run's last checkpoint is; give the same options again.")] = False
    debug: Debug = False


@dataclass(frozen=True)
class TrainHelp:
    """Train a depth network from video or stereo pairs alone (egodepth train --help lists the recipes)."""


def train(arguments: list[str]) -> None:
    """`egodepth train`, from its arguments."""
    command = _with_recipe(Train, arguments, "egodepth train")
    from lightning.pytorch.utilities import rank_zero_only

    from egodepth.prior.pipeline import train_whole

    model = train_whole(arguments[0], command.recipe, command.data, command.out, command.resume)
    if command.recipe.makes_its_needs:
        rank_zero_only(console.print)(f"Wrote {model} (the model); what it stands on is in {command.out}.")
        return
    written = f"{model} (the model), {command.out / 'logs'} (curves) and {command.out / 'panels'} (pictures)"
    rank_zero_only(console.print)(f"Wrote {written}.")


@dataclass(frozen=True)
class Pack:
    """Resize the frames of DATA once for a recipe; training from the pack gives the same samples, faster."""

    data: Annotated[Positional[Path], arg(metavar="DATA", help="Whatever the recipe trains on; it stays as it is.")]
    out: Annotated[Path, arg(metavar="PACK", help="Folder to write; an interrupted one is gone on with.")]
    recipe: Annotated[Recipe, arg(name="")]
    debug: Debug = False


@dataclass(frozen=True)
class PackHelp:
    """Resize the frames of a data set once for a recipe (egodepth data pack --help lists the recipes)."""


def pack(arguments: list[str]) -> None:
    """`egodepth data pack`, from its arguments."""
    command = _with_recipe(Pack, arguments, "egodepth data pack")
    from egodepth.training.runs import pack_data

    report = pack_data(command.recipe, command.data, command.out)
    size = f"{report.samples} samples, {report.frames} frames, {report.bytes / 2**20:.0f} MiB"
    console.print(f"Wrote {command.out}: {size}.")


def _with_recipe(command: type, arguments: list[str], program: str) -> Any:
    """Each recipe is a subcommand, whose options have the recipe's values as defaults."""
    recipes = tuple(
        Annotated[
            command,
            subcommand(
                name,
                default=command(data=tyro.MISSING, out=tyro.MISSING, recipe=recipe),
                description=f"{name}: {recipe.source}.",
                prefix_name=False,
            ),
        ]
        for name, recipe in RECIPES.items()
    )
    return tyro.cli(
        Union[recipes],  # noqa: UP007, built at run time
        prog=program,
        description=command.__doc__,
        args=arguments,
        config=(FlagCreatePairsOff, AvoidSubcommands),
    )


INTRINSICS_HELP = "As of egodepth train: calibrated, fixed, or fx,fy,cx,cy in pixels of the native frames."


@dataclass(frozen=True)
class PriorHelp:
    """Make the prior of RPrDepth (egodepth prior --help lists the commands)."""


@dataclass(frozen=True)
class BuildPrior:
    """Write a teacher's reference set: what it sees at pixels of the training images, for RPrDepth."""

    teacher: Annotated[Positional[str], arg(metavar="TEACHER", help="Model folder, run folder or hub id.")]
    data: Annotated[Positional[Path], arg(metavar="DATA", help="Training data.")]
    out: Annotated[Path, arg(metavar="PRIOR", help="A .safetensors file; an interrupted one is gone on with.")]
    images: Annotated[int, arg(help="Drawn from the training images.")] = 2000
    pixels_per_image: Annotated[int, arg(help="Sampled from each.")] = 1300
    split: Annotated[str | None, arg(help="Folder in DATA/splits, or a path to split lists.")] = None
    seed: int = 0
    intrinsics: Annotated[str, arg(help=INTRINSICS_HELP)] = "calibrated"
    debug: Debug = False

    def run(self) -> None:
        from egodepth.prior.pipeline import build_prior, prior_settings

        settings = prior_settings(self.split, self.seed, self.intrinsics)
        references = build_prior(self.teacher, self.data, self.out, self.images, self.pixels_per_image, settings)
        console.print(f"Wrote {self.out}: {len(references)} reference pixels.")


@dataclass(frozen=True)
class SelectPrior:
    """Keep the references that a trained RPrDepth attends to most."""

    run_folder: Annotated[Positional[Path], arg(metavar="RUN", help="Of egodepth train rprdepth.")]
    data: Annotated[Positional[Path], arg(metavar="DATA", help="What it was trained on; its validation frames look.")]
    out: Annotated[Path, arg(metavar="PRIOR", help="A .safetensors file; an interrupted one is gone on with.")]
    keep: Annotated[int, arg(help="References to keep.")] = 25_000
    images: Annotated[int | None, arg(help="That look; all that validate by default.")] = None
    intrinsics: Annotated[str | None, arg(help=f"{INTRINSICS_HELP} The run's by default.")] = None
    debug: Debug = False

    def run(self) -> None:
        from egodepth.prior.pipeline import select_prior_of_run

        references = select_prior_of_run(self.run_folder, self.data, self.out, self.keep, self.images, self.intrinsics)
        console.print(f"Wrote {self.out}: {len(references)} reference pixels.")


@dataclass(frozen=True)
class ClusterPrior:
    """Release a trained RPrDepth with clusters in place of its references: several times faster on a processor."""

    run_folder: Annotated[Positional[Path], arg(metavar="RUN", help="Of egodepth train rprdepth.")]
    out: Annotated[Path, arg(metavar="MODEL", help="Folder for the released model.")]
    keep: Annotated[int, arg(help="Clusters.")] = 1000
    debug: Debug = False

    def run(self) -> None:
        from egodepth.prior.pipeline import release_clustered

        count = release_clustered(self.run_folder, self.out, self.keep)
        console.print(f"Wrote {self.out} (the model): {count} clusters.")


@dataclass(frozen=True)
class Reproduce:
    """List the rows of the papers' tables, or train, evaluate and compare one."""

    row: Annotated[Positional[str | None], arg(metavar="ROW", help="None lists all.")] = None
    data: Annotated[Path | None, arg(metavar="DATA", help="To train on.")] = None
    also: Annotated[
        UseAppendAction[tuple[Path, ...]], arg(metavar="DATA", help="To train on jointly, for rows that do.")
    ] = ()
    test_data: Annotated[Path | None, arg(metavar="DATA", help="To evaluate on; the training data by default.")] = None
    out: Annotated[Path | None, arg(metavar="RUN", help="Folder of the run; runs/ROW by default.")] = None
    model: Annotated[str | None, arg(metavar="MODEL", help="Evaluate this one and train nothing.")] = None
    options: Annotated[
        UseAppendAction[tuple[str, ...]],
        arg(
            metavar="OPTIONS",
            help='Further options of egodepth train, in quotes after an equals sign: --options="--seed 3 --steps 100", '
            'or one by one: --options="--seed 3" --options="--steps 100".',
        ),
    ] = ()
    device: Annotated[str, arg(help="Where the evaluation runs.")] = "cpu"
    debug: Debug = False

    def run(self) -> None:
        from egodepth.reproduction.measured import read_measured
        from egodepth.reproduction.published import published_rows
        from egodepth.reproduction.reproduce import MEASURED_FOLDER, reproduce, rows_table

        if self.row is None:
            measured = [each for folder in Path("runs").glob(f"*/{MEASURED_FOLDER}") for each in read_measured(folder)]
            console.print(rows_table(list(published_rows().values()), measured))
            return
        if self.data is None:
            raise UserError(f"{self.row}: give the data to train on with --data.")
        run = self.out or Path("runs") / self.row
        result = reproduce(
            self.row,
            self.data,
            run,
            also=self.also,
            test_data=self.test_data,
            options=_words(self.options),
            model=self.model,
            device=self.device,
        )
        console.print(result.table())
        console.print(f"Wrote {result.file}")


def _words(options: tuple[str, ...]) -> list[str]:
    """The words of some options, as a shell would part them."""
    try:
        return [word for each in options for word in shlex.split(each)]
    except ValueError as error:
        raise UserError(f"--options {' '.join(options)}: {error}. Close the quotes.") from error
