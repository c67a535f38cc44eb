"""Frames that go away, or are replaced, while a command reads them; and more processes than files may be opened for."""

import shutil
import sys
from pathlib import Path

import pytest
from PIL import Image

from egodepth.training.checkpoints import WholeFileCheckpoints, read_last_checkpoint
from tests.command_line import SMALL, TINY_NETWORKS, only_line, run, train


@pytest.fixture
def own(drive, tmp_path) -> Path:
    return shutil.copytree(drive, tmp_path / "drive")


def after(pictures: int, monkeypatch: pytest.MonkeyPatch, happens) -> None:
    """Let something happen when so many pictures have been opened."""
    real, opened = Image.open, 0

    def watched(*arguments: object, **options: object) -> Image.Image:
        nonlocal opened
        opened += 1
        if opened == pictures:
            happens()
        return real(*arguments, **options)

    monkeypatch.setattr(Image, "open", watched)


PACK = ["--height", 64, "--width", 96]


def test_a_pack_of_frames_that_went_away_is_not_called_whole(own, tmp_path, monkeypatch, capsys):
    out = tmp_path / "pack"
    kept = shutil.copytree(own, tmp_path / "kept")
    after(12, monkeypatch, lambda: shutil.rmtree(own))
    assert run("data", "pack", "monodepth2", own, "--out", out, *PACK) == 2
    line = only_line(capsys.readouterr().err)
    assert "samples cannot be packed, the first: " in line
    assert "was removed while it was in use" in line or "no such file" in line
    assert run("data", "pack", "monodepth2", kept, "--out", tmp_path / "another", *PACK) == 0
    kept.rename(own)  # with its times, so that the same call goes on
    assert run("data", "pack", "monodepth2", own, "--out", out, *PACK) == 0
    for name in ("pixels-00000.bin", "samples-00000.json"):
        assert (out / name).read_bytes() == (tmp_path / "another" / name).read_bytes()


def test_a_pack_of_frames_that_were_replaced_meanwhile_is_not_called_whole(own, tmp_path, monkeypatch, capsys):
    frame = next(own.glob("*/*_0001_sync/image_02/data/*.png"))
    after(12, monkeypatch, lambda: frame.write_bytes(frame.read_bytes() + b"\0"))
    assert run("data", "pack", "monodepth2", own, "--out", tmp_path / "pack", *PACK) == 2
    assert "changed while they were packed" in only_line(capsys.readouterr().err)
    assert '"complete": false' in (tmp_path / "pack" / "pack.json").read_text()


def test_training_on_frames_that_went_away_ends_in_one_line_with_its_last_checkpoint(
    own, tmp_path, monkeypatch, capsys
):
    save = WholeFileCheckpoints.save_checkpoint

    def save_and_remove(*arguments: object, **options: object) -> None:
        save(*arguments, **options)
        shutil.rmtree(own, ignore_errors=True)

    monkeypatch.setattr(WholeFileCheckpoints, "save_checkpoint", save_and_remove)
    assert train(own, tmp_path / "run", "--steps", 40, "--checkpoint-every", 1) == 2
    assert "training samples cannot be read, the first: " in only_line(capsys.readouterr().err)
    assert read_last_checkpoint(tmp_path / "run")[1]["global_step"] >= 1


def test_evaluation_on_frames_that_went_away_is_one_line(own, monkeypatch, tmp_path, capsys):
    after(2, monkeypatch, lambda: shutil.rmtree(own))
    assert run("evaluate", "starter", own, "--protocol", "simulated", "--json", tmp_path / "figures.json") == 2
    assert str(own) in only_line(capsys.readouterr().err)
    assert not (tmp_path / "figures.json").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="needs a limit of the kernel")
def test_too_few_open_files_are_raised_to_what_the_workers_need_or_refused(drive, tmp_path, capsys, monkeypatch):
    """With 25 open files for two loading processes training waited for ever for a batch that one had dropped."""
    import resource

    asked = []
    limits = {"soft": 40, "hard": 1000}
    monkeypatch.setattr(resource, "getrlimit", lambda _: (limits["soft"], limits["hard"]))
    monkeypatch.setattr(resource, "setrlimit", lambda _, both: asked.append(both))
    command = ["train", "monodepth2", drive, *SMALL[:-2], *TINY_NETWORKS, "--workers", 1]
    assert run(*command, "--out", tmp_path / "raised") == 0
    assert asked == [(80, 1000)]
    limits["hard"] = 60
    assert run(*command, "--out", tmp_path / "refused") == 2
    assert "--workers 1: need 80 open files, and this process may have 60" in only_line(capsys.readouterr().err)
