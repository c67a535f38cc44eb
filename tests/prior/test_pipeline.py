"""RPrDepth from nothing through the real commands: killed in the middle, gone on with, and the steps one by one."""

import json
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import egodepth
from egodepth.networks.configurations import RPrDepthConfig, SmallDepthConfig
from egodepth.networks.prior import ReferenceSet
from egodepth.networks.rprdepth import RPrDepth
from egodepth.networks.small_depth import SmallDepth
from egodepth.prior.pipeline import run_pipeline, student_recipe
from egodepth.recipes import RECIPES
from egodepth.reproduction.published import row_recipe
from egodepth.training.checkpoints import LAST_CHECKPOINT
from tests.command_line import SMALL, TINY, TINY_ROW, evaluated, only_line, run
from tests.data.trees import write_frames
from tests.processes import Command

OPTIONS = [*SMALL, "--pose.encoder", TINY, "--network.student.encoder", "hrnet_w18_small"]
LADDER = ["--ladder.teacher-height", 64, "--ladder.teacher-width", 96, "--ladder.teacher-encoder", TINY]
LADDER += ["--ladder.images", 4, "--ladder.pixels-per-image", 20, "--ladder.keep", 10]
ALL = [*OPTIONS, *LADDER, "--all"]
RELEASED = Path("model") / "model.safetensors"


def pipeline(drive: Path, out: Path) -> list[str]:
    """The words of the command that makes it all."""
    return [str(word) for word in ("train", "rprdepth", drive, "--out", out, *ALL)]


@pytest.fixture(scope="module")
def ladder(drive, tmp_path_factory) -> Path:
    """What one uninterrupted call makes."""
    out = tmp_path_factory.mktemp("ladder") / "whole"
    assert run(*pipeline(drive, out)) == 0
    return out


def changed(root: Path, *names: str) -> dict[str, int]:
    """When files of a folder were last written."""
    return {name: (root / name).stat().st_mtime_ns for name in names}


# --- in one call -----------------------------------------------------------------------------------------------------


def test_one_call_makes_every_step_and_releases_a_model_of_the_selected_prior(ladder, drive, tmp_path):
    assert len(ReferenceSet.load(ladder / "prior.safetensors")) == 4 * 20
    assert len(ReferenceSet.load(ladder / "prior_small.safetensors")) == 10
    config = (ladder / "stage2" / "model" / "config.json").read_text()
    assert json.loads(config)["network"]["references"] == 10
    assert str(ladder) not in config
    assert evaluated(ladder / "stage2", drive, "simulated", tmp_path / "figures.json")["images"] == 2


def test_a_call_that_was_killed_goes_on_to_the_same_model_without_doing_anything_twice(ladder, drive, tmp_path):
    out = tmp_path / "killed"
    process = Command([*pipeline(drive, out), "--checkpoint-every", 1], tmp_path / "said.txt")
    process.wait_until((out / "student" / LAST_CHECKPOINT).is_file)
    process.end(signal.SIGKILL)
    assert not (out / "stage2").exists(), "the kill came too late"
    finished = [f"teacher/{LAST_CHECKPOINT}", f"teacher/{RELEASED}", "prior.safetensors"]
    before = changed(out, *finished)

    assert run(*pipeline(drive, out)) == 0
    assert changed(out, *finished) == before
    for step in ("student", "stage1", "stage2"):
        expected, found = (load_file(folder / step / RELEASED) for folder in (ladder, out))
        assert expected.keys() == found.keys()
        assert [key for key in expected if not torch.equal(expected[key], found[key])] == [], step

    finished += [f"{step}/{RELEASED}" for step in ("student", "stage1", "stage2")] + ["prior_small.safetensors"]
    before = changed(out, *finished)
    assert run(*pipeline(drive, out)) == 0
    assert changed(out, *finished) == before

    # The model stands on nothing of what it came from.
    alone = shutil.move(out / "stage2" / "model", tmp_path / "alone")
    shutil.rmtree(out)
    words = ["--out", tmp_path / "depth", "--format", "npy", "--runtime", "torch"]
    assert run("predict", alone, next(drive.glob("*/*/image_02/data/*.png")), *words) == 0
    depth = np.load(next((tmp_path / "depth").glob("*.npy")))
    assert depth.shape == (64, 192)
    assert np.isfinite(depth).all()
    assert depth.min() > 0


