"""The acceptance ladder of RPrDepth: does the prior help, and would anything else have helped as much?

    python benchmarks/rprdepth_acceptance.py DATA --out OUT --test-data TEST --protocol P [-- OPTION ...]

What follows `--` are options of `egodepth train rprdepth --all`. In OUT are made: `ladder`, all that this command
trains; `random.safetensors`, a prior of the same size that knows nothing, and `random`, the student trained on it
exactly as on the built prior; `student_further`, the student trained on for as many steps without any prior;
`evaluations`; and `ladder.json` with all figures. What is finished is not done again.

The five points are those of the specification, section 8. A gain is in abs_rel under median scaling, against the
better one of the student and the student trained on.
"""

import json
import logging
import statistics
import sys
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import tyro
from rich.console import Console
from rich.logging import RichHandler
from rich.table import Table
from torch import Tensor
from tyro.conf import AvoidSubcommands, FlagCreatePairsOff, Positional

from egodepth.data.configurations import EvaluationDataConfig
from egodepth.data.images import resize_image
from egodepth.data.opening import open_evaluation_frames
from egodepth.data.recognise import recognise
from egodepth.errors import UserError
from egodepth.evaluation.evaluate import EvaluationResult, ImageRow, results_table
from egodepth.evaluation.protocols import protocol_named
from egodepth.files import write_text
from egodepth.models.evaluating import evaluate_model
from egodepth.models.folder import RUN_FILE
from egodepth.models.opening import load
from egodepth.networks.prior import ReferenceSet
from egodepth.networks.rprdepth import evenly_spaced
from egodepth.prior.building import random_references, with_references
from egodepth.prior.pipeline import PipelinePaths, first_stage, run_pipeline, student_recipe
from egodepth.recipes import RECIPES
from egodepth.recipes.prior_guided import PriorGuidedRecipe
from egodepth.reproduction.measured import budget, hardware, software
from egodepth.reproduction.published import PublishedRow, published_rows, row_recipe
from egodepth.training.runs import train
from egodepth.training.starting import load_trained_networks

METRIC = "abs_rel"
NEAR_PUBLISHED = 0.001
GAIN = 0.002
"""What counts as one; a control that stays below it gives none."""
NO_LOSS = 0.0005
"""Half of the last one of three decimals."""

IDENTITY_IMAGES = 3
RANDOM_SEED = 0

STUDENT, FURTHER, RANDOM = "student", "student, trained on", "random set"
BUILT, SELECTED, TEACHER = "built set", "selected set", "teacher"

Results = Mapping[str, EvaluationResult]


@dataclass(frozen=True)
class Ladder:
    """Train RPrDepth and its controls, evaluate all by one protocol, and judge.

    Attributes:
        data: to train on.
        out: folder of everything.
        test_data: to evaluate on.
        protocol: of the evaluation; it reports abs_rel.
        test_split: folder in TEST/splits, or a path to test lists.
        device: where the evaluation runs.
    """

    data: Annotated[Positional[Path], tyro.conf.arg(metavar="DATA")]
    out: Path
    test_data: Path
    protocol: str
    test_split: str | None = None
    device: str = "cpu"


@dataclass(frozen=True)
class Point:
    """One point of the ladder.

    Attributes:
        claim: what shall be so.
        found: what is so.
        passed: None where there is nothing to compare with.
    """

    claim: str
    found: str
    passed: bool | None

    @property
    def verdict(self) -> str:
        return {True: "PASS", False: "FAIL", None: "not comparable"}[self.passed]


def main(options: Ladder, recipe: PriorGuidedRecipe) -> dict:
    """Climb, control, evaluate and judge; the figures, as written to `ladder.json`.

    Raises:
        UserError: the data, the protocol or an option cannot be used.
    """
    if METRIC not in protocol_named(options.protocol).metrics:
        raise UserError(f"--protocol {options.protocol}: does not report {METRIC}. Choose another.")
    open_evaluation_frames(options.test_data, protocol_named(options.protocol).frames, _test_frames(options))
    paths = PipelinePaths.of(recipe, options.out / "ladder")
    run_pipeline(recipe, options.data, paths.out)
    runs = {
        STUDENT: Path(paths.student),
        FURTHER: train_further(recipe, options.data, paths, options.out / "student_further"),
        RANDOM: train_on_random(recipe, options.data, paths, options.out),
        BUILT: paths.first_stage,
        SELECTED: paths.last_stage,
        TEACHER: Path(paths.teacher),
    }
    by_median = {name: evaluated(name, run, "median", options) for name, run in runs.items()}
    metric = {name: run for name, run in runs.items() if load(run).is_metric}
    unscaled = {name: evaluated(name, run, "none", options) for name, run in metric.items()}
    identity = starts_as_student(recipe, paths, first_images(options, recipe))
    points = judged(by_median, identity, published_row(recipe, options))
    figures = {
        "data": str(options.data),
        "test_data": str(options.test_data),
        "protocol": options.protocol,
        "test_split": options.test_split,
        "hardware": hardware(),
        "software": software(),
        "seeds": {"training": recipe.training.seed, "random set": RANDOM_SEED},
        "options": asdict(recipe),
        "budgets": {name: trained_for(run) for name, run in runs.items()},
        "references": {BUILT: len(ReferenceSet.load(paths.prior)), SELECTED: len(ReferenceSet.load(paths.small_prior))},
        "identity": identity,
        "points": [asdict(point) | {"verdict": point.verdict} for point in points],
        "evaluations": {
            name: {"median": by_median[name].to_json(), "none": unscaled[name].to_json() if name in metric else None}
            for name in runs
        },
    }
    write_text(options.out / "ladder.json", json.dumps(figures, indent=2) + "\n")
    show(by_median, unscaled, points)
    return figures


