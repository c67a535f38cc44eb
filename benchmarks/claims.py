"""Measure what the papers claim, as benchmarks/claims.toml describes it.

    python -m benchmarks.claims EXPERIMENT ... --out runs/claims --places KITTI=DATA KITTI_2015=DATA

Trains every arm of the experiments with every seed, evaluates it and writes `docs/measured/EXPERIMENT-ARM-SEED.json`;
what is there is not measured again, and a run that was interrupted goes on. Simulated drives are made in OUT. Then
`python -m benchmarks.results_page` makes the tables.
"""

import json
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro
from tyro.conf import Positional

from benchmarks.borders import regions as border_regions
from benchmarks.borders import relative_error
from benchmarks.claimed import Arm, Experiment, read_claims
from benchmarks.offsets import mean_norms
from benchmarks.regions import moving
from egodepth.data.opening import open_evaluation_frames, open_sequence
from egodepth.errors import UserError
from egodepth.evaluation.evaluate import FrameResult, evaluate
from egodepth.evaluation.protocols import protocol_named
from egodepth.files import write_text
from egodepth.inference.network_predictor import NetworkPredictor
from egodepth.inference.predictor import Predictor
from egodepth.models.folder import MODEL_FOLDER
from egodepth.models.opening import load
from egodepth.models.released import ReleasedModel
from egodepth.reproduction.measured import record, write_measured

BASELINE_M = 0.54
"""Distance of the two cameras of a simulated drive."""


@dataclass(frozen=True)
class Options:
    """Measure experiments.

    Attributes:
        out: folder of runs and simulated drives.
        places: NAME=FOLDER of the data that an experiment names.
        measured: where figures go.
        seeds: those of each experiment that are to be measured now; all by default.
        keep: leave checkpoints in the runs; without them a run can be looked at, but not go on.
    """

    experiments: Annotated[Positional[tuple[str, ...]], tyro.conf.arg(metavar="EXPERIMENT")]
    out: Path
    places: tuple[str, ...] = ()
    measured: Path = Path("docs/measured")
    seeds: tuple[int, ...] = ()
    keep: bool = False


def main(options: Options) -> None:
    known, _ = read_claims()
    for name in options.experiments:
        if name not in known:
            raise UserError(f"{name}: is no experiment. Choose of {', '.join(known)}.")
    places = {place: Path(folder) for place, _, folder in (text.partition("=") for text in options.places)}
    for name in options.experiments:
        experiment = known[name]
        for seed in experiment.seeds:
            if not options.seeds or seed in options.seeds:
                measure(experiment, seed, places, options)


def measure(experiment: Experiment, seed: int, places: Mapping[str, Path], options: Options) -> None:
    """All arms of an experiment with one seed."""
    runs = {name: options.out / arm.file_name(experiment.name, seed) for name, arm in experiment.arms.items()}
    for number, (name, arm) in enumerate(experiment.arms.items()):
        measurement = arm.file_name(experiment.name, seed)
        if (options.measured / f"{measurement}.json").is_file():
            continue
        trained = experiment.arms[arm.evaluates] if arm.evaluates else arm
        run, words = runs[trained.name], command(experiment, trained, seed)
        minutes = train(words, run, runs, data(experiment.train_on, experiment, places, options.out), options.keep)
        evaluation = run / f"claimed-{arm.frames}.json"
        test = data(experiment.test_on, experiment, places, options.out)
        write_text(evaluation, json.dumps(evaluated(experiment, arm, run, test)))
        shown = " ".join(words).replace("@", "runs/")
        made = record(
            measurement,
            run,
            [evaluation],
            model=name,
            minutes=None if arm.evaluates else minutes,
            table=experiment.name,
            data=experiment.data,
            start="random",
            commands=(f"{shown} --out runs/{measurement}",),
            place=number,
        )
        write_measured(options.measured, made)
        print(f"{measurement}: {made.results[0].metrics}", flush=True)


# --- training --------------------------------------------------------------------------------------------------------


def command(experiment: Experiment, arm: Arm, seed: int) -> list[str]:
    """What is typed to train an arm but for `--out`; a word stands for DATA, `@NAME` for the run of another arm."""
    recipe, *own = shlex.split(arm.train)
    shared = shlex.split(experiment.options)
    return ["egodepth", "train", recipe, experiment.train_on, *shared, *own, "--seed", str(seed)]


