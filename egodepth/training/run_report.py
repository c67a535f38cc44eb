"""The report of a run: what lets one judge a model of one's own footage, for which nobody knows the true depth."""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from lightning.pytorch.utilities import rank_zero_only

from egodepth.colour import colour_depth
from egodepth.costs import Cost, compared
from egodepth.data.record import TrainingSets
from egodepth.data.samples import TrainingDataset
from egodepth.data.taught_dataset import TaughtDataset
from egodepth.evaluation.report import MetricsTable, PictureRow, write_report
from egodepth.files import write_text
from egodepth.geometry.scale import Scale
from egodepth.inference.costing import cost_of
from egodepth.methods.method import Method
from egodepth.methods.view_synthesis import ViewSynthesisMethod
from egodepth.models.released import ReleasedModel
from egodepth.networks.modes import evaluating
from egodepth.recipes import Recipe
from egodepth.training.cameras import released_camera, said_of_cameras
from egodepth.training.curves import read_curves
from egodepth.training.judging import Judgement, gain, judge
from egodepth.training.starting import method_as_started

log = logging.getLogger("egodepth")

REPORT_FILE = "report.html"
CURVES = (
    "loss",
    "validation_loss",
    "validation_synthesis",
    "reprojected_scale_0",
    "share_at_near_border",
    "share_at_far_border",
    "camera_fov",
    "images_per_second",
)
MESSAGES_SHOWN = 12
LEAST_GAIN = 0.01
"""Errors that differ by less than this share say nothing of two models."""


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
        costs: of the trained model, and of its teacher where it has one whose cost is known.
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
    costs: tuple[Cost | None, Cost | None] = (None, None)


@rank_zero_only
def report_run(
    name: str, recipe: Recipe, run: Path, sets: TrainingSets, held_out: TrainingDataset | None, method: Method
) -> None:
    """Write what lets one judge the trained model, where frames are held out that view synthesis can explain.

    A training that had no view synthesis has no motions but those that flow gives. Those are the same for all that is
    compared.

    Args:
        held_out: the samples that validate, with a teacher's maps where there are any.
    """
    if held_out is None or not isinstance(method, ViewSynthesisMethod):
        return
    if not method.synthesises and method.solved is None:
        return
    trained = judge(method, held_out)
    if trained is None:
        return
    released = ReleasedModel.open(run)
    focal = float(sets.first[0].intrinsics[0, 0])
    facts = RunFacts(
        name=name,
        data=released.config["provenance"]["data"],
        samples=len(sets.training),
        held_out=len(held_out),
        steps=released.config["provenance"]["steps"],
        camera=said_of_cameras(released_camera(sets, method, recipe, focal), focal),
        scale=released.scale,
        left_out=sets.left_out,
        remarks=[f"{sequence.said()}." for sequence in sets.motion],
        costs=(None, None) if trained.taught is None else _costs(method, held_out),
    )
    started = method_as_started(recipe)
    if started is not None:
        started.cameras, started.focal, started.solved = method.cameras, method.focal, method.solved
    start = None if started is None else judge(started, held_out)
    report = write_run_report(run, facts, recipe, trained, start)
    log.info("%s tells how well the model explains frames that were held out.", report)


