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
from egodepth.evaluation.report import PictureRow, comparison, frame_pictures, write_report
from egodepth.files import write_text
from egodepth.inference.predict import predict
from egodepth.models.released import load
from egodepth.recipes import RECIPES, Recipe
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


def demo_recipe(config: DemoConfig) -> Recipe:
    """Monodepth2 from stereo pairs and random weights, small and steep enough for a few minutes."""
    recipe = RECIPES["monodepth2"]
    return replace(
        recipe,
        mode="stereo",
        height=96,
        width=320,
        pretrained="none",
        optimiser=replace(recipe.optimiser, learning_rate=2e-4),
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

    console.print("[bold]2 of 4[/] Training a depth network on it, from pixels alone")
    recipe = demo_recipe(config)
    model = train("monodepth2", recipe, drive, run, resume=True)

    console.print("[bold]3 of 4[/] Comparing with the exact depth of another street, and with two priors")
    frames: dict[int, FrameResult] = {}
    predictor = load(model)
    scaled = compare(predictor.predict_inverse_depth, drive, "median", frames)
    unscaled = compare(predictor.predict_inverse_depth, drive, "none")

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
        panels=_panels(frames),
        notes=_notes(),
    )
    return DemoResult(report, video, model, metrics, seconds)


def _summary(
    recipe: Recipe,
    scaled: Mapping[str, EvaluationResult],
    unscaled: Mapping[str, EvaluationResult],
    seconds: float,
) -> list[tuple[str, str]]:
    model = scaled["egodepth"].metrics["abs_rel"]
    gains = {name: 1 - model / result.metrics["abs_rel"] for name, result in scaled.items() if name != "egodepth"}
    return [
        ("system", f"Monodepth2, {recipe.mode}, {recipe.width}x{recipe.height}, from random weights"),
        ("training", f"{recipe.training.steps} steps of {recipe.training.batch_size} pairs, no depth, no labels"),
        ("abs_rel on a street it never saw", f"{model:.3f}"),
        ("abs_rel in metres, unscaled", f"{unscaled['egodepth'].metrics['abs_rel']:.3f}"),
        *((f"better than the {name}", f"{gain:.0%}") for name, gain in gains.items()),
        ("whole demo", f"{seconds / 60:.1f} minutes"),
    ]


def _panels(frames: Mapping[int, FrameResult]) -> list[PictureRow]:
    """The best, the middle and the worst frame."""
    ordered = sorted(frames.values(), key=lambda result: result.row.metrics["abs_rel"])
    chosen = {"best": ordered[0], "middle": ordered[len(ordered) // 2], "worst": ordered[-1]}
    return [
        PictureRow(
            f"The {name} of {len(ordered)} frames: {result.row.name}, abs_rel {result.row.metrics['abs_rel']:.3f}",
            frame_pictures(result),
        )
        for name, result in chosen.items()
    ]


def _notes() -> list[str]:
    return [
        "The network was trained to paint each left picture with the colours of the right one, and the other way "
        "round. It never saw a depth. The baseline of 0.54 m between the cameras makes its depth metric.",
        "The priors look at no picture. The constant is the same depth everywhere; the ground plane knows the "
        "camera's height and horizon, and is cut off at the distance that serves it best on training frames.",
        "A few minutes of training show that the machinery works; they do not show what it can do. For that, train "
        "on real footage with ImageNet weights and the full schedule.",
    ]
