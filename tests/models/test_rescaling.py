"""Another scale for a released model: its config changes, whole or not at all, and nothing else does."""

import json

import pytest

import egodepth
from egodepth.errors import UserError
from egodepth.geometry.scale import Scale
from egodepth.models.released import ReleasedModel
from egodepth.models.rescaling import write_scale
from egodepth.networks.model_config import CONFIG_FILE
from egodepth.networks.weights import WEIGHTS_FILE
from tests.scaling.exact_model import write_model

SCALE = Scale(31.7, "camera height", error=0.04, note="camera height 1.65 m, 143 of 150 frames")


@pytest.fixture
def model(tmp_path) -> ReleasedModel:
    return ReleasedModel.open(write_model(tmp_path / "model"))


def test_a_scale_that_is_written_is_read_again(model):
    assert model.scale is None
    weights = (model.folder / WEIGHTS_FILE).read_bytes()
    assert write_scale(model, SCALE, focal=0.6) == model.folder
    again = ReleasedModel.open(model.folder)
    assert again.scale == SCALE
    assert again.scale.said() == "metres from camera height, ± 4 %"
    assert egodepth.load(model.folder).metres_per_unit == 31.7
    assert egodepth.load(model.folder).focal == 0.6
    assert (model.folder / WEIGHTS_FILE).read_bytes() == weights
    kept = {key for key in model.config if again.config[key] == model.config[key]}
    assert {"network", "pose", "recipe", "height", "width", "provenance"} <= kept


def test_metres_of_single_widths_give_way_to_the_new_scale(model):
    config = {
        **model.config,
        "metres_of_width": {"1242": 5.1},
        "metres_per_unit": 5.0,
        "metres_from": "stereo baseline",
    }
    (model.folder / CONFIG_FILE).write_text(json.dumps(config))
    before = ReleasedModel.open(model.folder)
    assert before.scale == Scale(5.0, "stereo baseline", {1242: 5.1})
    write_scale(before, SCALE)
    assert egodepth.load(model.folder).metres_of_width == {}


def test_a_model_of_the_hub_is_copied_and_not_changed(model, tmp_path):
    fetched = ReleasedModel("owner/name", model.folder, model.config)
    before = (model.folder / CONFIG_FILE).read_bytes()
    with pytest.raises(UserError, match=r"owner/name: is no folder of yours.*--out"):
        write_scale(fetched, SCALE)
    assert write_scale(fetched, SCALE, tmp_path / "copy") == tmp_path / "copy"
    assert ReleasedModel.open(tmp_path / "copy").scale == SCALE
    assert (model.folder / CONFIG_FILE).read_bytes() == before


def test_a_copy_replaces_nothing(model, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    with pytest.raises(UserError, match="exists and is not an empty folder"):
        write_scale(model, SCALE, tmp_path / "full")
