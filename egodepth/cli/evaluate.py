"""Measuring a model: `egodepth evaluate` and `egodepth reproduce`."""

import json as json_text
import shlex
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, UseAppendAction, arg

from egodepth.cli.terminal import Debug, Device, Model, console
from egodepth.data.configurations import EvaluationDataConfig
from egodepth.errors import UserError
from egodepth.evaluation.names import DepthProtocol, Scaling
from egodepth.files import write_text

ORIGINS = {
    "stereo baseline": "in metres, by the stereo baseline of its training",
    "poses": "in metres, by the poses of its training data",
    "teacher depth": "in metres, by the depth maps that it learnt from",
    "camera height": "in metres, by the height of the camera",
    "speed": "in metres, by the camera's speed",
    "odometry": "in metres, by poses of odometry",
    "known distances": "in metres, by measured distances",
    None: "up to scale",
}


def evaluate(
    model: Positional[Model],
    root: Annotated[
        Positional[Path],
        arg(metavar="DATA", help="Data with ground truth: KITTI, Cityscapes, DDAD, Make3D or a simulated drive."),
    ],
    *,
    protocol: Annotated[Literal[DepthProtocol, "odometry"], arg(help="Which pixels count, and how they are compared.")],
    post_process: Annotated[bool, arg(help="Predict the mirrored image too and join both.")] = False,
    scaling: Annotated[
        Scaling, arg(help="Scale each prediction by the ratio of medians: as the protocol says, always, or never.")
    ] = "auto",
    data: EvaluationDataConfig = EvaluationDataConfig(),
    sequence: Annotated[
        str | None, arg(help="Sequence for protocol odometry: 09, or a drive's name; the last by default.")
    ] = None,
    json: Annotated[Path | None, arg(metavar="FILE", help="Write the figures, per image too, as JSON.")] = None,
    figures: Annotated[Path | None, arg(metavar="DIR", help="Write a picture of every frame with its error.")] = None,
    report: Annotated[
        Path | None, arg(metavar="FILE.html", help="Write a page with the figures, and the best and the worst frame.")
    ] = None,
    device: Device = "cpu",
    debug: Debug = False,
) -> None:
    """Compare a model's depth with ground truth, by one of the field's protocols."""
    from egodepth.models.evaluating import evaluate_model, evaluate_odometry

    if protocol == "odometry":
        result = evaluate_odometry(model, root, sequence, device)
        console.print(f"ATE {result.mean:.3f} ± {result.std:.3f} m over {len(result.errors)} snippets")
    else:
        if report is not None and report.suffix != ".html":
            raise UserError(f"--report {report}: is a page. End its name in .html.")
        result = evaluate_model(model, root, protocol, scaling, post_process, data, figures, report, device)
        console.print(result.table(), markup=True)
        error = "" if result.metres_error is None else f", ± {100 * result.metres_error:.2g} %"
        console.print(f"The model's depth is {ORIGINS[result.metres_from]}{error}.")
        if report is not None:
            console.print(f"Wrote {report}")
    if json is not None:
        write_text(json, json_text.dumps(result.to_json(), indent=2) + "\n")
        console.print(f"Wrote {json}")


def reproduce(
    row: Annotated[Positional[str | None], arg(metavar="ROW", help="Row to reproduce; without it all are listed.")] = (
        None
    ),
    *,
    data: Annotated[Path | None, arg(metavar="DATA", help="Training data.")] = None,
    also: Annotated[
        UseAppendAction[tuple[Path, ...]],
        arg(metavar="DATA", help="Further training data, for rows that train on several datasets."),
    ] = (),
    test_data: Annotated[Path | None, arg(metavar="DATA", help="Test data; the training data by default.")] = None,
    out: Annotated[Path | None, arg(metavar="RUN", help="Folder of the run; runs/ROW by default.")] = None,
    model: Annotated[str | None, arg(metavar="MODEL", help="Evaluate this model instead of training one.")] = None,
    options: Annotated[
        UseAppendAction[tuple[str, ...]],
        arg(
            metavar="OPTIONS",
            help='Further options of egodepth train, in quotes after an equals sign: --options="--seed 3 --steps 100", '
            'or one by one: --options="--seed 3" --options="--steps 100".',
        ),
    ] = (),
    device: Annotated[str, arg(help="Where the evaluation runs: cpu, cuda, cuda:1, mps.")] = "cpu",
    debug: Debug = False,
) -> None:
    """List the rows of the papers' tables, or train, evaluate and compare one."""
    if row is not None and data is None:
        raise UserError(f"{row}: give the data to train on with --data.")
    words = _words(options)
    from egodepth.reproduction.measured import read_measured
    from egodepth.reproduction.published import published_rows
    from egodepth.reproduction.reproduce import MEASURED_FOLDER, reproduce, rows_table

    if row is None:
        measured = [each for folder in Path("runs").glob(f"*/{MEASURED_FOLDER}") for each in read_measured(folder)]
        console.print(rows_table(list(published_rows().values()), measured))
        return
    run = out or Path("runs") / row
    result = reproduce(row, data, run, also=also, test_data=test_data, options=words, model=model, device=device)
    console.print(result.table())
    console.print(f"Wrote {result.file}")


def _words(options: tuple[str, ...]) -> list[str]:
    """Options split into words, as a shell splits them."""
    try:
        return [word for each in options for word in shlex.split(each)]
    except ValueError as error:
        raise UserError(f"--options {' '.join(options)}: {error}. Close the quotes.") from error
