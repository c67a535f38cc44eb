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

from benchmarks.claimed import Arm, Experiment, read_claims
from benchmarks.offsets import mean_norms
from benchmarks.region_masks import region_masks, relative_error
from benchmarks.single_frame import single_frame
from egodepth.data.opening import open_evaluation_frames
from egodepth.errors import UserError
from egodepth.evaluation.evaluate import FrameResult
from egodepth.evaluation.protocols import protocol_named
from egodepth.files import write_text
from egodepth.models.evaluating import evaluate_predictor
from egodepth.models.folder import MODEL_FOLDER
from egodepth.models.opening import load
from egodepth.models.released import ReleasedModel
from egodepth.reproduction.measured import Evaluated, Measured, record, write_measured


@dataclass(frozen=True)
class Options:
    """Measure experiments.

    Attributes:
        out: folder of runs and simulated drives.
        places: NAME=FOLDER of the data, and models, that an experiment names.
        measured: where figures go.
        seeds, arms: those of each experiment that are to be measured now; all by default.
        keep: leave checkpoints in the runs; without them a run can be looked at, but not go on.
    """

    experiments: Annotated[Positional[tuple[str, ...]], tyro.conf.arg(metavar="EXPERIMENT")]
    out: Path
    places: tuple[str, ...] = ()
    measured: Path = Path("docs/measured")
    seeds: tuple[int, ...] = ()
    arms: tuple[str, ...] = ()
    keep: bool = False


@dataclass(frozen=True)
class Trial:
    """An experiment with one seed on this machine.

    Attributes:
        places: folders by the words that commands have for them.
        out: folder of runs and simulated drives.
    """

    experiment: Experiment
    seed: int
    places: Mapping[str, Path]
    out: Path

    def run(self, arm: Arm) -> Path:
        """Where an arm is trained; the arm that it evaluates, where it trains nothing."""
        trained = self.experiment.arms[arm.evaluates] if arm.evaluates else arm
        return self.out / trained.file_name(self.experiment.name, self.seed)

    def folder(self, word: str) -> Path:
        """The folder that a word stands for; a simulated drive is made where it is not there.

        Raises:
            UserError: nobody said where it is.
        """
        if word in self.places:
            return self.places[word]
        if self.experiment.simulate is None:
            raise UserError(f"{self.experiment.name}: where is {word}? Say --places {word}=FOLDER.")
        folder = self.out / f"{word}-{self.experiment.name}"
        if not folder.is_dir():
            self.out.mkdir(parents=True, exist_ok=True)
            made = [sys.executable, "-m", "egodepth", "simulate", str(folder), *shlex.split(self.experiment.simulate)]
            subprocess.run(made, check=True, stdout=subprocess.DEVNULL)
        return folder

    def typed(self, words: Sequence[str]) -> list[str]:
        """Words of a command as this machine needs them: places, and `@NAME` for the run of another arm."""
        known = {*self.places, self.experiment.train_on, self.experiment.test_on}
        arms = self.experiment.arms
        return [
            str(self.run(arms[word[1:]])) if word.startswith("@") else str(self.folder(word)) if word in known else word
            for word in words
        ]


def main(options: Options) -> None:
    known, _ = read_claims()
    for name in options.experiments:
        if name not in known:
            raise UserError(f"{name}: is no experiment. Choose of {', '.join(known)}.")
    places = {place: Path(folder) for place, _, folder in (text.partition("=") for text in options.places)}
    for name in options.experiments:
        for seed in options.seeds or known[name].seeds:
            measure(Trial(known[name], seed, places, options.out), options)


def measure(trial: Trial, options: Options) -> None:
    """All arms of an experiment with one seed; those that have a file are left alone."""
    measured = measure_ladder if trial.experiment.ladder else measure_arm
    for place, arm in enumerate(trial.experiment.arms.values()):
        name = arm.file_name(trial.experiment.name, trial.seed)
        wanted = not options.arms or arm.name in options.arms
        if wanted and not (options.measured / f"{name}.json").is_file():
            made = replace(measured(trial, arm, options.keep), name=name, model=arm.name, place=place)
            write_measured(options.measured, made)
            print(f"{name}: {dict(made.results[0].metrics)}", flush=True)


