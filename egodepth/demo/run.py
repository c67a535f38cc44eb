"""The main job from end to end on an embedded default: render a drive, train, evaluate, use, report."""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console

from egodepth.data.simulator.configuration import SimulatorConfig
from egodepth.data.simulator.writer import MARKER, simulate
from egodepth.demo.comparison import compare
from egodepth.demo.configuration import DemoConfig
from egodepth.evaluation.evaluate import EvaluationResult, FrameResult
from egodepth.evaluation.report import PictureRow, comparison, frame_panels, telling_rows, write_report
from egodepth.files import write_text
from egodepth.inference.predict import predict
from egodepth.models.opening import load
from egodepth.recipes import RECIPES, Recipe
from egodepth.recipes.recipe import STARTER
from egodepth.training.curves import read_curves
from egodepth.training.runs import train


@dataclass(frozen=True)
class DemoResult:
    """What the demo wrote."""

    report: Path
    video: Path
    model: Path
    metrics: Path
    seconds: float


TRAINED, STARTER_NAME = "egodepth, trained here", "starter, as it comes"


def demo_recipe(config: DemoConfig) -> Recipe:
    """From the starter weights, on video and stereo pairs, which keep the metres."""
    recipe = RECIPES["video"]
    return replace(
        recipe,
        mode="mono+stereo",
        training=replace(
            recipe.training,
            steps=config.steps,
            batch_size=4,
            seed=config.seed,
            log_every=10,
            validate_every=max(1, config.steps // 4),
            panels_every=max(1, config.steps // 4),
            checkpoint_every=100,
        ),
    )


def run_demo(out: Path, config: DemoConfig) -> DemoResult:
    """Run the demo in the folder `out`; what an interrupted run had finished is kept and gone on from.

    Raises:
        UserError: `out` cannot be written, or holds a demo with other options.
    """
    start = time.monotonic()
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    drive, run = out / "drive", out / "run"

    console.print("[bold]1 of 4[/] Rendering a street drive")
    if not (drive / MARKER).is_file():
        simulate(drive, SimulatorConfig(frames=config.frames, seed=config.seed))

    console.print("[bold]2 of 4[/] Training on it from the starter weights, from pixels alone")
    recipe = demo_recipe(config)
    model = train("video", recipe, drive, run, resume=True)

    console.print("[bold]3 of 4[/] Comparing with the exact depth of another street, with the starter and two priors")
    frames: dict[int, FrameResult] = {}
    predictor = load(model)
    models = {TRAINED: predictor, STARTER_NAME: load(STARTER)}
    scaled, unscaled = compare(models, drive, "median", frames), compare(models, drive, "none")

    console.print("[bold]4 of 4[/] Using it on a clip")
    clip = next(drive.glob("*/*_0002_sync/image_02/data"))
    written = predict(predictor, [clip], out, "video").written[0]
    video = written.replace(out / "depth.mp4")

    metrics = out / "metrics.json"
    write_text(metrics, json.dumps({name: result.to_json() for name, result in scaled.items()}, indent=2) + "\n")
    seconds = time.monotonic() - start
    report = out / "report.html"
    write_report(
        report,
        "egodepth demo: depth from a simulated street drive",
        summary=_summary(recipe, scaled, unscaled, seconds),
        tables=[
            comparison("Held-out street, each prediction scaled by its median", scaled),
            comparison("Held-out street, in metres as predicted", unscaled),
        ],
        curves=read_curves(run, ("loss", "validation_loss", "reprojected_scale_0", "images_per_second")),
        panels=_panels(frames, scaled[TRAINED]),
        notes=_notes(),
    )
    return DemoResult(report, video, model, metrics, seconds)


def _summary(
    recipe: Recipe,
    scaled: Mapping[str, EvaluationResult],
    unscaled: Mapping[str, EvaluationResult],
    seconds: float,
) -> list[tuple[str, str]]:
    model = scaled[TRAINED].metrics["abs_rel"]
    gains = {name: 1 - model / result.metrics["abs_rel"] for name, result in scaled.items() if name != TRAINED}
    return [
        ("system", f"SmallDepth, {recipe.mode}, {recipe.width}x{recipe.height}, from the starter weights"),
        ("training", f"{recipe.training.steps} steps of {recipe.training.batch_size} frames, no depth, no labels"),
        ("abs_rel on a street it never saw", f"{model:.3f}"),
        ("abs_rel in metres, unscaled", f"{unscaled[TRAINED].metrics['abs_rel']:.3f}"),
        *((f"better than {name}", f"{gain:.0%}") for name, gain in gains.items()),
        ("whole demo", f"{seconds / 60:.1f} minutes"),
    ]


def _panels(frames: Mapping[int, FrameResult], result: EvaluationResult) -> list[PictureRow]:
    by_name = {frame.row.name: frame for frame in frames.values()}
    chosen = {word: by_name[row.name] for word, row in telling_rows(result.rows).items()}
    return frame_panels(chosen, result.images)


def _notes() -> list[str]:
    return [
        "The network started from the weights that egodepth comes with, which have seen other simulated streets and a "
        "highway, and was trained on to paint each picture with the colours of its neighbours in time and of the other "
        "camera. It saw no depth of this street. The baseline of 0.54 m between the cameras keeps its depth metric.",
        "The priors look at no picture. The constant is the same depth everywhere; the ground plane knows the "
        "camera's height and horizon, and is cut off at the distance that serves it best on training frames.",
        "A few minutes of training show that the machinery works; they do not show what it can do. For that, train "
        "on more footage of your own, and longer.",
    ]
