"""A released model: opened once, and whole in what it says of its networks."""

from pathlib import Path

import numpy as np
import pytest
import torch

from egodepth.models import folder, released
from egodepth.models.evaluating import evaluate_model
from egodepth.models.opening import open_for_use
from egodepth.models.released import ReleasedModel
from egodepth.networks.disparity import EncoderDecoder
from tests.command_line import SMALL, TINY_MANYDEPTH, TINY_TEACHER, run, train


@pytest.fixture(scope="module")
def matching(drive, tmp_path_factory) -> Path:
    """A run of ManyDepth whose single-frame network has another encoder than the recipe's."""
    folder = tmp_path_factory.mktemp("matching") / "run"
    assert run("train", "manydepth", drive, "--out", folder, *SMALL, *TINY_MANYDEPTH) == 0
    return folder


def test_an_evaluation_reads_config_and_weights_once(drive, tmp_path, monkeypatch):
    assert train(drive, tmp_path / "run", "--mode", "mono+stereo") == 0
    read: list[str] = []
    for module, name in ((folder, "read_config"), (released, "read_weights")):
        original = getattr(module, name)
        monkeypatch.setattr(
            module, name, lambda path, name=name, original=original: read.append(name) or original(path)
        )
    result = evaluate_model(str(tmp_path / "run"), drive, "simulated")
    assert sorted(read) == ["read_config", "read_weights"]
    assert result.metres_from == "stereo baseline"


def test_the_single_frame_network_of_a_run_is_remembered(matching, drive, tmp_path):
    teacher = ReleasedModel.open(matching).single_frame_network()
    assert isinstance(teacher, EncoderDecoder)
    assert teacher.encoder.name == TINY_TEACHER
    built = run("prior", "build", matching, drive, "--out", tmp_path / "prior.safetensors", "--images", 2)
    assert built == 0
    onward = [*SMALL, *TINY_MANYDEPTH, "--from", matching]
    assert run("train", "manydepth", drive, "--out", tmp_path / "onward", *onward) == 0


def test_a_model_needs_no_recipe_to_be_used(drive, tmp_path, monkeypatch):
    assert train(drive, tmp_path / "run") == 0
    monkeypatch.setattr(released, "restored_recipe", lambda *_: pytest.fail("a recipe was asked for"))
    depth = ReleasedModel.open(tmp_path / "run").predictor().predict_depth(torch.rand(1, 3, 64, 96))
    assert depth.shape == (1, 1, 64, 96)


def test_a_graph_that_was_kept_takes_the_frame_before_too(matching, tmp_path, monkeypatch):
    """The second call runs the graph that the first one made, which has six channels."""
    monkeypatch.setenv("EGODEPTH_CACHE", str(tmp_path / "cache"))
    first, second = (open_for_use(matching, runtime="onnx").predictor for _ in range(2))
    assert first.time_offsets == second.time_offsets == (-1,)
    image = np.random.default_rng(0).random((1, 3, first.height, first.width), np.float32)
    np.testing.assert_array_equal(first.predict_depth(image, {-1: image}), second.predict_depth(image, {-1: image}))
