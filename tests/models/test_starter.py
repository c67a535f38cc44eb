"""The starter: weights that egodepth comes with, used and trained on without naming a model."""

import json
import shutil
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image

import egodepth
from egodepth.inference.predict import predict
from egodepth.models.evaluating import evaluate_model
from egodepth.models.folder import LARGE_STARTER_FOLDER, STARTER_FOLDER
from egodepth.models.opening import open_for_use
from egodepth.models.released import ReleasedModel
from egodepth.networks.configurations import size_for
from egodepth.training.starting import load_trained_networks
from tests.command_line import only_line, run, train
from tests.data.trees import write_frames

KITTI_2015 = Path(__file__).parents[3] / "shared" / "data" / "kitti_2015"
LARGEST_BYTES = 20_000_000
PLAIN = "--runtime", "torch"
"""The engine that is taken by default first spends seconds on an export."""


@pytest.fixture(scope="module")
def pictures(drive) -> Path:
    return next(drive.glob("*/*_0002_sync/image_02/data"))


@pytest.mark.parametrize(
    ("name", "folder"), [("starter", STARTER_FOLDER), ("starter-large", LARGE_STARTER_FOLDER)], ids=["small", "large"]
)
def test_it_is_small_and_says_what_it_was_made_from(name, folder):
    assert sum(file.stat().st_size for file in folder.iterdir()) < LARGEST_BYTES
    config = ReleasedModel.open(name).config
    assert config["depth"] == "metres"
    assert config["provenance"]["seed"] is not None
    card = (folder / "README.md").read_text()
    assert all(word in card for word in ("licence", "seed", "abs_rel", "egodepth train"))


def test_a_picture_alone_is_enough_to_predict(pictures, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    picture = Path(shutil.copy(sorted(pictures.iterdir())[0], tmp_path / "street.png"))
    assert run("predict", picture, *PLAIN) == 0
    assert Image.open(tmp_path / "depth" / f"{picture.stem}.png").size == Image.open(picture).size
    said = capsys.readouterr().out
    assert "starter" in said
    assert "as if taken by a camera like the training's" in said


def test_a_folder_and_a_glob_are_no_models(pictures, tmp_path):
    assert run("predict", pictures, "--out", tmp_path / "a", "--format", "npy", "--fov", "81.5", *PLAIN) == 0
    assert run("predict", pictures / "*1.png", "--out", tmp_path / "b", "--format", "npy", "--fov", "81.5", *PLAIN) == 0
    one, other = sorted((tmp_path / "a").glob("*1.npy")), sorted((tmp_path / "b").iterdir())
    assert [file.name for file in one] == [file.name for file in other]
    np.testing.assert_array_equal(np.load(one[0]), np.load(other[0]))


def test_pictures_of_several_forms_are_each_seen_in_theirs(tmp_path):
    forms = {"wide": (64, 192), "upright": (160, 90), "square": (100, 100)}
    model, pictures = egodepth.load("starter"), tmp_path / "all"
    for name, size in forms.items():
        write_frames(pictures, [0], size)
        (pictures / "0.png").rename(pictures / f"{name}.png")
    predict(model, [pictures], tmp_path / "out", "npy", progress=False)
    for name, size in forms.items():
        image = np.asarray(Image.open(pictures / f"{name}.png"))
        [expected] = model.fitted_to(*size).predict_images([image])
        np.testing.assert_allclose(np.load(tmp_path / "out" / f"{name}.npy"), expected, rtol=1e-4)


def test_a_model_that_is_not_there_is_no_input(tmp_path, capsys):
    assert run("predict", tmp_path / "nothing", "--out", tmp_path / "out") == 2
    assert "no INPUT" in capsys.readouterr().err


@pytest.mark.parametrize("starter", ["starter", "starter-large"])
def test_its_metres_are_right_on_a_street_that_it_never_saw(starter, drive):
    """Through the camera of the drive, which is not the one that its metres belong to."""
    result = evaluate_model(starter, drive, "simulated", scaling="none")
    assert result.metrics["abs_rel"] < 0.3
    assert result.scale_ratio == pytest.approx(1, abs=0.2)


def test_the_exported_file_beside_it_is_the_same_network():
    session = onnxruntime.InferenceSession(STARTER_FOLDER / "model.onnx", providers=["CPUExecutionProvider"])
    model = egodepth.load("starter")
    image = torch.rand(1, 3, model.height, model.width, generator=torch.Generator().manual_seed(0))
    [depth] = session.run(None, {session.get_inputs()[0].name: image.numpy()})
    expected = model.predict_depth(image).numpy()
    np.testing.assert_allclose(depth, expected, rtol=1e-3)


def test_pictures_of_another_form_are_seen_in_theirs():
    model = egodepth.load("starter").fitted_to(720, 1280)
    assert (model.height, model.width) == size_for(96, 320, (720, 1280)) == (128, 224)
    assert model.predict_depth(torch.rand(1, 3, 72, 128)).shape == (1, 1, 72, 128)
    graph = open_for_use("starter").predictor.fitted_to(720, 1280)
    assert (graph.height, graph.width) == (128, 224)
    image = torch.rand(1, 3, 72, 128)
    torch.testing.assert_close(graph.predict_depth(image), model.predict_depth(image), rtol=1e-3, atol=0)


@pytest.mark.parametrize(
    ("recipe", "starter", "size"), [("video", "starter", (128, 224)), ("video-large", "starter-large", (160, 288))]
)
def test_training_on_footage_of_any_form_starts_from_it(recipe, starter, size, tmp_path):
    frames = write_frames(tmp_path / "frames", range(6), (180, 320))
    out = tmp_path / "run"
    options = "--steps", 1, "--batch-size", 2, "--workers", 0, "--fov", 70
    assert run("train", recipe, frames, "--out", out, *options) == 0
    given = json.loads((out / "run.json").read_text())
    assert (given["height"], given["width"], given["start_from"]) == (*size, starter)
    assert run("train", recipe, frames, "--out", out, *options, "--resume") == 0
    before, after = ReleasedModel.open(starter), ReleasedModel.open(out)
    assert after.config["focal"] == before.config["focal"]
    assert after.config["keep_aspect"]
    # One step at the start of the warm-up: the depth is still the starter's.
    image = torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(0))
    ratio = egodepth.load(out).predict_depth(image) / egodepth.load(starter).fitted_to(*size).predict_depth(image)
    assert float(ratio.log().std()) < 0.3