def measure_arm(trial: Trial, arm: Arm, keep: bool) -> Measured:
    """Train and evaluate one arm."""
    experiment, run = trial.experiment, trial.run(arm)
    trained = experiment.arms[arm.evaluates] if arm.evaluates else arm
    recipe, *own = shlex.split(trained.train)
    shared = shlex.split(experiment.options)
    words = ["train", recipe, experiment.train_on, *shared, *own, "--seed", str(trial.seed)]
    minutes = train([*trial.typed(words), "--out", str(run)], run, keep)
    evaluation = run / f"claimed-{arm.frames}.json"
    write_text(evaluation, json.dumps(evaluated(experiment, arm, run, trial.folder(experiment.test_on))))
    return record(
        name=run.name,
        run=run,
        evaluations=[evaluation],
        model=arm.name,
        minutes=minutes,
        table=experiment.name,
        data=experiment.data,
        start=experiment.start,
        commands=(f"egodepth {shlex.join(words)} --out runs/{run.name}".replace("@", "runs/"),),
    )


def measure_ladder(trial: Trial, arm: Arm, keep: bool) -> Measured:
    """One rung of RPrDepth's ladder, all of which are climbed with the first."""
    experiment = trial.experiment
    out = trial.out / f"{experiment.name}-{trial.seed}"
    places = [experiment.train_on, "--test-data", experiment.test_on, "--protocol", experiment.protocol]
    words = [*places, "--", *shlex.split(experiment.options), "--seed", str(trial.seed)]
    if not (out / "ladder.json").is_file():
        script = [sys.executable, "-m", "benchmarks.rprdepth_acceptance", *trial.typed(words[:5])]
        run_logged([*script, "--out", str(out), *trial.typed(words[5:])], out)
    figures = json.loads((out / "ladder.json").read_text(encoding="utf-8"))
    return Measured(
        name=out.name,
        model=arm.name,
        results=(Evaluated.of(figures["evaluations"][arm.rung][experiment.scaling]),),
        table=experiment.name,
        seed=trial.seed,
        start="random",
        data=experiment.data,
        budget=figures["budgets"][arm.rung],
        hardware=figures["hardware"],
        software=figures["software"],
        commands=(f"python -m benchmarks.rprdepth_acceptance {shlex.join(words)} --out OUT",),
    )


# --- training --------------------------------------------------------------------------------------------------------


def train(words: Sequence[str], run: Path, keep: bool) -> float | None:
    """Train, unless it is done; the minutes, where it was done in one go."""
    resumed = ["--resume"] if (run / "checkpoints" / "last.ckpt").is_file() else []
    # A stopped run has a model too, but it has its checkpoints still.
    if not resumed and (run / MODEL_FOLDER / "config.json").is_file():
        return None
    if run.exists() and not resumed:
        shutil.rmtree(run)
    start = time.monotonic()
    run_logged([sys.executable, "-m", "egodepth", *words, *resumed], run)
    if not keep:
        shutil.rmtree(run / "checkpoints")
    return None if resumed else (time.monotonic() - start) / 60


def run_logged(words: Sequence[str], folder: Path) -> None:
    """Run a command; what it says goes into a file beside the folder that it makes."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / f"{folder.name}.log").open("w", encoding="utf-8") as log:
        done = subprocess.run(words, stdout=log, stderr=subprocess.STDOUT)
    if done.returncode:
        raise UserError(f"{folder.name}: stopped with exit code {done.returncode}. See {log.name}.")


# --- evaluation ------------------------------------------------------------------------------------------------------


def evaluated(experiment: Experiment, arm: Arm, run: Path, test: Path) -> dict:
    """As `egodepth evaluate --json` writes it, without the figures of each image, with those of regions among them."""
    predictor = single_frame(run) if arm.frames == "one" else load(str(run))
    protocol = protocol_named(experiment.protocol)
    frames = open_evaluation_frames(test, protocol.frames, time_offsets=predictor.time_offsets)
    errors: dict[str, list[np.ndarray]] = {}

    def look(result: FrameResult) -> None:
        error = relative_error(result)
        for region, mask in region_masks(experiment.regions, result, frames, test).items():
            errors.setdefault(region, []).append(error[mask])

    found = evaluate_predictor(
        predictor, frames, protocol, experiment.scaling, on_frame=look if experiment.regions else None
    )
    metrics = dict(found.metrics)
    metrics |= {f"abs_rel, {region}": float(np.concatenate(parts).mean()) for region, parts in errors.items()}
    if arm.offsets:
        metrics |= {f"offset, {name}": norm for name, norm in mean_norms(predictor, frames).items()}
    written = replace(found, metrics=metrics, rows=()).to_json()
    scale = ReleasedModel.open(str(run)).scale
    return written | {"images": found.images, "metres_from": None if scale is None else scale.origin}


if __name__ == "__main__":
    try:
        main(tyro.cli(Options))
    except UserError as error:
        sys.exit(str(error))
