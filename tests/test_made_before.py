"""What egodepth 0.1.0 wrote before its rooms were rearranged is read as ever.

`made_by_0.1.0` holds a run of a tiny SmallDepth (equivalent transformation, stereo pairs) that was stopped at step 2 of
4, the model that it ended as, its depth of a seeded picture, and a pack of the same street.
"""

import json
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import egodepth
from egodepth.data.opening import open_training_sets
from egodepth.data.packs.reading import PackOptions, read_manifest
from egodepth.recipes import RECIPES
from tests.command_line import run

MADE = Path(__file__).parent / "made_by_0.1.0"
OPTIONS = shlex.split(
    "--mode stereo --height 64 --width 96 --batch-size 2 --steps 4 --checkpoint-every 2 --workers 0 --pretrained none "
    "--network.widths 4 4 8 8 16 --network.middles 4 8 8 16 --network.repeats 1 1 1 1 --etm"
)


@pytest.fixture(scope="module")
def street(tmp_path_factory) -> Path:
    """The street that they were made of; the simulator gives the same bytes again."""
    folder = tmp_path_factory.mktemp("made_before") / "street"
    assert run("simulate", str(folder), "--frames", "12", "--height", "64", "--width", "96", "--seed", "3") == 0
    return folder


def test_a_released_model_predicts_what_it_did():
    torch.manual_seed(0)
    picture = torch.rand(1, 3, 64, 96)
    model = egodepth.load(MADE / "finished")
    depth = model.predict_depth(picture)[0, 0]
    np.testing.assert_allclose(depth, np.load(MADE / "finished" / "depth.npy"), rtol=1e-4)
    assert model.metres_per_unit == 5.4


def test_a_stopped_run_goes_on_to_the_weights_that_it_had(street, tmp_path, monkeypatch):
    # Version 0.1.0 released running averages as the drops of training had left them.
    monkeypatch.setattr("egodepth.training.runs.drops", lambda _: False)
    folder = tmp_path / "run"
    shutil.copytree(MADE / "run", folder)
    options = json.loads((folder / "run.json").read_text()) | {"root": str(street)}
    (folder / "run.json").write_text(json.dumps(options))
    assert run("train", "small-depth", str(street), "--out", str(folder), *OPTIONS, "--resume") == 0
    folders = MADE / "run" / "model", folder / "model", MADE / "finished"
    stopped, found, expected = (load_file(each / "model.safetensors") for each in folders)
    assert found.keys() == expected.keys()
    # Processors round in their own ways, and Adam turns the sign of a gradient near zero into a whole step. Of the way
    # that the weights went since the stop that is 0.05 % between two kinds of them; other frames make it 29 %.
    way, off = (
        sum(float((weights[name] - expected[name]).square().sum()) for name in expected) ** 0.5
        for weights in (stopped, found)
    )
    assert off < 0.01 * way


def test_a_training_starts_from_such_a_run(street, tmp_path):
    options = shlex.split(shlex.join(OPTIONS).replace("--steps 4", "--steps 1"))
    started = run(
        "train", "small-depth", str(street), "--out", str(tmp_path / "on"), *options, "--from", str(MADE / "run")
    )
    assert started == 0


def test_a_pack_serves_its_samples(tmp_path):
    options = PackOptions.of(read_manifest(MADE / "pack")["options"])
    sets = open_training_sets(
        MADE / "pack", RECIPES["small-depth"].data, "calibrated", options.source_ids, 64, 96, tmp_path
    )
    assert (len(sets.training), len(sets.validation)) == (12, 2)
    assert sets.training[0].target.shape == (3, 64, 96)
