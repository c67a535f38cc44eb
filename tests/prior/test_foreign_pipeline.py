"""RPrDepth with a model of transformers as teacher, by the real commands: prior, training, release, refusals."""

import json
import shutil
from pathlib import Path

import pytest
import torch

import egodepth
from egodepth.models import foreign_teacher
from egodepth.models.foreign_teacher import ForeignTeacher
from egodepth.networks.prior import ReferenceSet
from egodepth.networks.rprdepth import RPrDepth
from egodepth.training.checkpoints import LAST_CHECKPOINT
from tests.command_line import SMALL, TINY, TINY_NETWORKS, evaluated, only_line, run
from tests.models.foreign_models import save_foreign

OPTIONS = [*SMALL, "--pose.encoder", TINY, "--network.student.encoder", "hrnet_w18_small"]
LADDER = ["--ladder.images", 3, "--ladder.pixels-per-image", 20, "--ladder.keep", 10]
MODEL = Path("model")


@pytest.fixture(scope="module", autouse=True)
def small_frames():
    """Twice the student's size in place of ten times, at which a step takes seconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(foreign_teacher, "RICH_WIDTH", 192)
        yield


@pytest.fixture(scope="module")
def teacher(tmp_path_factory) -> str:
    return f"hf:{save_foreign('depth_anything', tmp_path_factory.mktemp('hub') / 'any', 'license: cc-by-nc-4.0')}"


@pytest.fixture(scope="module")
def prior(teacher, drive, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("prior") / "prior.safetensors"
    assert run("prior", "build", teacher, drive, "--out", out, "--images", 3, "--pixels-per-image", 20) == 0
    return out


def words(teacher: str, prior: Path, drive: Path, out: Path, *more: object) -> list[str]:
    given = ["--teacher", teacher, "--prior", prior, *OPTIONS, "--steps", 6, "--checkpoint-every", 2, *more]
    return [str(word) for word in ("train", "rprdepth", drive, "--out", out, *given)]


@pytest.fixture(scope="module")
def trained(teacher, prior, drive, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("trained") / "run"
    assert run(*words(teacher, prior, drive, out)) == 0
    return out


def test_a_prior_has_the_width_of_the_teacher_s_feature_and_depth_in_its_pictures_unit(teacher, prior):
    references = ReferenceSet.load(prior)
    assert references.features.shape == (3 * 20, 8)
    assert (references.provenance["height"], references.provenance["width"]) == (192, 640)
    assert references.depths.max() <= 20
    assert references.depths.min() > 0


def test_a_student_learns_from_it_and_is_released_without_it_but_with_its_licence(trained, drive, tmp_path):
    config = json.loads((trained / MODEL / "config.json").read_text())
    assert config["provenance"]["teacher_licence"] == "cc-by-nc-4.0"
    assert (config["network"]["references"], config["network"]["reference_channels"]) == (60, 8)
    assert config["metres_per_unit"] is None
    state = torch.load(trained / LAST_CHECKPOINT, weights_only=True)["state_dict"]
    assert {name.split(".")[0] for name in state} == {"depth_network", "pose_network"}
    assert isinstance(egodepth.load(trained).network, RPrDepth)
    assert evaluated(trained, drive, "simulated", tmp_path / "figures.json")["images"] == 2
    picture = next(drive.glob("*/*/image_02/data/*.png"))
    assert run("predict", trained, picture, "--out", tmp_path / "depth", "--runtime", "torch") == 0


def test_a_run_that_broke_off_resumes_to_the_same_student(teacher, prior, trained, drive, tmp_path, monkeypatch):
    command = words(teacher, prior, drive, tmp_path / "cut")
    asked = []

    def cut(self: ForeignTeacher, views: object) -> torch.Tensor:
        asked.append(views)
        if len(asked) == 4:
            raise RuntimeError("cut")
        return pseudo_depth(self, views)

    pseudo_depth = ForeignTeacher.pseudo_depth
    monkeypatch.setattr(ForeignTeacher, "pseudo_depth", cut)
    with pytest.raises(RuntimeError, match="cut"):
        run(*command)
    assert torch.load(tmp_path / "cut" / LAST_CHECKPOINT, weights_only=True)["global_step"] == 2
    monkeypatch.setattr(ForeignTeacher, "pseudo_depth", pseudo_depth)
    assert run(*command, "--resume") == 0
    weights = MODEL / "model.safetensors"
    assert (tmp_path / "cut" / weights).read_bytes() == (trained / weights).read_bytes()


def test_all_makes_what_is_missing_beside_it(teacher, drive, tmp_path, caplog):
    student = tmp_path / "student"
    diffnet = [*TINY_NETWORKS[:1], "hrnet_w18_small", "--pose.encoder", TINY]
    assert run("train", "diffnet", drive, "--out", student, *SMALL, *diffnet) == 0
    given = ["--all", *LADDER, "--teacher", teacher, "--from", student, "--losses.no-rich-synthesis"]
    assert run("train", "rprdepth", drive, "--out", tmp_path / "out", *OPTIONS, *given) == 0
    made = {path.name for path in (tmp_path / "out").iterdir()}
    assert made == {"prior.safetensors", "prior_small.safetensors", "stage1", "stage2"}
    config = json.loads((tmp_path / "out" / "stage2" / MODEL / "config.json").read_text())
    assert config["provenance"]["teacher_licence"] == "cc-by-nc-4.0"
    assert "its licence is cc-by-nc-4.0: not for commercial use" in caplog.text


def test_a_prior_of_another_teacher_an_unknown_type_and_other_recipes_are_refused(
    teacher, prior, drive, tmp_path, capsys
):
    other = save_foreign("glpn", tmp_path / "glpn")
    assert run(*words(f"hf:{other}", prior, drive, tmp_path / "run")) == 2
    assert "Give the teacher that it was built with" in only_line(capsys.readouterr().err)

    shutil.copytree(other, tmp_path / "unknown")
    file = tmp_path / "unknown" / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"model_type": "chmv2"}))
    for command in (
        words(f"hf:{tmp_path / 'unknown'}", prior, drive, tmp_path / "run"),
        ["prior", "build", f"hf:{tmp_path / 'unknown'}", drive, "--out", tmp_path / "none.safetensors"],
    ):
        assert run(*command) == 2
        assert "is of type chmv2" in only_line(capsys.readouterr().err)

    for name in (f"hf:{other}", str(other)):
        assert run("train", "monodepth2", drive, "--out", tmp_path / "run", "--teacher", name) == 2
        line = only_line(capsys.readouterr().err)
        assert f"egodepth teach {name} DATA --out MAPS, then train with --teacher-depth MAPS" in line
    assert not (tmp_path / "run").exists()


def test_there_is_no_mask_of_where_it_is_reliable(teacher, prior, drive, tmp_path, capsys):
    assert run(*words(teacher, prior, drive, tmp_path / "run", "--losses.reliable-only")) == 2
    assert "no second opinion" in only_line(capsys.readouterr().err)