# --- the controls ----------------------------------------------------------------------------------------------------


def train_on_random(recipe: PriorGuidedRecipe, data: Path, paths: PipelinePaths, out: Path) -> Path:
    """The first stage on a prior that knows nothing; the run."""
    prior, run = out / "random.safetensors", out / "random"
    if not prior.is_file():
        random_references(ReferenceSet.load(paths.prior), RANDOM_SEED).save(prior)
    train("rprdepth", first_stage(recipe, replace(paths, given_prior=str(prior))), data, run, resume=True)
    return run


def train_further(recipe: PriorGuidedRecipe, data: Path, paths: PipelinePaths, run: Path) -> Path:
    """The student without a prior, for the steps and with the schedule of the first stage; the run."""
    steps = budget(paths.first_stage, None)["steps"]
    name, student = student_recipe(recipe)
    further = replace(
        student,
        optimiser=recipe.optimiser,
        training=replace(recipe.training, steps=steps),
        start_from=paths.student,
    )
    train(name, further, data, run, resume=True)
    return run


# --- what they are ---------------------------------------------------------------------------------------------------


def starts_as_student(recipe: PriorGuidedRecipe, paths: PipelinePaths, images: Tensor) -> dict[str, float | bool]:
    """Whether the first stage starts as the student, bit for bit, on images (B, 3, H, W) in [0, 1]."""
    references = ReferenceSet.load(paths.prior)
    student = load_trained_networks(paths.student)["depth"].eval()
    network = with_references(recipe.network, student, references).eval()
    # As many references as a step of the training sees; millions would take minutes an image.
    places = evenly_spaced(len(references), recipe.losses.references_per_step)
    with torch.no_grad(), network.only_references(places):
        pairs = [(student.predict_depth(image[None]), network.predict_depth(image[None])) for image in images]
    return {
        "images": len(pairs),
        "references": len(places),
        "equal": all(torch.equal(alone, fused) for alone, fused in pairs),
        "largest_difference": max(float((alone - fused).abs().max()) for alone, fused in pairs),
    }


def first_images(options: Ladder, recipe: PriorGuidedRecipe) -> Tensor:
    """The first images (B, 3, H, W) of the test data, at the student's size."""
    frames = open_evaluation_frames(options.test_data, protocol_named(options.protocol).frames, _test_frames(options))
    shown = range(min(IDENTITY_IMAGES, len(frames)))
    pixels = np.stack([resize_image(frames[place].image, recipe.height, recipe.width) for place in shown])
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255


def evaluated(name: str, run: Path, scaling: str, options: Ladder) -> EvaluationResult:
    """The figures of a run, from its file where they are there already."""
    folder = options.out / "evaluations" / options.protocol
    file = folder / f"{name.replace(', ', '_').replace(' ', '_')}-{scaling}.json"
    asked = {"test_data": str(options.test_data.resolve()), "test_split": options.test_split, **trained_for(run)}
    if file.is_file():
        stored = json.loads(file.read_text(encoding="utf-8"))
        if stored.pop("of") == asked:
            return _restored(stored)
    result = evaluate_model(
        str(run), options.test_data, options.protocol, scaling, frames_of=_test_frames(options), device=options.device
    )
    write_text(file, json.dumps({"of": asked, **result.to_json()}, indent=2) + "\n")
    return result


def trained_for(run: Path) -> dict[str, float]:
    """Steps and samples in a step; nothing is known of a given teacher that is no run."""
    return budget(run, None) if (run / RUN_FILE).is_file() else {}


def _restored(stored: Mapping) -> EvaluationResult:
    return EvaluationResult(
        stored["protocol"],
        stored["scaling"],
        stored["post_process"],
        stored["metrics"],
        stored["scale_ratio"]["median"],
        stored["scale_ratio"]["relative_std"],
        tuple(ImageRow(**row) for row in stored["per_image"]),
        tuple(stored["skipped"]),
        stored["metres_from"],
    )


