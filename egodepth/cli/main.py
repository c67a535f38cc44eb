"""The command line: parse, call, show. What the commands do is in the rooms below."""

import json
import logging
import os
import sys
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, Union

import tyro
from rich.console import Console
from rich.logging import RichHandler
from rich.table import Table
from tyro.conf import FlagCreatePairsOff, Positional, arg, subcommand

from egodepth import __version__
from egodepth.cli.terminal import Debug, console
from egodepth.cli.train import (
    BuildPrior,
    ClusterPrior,
    PackHelp,
    PriorHelp,
    Reproduce,
    SelectPrior,
    TrainHelp,
    pack,
    train,
)
from egodepth.data.configurations import EvaluationDataConfig
from egodepth.data.simulator import SimulatorConfig
from egodepth.demo.configuration import DemoConfig
from egodepth.errors import UserError
from egodepth.evaluation.protocols import PROTOCOLS
from egodepth.files import write_text
from egodepth.inference.configurations import BenchmarkConfig
from egodepth.recipes import RECIPES

ProtocolName = Literal[(*PROTOCOLS, "odometry")]

ORIGINS = {
    "stereo baseline": "in metres, by the stereo baseline of its training",
    "poses": "in metres, by the poses of its training data",
    None: "up to scale",
}


@dataclass(frozen=True)
class Simulate:
    """Render a street drive with exact depth, in KITTI raw layout.

    Writes stereo frames, calibration, laser scans, exact depth, poses and split lists; training and evaluation read
    it like any KITTI data.
    """

    out: Annotated[Positional[Path], arg(metavar="OUT", help="Folder to write; must not hold anything yet.")]
    config: Annotated[SimulatorConfig, arg(name="")]
    debug: Debug = False

    def run(self) -> None:
        from egodepth.data.simulator import simulate

        simulate(self.out, self.config)
        console.print(f"Wrote {self.out}: {self.config.frames} stereo frames with exact depth.")


@dataclass(frozen=True)
class Evaluate:
    """Compare a model's depth with ground truth, by one of the field's protocols."""

    model: Annotated[Positional[str], arg(metavar="MODEL", help="Released model folder, run folder or hub id.")]
    root: Annotated[Positional[Path], arg(metavar="DATA", help="KITTI raw, KITTI Stereo 2015 or a simulated drive.")]
    protocol: Annotated[ProtocolName, arg(help="Which pixels count, and how they are compared.")]
    post_process: Annotated[bool, arg(help="Predict the mirrored image too and join both.")] = False
    scaling: Annotated[
        Literal["auto", "median", "none"],
        arg(help="Scale each prediction by the ratio of medians: as the protocol says, always, or never."),
    ] = "auto"
    data: EvaluationDataConfig = field(default_factory=EvaluationDataConfig)
    sequence: Annotated[str | None, arg(help="Of protocol odometry: 09, or a drive's name; the last by default.")] = (
        None
    )
    json: Annotated[Path | None, arg(metavar="FILE", help="Write the figures, per image too, as JSON.")] = None
    figures: Annotated[Path | None, arg(metavar="DIR", help="Write a picture of every frame with its error.")] = None
    device: Annotated[str, arg(help="Where the network runs: cpu, cuda, cuda:1, mps.")] = "cpu"
    debug: Debug = False

    def run(self) -> None:
        from egodepth.models.evaluating import evaluate_model, evaluate_odometry

        if self.protocol == "odometry":
            odometry = evaluate_odometry(self.model, self.root, self.sequence, self.device)
            console.print(f"ATE {odometry.mean:.3f} ± {odometry.std:.3f} m over {len(odometry.errors)} snippets")
            self._write(odometry.to_json())
            return
        result = evaluate_model(
            self.model,
            self.root,
            self.protocol,
            self.scaling,
            self.post_process,
            self.data,
            self.figures,
            self.device,
        )
        console.print(result.table())
        console.print(f"The model's depth is {ORIGINS[result.metres_from]}.")
        self._write(result.to_json())

    def _write(self, figures: dict) -> None:
        if self.json is not None:
            write_text(self.json, json.dumps(figures, indent=2) + "\n")
            console.print(f"Wrote {self.json}")


