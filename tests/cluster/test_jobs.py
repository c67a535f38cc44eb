"""Trainings in a scheduler's queue: what it is asked for, and that a job goes on by itself after its notice."""

import os
import re
import signal
import sys
import time
from pathlib import Path

import pytest
import torch

from egodepth.cluster.jobs import ResumableJob
from egodepth.training.checkpoints import LAST_CHECKPOINT
from tests.command_line import SMALL, TINY_NETWORKS, only_line, run
from tests.processes import PATIENCE_S

pytest.importorskip("submitit", reason="submitit, the extra slurm, is not installed")

STEPS = 8


def in_queue(folder: Path, said: str = "echo Submitted batch job 77") -> None:
    """Programs with the names of SLURM's, whose queue keeps the script that it was given."""
    folder.mkdir()
    for name, line in {"srun": "exit 1", "sbatch": f'cp "$1" {folder}/script\n{said}'}.items():
        (folder / name).write_text(f"#!/bin/sh\n{line}\n")
        (folder / name).chmod(0o755)


def test_the_scheduler_is_asked_for_what_the_training_says(tmp_path, monkeypatch, capsys):
    in_queue(tmp_path / "bin")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    asked = ["--partition", "train", "--hours", "1.5", "--sbatch", "account=lab", "--logs", tmp_path / "jobs"]
    training = ["train", "monodepth2", "KITTI", "--out", "runs/m", "--devices", "4", "--nodes", "2"]
    assert run("submit", *asked, *training) == 0
    assert "Job 77" in capsys.readouterr().out
    lines = (tmp_path / "bin" / "script").read_text().splitlines()
    options = dict(line.removeprefix("#SBATCH --").partition("=")[::2] for line in lines if line.startswith("#SBATCH"))
    expected = {"partition": "train", "time": "90", "account": "lab", "nodes": "2", "ntasks-per-node": "4"}
    expected |= {"gpus-per-node": "4", "requeue": "", "signal": "USR2@180", "open-mode": "append"}
    assert {name: options[name] for name in expected} == expected


def test_what_the_scheduler_refuses_is_said_in_one_line(tmp_path, monkeypatch, capsys):
    in_queue(tmp_path / "bin", "echo sbatch: error: invalid partition specified: gpu >&2\nexit 1")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    words = ("submit", "--partition", "gpu", "--logs", tmp_path / "jobs", "predict", "street.jpg")
    assert run(*words) == 2
    assert "invalid partition specified: gpu" in only_line(capsys.readouterr().err)


def test_a_job_resumes_what_has_begun(tmp_path, monkeypatch):
    lines: list[tuple[str, ...]] = []
    job = ResumableJob(lines.append, ("train", "monodepth2"), tmp_path)
    job()
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")  # its machine was lost
    job()
    monkeypatch.delenv("SLURM_RESTART_COUNT")
    (tmp_path / LAST_CHECKPOINT).parent.mkdir()
    (tmp_path / LAST_CHECKPOINT).write_bytes(b"")
    job()
    assert lines == [job.words, (*job.words, "--resume"), (*job.words, "--resume")]


def test_a_job_ends_with_the_exit_code_of_its_command():
    with pytest.raises(SystemExit) as end:
        ResumableJob(lambda words: sys.exit(2), ("predict",))()
    assert end.value.code == 2


def ended(process: int) -> bool:
    return os.waitpid(process, os.WNOHANG) != (0, 0)


def test_a_job_stops_at_its_notice_and_goes_on_in_its_next_turn(drive, tmp_path, capsys):
    folder, logs = tmp_path / "run", tmp_path / "jobs"
    training = ["train", "monodepth2", drive, "--out", folder, *SMALL, *TINY_NETWORKS, "--steps", STEPS]
    here = ["--cluster", "local", "--gpus-per-node", 0, "--hours", 1, "--logs", logs]
    assert run("submit", *here, *training, "--checkpoint-every", 1, "--log-every", 1) == 0
    job = int(re.search(r"Job (\d+)", capsys.readouterr().out)[1])

    def said() -> str:
        return "".join(file.read_text() for file in sorted(logs.glob("*.err")))

    deadline = time.monotonic() + PATIENCE_S
    while not (folder / LAST_CHECKPOINT).is_file():
        assert not ended(job), said()
        assert time.monotonic() < deadline, said()
        time.sleep(0.02)
    [process] = Path(f"/proc/{job}/task/{job}/children").read_text().split()
    os.kill(int(process), signal.SIGUSR2)
    while not ended(job):
        assert time.monotonic() < deadline, said()
        time.sleep(0.1)

    stopped = re.search(rf"stopped by SIGUSR1 after step (\d+) of {STEPS}", said())
    assert stopped, f"the notice came too late to test anything: {said()}"
    assert torch.load(folder / LAST_CHECKPOINT, weights_only=True)["global_step"] == STEPS
    assert (folder / "model" / "model.safetensors").is_file()
    # Each start logs to a part of its own; the second one's begins where the first one stopped.
    rows = (folder / "logs" / "part_1" / "metrics.csv").read_text().splitlines()
    place = rows[0].split(",").index("step")
    assert min(int(row.split(",")[place]) for row in rows[1:]) >= int(stopped[1])