def _test_frames(options: Ladder) -> EvaluationDataConfig:
    return EvaluationDataConfig(split=options.test_split)


# --- what they are worth ---------------------------------------------------------------------------------------------


def judged(results: Results, identity: Mapping[str, float | bool], row: PublishedRow | None) -> tuple[Point, ...]:
    """The five points of the ladder."""
    baseline = min((STUDENT, FURTHER), key=lambda name: results[name].metrics[METRIC])
    random, built = (results[baseline].metrics[METRIC] - results[name].metrics[METRIC] for name in (RANDOM, BUILT))
    loss = results[SELECTED].metrics[METRIC] - results[BUILT].metrics[METRIC]
    found = f"equal on {identity['images']} images with {identity['references']} references"
    if not identity["equal"]:
        found = f"differs by up to {identity['largest_difference']:.2g}"
    return (
        _as_published(results[STUDENT].metrics[METRIC], row),
        Point("the fusion starts as the student, bit for bit", found, bool(identity["equal"])),
        Point(f"a random set gains less than {GAIN}", _gain(results, baseline, RANDOM), random < GAIN),
        Point(
            f"the built set gains {GAIN} or more",
            f"{_gain(results, baseline, BUILT)}; {_gain(results, RANDOM, BUILT)}",
            built >= GAIN,
        ),
        Point("selection loses nothing", _gain(results, BUILT, SELECTED), loss <= NO_LOSS),
    )


def published_row(recipe: PriorGuidedRecipe, options: Ladder) -> PublishedRow | None:
    """DIFFNet's published row of this size, mode, protocol and data, if there is one."""
    size, kind = f"{recipe.width}x{recipe.height}", recognise(options.test_data)
    for row in published_rows().values():
        alike = (row.size, row.protocol, row.test_data or row.training_data, row.test_split)
        if row.paper != "diffnet" or alike != (size, options.protocol, kind, options.test_split):
            continue
        plain = row.scale == "median" and not row.post_process and row.unavailable is None
        if plain and row_recipe(row).mode == recipe.mode:
            return row
    return None


def paired_gain(worse: EvaluationResult, better: EvaluationResult) -> tuple[float, float]:
    """By how much the second result's abs_rel is lower, and the standard error of that over images."""
    before, after = ({row.name: row.metrics[METRIC] for row in result.rows} for result in (worse, better))
    gains = [before[name] - after[name] for name in before]
    error = statistics.stdev(gains) / len(gains) ** 0.5 if len(gains) > 1 else float("nan")
    return statistics.fmean(gains), error


def _gain(results: Results, before: str, after: str) -> str:
    gain, error = paired_gain(results[before], results[after])
    return f"{gain:+.4f} ± {error:.4f} against {before}"


def _as_published(measured: float, row: PublishedRow | None) -> Point:
    claim = f"the student is within {NEAR_PUBLISHED} of published"
    if row is None:
        return Point(claim, f"{measured:.3f}; nothing is published for this size, protocol and data", None)
    published = row.figures[METRIC]
    passed = round(measured, 3) - published <= NEAR_PUBLISHED + 1e-9
    return Point(claim, f"{measured:.3f}, published {published:.3f} ({row.id})", passed)


def show(by_median: Results, unscaled: Results, points: Sequence[Point]) -> None:
    console = Console()
    console.print(results_table(by_median))
    if unscaled:
        console.print(results_table(unscaled))
    table = Table(title=f"acceptance ladder; gains in {METRIC}, ± standard error over images")
    for heading in ("", "shall be", "is", ""):
        table.add_column(heading)
    for number, point in enumerate(points, start=1):
        table.add_row(str(number), point.claim, point.found, point.verdict)
    console.print(table)


def parsed(arguments: Sequence[str]) -> tuple[Ladder, PriorGuidedRecipe]:
    """The script's own options, and what follows `--` as the recipe's."""
    place = arguments.index("--") if "--" in arguments else len(arguments)
    options = tyro.cli(Ladder, args=arguments[:place])
    recipe = tyro.cli(
        PriorGuidedRecipe,
        default=RECIPES["rprdepth"],
        args=arguments[place + 1 :],
        prog="rprdepth_acceptance.py DATA ... --",
        config=(FlagCreatePairsOff, AvoidSubcommands),
    )
    return options, recipe


if __name__ == "__main__":
    logging.basicConfig(
        level=logging.INFO,
        format="%(message)s",
        handlers=[RichHandler(console=Console(stderr=True), show_time=False, show_path=False)],
    )
    for chatty in ("lightning", "lightning.pytorch", "lightning.fabric", "httpx", "timm"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", module=r"lightning\.")
    try:
        main(*parsed(sys.argv[1:]))
    except UserError as error:
        sys.exit(f"rprdepth_acceptance: {error}")
