"""Each system through the real commands on a small simulated drive: from training to depth."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import egodepth
from egodepth.data.packs.reading import read_manifest
from egodepth.networks.equivalent import EquivalentConv2d
from egodepth.training.checkpoints import LAST_CHECKPOINT
from egodepth.training.starting import load_trained_networks
from tests.command_line import TINY_MANYDEPTH, TINY_NETWORKS, run
from tests.signals import AT_ONCE, signalled

SMALL = ["--height", "64", "--width", "96", "--batch-size", "2", "--pretrained", "none", "--workers", "0"]
TINY_SMALL_DEPTH = [
    *("--mode", "stereo", "--network.widths", 8, 8, 16, 16, 32, "--network.middles", 8, 16, 16, 32),
    *("--network.repeats", 1, 1, 1, 1),
]
TINY_SDFA = ["--losses.perceptual-weight", "0", "--augmentation.crop", "64", "64", "--network.levels", "9"]


def train(recipe: str, data: Path, out: Path, *more: object) -> Path:
    assert run("train", recipe, data, "--out", out, *SMALL, "--steps", "2", *more) == 0
    return out


@pytest.fixture(scope="module")
def teacher(drive, tmp_path_factory) -> Path:
    """A disparity network trained for two steps: who it is does not matter to a student."""
    return train("monodepth2", drive, tmp_path_factory.mktemp("teacher") / "run", *TINY_NETWORKS)


@pytest.mark.parametrize(
    ("recipe", "options"),
    [
        ("small-depth", TINY_SMALL_DEPTH),
        ("small-depth", [*TINY_SMALL_DEPTH, "--loss", "photometric", "--etm"]),
        ("sdfa-net-r18", TINY_SDFA),
        ("manydepth", TINY_MANYDEPTH),
    ],
    ids=["small-depth", "small-depth under Monodepth2's loss", "sdfa-net", "manydepth"],
)
def test_a_system_trains_evaluates_and_predicts(drive, tmp_path, capsys, recipe, options):
    model = train(recipe, drive, tmp_path / "run", *options)
    assert run("evaluate", model, drive, "--protocol", "simulated", "--json", tmp_path / "figures.json") == 0
    assert json.loads((tmp_path / "figures.json").read_text())["images"] > 0
    images = next(drive.glob("*/*/image_02/data"))
    assert run("predict", model, images, "--out", tmp_path / "depth", "--runtime", "torch") == 0
    assert "with torch" in capsys.readouterr().out
    assert len(list((tmp_path / "depth").glob("*.png"))) == len(list(images.iterdir()))


def test_the_full_recipe_of_fa_depth_releases_a_plain_network(drive, teacher, tmp_path):
    options = [*TINY_SMALL_DEPTH, "--teacher", teacher]
    model = train("fa-depth", drive, tmp_path / "run", *options)
    network = egodepth.load(model).network
    kinds = {type(module) for module in network.modules()}
    assert EquivalentConv2d not in kinds
    assert torch.nn.BatchNorm2d not in kinds
    logged = (tmp_path / "run" / "logs" / "part_0" / "metrics.csv").read_text()
    for column in (
        "distilled_encoder",
        "distilled_disparity",
        "loss_low",
        "loss_high",
        "loss_flip",
        "loss_colour",
        "feature_flip",
    ):
        assert column in logged


def test_a_pack_for_a_teacher_has_frames_of_its_size(drive, teacher, tmp_path):
    options = ["--mode", "stereo", "--height", 32, "--width", 128, "--teacher", teacher]
    assert run("data", "pack", "small-depth", drive, "--out", tmp_path / "pack", *options) == 0
    kept = read_manifest(tmp_path / "pack")["options"]
    assert (kept["height"], kept["width"]) == (64, 128)  # the teacher's 64x96, and the student's 32x128


def test_fa_depth_without_a_teacher_is_refused(drive, tmp_path, capsys):
    assert run("train", "fa-depth", drive, "--out", tmp_path / "run", *SMALL) == 2
    assert "--teacher" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_training_starts_from_what_a_run_had_learnt(drive, tmp_path):
    # Where nothing is dropped, the running averages of training are those of use.
    still = ["--network.pb-dsr", 0, "--network.pb-sd", 0, "--equivalent.branch-drop", 0]
    first = train("small-depth", drive, tmp_path / "first", *TINY_SMALL_DEPTH, "--etm", *still)
    image = torch.rand(1, 3, 64, 96)
    start = load_trained_networks(str(first))["depth"].eval()
    with torch.no_grad():
        torch.testing.assert_close(start.predict_depth(image), egodepth.load(first).network.predict_depth(image))
    second = train("small-depth", drive, tmp_path / "second", *TINY_SMALL_DEPTH, "--etm", "--from", first)
    assert json.loads((second / "run.json").read_text())["start_from"] == str(first)


def test_a_released_model_is_no_place_to_start_from(drive, teacher, tmp_path, capsys):
    status = run("train", "monodepth2", drive, "--out", tmp_path / "run", *SMALL, "--from", teacher / "model")
    assert status == 2
    assert "is folded" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("recipe", "options"),
    [
        ("small-depth", [*TINY_SMALL_DEPTH, "--etm", "--pyramid"]),
        ("sdfa-net-r18", [*TINY_SDFA, "--losses.distil-from", "0.3"]),
        ("manydepth", [*TINY_MANYDEPTH, "--losses.freeze-from", "0.5"]),
    ],
    ids=["small-depth", "sdfa-net", "manydepth"],
)
def test_a_run_that_ended_in_a_step_resumes_to_the_same_weights(drive, tmp_path, recipe, options):
    arguments = ["train", recipe, drive, *SMALL, *options, "--steps", 3, "--out"]
    assert run(*arguments, tmp_path / "whole") == 0

    ended = tmp_path / "ended"
    with signalled(2, *AT_ONCE):
        assert run(*arguments, ended, "--checkpoint-every", 1) == 130
    assert torch.load(ended / LAST_CHECKPOINT, weights_only=True)["global_step"] == 1
    assert run(*arguments, ended, "--resume") == 0
    expected, found = (load_file(run / "model" / "model.safetensors") for run in (tmp_path / "whole", ended))
    assert expected.keys() == found.keys()
    assert [key for key in expected if not torch.equal(expected[key], found[key])] == []


def test_a_run_goes_on_without_the_run_that_it_started_from(drive, tmp_path):
    first = train("small-depth", drive, tmp_path / "first", *TINY_SMALL_DEPTH)
    options = (*TINY_SMALL_DEPTH, "--from", first, "--checkpoint-every", 1)
    second = train("small-depth", drive, tmp_path / "second", *options)
    focal = json.loads((second / "model" / "config.json").read_text())["focal"]
    shutil.rmtree(first)
    train("small-depth", drive, second, *options, "--resume")
    assert json.loads((second / "model" / "config.json").read_text())["focal"] == focal
