"""Models of transformers as teachers: their own processing, what their numbers mean, their licences, broken ones."""

import json
import shutil
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from egodepth.errors import UserError
from egodepth.models.foreign import METRIC, RELATIVE, TYPES, ForeignModel, is_foreign, licence_of, licence_warning
from tests.models.foreign_models import MODELS, save_foreign

CPU = torch.device("cpu")
PICTURE = np.asarray(Image.fromarray(np.random.default_rng(0).integers(0, 256, (8, 20, 3), np.uint8)).resize((150, 60)))


@pytest.fixture(scope="module")
def foreign(tmp_path_factory):
    """A folder with a small random Depth Anything."""
    return save_foreign("depth_anything", tmp_path_factory.mktemp("hub") / "small")


@pytest.mark.parametrize("name", MODELS)
def test_a_model_answers_as_transformers_own_pipeline_does(name, tmp_path):
    folder = save_foreign(name, tmp_path / "model")
    import transformers

    model = ForeignModel(f"hf:{folder}", CPU)
    found = model.inverse_depth(PICTURE)
    pipeline = transformers.pipeline("depth-estimation", model=str(folder), device="cpu")
    expected = pipeline(Image.fromarray(PICTURE))["predicted_depth"].numpy().reshape(60, 150)
    assert found.dtype == np.float32
    assert found == pytest.approx(expected if model.predicts.inverse else 1 / expected, rel=1e-3, abs=1e-5)
    assert np.array_equal(found, model.inverse_depth(PICTURE))


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"model_type": "depth_anything"}, RELATIVE),
        ({"model_type": "depth_anything", "depth_estimation_type": "relative"}, RELATIVE),
        ({"model_type": "depth_anything", "depth_estimation_type": "metric"}, METRIC),
        ({"model_type": "dpt"}, RELATIVE),
        ({"model_type": "glpn"}, METRIC),
        ({"model_type": "zoedepth"}, METRIC),
        ({"model_type": "depth_pro"}, METRIC),
    ],
)
def test_what_a_type_predicts_is_known_and_not_guessed(config, expected):
    from egodepth.models.foreign import _Said

    assert TYPES[config["model_type"]](_Said(config)) == expected


@pytest.mark.parametrize("kind", ["chmv2", "vit", None])
def test_a_type_that_is_not_known_is_refused_with_the_other_way(kind, foreign, tmp_path):
    shutil.copytree(foreign, tmp_path / "other")
    file = tmp_path / "other" / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"model_type": kind}))
    with pytest.raises(UserError, match=rf"is of type {kind}; .*--teacher-depth FOLDER"):
        ForeignModel(f"hf:{tmp_path / 'other'}", CPU)


# --- where it comes from ---


def test_a_model_of_the_hub_is_what_its_client_hands_over(foreign, tmp_path, monkeypatch):
    import huggingface_hub

    home = tmp_path / "models--owner--small"
    shutil.copytree(foreign, home / "snapshots" / "0123abc")
    (home / "refs").mkdir()
    (home / "refs" / "main").write_text("0123abc")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    model = ForeignModel("hf:owner/small", CPU)
    assert model.licence == "apache-2.0"
    assert np.array_equal(model.inverse_depth(PICTURE), ForeignModel(f"hf:{foreign}", CPU).inverse_depth(PICTURE))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("hf:owner/none", "nor a model that the hub gave"),
        ("hf:none", "no such folder. Give hf:owner/name"),
        ("hf:./none", "no such folder"),
        ("hf:", "no config.json in it"),
    ],
)
def test_a_model_that_is_not_there_is_one_line(name, said, tmp_path, monkeypatch):
    pytest.importorskip("transformers", reason="transformers is not installed")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=said) as refused:
        ForeignModel(name, CPU)
    assert "\n" not in str(refused.value)


def without_a_tensor(folder):
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / "model.safetensors")
    tensors.pop(next(name for name in tensors if "head" in name))
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (without_a_tensor, "its weights lack 1 tensors"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"short"), "cannot be loaded"),
        (lambda folder: (folder / "model.safetensors").unlink(), "cannot be loaded"),
        (lambda folder: (folder / "preprocessor_config.json").unlink(), "cannot be loaded"),
        (lambda folder: (folder / "config.json").write_text("{"), "is not JSON"),
    ],
)
def test_a_broken_model_is_refused_and_never_filled_with_random_weights(damage, said, foreign, tmp_path):
    folder = tmp_path / "broken"
    shutil.copytree(foreign, folder)
    damage(folder)
    with pytest.raises(UserError, match=said) as refused:
        ForeignModel(f"hf:{folder}", CPU)
    assert "\n" not in str(refused.value)


def test_without_transformers_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(UserError, match=r"pip install 'egodepth\[teachers\]'"):
        ForeignModel("hf:owner/name", CPU)


def test_folders_are_told_apart_by_their_config(tmp_path):
    assert is_foreign("hf:owner/name")
    assert not is_foreign("owner/name")
    assert not is_foreign(str(tmp_path))
    for config, foreign in (({"format": 3, "recipe": "monodepth2"}, False), ({"model_type": "dpt"}, True), ({}, False)):
        (tmp_path / "config.json").write_text(json.dumps(config))
        assert is_foreign(str(tmp_path)) == foreign


# --- licences ---


@pytest.mark.parametrize(
    ("card", "licence", "warned"),
    [
        ("---\nlicense: apache-2.0\n---\ntext", "apache-2.0", None),
        ("---\r\nlicense: mit\r\n---\r\ntext", "mit", None),
        ("---\ntags:\n- depth\nlicense: cc-by-nc-4.0\n---\ntext", "cc-by-nc-4.0", "not for commercial use"),
        ("---\nlicense: other\nlicense_name: apple-amlr\n---\n", "other (apple-amlr)", "read its terms"),
        ("---\nlicense: [mit, cc-by-nc-sa-4.0]\n---\n", "mit, cc-by-nc-sa-4.0", "not for commercial use"),
        ("---\nlicense: unknown\n---\n", "unknown", "read its terms"),
        ("---\nlanguage: en\n---\n", "unknown", "read its terms"),
        ("---\nlicense: [\n---\n", "unknown", "read its terms"),
        ("# No front matter\n\nlicense: mit\n", "unknown", "read its terms"),
        (None, "unknown", "read its terms"),
    ],
)
def test_the_licence_is_that_of_the_model_card(card, licence, warned, tmp_path):
    if card is not None:
        (tmp_path / "README.md").write_text(card)
    assert licence_of(tmp_path) == licence
    warning = licence_warning(licence)
    assert warning is None if warned is None else warned in warning