def test_a_teacher_and_a_student_that_are_given_are_not_made(ladder, drive, tmp_path):
    given = ["--teacher", ladder / "student", "--from", ladder / "student", "--mode", "stereo"]
    words = [*SMALL, "--network.student.encoder", "hrnet_w18_small", *LADDER, "--all", *given]
    assert run("train", "rprdepth", drive, "--out", tmp_path / "out", *words) == 0
    made = {path.name for path in (tmp_path / "out").iterdir()}
    assert made == {"prior.safetensors", "prior_small.safetensors", "stage1", "stage2"}
    references = ReferenceSet.load(tmp_path / "out" / "prior.safetensors")
    assert references.provenance["teacher"] != ReferenceSet.load(ladder / "prior.safetensors").provenance["teacher"]
    assert evaluated(tmp_path / "out", drive, "simulated", tmp_path / "figures.json")["images"] == 2


@pytest.mark.parametrize("without", ["--ladder.no-selection", "--no-fusion"])
def test_the_ablations_end_with_the_first_stage(ladder, drive, tmp_path, without):
    given = ["--teacher", ladder / "teacher", "--from", ladder / "student"]
    given += ["--prior", ladder / "prior.safetensors"] if without == "--ladder.no-selection" else []
    assert run(*pipeline(drive, tmp_path / "out"), *given, without) == 0
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"stage1"}
    network = egodepth.load(tmp_path / "out" / "stage1").network
    assert isinstance(network, RPrDepth) == (without == "--ladder.no-selection")
    assert evaluated(tmp_path / "out" / "stage1", drive, "simulated", tmp_path / "figures.json")["images"] == 2


def test_the_student_s_own_training_may_have_another_batch():
    recipe = RECIPES["rprdepth"]
    assert student_recipe(recipe)[1].training.batch_size == 12
    other = replace(recipe, ladder=replace(recipe.ladder, student_batch_size=16))
    assert student_recipe(other)[1].training == RECIPES["diffnet"].training


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--prior", "prior.safetensors"], "Give the --teacher that it was built with"),
        (["--teacher", "nobody"], "nobody: no such folder"),
        (["--teacher", "student", "--prior", "prior.safetensors"], "Give the teacher that it was built with"),
        (["--from", "nobody"], "nobody: no such folder"),
        (["--ladder.teacher-height", 100], "--height 100: must be a multiple of 32, 64 at least. Take 96."),
        (["--width", 100], "--width 100: must be a multiple of 32. Take 96."),
    ],
    ids=["a prior alone", "no teacher there", "another teacher's prior", "no student there", "height", "width"],
)
def test_what_is_given_is_checked_before_anything_is_made(ladder, drive, tmp_path, capsys, given, said):
    words = [ladder / word if isinstance(word, str) and not word.startswith("--") else word for word in given]
    assert run(*pipeline(drive, tmp_path / "out"), *words) == 2
    assert said in only_line(capsys.readouterr().err)
    assert not (tmp_path / "out").exists()


def test_another_student_is_trained_as_its_own_system_trains_it(ladder, drive, tmp_path):
    student = SmallDepthConfig(widths=(8, 8, 16, 32, 64), middles=(8, 16, 32, 64), repeats=(1, 1, 1, 1))
    recipe = replace(
        row_recipe(replace(TINY_ROW, recipe="rprdepth", options=tuple(map(str, ALL)))),
        network=RPrDepthConfig(student=student),
        teacher=str(ladder / "teacher"),
    )
    run_pipeline(recipe, drive, tmp_path / "out")
    options = json.loads((tmp_path / "out" / "student" / "run.json").read_text())
    assert (options["recipe"], options["loss"]) == ("small-depth", "bidirectional")
    network = egodepth.load(tmp_path / "out").network
    assert isinstance(network.student, SmallDepth)


def test_going_on_with_another_option_is_refused_by_it(ladder, drive, capsys):
    assert run(*pipeline(drive, ladder), "--seed", 5) == 2
    line = only_line(capsys.readouterr().err)
    assert "seed 0, this call 5" in line
    assert "Resume with the options of the first call" in line