def write_run_report(
    run: Path, facts: RunFacts, recipe: Recipe, trained: Judgement, start: Judgement | None = None
) -> Path:
    """Write `RUN/report.html`, and its figures as `report.json`.

    Args:
        trained: of the trained model on frames that were held out.
        start: of the model that the training started from, on the same frames; None where it started from nothing.
    """
    report = run / REPORT_FILE
    figures = {"trained": _figures(trained), "as it started": None if start is None else _figures(start)}
    verdict = {"take": None if trained.taught is None else to_take(trained, facts.costs)}
    if trained.taught is not None:
        costs = (None if each is None else each.to_json() for each in facts.costs)
        verdict["costs"] = dict(zip(("student", "teacher"), costs, strict=True))
    write_text(report.with_suffix(".json"), json.dumps(figures | verdict, indent=2) + "\n")
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
    verdict = [] if trained.taught is None else [("explains held-out frames", _verdict(trained, facts.costs))]
    return [
        *verdict,
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


def _figures(judgement: Judgement) -> dict[str, Any]:
    """A judgement's figures, without its pictures, as JSON has them: what is not known is null."""
    figures = {name: value for name, value in vars(judgement).items() if name != "shown"}
    return {name: None if value != value else value for name, value in figures.items()}


def better_explained(trained: Judgement) -> Literal["student", "teacher", "either"]:
    """Which of the two explains held-out frames better, by more than a hundredth."""
    ours, teachers = trained.taught
    if abs(gain(ours, teachers)) < LEAST_GAIN:
        return "either"
    return "student" if ours < teachers else "teacher"


def to_take(trained: Judgement, costs: tuple[Cost | None, Cost | None]) -> Literal["student", "teacher"]:
    """Which of the two to take: the better one, and of equals the one that costs less."""
    better, (ours, teachers) = better_explained(trained), costs
    if better != "either":
        return better
    if ours is None or teachers is None:
        return "student"
    measure = "seconds" if ours.device == teachers.device else "weights_mb"
    return "student" if getattr(ours, measure) <= getattr(teachers, measure) else "teacher"


def _verdict(trained: Judgement, costs: tuple[Cost | None, Cost | None]) -> str:
    better, take = better_explained(trained), to_take(trained, costs)
    share = f"{abs(gain(*trained.taught)):.0%}"
    found = {"either": "as well as its teacher", "student": f"{share} better than its teacher"}.get(
        better, f"{share} worse than its teacher"
    )
    against = () if None in costs else compared(*costs)
    said = ", ".join([found, *against])
    return f"{said}: take the {take}" + (", or train longer" if better == "teacher" else "")


def _costs(method: ViewSynthesisMethod, held_out: TrainingDataset) -> tuple[Cost, Cost | None]:
    """What a student asks of this machine, and what its teacher asks, where anybody measured it."""
    setup = method.training_setup
    with evaluating(method):
        ours = cost_of(method.depth_network, setup.height, setup.width)
    if setup.teacher is not None:
        return ours, cost_of(setup.teacher.network, *setup.teacher.size)
    return ours, held_out.maps.cost if isinstance(held_out, TaughtDataset) else None


def _table(facts: RunFacts, trained: Judgement, start: Judgement | None) -> MetricsTable:
    rows: Mapping[str, Judgement] = {"trained": trained} | ({} if start is None else {"as it started": start})
    taught = ""
    if trained.taught is not None:
        taught = " Where the teacher knows the depth it is {:.3f}, with the teacher's depth {:.3f}.".format(
            *trained.taught
        )
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
        f"{trained.identity:.3f}.{taught} Flicker is how far the median depths of neighbouring frames lie apart."
        f"{_said_of_costs(facts.costs)}",
    )


def _said_of_costs(costs: tuple[Cost | None, Cost | None]) -> str:
    def said(who: str, cost: Cost) -> str:
        memory = "" if cost.memory_mb is None else f", {cost.memory_mb:.0f} MB of memory"
        return (
            f" The {who} takes {1000 * cost.seconds:.3g} ms a picture{memory} ({cost.device}); its weights have "
            f"{cost.weights_mb:.3g} MB."
        )

    return "".join(said(who, cost) for who, cost in zip(("student", "teacher"), costs, strict=True) if cost)


def _panels(trained: Judgement, start: Judgement | None) -> list[PictureRow]:
    rows = []
    for place, each in enumerate(trained.shown):
        pictures = [("picture", each.picture), ("depth", colour_depth(each.depth))]
        if start is not None:
            pictures.append(("depth as it started", colour_depth(start.shown[place].depth)))
        if each.teacher is not None:
            pictures.append(("the teacher's depth", colour_depth(each.teacher)))
        rows.append(PictureRow(f"Held out: {each.name}", pictures))
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
