"""A training that is stopped, and checkpoints that were damaged: nothing is lost but what was promised."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from egodepth.errors import UserError
from egodepth.training.checkpoints import LAST_CHECKPOINT, PREVIOUS_CHECKPOINT, read_last_checkpoint
from egodepth.training.starting import load_trained_networks
from tests.command_line import SMALL, TINY_NETWORKS, only_line, run
from tests.processes import PATIENCE_S
from tests.signals import AT_ONCE, signalled
from tests.trust.inputs import MADE

OPTIONS = [*SMALL, *TINY_NETWORKS, "--steps", "5"]


@pytest.fixture(scope="module")
def whole(drive, tmp_path_factory) -> Path:
    """A run that nobody stopped."""
    folder = tmp_path_factory.mktemp("stopping") / "whole"
    assert run("train", "monodepth2", drive, "--out", folder, *OPTIONS, "--checkpoint-every", 3) == 0
    return folder


def damage(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def step_of(file: Path) -> int:
    return torch.load(file, weights_only=True)["global_step"]


def test_each_signal_saves_the_step_and_the_run_goes_on_to_the_same_weights(whole, drive, tmp_path, capsys):
    # The one checkpoint of the schedule is at the end: what is there before was saved because of a signal.
    options = ["train", "monodepth2", drive, "--out", tmp_path / "run", *OPTIONS]
    for step, number in ((2, signal.SIGTERM), (3, signal.SIGUSR1), (4, signal.SIGINT)):
        with signalled(step, number):
            assert run(*options, *(["--resume"] if step > 2 else [])) == 128 + number
        assert step_of(tmp_path / "run" / LAST_CHECKPOINT) == step
        assert f"after step {step} of 5" in only_line(capsys.readouterr().err)
    assert step_of(tmp_path / "run" / PREVIOUS_CHECKPOINT) == 3
    assert run(*options, "--resume") == 0
    ended = load_file(tmp_path / "run" / "model" / "model.safetensors")
    expected = load_file(whole / "model" / "model.safetensors")
    assert [key for key in expected if not torch.equal(expected[key], ended[key])] == []


def test_a_second_ctrl_c_ends_at_once(drive, tmp_path, capsys):
    before = signal.getsignal(signal.SIGINT)
    with signalled(2, *AT_ONCE):
        assert run("train", "monodepth2", drive, "--out", tmp_path / "run", *OPTIONS) == 130
    assert not (tmp_path / "run" / LAST_CHECKPOINT).exists()
    assert "Every file that was written is complete" in only_line(capsys.readouterr().err)
    assert signal.getsignal(signal.SIGINT) is before


def test_minutes_bring_a_checkpoint_where_steps_do_not(drive, tmp_path):
    options = ["train", "monodepth2", drive, "--out", tmp_path / "run", *OPTIONS, "--checkpoint-minutes", 1e-6]
    with signalled(3, *AT_ONCE):
        assert run(*options) == 130
    assert step_of(tmp_path / "run" / LAST_CHECKPOINT) == 2


def test_a_damaged_last_checkpoint_costs_one_interval(whole, drive, tmp_path, caplog):
    folder = tmp_path / "run"
    shutil.copytree(whole, folder)
    assert [step_of(folder / name) for name in (PREVIOUS_CHECKPOINT, LAST_CHECKPOINT)] == [3, 5]
    damage(folder / LAST_CHECKPOINT)
    options = ["train", "monodepth2", drive, "--out", folder, *OPTIONS, "--checkpoint-every", 3]
    assert run(*options, "--resume") == 0
    assert any("last.ckpt" in each.getMessage() and "The one before" in each.getMessage() for each in caplog.records)
    for name in ("model/model.safetensors", "model/config.json"):
        assert (folder / name).read_bytes() == (whole / name).read_bytes()


def test_damage_of_every_checkpoint_is_one_line_for_resume_and_for_a_start(whole, drive, tmp_path, capsys):
    folder = tmp_path / "run"
    shutil.copytree(whole, folder)
    for name in (PREVIOUS_CHECKPOINT, LAST_CHECKPOINT):
        damage(folder / name)
    with pytest.raises(UserError, match=r"previous\.ckpt: not a whole PyTorch file .*resume to begin anew"):
        load_trained_networks(str(folder))
    assert run("train", "monodepth2", drive, "--out", folder, *OPTIONS, "--checkpoint-every", 3, "--resume") == 2
    assert "previous.ckpt: not a whole PyTorch file" in only_line(capsys.readouterr().err)


def test_a_checkpoint_from_before_there_were_two_is_read():
    file, content = read_last_checkpoint(MADE / "run")
    assert (file.name, content["global_step"]) == ("last.ckpt", 2)


def test_a_training_whose_other_process_is_killed_says_so_in_one_line(drive, tmp_path):
    words = ["train", "monodepth2", drive, "--out", tmp_path / "run", *OPTIONS, "--devices", 2, "--checkpoint-every", 1]
    # No `Command` of tests.processes: the first process starts the second by the words of its own command line.
    command = [sys.executable, "-m", "egodepth", *map(str, words), "--steps", "500"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as first:
        while not (tmp_path / "run" / PREVIOUS_CHECKPOINT).exists():
            assert first.poll() is None, first.stderr.read()
            time.sleep(0.1)
        for child in Path(f"/proc/{first.pid}/task/{first.pid}/children").read_text().split():
            os.kill(int(child), signal.SIGKILL)
        said = first.communicate(timeout=PATIENCE_S)[1]
    assert first.returncode == 2
    assert "Traceback" not in said
    assert "run: another process of this training was lost. What was saved is whole" in said
    _, saved = read_last_checkpoint(tmp_path / "run")
    assert saved["global_step"] >= 2
