"""`egodepth teach` and `egodepth train --teacher-depth`: from a street to a student, and what is refused on the way."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from tests.command_line import logged, only_line, run, train
from tests.models.foreign_models import save_foreign


def released(run_folder):
    return json.loads((run_folder / "model" / "config.json").read_text())


@pytest.fixture(scope="module")
def own_model(drive, tmp_path_factory):
    """A run that learnt from the exact depth of the street, in metres."""
    out = tmp_path_factory.mktemp("own") / "run"
    assert train(drive, out, "--teacher-depth", "exact", "--taught.synthesis-weight", 0) == 0
    return out


def test_exact_depth_teaches_metres_of_the_streets_camera(own_model):
    model = released(own_model)
    assert model["metres_from"] == "teacher depth"
    assert model["focal"] == pytest.approx(0.58, abs=0.01)
    assert all(value > 0 for value in logged(own_model, "taught_abs_rel"))


def test_a_model_of_ours_teaches_a_student(own_model, tmp_path, capsys):
    assert run("simulate", tmp_path / "street", "--frames", 10, "--height", 64, "--width", 96) == 0
    assert run("teach", own_model, tmp_path / "street", "--out", tmp_path / "maps") == 0
    assert "(inverse depth, in metres)" in capsys.readouterr().out
    assert run("teach", own_model, tmp_path / "street", "--out", tmp_path / "maps") == 0
    assert "Wrote 0 maps" in capsys.readouterr().out
    assert train(tmp_path / "street", tmp_path / "run", "--teacher-depth", tmp_path / "maps", "--taught.checked") == 0
    assert released(tmp_path / "run")["metres_from"] == "teacher depth"
    assert all(0 < share <= 1 for share in logged(tmp_path / "run", "taught_believed"))
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert report["take"] in ("student", "teacher")
    student, teacher = report["costs"]["student"], report["costs"]["teacher"]
    assert teacher == json.loads((tmp_path / "maps" / "depth_maps.json").read_text())["cost"]
    for cost in (student, teacher):
        assert 0.5 < cost["weights_mb"] < 100
        assert 1e-4 < cost["seconds"] < 5
        assert cost["device"].startswith("cpu, threads: ")
        assert cost["memory_mb"] > 0
    page = (tmp_path / "run" / "report.html").read_text()
    assert f"The teacher takes {1000 * teacher['seconds']:.3g} ms a picture" in page
    assert "teacher_licence" not in released(tmp_path / "run")["provenance"]
    assert "no map" not in capsys.readouterr().err


def test_a_model_of_transformers_teaches_a_student_that_carries_its_licence(
    drive, tmp_path, capsys, caplog, monkeypatch
):
    model = save_foreign("depth_anything", tmp_path / "model", "license: cc-by-nc-4.0")
    monkeypatch.chdir(tmp_path)
    # Answers of random weights have their top and bottom anywhere, which is refused unless one says what they are.
    options = ["--teacher-depth", "maps", "--teacher-maps.values", "inverse-depth"]
    assert run("teach", f"hf:{model}", drive, "--out", "maps", "--width", 96) == 0
    assert "its licence is cc-by-nc-4.0: not for commercial use" in caplog.text
    assert "up to a factor and a shift of each map" in capsys.readouterr().out
    assert train(drive, tmp_path / "run", *options) == 0
    assert released(tmp_path / "run")["provenance"]["teacher_licence"] == "cc-by-nc-4.0"
    assert released(tmp_path / "run")["metres_per_unit"] is None
    monkeypatch.chdir(tmp_path.parent)
    options[1] = str(tmp_path / "maps")
    assert train(drive, tmp_path / "run", *options, "--resume") == 0  # from elsewhere, by another name


# --- what is refused ---

KEY = "2011_09_26/2011_09_26_drive_0001_sync"
RAMP = np.repeat(np.linspace(40, 2, 64, dtype=np.float32)[:, None], 192, axis=1)


def write_maps(folder, drive, write):
    """A map for each frame of the street, by `write(file without suffix)`."""
    for frame in drive.glob("*/*/image_0[23]/data/*.png"):
        date, name, camera, _, _ = frame.relative_to(drive).parts
        (folder / date / name / camera).mkdir(parents=True, exist_ok=True)
        write(folder / date / name / camera / frame.stem)


def as_npy(values):
    return lambda file: np.save(f"{file}.npy", values)


def truncated(file):
    np.save(f"{file}.npy", RAMP)
    with open(f"{file}.npy", "r+b") as content:  # noqa: PTH123
        content.truncate(1000)


def in_8_bits(file):
    Image.fromarray(RAMP.astype(np.uint8)).save(f"{file}.png")


def without_arrays(file):
    np.savez(f"{file}.npz")


@pytest.mark.parametrize(
    ("write", "said"),
    [
        (truncated, ".npy: is no depth map, or is damaged"),
        (in_8_bits, ".png: expected a 16-bit grey PNG"),
        (without_arrays, ".npz: is no depth map, or is damaged"),
        (as_npy(np.array([{"depth": 3}], object)), ".npy: is no depth map"),
        (as_npy(RAMP[:, :64]), ".npy: is 64x64, 1.00 times as wide as high; its frame is 3.00 times, and 96x64 in"),
        (as_npy(RAMP[::-1]), "is nearer at the top than at the bottom"),
        (as_npy(1 / RAMP), "If they hold inverse depth, say --teacher-maps.values inverse-depth"),
    ],
)
def test_maps_that_cannot_teach_are_one_line_that_names_one(write, said, drive, tmp_path, capsys):
    write_maps(tmp_path / "maps", drive, write)
    assert train(drive, tmp_path / "run", "--teacher-depth", tmp_path / "maps") == 2
    line = only_line(capsys.readouterr().err)
    assert said in line
    assert str(tmp_path / "maps" / KEY) in line
    assert not (tmp_path / "run" / "run.json").exists()


def test_a_folder_without_maps_for_these_frames_is_refused(drive, tmp_path, capsys):
    for folder, said in (
        (tmp_path / "none", "no such folder"),
        (tmp_path, "holds no depth map"),
    ):
        assert train(drive, tmp_path / "run", "--teacher-depth", folder) == 2
        assert said in only_line(capsys.readouterr().err)
    (tmp_path / "maps").mkdir()
    np.save(tmp_path / "maps" / "elsewhere.npy", RAMP)
    assert train(drive, tmp_path / "run", "--teacher-depth", tmp_path / "maps") == 2
    line = only_line(capsys.readouterr().err)
    assert f"its map would be {KEY}/image_0" in line
    assert "begin with elsewhere" in line


def test_inverse_depth_is_taken_for_what_it_is_once_that_is_said(drive, tmp_path):
    write_maps(tmp_path / "maps", drive, as_npy(1 / RAMP))
    options = "--teacher-depth", tmp_path / "maps", "--teacher-maps.values", "inverse-depth"
    assert train(drive, tmp_path / "run", *options) == 0


def test_a_model_of_transformers_is_no_teacher_on_the_fly(drive, tmp_path, capsys):
    assert train(drive, tmp_path / "run", "--teacher", "hf:owner/name") == 2
    line = only_line(capsys.readouterr().err)
    assert "egodepth teach hf:owner/name DATA --out MAPS" in line
    assert "--teacher-depth MAPS" in line


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["hf:owner/name", "DRIVE"], "--out is missing"),
        (["MODEL", "--out", "maps"], "DATA is missing"),
        (["hf:./none", "DRIVE", "--out", "maps"], "hf:./none: no such folder"),
        (["none", "DRIVE", "--out", "maps"], "none: no such folder"),
        (["none", "DRIVE", "--out", "maps", "--width", "0"], "--width 0: must be 1 or more"),
        (["none", "DRIVE", "--out", "maps", "--mode", "strereo"], "Did you mean stereo?"),
        (["none", "nowhere", "--out", "maps"], "nowhere: no such"),
    ],
)
def test_a_mistake_in_teach_is_one_line(words, said, drive, tmp_path, monkeypatch, capsys):
    pytest.importorskip("transformers", reason="transformers is not installed")
    monkeypatch.chdir(tmp_path)
    assert run("teach", *(str(drive) if word == "DRIVE" else word for word in words)) == 2
    assert said in only_line(capsys.readouterr().err)
    assert not (tmp_path / "maps").exists()


def test_a_foreign_folder_teaches_by_its_plain_name_too(drive, tmp_path, caplog):
    model = save_foreign("dpt", tmp_path / "model", None)
    walk = tmp_path / "walk"
    shutil.copytree(next(drive.glob("*/*_0001_sync/image_02/data")), walk)
    assert run("teach", model, walk, "--out", tmp_path / "maps", "--width", 96) == 0
    assert "its licence is unknown" in caplog.text
    assert (tmp_path / "maps" / "walk" / "0000000002.png").is_file()