def test_stereo_pairs_alone_are_refused_before_anything_is_made(drive, tmp_path, capsys):
    words = [*SMALL, *LADDER, "--all", "--mode", "stereo"]
    assert run("train", "rprdepth", drive, "--out", tmp_path / "out", *words) == 2
    assert "Take mono or mono+stereo" in only_line(capsys.readouterr().err)
    assert not (tmp_path / "out").exists()


# --- step by step ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def prior(ladder, drive, tmp_path_factory) -> Path:
    """A prior of the ladder's teacher, built by its own command."""
    out = tmp_path_factory.mktemp("prior") / "mine.safetensors"
    assert run("prior", "build", ladder / "teacher", drive, "--out", out, "--images", 3, "--pixels-per-image", 7) == 0
    return out


def test_a_prior_is_built_once_and_knows_its_teacher_and_its_images(ladder, drive, prior, capsys):
    references = ReferenceSet.load(prior)
    assert len(references) == 3 * 7
    assert references.provenance["teacher"] == ReferenceSet.load(ladder / "prior.safetensors").provenance["teacher"]
    assert len(set(references.provenance["names"])) == 3
    assert [file.name for file in prior.parent.iterdir()] == [prior.name]
    before = changed(prior.parent, prior.name)
    build = ["prior", "build", ladder / "teacher", drive, "--out", prior, "--pixels-per-image", 7, "--images"]
    capsys.readouterr()
    assert run(*build, 3) == 0
    assert "21 reference pixels" in capsys.readouterr().out
    assert run(*build, 2) == 2
    assert "mine.safetensors: holds a prior with another images" in only_line(capsys.readouterr().err)
    assert changed(prior.parent, prior.name) == before


def test_the_references_that_a_run_attends_to_are_selected(ladder, drive, tmp_path, capsys):
    out = tmp_path / "small.safetensors"
    assert run("prior", "select", ladder / "stage1", drive, "--keep", 6, "--out", out) == 0
    assert "6 reference pixels" in capsys.readouterr().out
    found, whole = ReferenceSet.load(out), ReferenceSet.load(ladder / "prior.safetensors")
    assert len(found) == 6
    rows = [tuple(row.tolist()) for row in whole.features]
    assert {tuple(row.tolist()) for row in found.features} <= set(rows)
    assert found.scores.tolist() == sorted(found.scores.tolist(), reverse=True)
    # The ladder kept ten by the same frames, so these are its first six.
    kept = ReferenceSet.load(ladder / "prior_small.safetensors")
    assert torch.equal(found.features, kept.features[:6])


@pytest.mark.parametrize(
    ("of", "keep", "said"),
    [("stage1", 81, "--keep 81: the prior has 80 references"), ("student", 6, "was not trained with a prior")],
)
def test_what_cannot_be_selected_is_refused_in_one_line(ladder, drive, tmp_path, capsys, of, keep, said):
    assert run("prior", "select", ladder / of, drive, "--keep", keep, "--out", tmp_path / "small.safetensors") == 2
    assert said in only_line(capsys.readouterr().err)
    assert list(tmp_path.iterdir()) == []


def test_clusters_stand_for_the_references_of_a_released_model(ladder, drive, tmp_path, capsys):
    assert run("prior", "cluster", ladder / "stage1", "--keep", 80, "--out", tmp_path / "same") == 0
    assert "80 clusters" in capsys.readouterr().out
    assert run("prior", "cluster", ladder / "stage1", "--keep", 7, "--out", tmp_path / "fewer") == 0
    config = json.loads((tmp_path / "fewer" / "config.json").read_text())
    assert (config["network"]["references"], config["network"]["clustered"]) == (7, True)
    assert config["provenance"]["clusters_of"] == 80

    image = torch.rand(1, 3, 64, 96)
    whole, same, fewer = (
        egodepth.load(model).network.with_features(image)[1].hint_depth
        for model in (ladder / "stage1", tmp_path / "same", tmp_path / "fewer")
    )
    torch.testing.assert_close(same, whole, rtol=1e-4, atol=0)
    assert not torch.allclose(fewer, whole, rtol=1e-4)
    assert fewer.mean().item() == pytest.approx(whole.mean().item(), rel=0.1)


