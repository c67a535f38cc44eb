"""Commands that share a folder with another, and a disk that fills up between two checkpoints."""

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from lightning.pytorch.loggers import CSVLogger
from tensorboard.summary.writer.record_writer import RecordWriter

from egodepth.errors import UserError
from egodepth.training.checkpoints import WholeFileCheckpoints
from tests.command_line import only_line, run, train
from tests.trust.test_places import HOLDS


@pytest.mark.parametrize(
    "command", [["train", "monodepth2"], ["data", "pack", "monodepth2"], ["teach", "starter"]], ids=" ".join
)
def test_a_second_command_for_one_folder_is_refused_in_one_line(command, drive, tmp_path, capsys):
    out = tmp_path / "out"
    with subprocess.Popen([sys.executable, "-c", HOLDS, out], stdout=subprocess.PIPE, text=True) as process:
        child = int(process.stdout.readline())
        try:
            assert run(*command, drive, "--out", out) == 2
        finally:
            process.kill()
            os.kill(child, 9)
    said = f"egodepth: {out}: process {process.pid} writes there."
    assert only_line(capsys.readouterr().err).startswith(said)
    assert [path.name for path in out.iterdir()] == [".writer"]


def test_a_disk_that_is_full_keeps_both_checkpoints_where_there_are_no_links(tmp_path, monkeypatch):
    """The copy of the last one was written under the name of the one before, half of it."""
    writer = WholeFileCheckpoints({})
    for step in (1, 2):
        writer.save_checkpoint({"step": step}, tmp_path / "last.ckpt")
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}

    def full(source: Path, to: Path) -> None:
        Path(to).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    def without_links(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(os, "link", without_links)
    monkeypatch.setattr(shutil, "copyfile", full)
    with pytest.raises(UserError, match="the disk is full"):
        writer.save_checkpoint({"step": 3}, tmp_path / "last.ckpt")
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


@pytest.mark.parametrize("logger", ["TensorBoard", "CSV", "TensorBoard at the end"])
def test_a_disk_that_fills_up_with_logs_is_one_line_and_the_run_goes_on(logger, drive, tmp_path, monkeypatch, capfd):
    options = ["--steps", 3, "--checkpoint-every", 1, "--log-every", 1]
    room = 10**6 if logger == "TensorBoard at the end" else 3
    lines = 0

    def full(*_: object) -> None:
        nonlocal lines
        lines += 1
        if lines > room or (lines > 3 and has_ended(tmp_path / "run")):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(*((CSVLogger, "save") if logger == "CSV" else (RecordWriter, "write")), full)
        if logger == "CSV":
            room = 1
        assert train(drive, tmp_path / "run", *options) == 2
    said = f"egodepth: {tmp_path}/run: the logs cannot be written (No space left on device). Make room, then"
    errors = capfd.readouterr().err
    assert only_line(errors).startswith(said)
    assert "Traceback" not in errors
    assert train(drive, tmp_path / "run", *options, "--resume") == 0


def has_ended(run_folder: Path) -> bool:
    return (run_folder / "panels" / "step_0000003.png").is_file()
