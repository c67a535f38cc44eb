"""The report of a run: what lets one judge a model of one's own footage, for which nobody knows the true depth."""

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lightning.pytorch.utilities import rank_zero_only

from egodepth.colour import colour_depth
from egodepth.data.configurations import LEARNED
from egodepth.data.record import TrainingSets
from egodepth.evaluation.report import MetricsTable, PictureRow, write_report
from egodepth.methods.method import Method
from egodepth.methods.view_synthesis import ViewSynthesisMethod
from egodepth.models.released import ReleasedModel
from egodepth.recipes import Recipe
from egodepth.recipes.scale import Scale
from egodepth.training.curves import read_curves
from egodepth.training.judging import Judgement, gain, judge
from egodepth.training.starting import method_as_started

log = logging.getLogger("egodepth")

REPORT_FILE = "report.html"
CURVES = (
    "loss",
    "validation_loss",
    "reprojected_scale_0",
    "share_at_near_border",
    "share_at_far_border",
    "camera_fov",
    "images_per_second",
)
MESSAGES_SHOWN = 12


@dataclass(frozen=True)
class RunFacts:
    """What a report tells of a run besides its figures.

    Attributes:
        name: of the recipe.
        data: what it was trained on, as people call it.
        samples, held_out: how many.
        steps: of training.
        camera: how the intrinsics were obtained.
        scale: of the released model; None where its depth is up to scale.
        left_out: of the data, one message each.
        remarks: how the footage moves, and what else was decided.
    """

    name: str
    data: str
    samples: int
    held_out: int
    steps: int
    camera: str
    scale: Scale | None
    left_out: Sequence[str]
    remarks: Sequence[str]


@rank_zero_only
def report_run(name: str, recipe: Recipe, run: Path, sets: TrainingSets, method: Method) -> None:
    """Write what lets one judge the trained model, where frames are held out that view synthesis can explain."""
    if sets.validation is None or not isinstance(method, ViewSynthesisMethod) or not method.uses_every_parameter:
        return
    released = ReleasedModel.open(run)
    focal = float(sets.first[0].intrinsics[0, 0]) if method.camera is None else released.config["focal"]
    facts = RunFacts(
        name=name,
        data=released.config["provenance"]["data"],
        samples=len(sets.training),
        held_out=len(sets.validation),
        steps=released.config["provenance"]["steps"],
        camera=_said_of_camera(recipe, focal),
        scale=released.scale,
        left_out=sets.left_out,
        remarks=[f"{sequence.said()}." for sequence in sets.motion],
    )
    started = method_as_started(recipe)
    start = None if started is None else judge(started, sets.validation)
    report = write_run_report(run, facts, recipe, judge(method, sets.validation), start)
    log.info("%s tells how well the model explains frames that were held out.", report)


def _said_of_camera(recipe: Recipe, focal: float) -> str:
    """How the intrinsics were obtained, and what the camera sees from left to right."""
    origin = "learnt" if recipe.intrinsics == LEARNED else "given"
    return f"{origin}, {2 * math.degrees(math.atan(0.5 / focal)):.0f} degrees wide"


def write_run_report(
    run: Path, facts: RunFacts, recipe: Recipe, trained: Judgement, start: Judgement | None = None
) -> Path:
    """Write `RUN/report.html`.

    Args:
        trained: of the trained model on frames that were held out.
        start: of the model that the training started from, on the same frames; None where it started from nothing.
    """
    report = run / REPORT_FILE
    write_report(
        report,
        f"{facts.name} on {facts.data}",
        summary=_summary(facts, recipe, trained, start),
        tables=[_table(facts, trained, start)],
        curves=read_curves(run, CURVES),
        panels=_panels(trained, start),
        notes=_notes(facts, trained, start),
    )
    return report


def _summary(facts: RunFacts, recipe: Recipe, trained: Judgement, start: Judgement | None) -> list[tuple[str, str]]:
    against_start = [] if start is None else [_against(f"than {recipe.start_from}", trained, start.synthesis)]
    return [
        ("network", f"{facts.name}, {recipe.width}x{recipe.height}, {recipe.mode}"),
        ("training", f"{facts.steps} steps of {recipe.training.batch_size}, {facts.samples} frames"),
        _against("than the views as they are", trained, trained.identity),
        *against_start,
        ("depth is", "up to scale" if facts.scale is None else f"metres from {facts.scale.origin}"),
        ("camera", facts.camera),
    ]


def _against(what: str, trained: Judgement, reference: float) -> tuple[str, str]:
    better = gain(trained.synthesis, reference)
    return f"explains held-out frames {'better' if better >= 0 else 'worse'} {what}", f"{abs(better):.0%}"


def _table(facts: RunFacts, trained: Judgement, start: Judgement | None) -> MetricsTable:
    rows: Mapping[str, Judgement] = {"trained": trained} | ({} if start is None else {"as it started": start})
    return MetricsTable(
        "On frames that were held out",
        {
            name: {
                "synthesis error": each.synthesis,
                "flicker": each.flicker,
                "share at the near end": each.near,
                "share at the far end": each.far,
            }
            for name, each in rows.items()
        },
        f"{facts.held_out} frames are held out. The synthesis error of the views as they are is "
        f"{trained.identity:.3f}. Flicker is how far the median depths of neighbouring frames lie apart.",
    )


def _panels(trained: Judgement, start: Judgement | None) -> list[PictureRow]:
    rows = []
    for place, (name, picture, depth) in enumerate(zip(trained.names, trained.pictures, trained.depths, strict=True)):
        before = [] if start is None else [("depth as it started", colour_depth(start.depths[place]))]
        pictures = [("picture", picture), ("depth", colour_depth(depth)), *before]
        rows.append(PictureRow(f"Held out: {name}", pictures))
    return rows


def _notes(facts: RunFacts, trained: Judgement, start: Judgement | None) -> list[str]:
    notes = [
        "Nobody knows the true depth of these frames. A model is judged by how well a neighbouring view, moved by its "
        "depth and motion, looks like the picture. That is a hint, not a proof: it says little about what has no "
        "texture, and nothing of things that move along with the camera."
    ]
    if gain(trained.synthesis, trained.identity) < 0:
        notes.append(
            "The moved views explain the held-out frames worse than the views as they are: the model has not learnt. "
            "Look at the camera and at how far neighbours lie apart."
        )
    if start is not None and gain(trained.synthesis, start.synthesis) < 0:
        notes.append("The model that the training started from explains these frames better: keep that one.")
    notes += list(facts.remarks)
    notes += [f"Left out: {message}" for message in facts.left_out[:MESSAGES_SHOWN]]
    if len(facts.left_out) > MESSAGES_SHOWN:
        notes.append(f"Left out: {len(facts.left_out) - MESSAGES_SHOWN} more.")
    return notes