@dataclass(frozen=True)
class Predict:
    """Predict the depth of images, folders of images, and videos."""

    model: Annotated[Positional[str], arg(metavar="MODEL", help="Released model folder, run folder or hub id.")]
    inputs: Annotated[
        Positional[tuple[str, ...]], arg(metavar="INPUT", help="Images, folders, quoted globs, videos; any size.")
    ]
    out: Annotated[Path, arg(metavar="DIR", help="Folder to write to.")]
    format: Annotated[
        Literal["npy", "png16", "color", "video"],
        arg(help="float32 array; 16-bit PNG of metres x 256; coloured PNG; video of picture and depth."),
    ] = "color"
    batch_size: Annotated[int, arg(help="Pictures that go through the network at once.")] = 4
    scale: Annotated[float | None, arg(help="Metres per unit of depth, for a model that is up to scale.")] = None
    device: Annotated[str, arg(help="Where the network runs: cpu, cuda, cuda:1, mps.")] = "cpu"
    runtime: Annotated[
        Literal["torch", "onnx", "openvino", "openvino-bf16"] | None,
        arg(
            help="What runs it; by default the fastest in float32 that is installed on a CPU, PyTorch elsewhere. "
            "bfloat16 is faster still, and depths move by about 0.05 percent."
        ),
    ] = None
    debug: Debug = False

    def run(self) -> None:
        from egodepth.inference.predict import predict
        from egodepth.models.released import load

        if not self.inputs:
            raise UserError("no INPUT: give an image, a folder, a glob or a video after MODEL.")
        predictor = load(self.model, self.device).with_runtime(self.runtime)
        console.print(f"Running on {self.device} with {predictor.runtime.name}.")
        report = predict(predictor, self.inputs, self.out, self.format, self.batch_size, self.scale)
        for skipped in report.skipped:
            console.print(f"skipped: {skipped.reason}", markup=False)
        unit = "metres" if report.is_metric else "up to scale"
        files = "file" if len(report.written) == 1 else "files"
        console.print(f"Wrote {len(report.written)} {files} to {self.out} (depth {unit}).")


@dataclass(frozen=True)
class Import:
    """Turn a published checkpoint into a model folder."""

    recipe: Annotated[Positional[str], arg(metavar="RECIPE", help="Whose network it is; egodepth list names them.")]
    published: Annotated[
        Positional[Path], arg(metavar="PATH", help="Folder with the authors' .pth files, or the one file.")
    ]
    out: Annotated[Path, arg(metavar="MODEL", help="Model folder to write.")]
    debug: Debug = False

    def run(self) -> None:
        from egodepth.models.importing import import_published

        imported = import_published(self.recipe, self.published, self.out)
        for key in imported.unused:
            console.print(f"not used: {key}", markup=False)
        console.print(f"Wrote {self.out}")


@dataclass(frozen=True)
class Export:
    """Write a model as an ONNX file, for other programs and devices."""

    model: Annotated[Positional[str], arg(metavar="MODEL", help="Released model folder, run folder or hub id.")]
    file: Annotated[Positional[Path], arg(metavar="FILE", help="To write; its name ends in .onnx.")]
    height: Annotated[int | None, arg(help="Of the pictures that the file will see; the model's own by default.")] = (
        None
    )
    width: Annotated[int | None, arg(help="Likewise.")] = None
    precision: Annotated[
        Literal["fp32", "fp16"], arg(help="Of weights and activations; image and depth stay fp32.")
    ] = "fp32"
    debug: Debug = False

    def run(self) -> None:
        from egodepth.inference.export import export_onnx
        from egodepth.models.released import load

        export_onnx(load(self.model), self.file, self.height, self.width, self.precision)
        console.print(f"Wrote {self.file}")


@dataclass(frozen=True)
class Benchmark:
    """Compare the speed and memory of models with a baseline, measured in turns in one run."""

    models: Annotated[
        Positional[tuple[str, ...]],
        arg(metavar="MODEL", help="Recipes (with random weights), model or run folders, hub ids."),
    ] = ("small-depth",)
    baseline: Annotated[str, arg(help="Likewise; all ratios are to it.")] = "monodepth2"
    config: Annotated[BenchmarkConfig, arg(name="")] = field(default_factory=BenchmarkConfig)
    json: Annotated[Path | None, arg(metavar="FILE", help="Write the figures as JSON.")] = None
    debug: Debug = False

    def run(self) -> None:
        from egodepth.models.benchmarking import benchmark_models

        result = benchmark_models(self.models or ("small-depth",), self.baseline, self.config)
        console.print(result.table(), markup=False)
        if self.json is not None:
            write_text(self.json, json.dumps(result.to_json(), indent=2) + "\n")
            console.print(f"Wrote {self.json}")


