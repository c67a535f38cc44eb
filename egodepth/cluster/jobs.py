"""Jobs of a batch scheduler: commands that stop at its notice, get another turn, and go on where they stood.

submitit writes the scheduler's script, starts the processes and puts them into the queue again; what is here passes the
notice on to the command, which finishes its step and saves (see `egodepth.training.stopping`), and waits for that.
"""

import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import ceil
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Literal

from egodepth.environment import whole_number_said
from egodepth.errors import UserError, first_line

if TYPE_CHECKING:
    from submitit.core.utils import DelayedSubmission

Cluster = Literal["slurm", "local"]

NOTICE_S = 180
"""How long before its time is up a job is told of it: enough for the step that it is at, and a checkpoint."""

MOST_TURNS = 1000
"""How often a job may reach the end of its time and be queued again."""

RESUME = "--resume"


@dataclass(frozen=True)
class Resources:
    """What a job asks the scheduler for.

    Attributes:
        hours: of one turn; a job that is not done by then goes on in another.
        nodes: machines.
        tasks_per_node: processes on each.
        gpus_per_node: of each machine.
        cpus_per_task: processors of each process.
        partition: of the scheduler; None leaves it to its default.
        more: other options of `sbatch`, by their long names.
    """

    hours: float
    nodes: int
    tasks_per_node: int
    gpus_per_node: int
    cpus_per_task: int
    partition: str | None = None
    more: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class SubmittedJob:
    """A job in the queue: its number there, and the files that take what its first process says."""

    number: str
    output: Path
    errors: Path


@dataclass(frozen=True)
class ResumableJob:
    """What each process of a job does, each time that the job gets a turn.

    Attributes:
        main: runs a command line, and ends with SystemExit where its exit code is not 0.
        words: of the command line.
        run: folder whose checkpoint the command goes on from, where it is one that has such.
    """

    main: Callable[[Sequence[str]], None]
    words: tuple[str, ...]
    run: Path | None = None

    def __call__(self) -> None:
        """Run the command to its end, or up to the scheduler's notice; then the job is put into the queue again."""
        from submitit import JobEnvironment

        notice = getattr(signal, f"SIG{JobEnvironment.USR_SIG}")
        # Called at once it would put the job into the queue again in the midst of a step.
        requeue = signal.signal(notice, _stop_command)
        exit_code = 0
        try:
            self.main(self._words_of_turn())
        except SystemExit as end:
            exit_code = end.code or 0
        finally:
            signal.signal(notice, requeue)
        if exit_code == 128 + signal.SIGUSR1:
            requeue(notice, None)  # by the first process, for which this does not return
        elif exit_code:
            sys.exit(exit_code)

    def checkpoint(self) -> "DelayedSubmission":
        """What the job does in its next turn; submitit asks for it by this name."""
        from submitit.core.utils import DelayedSubmission

        return DelayedSubmission(replace(self, words=_resumed(self.words)))

    def _words_of_turn(self) -> tuple[str, ...]:
        """The command line, resumed where there is something to resume: also after the scheduler lost a machine."""
        was_lost = whole_number_said("SLURM_RESTART_COUNT", 0) > 0
        return _resumed(self.words) if was_lost or self._has_begun() else self.words

    def _has_begun(self) -> bool:
        from egodepth.training.checkpoints import has_checkpoint

        return self.run is not None and has_checkpoint(self.run)


def submit_job(job: ResumableJob, resources: Resources, logs: Path, cluster: Cluster = "slurm") -> SubmittedJob:
    """Put a job into the queue of this machine's scheduler.

    Args:
        logs: folder for its script, and what its processes say; all machines see it.
        cluster: local runs it on this machine at once, with the same notice and the same turns.

    Raises:
        UserError: submitit is not installed, there is no scheduler here, or it refuses the job.
    """
    try:
        from submitit import AutoExecutor
        from submitit.core.utils import FailedJobError, FailedSubmissionError
    except ImportError as error:
        raise UserError("submit needs submitit: pip install 'egodepth[slurm]'.") from error
    try:
        executor = AutoExecutor(logs, cluster=cluster, **{f"{cluster}_max_num_timeout": MOST_TURNS})
    except RuntimeError as error:
        raise UserError(
            "submit: there is no SLURM here (no srun). Submit where it is, or give --cluster local."
        ) from error
    executor.update_parameters(
        name=f"egodepth-{job.words[0]}",
        timeout_min=ceil(60 * resources.hours),
        nodes=resources.nodes,
        tasks_per_node=resources.tasks_per_node,
        gpus_per_node=resources.gpus_per_node,
        cpus_per_task=resources.cpus_per_task,
        slurm_partition=resources.partition,
        slurm_signal_delay_s=NOTICE_S,
        slurm_additional_parameters={"requeue": True, **resources.more},
    )
    try:
        submitted = executor.submit(job)
    except (FailedJobError, FailedSubmissionError) as error:
        raise UserError(f"submit: the scheduler refuses the job: {_last_line(error)}.") from error
    return SubmittedJob(submitted.job_id, submitted.paths.stdout, submitted.paths.stderr)


def _stop_command(number: int, frame: FrameType | None) -> None:
    """Ask the command to stop as it is asked without submitit, by a signal that submitit keeps for itself elsewhere."""
    handler = signal.getsignal(signal.SIGUSR1)
    if not callable(handler):  # the command has not begun, or has ended
        sys.exit(128 + signal.SIGUSR1)
    handler(signal.SIGUSR1, frame)


def _resumed(words: tuple[str, ...]) -> tuple[str, ...]:
    return words if RESUME in words else (*words, RESUME)


def _last_line(error: Exception) -> str:
    """What the scheduler itself said, which submitit quotes at the end."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    return first_line(Exception(lines[-1] if lines else type(error).__name__)).rstrip(".")