@pytest.mark.parametrize(("option", "kept"), [((), True), (("--no-frozen-norms",), False)])
def test_its_batch_norms_keep_their_statistics_in_training(drive, tmp_path, option, kept):
    words = "--height", 64, "--width", 192, "--steps", 2, "--batch-size", 2, "--workers", 0
    assert run("train", "video", drive, "--out", tmp_path / "run", *words, *option) == 0
    before = {part: network.state_dict() for part, network in load_trained_networks("starter").items()}
    after = {part: network.state_dict() for part, network in load_trained_networks(str(tmp_path / "run")).items()}
    for part in ("depth", "pose"):
        statistics = [name for name in before[part] if name.endswith(("running_mean", "running_var"))]
        others = [name for name in before[part] if name.endswith("weight")]
        assert len(statistics) > 50
        assert all(torch.equal(before[part][name], after[part][name]) for name in statistics) == kept
        assert not all(torch.equal(before[part][name], after[part][name]) for name in others)


def test_frozen_norms_without_weights_to_start_from_are_refused(drive, tmp_path, capsys):
    assert train(drive, tmp_path / "run", "--frozen-norms") == 2
    assert "--frozen-norms: this training does not read it; it belongs to --from" in only_line(capsys.readouterr().err)


def depths_of(model, drive) -> torch.Tensor:
    image = next(drive.glob("*/*_0002_sync/image_02/data")).joinpath("0000000003.png")
    pixels = torch.from_numpy(np.array(Image.open(image))).permute(2, 0, 1)[None] / 255
    return egodepth.load(model).predict_depth(pixels)


def test_training_from_it_is_held_to_what_it_saw(drive, tmp_path):
    """View synthesis alone, at a rate at which it goes astray, and the same with a strong anchor."""
    # Video has no metres, but the unit that it starts with.
    before = depths_of("starter", drive) / ReleasedModel.open("starter").scale.metres_per_unit
    words = "--height", 64, "--width", 192, "--steps", 6, "--batch-size", 2, "--workers", 0
    moved = {}
    for anchor in (0, 10):
        out = tmp_path / f"run-{anchor}"
        assert run("train", "video", drive, "--out", out, *words, "--optimiser.learning-rate", "1e-3",
                   "--anchor", anchor) == 0  # fmt: skip
        moved[anchor] = float((depths_of(out, drive) / before).log().abs().mean())
    assert moved[10] < 0.5 * moved[0]
    figures = (tmp_path / "run-10" / "logs" / "part_0" / "metrics.csv").read_text()
    assert "anchor_distance" in figures.splitlines()[0]
    assert not any("anchor" in name for name in ReleasedModel.open(tmp_path / "run-10").tensors)


def test_a_run_that_is_held_goes_on_after_a_stop_as_if_there_was_none(drive, tmp_path, monkeypatch):
    words = "--height", 64, "--width", 192, "--steps", 4, "--batch-size", 2, "--workers", 0
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    assert run("train", "video", drive, "--out", whole, *words) == 0
    assert run("train", "video", drive, "--out", stopped, *words, "--checkpoint-every", 2) == 0
    shutil.rmtree(stopped / "model")
    shutil.copy(stopped / "checkpoints" / "previous.ckpt", stopped / "checkpoints" / "last.ckpt")
    assert run("train", "video", drive, "--out", stopped, *words, "--checkpoint-every", 2, "--resume") == 0
    ends = [ReleasedModel.open(out).tensors for out in (whole, stopped)]
    assert all(torch.equal(tensor, ends[1][name]) for name, tensor in ends[0].items())


def test_an_anchor_without_weights_to_start_from_is_refused(drive, tmp_path, capsys):
    assert train(drive, tmp_path / "run", "--anchor", 0.1) == 2
    assert "--anchor: this training does not read it; it belongs to --from" in only_line(capsys.readouterr().err)


@pytest.mark.parametrize(
    ("what", "holds"),
    [(("--teacher-depth", "exact"), "the teacher holds"), (("--mode", "mono+stereo"), "pairs hold")],
    ids=["teacher", "pairs"],
)
def test_a_teacher_and_pairs_take_the_place_of_the_anchor(what, holds, drive, tmp_path, capsys):
    words = "--height", 64, "--width", 192, "--steps", 2, "--batch-size", 2, "--workers", 0, *what
    assert run("train", "video", drive, "--out", tmp_path / "held", *words, "--anchor", 0.2) == 2
    assert f"{holds} depth already" in only_line(capsys.readouterr().err)
    assert run("train", "video", drive, "--out", tmp_path / "run", *words) == 0
    assert "anchor_distance" not in (tmp_path / "run" / "logs" / "part_0" / "metrics.csv").read_text()


@pytest.mark.realdata
def test_it_knows_real_streets_that_it_never_saw():
    if not KITTI_2015.is_dir():
        pytest.skip("the KITTI sample is not beside the repository")
    assert evaluate_model("starter", KITTI_2015, "kitti-2015").metrics["abs_rel"] < 0.19