@dataclass(frozen=True)
class CheckData:
    """Say what a folder of data is, how much of it can be used, what is missing or broken, and the mend."""

    data: Annotated[Positional[Path], arg(metavar="DATA", help="Any data that training or evaluation reads.")]
    split: Annotated[str | None, arg(help="Folder in DATA/splits, or a path to split lists.")] = None
    every_file: Annotated[bool, arg(help="Decode every picture, not a sample of them.")] = False
    debug: Debug = False

    def run(self) -> None:
        from egodepth.data.checking import check_data

        report = check_data(self.data, self.split, self.every_file)
        for line in report.lines():
            console.print(line, markup=False)
        for fault in report.faults:
            print(f"egodepth: {fault}", file=sys.stderr)
        if report.exit_code:
            sys.exit(report.exit_code)


@dataclass(frozen=True)
class List:
    """List the systems that can be trained."""

    debug: Debug = False

    def run(self) -> None:
        from egodepth.recipes.describing import describe

        table = Table(box=None, pad_edge=False)
        for heading in ("recipe", "parameters", "MACs", "size", "modes", "source"):
            table.add_column(heading, justify="right" if heading in ("parameters", "MACs") else "left")
        for row in map(describe, RECIPES):
            table.add_row(
                row.name,
                f"{row.parameters / 1e6:.2f} M",
                f"{row.macs / 1e9:.2f} G",
                f"{row.height}x{row.width}",
                ", ".join(row.modes),
                row.source,
            )
        console.print(table)


@dataclass(frozen=True)
class Demo:
    """Render a drive, train on it, evaluate and use the model, and write a report: about seven minutes on two cores."""

    out: Annotated[Positional[Path], arg(metavar="OUT", help="Folder to write; an interrupted demo goes on in it.")]
    config: Annotated[DemoConfig, arg(name="")]
    debug: Debug = False

    def run(self) -> None:
        from egodepth.demo.run import run_demo

        result = run_demo(self.out, self.config)
        console.print(f"Done in {result.seconds / 60:.1f} minutes. Wrote")
        console.print(f"  {result.report}  curves, metrics and pictures on one page")
        console.print(f"  {result.video}  depth beside its input")
        console.print(f"  {result.model}  the model: egodepth predict {result.model} YOUR.mp4 --out DIR --format video")


COMMANDS: dict[str, type] = {
    "demo": Demo,
    "simulate": Simulate,
    "evaluate": Evaluate,
    "predict": Predict,
    "import": Import,
    "export": Export,
    "benchmark": Benchmark,
    "reproduce": Reproduce,
    "list": List,
}

DATA_COMMANDS: dict[str, type] = {"check": CheckData, "pack": PackHelp}
PRIOR_COMMANDS: dict[str, type] = {"build": BuildPrior, "select": SelectPrior, "cluster": ClusterPrior}

DESCRIPTION = """Depth from footage: train, evaluate and use self-supervised depth networks.

egodepth train --help lists the recipes."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command; exit code 0 when done, 2 for an error that the user can mend, 130 after Ctrl-C."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    handler = RichHandler(console=Console(stderr=True), show_time=False, show_path=False)
    logging.basicConfig(level=logging.INFO, format="%(message)s", handlers=[handler])
    for chatty in ("lightning", "lightning.pytorch", "lightning.fabric", "httpx", "timm"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", module=r"lightning\.")
    try:
        _run(arguments)
    except UserError as error:
        if "--debug" in arguments:
            raise
        print(f"egodepth: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("egodepth: stopped; whatever was written is whole.", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _run(arguments: list[str]) -> None:
    if arguments[:1] == ["--version"]:
        console.print(f"egodepth {__version__}")
    elif arguments[:1] == ["train"]:
        train(arguments[1:])
    elif arguments[:2] == ["data", "pack"]:
        pack(arguments[2:])
    elif arguments[:1] == ["data"]:
        _parse(arguments[1:], DATA_COMMANDS, "egodepth data", DataHelp.__doc__).run()
    elif arguments[:1] == ["prior"]:
        _parse(arguments[1:], PRIOR_COMMANDS, "egodepth prior", PriorHelp.__doc__).run()
    else:
        groups = {"train": TrainHelp, "data": DataHelp, "prior": PriorHelp}
        _parse(arguments, COMMANDS | groups, "egodepth", DESCRIPTION).run()


def _parse(arguments: list[str], commands: Mapping[str, type], program: str, description: str | None) -> Any:
    named = tuple(Annotated[command, subcommand(name)] for name, command in commands.items())
    return tyro.cli(
        Union[named],  # noqa: UP007, built at run time
        prog=program,
        description=description,
        args=arguments,
        config=(FlagCreatePairsOff,),
    )


@dataclass(frozen=True)
class DataHelp:
    """Look after data sets (egodepth data --help lists the commands)."""


if __name__ == "__main__":
    main()