@pytest.mark.parametrize(
    ("of", "keep", "said"),
    [
        ("stage1", 81, "clusters: 81 of 80 references"),
        ("student", 6, "was not trained with a prior"),
        ("stage1/model", 6, "Give the run that it was made by"),
    ],
)
def test_what_cannot_be_clustered_is_refused_in_one_line(ladder, tmp_path, capsys, of, keep, said):
    assert run("prior", "cluster", ladder / of, "--keep", keep, "--out", tmp_path / "model") == 2
    assert said in only_line(capsys.readouterr().err)
    assert list(tmp_path.iterdir()) == []


def test_a_student_trains_on_the_prior_of_its_teacher_and_of_no_other(ladder, drive, prior, tmp_path, capsys):
    words = ["train", "rprdepth", drive, *OPTIONS, "--prior", prior, "--from", ladder / "student", "--out"]
    assert run(*words, tmp_path / "refused", "--teacher", ladder / "student") == 2
    line = only_line(capsys.readouterr().err)
    assert "Give the teacher that it was built with" in line
    assert not (tmp_path / "refused").exists()
    assert run(*words, tmp_path / "run", "--teacher", ladder / "teacher") == 0
    assert evaluated(tmp_path / "run", drive, "simulated", tmp_path / "figures.json")["images"] == 2


def test_a_prior_of_footage_is_built_and_selected_with_a_camera_of_its_own(ladder, tmp_path, capsys):
    write_frames(tmp_path / "frames")
    build = ["prior", "build", ladder / "teacher", tmp_path / "frames", "--out", tmp_path / "prior.safetensors"]
    build += ["--images", 3, "--pixels-per-image", 7]
    assert run(*build) == 2
    assert "--intrinsics fx,fy,cx,cy" in only_line(capsys.readouterr().err)
    assert run(*build, "--intrinsics", "60,60,48,32") == 0
    assert len(ReferenceSet.load(tmp_path / "prior.safetensors")) == 3 * 7

    select = ["prior", "select", ladder / "stage1", tmp_path / "frames", "--out", tmp_path / "small.safetensors"]
    assert run(*select, "--keep", 6) == 2
    assert "--intrinsics fx,fy,cx,cy" in only_line(capsys.readouterr().err)
    assert run(*select, "--keep", 81, "--intrinsics", "60,60,48,32") == 2
    assert run(*select, "--keep", 6, "--intrinsics", "60,60,48,32") == 0
    assert len(ReferenceSet.load(tmp_path / "small.safetensors")) == 6
    # Neither leaves the frames that it unpacked.
    assert sorted(path.name for path in tmp_path.iterdir()) == ["frames", "prior.safetensors", "small.safetensors"]


def test_the_folder_of_it_all_stands_for_its_last_stage(ladder, drive, tmp_path, capsys):
    words = [next(drive.glob("*/*/image_02/data/*.png")), "--format", "npy", "--runtime", "torch", "--out"]
    for model in (ladder, ladder / "stage2"):
        assert run("predict", model, *words, tmp_path / model.name) == 0
    found, expected = (np.load(next((tmp_path / name).glob("*.npy"))) for name in (ladder.name, "stage2"))
    assert np.array_equal(found, expected)

    partial = tmp_path / "partial"
    for name in ("teacher", "student"):
        (partial / name).mkdir(parents=True)
        shutil.copy(ladder / name / "run.json", partial / name)
    capsys.readouterr()
    assert run("predict", partial, *words, tmp_path / "none") == 2
    assert "it holds the runs student, teacher, give one of these" in only_line(capsys.readouterr().err)


@pytest.mark.parametrize("missing", ["--prior", "--teacher"])
def test_without_a_teacher_or_a_prior_both_ways_to_get_them_are_named(ladder, drive, prior, tmp_path, capsys, missing):
    given = {"--teacher": ladder / "teacher", "--prior": prior}
    words = [word for option, value in given.items() if option != missing for word in (option, value)]
    assert run("train", "rprdepth", drive, "--out", tmp_path / "run", *OPTIONS, *words) == 2
    line = only_line(capsys.readouterr().err)
    for option in ("--teacher", "--prior", "--all"):
        assert option in line
    assert not (tmp_path / "run").exists()
