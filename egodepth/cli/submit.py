"""Jobs of a batch scheduler: `egodepth submit`."""

import inspect
from pathlib import Path
from typing import Annotated

from tyro.conf import UseAppendAction, arg

from egodepth.cli.parsing import parse
from egodepth.cli.terminal import Debug, console
from egodepth.cluster.jobs import Cluster, Resources, ResumableJob, submit_job
from egodepth.errors import UserError

MOST_HOURS = 24.0 * 365


def submit(
    words: tuple[str, ...],
    *,
    partition: Annotated[str | None, arg(help="Partition of SLURM; by default its own.")] = None,
    hours: Annotated[float, arg(help="Length of one turn; what is not done by then goes on in another.")] = 24.0,
    gpus_per_node: Annotated[
        int | None, arg(help="By default one for each of the training's --devices, or one for --device cuda.")
    ] = None,
    cpus_per_task: Annotated[int, arg(help="Processors of each process, its loaders' among them.")] = 8,
    sbatch: Annotated[
        UseAppendAction[tuple[str, ...]],
        arg(metavar="NAME=VALUE", help="Another option of sbatch, such as account=lab (repeatable)."),
    ] = (),
    logs: Annotated[Path, arg(metavar="DIR", help="Folder for what the job says; all machines see it.")] = Path("jobs"),
    cluster: Annotated[Cluster, arg(help="local: on this machine, at once, to try it.")] = "slurm",
    debug: Debug = False,
) -> None:
    """Put a training or a prediction into SLURM's queue, where it goes on by itself until it is done.

    The command follows these options as it would be typed: egodepth submit --partition gpu train monodepth2 KITTI --out
    runs/m --devices 4 --nodes 2. Its --devices and --nodes are what the scheduler is asked for. At the end of its time
    it saves, and the job is put into the queue again with --resume.
    """
    from egodepth.cli.main import main

    name, ready = _checked(words)
    if ready is None:  # its help was asked for
        return
    training = getattr(ready.keywords.get("recipe"), "training", None)
    devices, nodes = (1, 1) if training is None else (training.devices, training.nodes)
    if cluster == "local" and devices * nodes > 1:
        raise UserError("--cluster local: starts one process. Run the command without egodepth submit.")
    on_gpus = training is not None or ready.keywords.get("device", "cpu").startswith("cuda")
    gpus = (devices if on_gpus else 0) if gpus_per_node is None else gpus_per_node
    _check_amounts(hours, gpus, cpus_per_task)
    resources = Resources(hours, nodes, devices, gpus, cpus_per_task, partition, _options_of_sbatch(sbatch))
    job = ResumableJob(main, words, ready.keywords["out"] if name == "train" else None)
    submitted = submit_job(job, resources, logs, cluster)
    console.print(f"Job {submitted.number}: {submitted.output} and {submitted.errors} take what it says.")


def _checked(words: tuple[str, ...]) -> tuple[str, object]:
    """The command's name, and the command as it was parsed here, so that no mistake waits in a queue first.

    Raises:
        UserError: there is no such command, it cannot be resumed, or its options are wrong.
    """
    from egodepth.cli.main import COMMANDS, command_function

    if not words:
        raise UserError("submit: name the command to run, as in egodepth submit train RECIPE DATA --out RUN.")
    name = words[0]
    function = command_function(name) if name in COMMANDS and name != "submit" else None
    if function is None or "resume" not in inspect.signature(function).parameters:
        raise UserError(f"submit {name}: what waits in a queue must be able to go on: train, or predict.")
    return name, parse(function, words[1:], f"egodepth {name}")


def _check_amounts(hours: float, gpus_per_node: int, cpus_per_task: int) -> None:
    if not 0 < hours <= MOST_HOURS:
        raise UserError(f"--hours {hours:g}: choose more than 0, and {MOST_HOURS:g} at most.")
    if gpus_per_node < 0 or cpus_per_task < 1:
        raise UserError(
            f"--gpus-per-node {gpus_per_node}, --cpus-per-task {cpus_per_task}: choose 0 and 1 or more of these."
        )


def _options_of_sbatch(entries: tuple[str, ...]) -> dict[str, str]:
    for entry in entries:
        if not entry.partition("=")[2]:
            raise UserError(f"--sbatch {entry}: give NAME=VALUE, as in --sbatch account=lab.")
    return dict(entry.lstrip("-").split("=", 1) for entry in entries)