def train(words: Sequence[str], run: Path, runs: Mapping[str, Path], root: Path, keep: bool) -> float | None:
    """Train, unless it is done; the minutes, where it was done in one go."""
    finished = run / MODEL_FOLDER / "config.json"
    if finished.is_file():
        return None
    typed = [str(runs[word[1:]]) if word.startswith("@") else word for word in words[1:]]
    typed[2] = str(root)
    resumed = ["--resume"] if (run / "checkpoints" / "last.ckpt").is_file() else []
    if run.exists() and not resumed:
        shutil.rmtree(run)
    start = time.monotonic()
    with (run.parent / f"{run.name}.log").open("w") as log:
        subprocess.run(
            [sys.executable, "-m", "egodepth", *typed, "--out", str(run), *resumed],
            check=True,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    if not keep:
        shutil.rmtree(run / "checkpoints")
    return None if resumed else (time.monotonic() - start) / 60


def data(name: str, experiment: Experiment, places: Mapping[str, Path], out: Path) -> Path:
    """The folder of a name; a simulated drive is made where it is not there."""
    if name in places:
        return places[name]
    if experiment.simulate is None:
        raise UserError(f"{experiment.name}: where is {name}? Say --places {name}=FOLDER.")
    folder = out / f"{name}-{experiment.name}"
    if not folder.is_dir():
        out.mkdir(parents=True, exist_ok=True)
        made = [sys.executable, "-m", "egodepth", "simulate", str(folder), *shlex.split(experiment.simulate)]
        subprocess.run(made, check=True, stdout=subprocess.DEVNULL)
    return folder


# --- evaluation ------------------------------------------------------------------------------------------------------


def evaluated(experiment: Experiment, arm: Arm, run: Path, test: Path) -> dict:
    """As `egodepth evaluate --json` writes it, without the figures of each image, with those of regions among them."""
    predictor = single_frame(run) if arm.frames == "one" else load(str(run))
    protocol = protocol_named(experiment.protocol)
    frames = open_evaluation_frames(test, protocol.frames, time_offsets=predictor.time_offsets)
    errors: dict[str, list[np.ndarray]] = {}

    def look(result: FrameResult) -> None:
        for region, mask in masks(experiment, frames, result, test).items():
            errors.setdefault(region, []).append(relative_error(result)[mask])

    found = evaluate(
        predictor.predict_inverse_depth,
        frames,
        protocol,
        metric_scale=predictor.is_metric,
        scaling=experiment.scaling,
        on_frame=look if experiment.regions else None,
        focal_ratio=predictor.focal_ratio,
    )
    metrics = dict(found.metrics)
    metrics |= {f"abs_rel, {region}": float(np.concatenate(parts).mean()) for region, parts in errors.items()}
    if experiment.offsets and "SDFA" in arm.name:
        metrics |= {f"offsets, {name}": norm for name, norm in mean_norms(predictor, frames).items()}
    written = replace(found, metrics=metrics, rows=()).to_json()
    scale = ReleasedModel.open(str(run)).scale
    return written | {"images": found.images, "metres_from": None if scale is None else scale.origin}


def single_frame(run: Path) -> Predictor:
    """The single-frame network of a run of several frames, by itself."""
    model = ReleasedModel.open(str(run))
    network = model.single_frame_network()
    if network is None:
        raise UserError(f"{run}: holds no single-frame network. Take a run of ManyDepth.")
    return NetworkPredictor(network.eval(), replace(model.predictor().facts, time_offsets=()))


def masks(experiment: Experiment, frames, result: FrameResult, test: Path) -> dict[str, np.ndarray]:
    """The regions of a frame, of pixels that count."""
    if experiment.regions == "borders":
        return border_regions(result, BASELINE_M)
    poses = open_sequence(test, result.frame.name.split()[0].rpartition("/")[2]).poses
    around = [place for place in (result.index - 1, result.index + 1) if 0 <= place < len(frames)]
    now = poses[number_of(result.frame.name)]
    others = [
        (frames[place].depth, np.linalg.inv(poses[number_of(frames[place].name)]) @ now)
        for place in around
        if frames[place].name.split()[0] == result.frame.name.split()[0]
    ]
    moves = moving(result.frame.depth, others, result.frame.camera.intrinsics.astype(np.float64))
    return {"moving": result.mask & moves, "standing": result.mask & ~moves}


def number_of(name: str) -> int:
    """A frame's number in its drive, from `DATE/DRIVE NUMBER SIDE`."""
    return int(name.split()[1])


if __name__ == "__main__":
    try:
        main(tyro.cli(Options))
    except UserError as error:
        sys.exit(str(error))
