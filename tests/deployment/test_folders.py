"""Folders that hold a model for use elsewhere: each format gives PyTorch's depth, and its own code runs it."""

import importlib.util
import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import egodepth
from egodepth.deployment import folder as folders
from egodepth.deployment.formats import FORMATS
from egodepth.errors import UserError
from egodepth.inference.network_predictor import NetworkPredictor
from egodepth.models.folder import STARTER_FOLDER
from egodepth.models.opening import open_for_use
from tests.command_line import run

RUNNABLE = [name for name, record in FORMATS.items() if record.run is not None]


EXAMPLES = sorted((Path(egodepth.__file__).parent / "examples").glob("*.jpg"))


def export(out: Path, *options: object) -> int:
    return run("export", "starter", out, "--height", "64", "--width", "96", *options)


@pytest.fixture(scope="module", params=RUNNABLE)
def exported(request, tmp_path_factory) -> tuple[str, Path]:
    """A format, and the starter's folder in it."""
    for module in FORMATS[request.param].modules:
        pytest.importorskip(module)
    folder = tmp_path_factory.mktemp(request.param) / "model"
    assert export(folder, "--format", request.param) == 0
    return request.param, folder


def test_a_folder_runs_by_its_own_code_alone(exported):
    name, folder = exported
    result = subprocess.run([sys.executable, "run.py"], cwd=folder, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert "egodepth" not in (folder / "run.py").read_text()
    # ncnn takes half precision where the processor has it.
    assert float(result.stdout.split()[-1]) < (0.02 if name == "ncnn" else 1e-3)
    facts = json.loads((folder / "config.json").read_text())["exported"]
    assert facts["outputs"][FORMATS[name].names[1]].endswith("metres")
    assert (folder / facts["file"]).exists()


def openvino_from_its_wheel() -> list[str]:
    engine = Path(importlib.util.find_spec("openvino").origin).parent
    [library] = (engine / "libs").glob("libopenvino.so.*")
    return [f"-I{engine / 'include'}", str(library), f"-Wl,-rpath,{library.parent}"]


def ncnn_of_the_system() -> list[str]:
    """Its wheel brings no headers; where it is installed otherwise, CPLUS_INCLUDE_PATH and LIBRARY_PATH may say."""
    found = subprocess.run(["g++", "-fsyntax-only", "-x", "c++", "-"], input=b"#include <ncnn/net.h>", check=False)
    if found.returncode:
        pytest.skip("needs ncnn's headers")
    return ["-lncnn"]


@pytest.mark.skipif(shutil.which("g++") is None, reason="needs a C++ compiler")
@pytest.mark.parametrize("exported", ["openvino", "ncnn"], indirect=True)
def test_its_c_plus_plus_compiles_and_gives_the_same_depth(exported):
    """ONNX Runtime's wheel brings no headers, and no system has them."""
    name, folder = exported
    engine = {"openvino": openvino_from_its_wheel, "ncnn": ncnn_of_the_system}[name]()
    subprocess.run(["g++", "-std=c++17", "run.cpp", *engine, "-o", "run"], cwd=folder, check=True)
    said = subprocess.run([folder / "run"], cwd=folder, capture_output=True, text=True, check=True).stdout
    model = egodepth.load(folder)
    grey = np.full((1, 3, model.height, model.width), 0.5, np.float32)
    expected = float(model.predict_depth(grey)[0, 0, 0, 0])
    assert float(said.rpartition(" ")[2]) == pytest.approx(expected, rel=0.02 if name == "ncnn" else 1e-3)


def test_a_folder_is_a_model_again_where_an_engine_runs_it(exported):
    name, folder = exported
    if name == "torch-export":
        with pytest.raises(UserError, match="for other programs"):
            open_for_use(folder)
        return
    opened = open_for_use(folder)
    assert opened.scale is not None
    picture = np.asarray(Image.open(EXAMPLES[0]))
    [depth] = opened.predictor.predict_images([picture])
    whole = egodepth.load("starter")
    facts = replace(whole.facts, height=64, width=96, keeps_aspect=False)
    [expected] = NetworkPredictor(whole.network, facts).predict_images([picture])
    np.testing.assert_allclose(depth, expected, rtol=1e-3)


def test_an_engine_that_does_not_read_a_folder_names_the_one_that_does(tmp_path, capsys):
    pytest.importorskip("pnnx")
    assert export(tmp_path / "model", "--format", "ncnn", "--quantize", "fp16") == 0
    assert (tmp_path / "model" / "model.ncnn.bin").stat().st_size < 5e6  # 2.3 million weights
    assert run("predict", tmp_path / "model", EXAMPLES[0], "--runtime", "onnx", "--out", tmp_path / "depth") == 2
    assert "--runtime onnx: does not run this exported model. Use ncnn." in capsys.readouterr().err


def test_exported_models_are_measured_each_in_the_engine_that_reads_it(tmp_path, capsys):
    pytest.importorskip("pnnx")
    for form in ("onnx", "ncnn"):
        assert export(tmp_path / form, "--format", form) == 0
    options = "--rounds", "1", "--json", tmp_path / "speed.json"
    assert run("benchmark", tmp_path / "ncnn", "--baseline", tmp_path / "onnx", *options) == 0
    rows = json.loads((tmp_path / "speed.json").read_text())["rows"]
    engines = {(Path(row["model"]).name, row["engine"].removesuffix("-bf16")) for row in rows}
    assert engines == {("onnx", "onnx"), ("onnx", "openvino"), ("ncnn", "ncnn")}


def test_a_model_that_ends_the_process_that_runs_it_is_refused(tmp_path):
    """As ncnn's of RPrDepth do; a damaged file stands for them."""
    pytest.importorskip("pnnx")
    assert export(tmp_path / "model", "--format", "ncnn") == 0
    (tmp_path / "model" / "model.ncnn.param").write_text("7767517\n1 1\nInput in0 0 1 in0\n")
    with pytest.raises(RuntimeError, match="ncnn ended with"):
        FORMATS["ncnn"].run(tmp_path / "model", np.zeros((1, 3, 64, 96), np.float32))


def test_eight_bits_stay_near_and_are_smaller(tmp_path):
    for name, picture in enumerate(EXAMPLES):
        image = Image.open(picture)
        image.save(tmp_path / f"{name}.png")
        image.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(tmp_path / f"{name}-mirrored.png")
    assert export(tmp_path / "eight", "--quantize", "int8", "--data", tmp_path / "*.png") == 0
    eight = open_for_use(tmp_path / "eight").predictor
    assert (tmp_path / "eight" / "model.onnx").stat().st_size < 0.4 * (STARTER_FOLDER / "model.onnx").stat().st_size
    picture = np.asarray(Image.open(EXAMPLES[1]))
    whole = egodepth.load("starter")
    facts = replace(whole.facts, height=64, width=96, keeps_aspect=False)
    [expected] = NetworkPredictor(whole.network, facts).predict_images([picture])
    difference = np.abs(eight.predict_images([picture])[0] / expected - 1)
    assert 0 < difference.mean() < 0.1


def test_eight_bit_weights_do_not_overflow_where_two_products_are_added_in_sixteen_bits(tmp_path):
    """As processors without VNNI do: 2 x 255 x 64 is within 32,767, and 2 x 255 x 127 is not."""
    onnx = pytest.importorskip("onnx")
    for number in range(8):
        Image.open(EXAMPLES[number % 2]).resize((96, 64)).save(tmp_path / f"{number}.png")
    assert export(tmp_path / "eight", "--quantize", "int8", "--data", tmp_path / "*.png") == 0
    tensors = onnx.load(tmp_path / "eight" / "model.onnx").graph.initializer
    weights = [each for each in tensors if each.data_type == onnx.TensorProto.INT8 and len(each.dims) == 4]
    assert len(weights) > 20
    assert max(np.abs(onnx.numpy_helper.to_array(each).astype(int)).max() for each in weights) == 64


def test_core_ml_is_written_and_says_that_it_was_not_checked(tmp_path, capsys):
    pytest.importorskip("coremltools")
    assert export(tmp_path / "model", "--format", "coreml") == 0
    assert "not checked" in capsys.readouterr().out
    assert (tmp_path / "model" / "model.mlpackage").is_dir()


def test_a_conversion_that_is_wrong_is_not_kept(tmp_path, capsys, monkeypatch):
    wrong = FORMATS["torch-export"].run
    monkeypatch.setitem(
        folders.FORMATS,
        "torch-export",
        type(FORMATS["torch-export"])(
            **{**vars(FORMATS["torch-export"]), "run": lambda place, image: 1.1 * wrong(place, image)}
        ),
    )
    assert export(tmp_path / "model", "--format", "torch-export") == 2
    assert "was not kept" in capsys.readouterr().err
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--quantize", "int8"), "--data go together"),
        (("--data", "pictures"), "--data go together"),
        (("--format", "torch-export", "--quantize", "int8"), "written in fp32"),
        (("--format", "ncnn", "--quantize", "int8"), "written in fp32, fp16"),
        (("--height", "65"), "multiple of 32"),
    ],
)
def test_what_does_not_go_together_is_one_line(tmp_path, capsys, options, message):
    assert run("export", "starter", tmp_path / "model", *options) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "model").exists()
