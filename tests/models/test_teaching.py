"""Writing a teacher's maps: which frames, in which units, how exact, and going on after a stop."""

import json
import logging
import math
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from egodepth.data.configurations import DataConfig, TeacherMapsConfig
from egodepth.data.images import read_depth_png, read_image, resize_image
from egodepth.data.opening import open_training_sets
from egodepth.data.samples import Sample
from egodepth.data.taught_dataset import nearest, taught_sets
from egodepth.data.teacher_maps import DESCRIPTION, EXACT, open_maps
from egodepth.errors import UserError
from egodepth.geometry.scale import Scale
from egodepth.models import teaching
from egodepth.models.foreign import ForeignModel
from egodepth.models.released import ReleasedCamera, ReleasedModel, save_model
from egodepth.models.teachers import open_teacher
from egodepth.networks.configurations import Monodepth2Config, PoseConfig
from egodepth.recipes import recipe_named
from tests.command_line import TINY
from tests.data.trees import write_frames
from tests.methods.batches import random_batch
from tests.models.foreign_models import save_foreign

MONO = -1, 1
SIZE = 64, 192
FIELD_OF_VIEW = 80


def save_own(folder: Path, metres: float | None = None, focal: float | None = None, **provenance) -> Path:
    """A small model of ours with random weights."""
    recipe = replace(
        recipe_named("monodepth2"),
        network=Monodepth2Config(encoder=TINY),
        pose=PoseConfig(encoder=TINY),
        height=SIZE[0],
        width=SIZE[1],
    )
    scale = None if metres is None else Scale(metres, "stereo baseline")
    save_model(
        folder, "monodepth2", recipe, recipe.build_networks(), scale, provenance, False, ReleasedCamera(focal=focal)
    )
    return folder


@dataclass
class Fake:
    """A teacher that knows the exact depth of a street, from its files."""

    folder: Path
    size: tuple[int, int] = SIZE
    width: int = SIZE[1]
    units: str = "metres"
    licence: str | None = None
    factor: float = 1.0
    calls: int = 0
    stops_after: int = 10**9

    def inverse_depth(self, sample, source_ids):
        self.calls += 1
        if self.calls > self.stops_after:
            raise KeyboardInterrupt
        drive, frame, side = sample.name.split()
        camera = {"l": "image_02", "r": "image_03"}[side]
        file = self.folder / drive / "proj_depth" / "groundtruth" / camera / f"{int(frame):010d}.png"
        depth = read_depth_png(file)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(depth > 0, self.factor / depth, 0).astype(np.float32)


def teach(out, teacher, drive, monkeypatch, **options):
    monkeypatch.setattr(teaching, "open_teacher", lambda *_: teacher)
    monkeypatch.setattr(teaching, "fingerprint", lambda _: "0123")
    return teaching.teach("fake", drive, out, DataConfig(), "calibrated", options.get("views", MONO))


def tree(folder):
    return {file.relative_to(folder): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}


def uncosted(folder):
    """A folder's files without what was measured of the teacher, which no two calls find alike."""
    files = tree(folder)
    said = json.loads(files.pop(Path(DESCRIPTION)))
    assert said.pop("cost")["seconds"] > 0
    return files, said


@pytest.fixture
def walk(tmp_path):
    """A folder of a few pictures, without a camera."""
    return write_frames(tmp_path / "walk", range(5), SIZE)


@pytest.fixture(scope="module")
def sets(drive, tmp_path_factory):
    return open_training_sets(drive, DataConfig(), "calibrated", MONO, *SIZE, tmp_path_factory.mktemp("cache"))


# --- what is written ---


def test_each_frame_that_training_learns_from_or_validates_on_gets_its_map(drive, sets, tmp_path, monkeypatch):
    report = teach(tmp_path / "maps", Fake(drive), drive, monkeypatch)
    assert report.written == len(sets.training) + len(sets.validation)
    assert (report.there, report.skipped, report.clipped, report.units) == (0, (), 0, "metres")
    maps = open_maps(str(tmp_path / "maps"), drive, TeacherMapsConfig())
    assert (maps.values, maps.units) == ("inverse-depth", "metres")
    exact = open_maps(EXACT, drive, TeacherMapsConfig())
    for taught, truth in zip(
        taught_sets(sets.training, sets.validation, maps),
        taught_sets(sets.training, sets.validation, exact),
        strict=True,
    ):
        assert taught.missing == ()
        for index in range(0, len(taught), 4):
            # Half a step of 16 bits that reach twice as near as anything does.
            written, known = taught[index].teacher_disparity, truth[index].teacher_disparity
            assert (written - known).abs().max() <= 0.51 * maps.scale + 1e-7


def test_maps_that_are_there_are_kept(drive, tmp_path, monkeypatch):
    first = teach(tmp_path / "maps", Fake(drive), drive, monkeypatch)
    before = tree(tmp_path / "maps")
    again = teach(tmp_path / "maps", Fake(drive, factor=2), drive, monkeypatch, views=("stereo",))
    assert (again.there, again.written) == (first.written, 0)
    assert tree(tmp_path / "maps") == before


def test_a_call_that_was_stopped_goes_on_to_the_same_files(drive, tmp_path, monkeypatch):
    teach(tmp_path / "whole", Fake(drive), drive, monkeypatch)
    looked_at = 20 // (20 // teaching.FIRST_MAPS)
    with pytest.raises(KeyboardInterrupt):
        teach(tmp_path / "maps", Fake(drive, stops_after=looked_at + 5), drive, monkeypatch)
    written = list((tmp_path / "maps").rglob("*.png"))
    assert 0 < len(written) < 20
    written[0].write_bytes(written[0].read_bytes()[:-9])  # what another program left half copied
    report = teach(tmp_path / "maps", Fake(drive), drive, monkeypatch)
    assert report.there == len(written) - 1
    assert uncosted(tmp_path / "maps") == uncosted(tmp_path / "whole")


def test_what_comes_nearer_than_the_files_can_say_is_clipped_and_counted(drive, tmp_path, monkeypatch):
    teach(tmp_path / "maps", Fake(drive), drive, monkeypatch)
    scale = json.loads((tmp_path / "maps" / DESCRIPTION).read_text())["scale"]
    for file in (tmp_path / "maps").rglob("*.png"):
        file.unlink()
    report = teach(tmp_path / "maps", Fake(drive, factor=10), drive, monkeypatch)
    assert 0 < report.clipped < 1
    maps = open_maps(str(tmp_path / "maps"), drive, TeacherMapsConfig())
    assert maps.scale == scale
    assert max(maps.read(file).max() for file in maps.files.values()) == pytest.approx(65534 * scale)


def test_a_broken_frame_is_skipped_by_name(drive, tmp_path, monkeypatch):
    shutil.copytree(drive, tmp_path / "drive")
    [broken] = (tmp_path / "drive").glob("*/*_0001_sync/image_02/data/0000000004.png")
    broken.write_bytes(broken.read_bytes()[:100])
    report = teach(tmp_path / "maps", Fake(tmp_path / "drive"), tmp_path / "drive", monkeypatch)
    assert len(report.skipped) == 1
    assert str(broken) in report.skipped[0]
    assert report.written > 10


def test_a_folder_of_other_things_or_of_another_teacher_is_left_alone(drive, tmp_path, monkeypatch):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").touch()
    with pytest.raises(UserError, match="holds something else than a teacher's maps"):
        teach(tmp_path / "other", Fake(drive), drive, monkeypatch)
    with pytest.raises(UserError, match="holds something else"):
        teach(tmp_path / "other" / "thesis.txt", Fake(drive), drive, monkeypatch)
    teach(tmp_path / "maps", Fake(drive), drive, monkeypatch)
    with pytest.raises(UserError, match="holds maps of fake with units metres, these would have scale"):
        teach(tmp_path / "maps", Fake(drive, units="scale"), drive, monkeypatch)


def test_a_teacher_that_says_nothing_is_refused(drive, tmp_path, monkeypatch):
    with pytest.raises(UserError, match="hold no depth"):
        teach(tmp_path / "maps", Fake(drive, factor=0), drive, monkeypatch)
    assert not list(tmp_path.rglob("*.png"))


def test_a_pack_with_a_name_that_leads_out_of_the_folder_is_refused(tmp_path):
    class Pack:
        source_ids = MONO

        def sample_names(self):
            return ["../../etc/x"]

    with pytest.raises(UserError, match="names a file outside"):
        teaching._places(tmp_path, [Pack()])


# --- our own models ---


def run(model, data, out, intrinsics="calibrated", **options):
    teaching.teach(str(model), data, out, DataConfig(), intrinsics, MONO, **options)
    return json.loads((out / DESCRIPTION).read_text())


@pytest.mark.parametrize(
    ("metres", "focal", "units"),
    [(None, 0.58, "scale"), (5.4, 0.58, "metres"), (5.4, 0.29, "metres"), (5.4, None, "scale")],
)
def test_metres_of_our_models_are_brought_to_the_camera_of_the_frames(metres, focal, units, walk, tmp_path):
    model = save_own(tmp_path / "model", metres, focal)
    said = run(model, walk, tmp_path / "maps", f"fov={FIELD_OF_VIEW}")
    assert said["units"] == units
    assert "licence" not in said
    maps = open_maps(str(tmp_path / "maps"), walk, TeacherMapsConfig())
    written = maps.read(maps.files["walk/2"])
    [depth] = ReleasedModel.open(model).predictor().predict_images([read_image(walk / "2.png")])
    # Through a lens twice as long everything looks twice as near as it is.
    depth = depth * (0.5 / math.tan(math.radians(FIELD_OF_VIEW / 2)) / focal if units == "metres" else 1)
    assert 1 / written == pytest.approx(depth, rel=2e-3)


def test_metres_of_frames_whose_camera_is_not_known_are_up_to_a_factor(walk, tmp_path):
    model = save_own(tmp_path / "model", 5.4, 0.58)
    assert run(model, walk, tmp_path / "a")["units"] == "scale"
    assert run(model, walk, tmp_path / "b", "fov=80")["units"] == "metres"
    assert not (tmp_path / ".a.frames").exists()


def test_maps_have_the_shape_of_the_frames_as_they_were_taken(tmp_path):
    walk = write_frames(tmp_path / "walk", range(5), (96, 96))
    run(save_own(tmp_path / "model"), walk, tmp_path / "maps", "fov=80")
    maps = open_maps(str(tmp_path / "maps"), walk, TeacherMapsConfig())
    assert {maps.read(file).shape for file in maps.files.values()} == {(192, 192)}


def test_a_width_is_for_models_that_take_any(tmp_path, drive):
    with pytest.raises(UserError, match=r"--width 96: .* sees pictures of its own size"):
        run(save_own(tmp_path / "model"), drive, tmp_path / "maps", width=96)
    with pytest.raises(UserError, match="--device cuda:77: is not there"):
        run(tmp_path / "model", drive, tmp_path / "maps", device="cuda:77")


def test_a_student_of_maps_hands_their_licence_on(tmp_path, walk):
    said = run(save_own(tmp_path / "model", teacher_licence="cc-by-nc-4.0"), walk, tmp_path / "maps")
    assert said["licence"] == "cc-by-nc-4.0"
    assert "not for commercial use" in said["licence_warning"]


# --- models of transformers ---


def test_a_foreign_model_sees_each_frame_in_its_shape(tmp_path, drive, sets, caplog):
    model = save_foreign("depth_anything", tmp_path / "model", "license: cc-by-nc-4.0")
    with caplog.at_level(logging.WARNING, "egodepth"):
        said = run(model, drive, tmp_path / "maps", width=96)
    assert "its licence is cc-by-nc-4.0: not for commercial use" in caplog.text
    assert {key: said[key] for key in ("values", "units", "licence", "teacher", "width")} == {
        "values": "inverse-depth",
        "units": "scale-and-shift",
        "licence": "cc-by-nc-4.0",
        "teacher": "model",
        "width": 96,
    }
    maps = open_maps(str(tmp_path / "maps"), drive, TeacherMapsConfig())
    taught_sets(sets.training, sets.validation, replace(maps, certain=True))
    assert {maps.read(file).shape for file in maps.files.values()} == {(32, 96)}
    import torch

    from egodepth.models.foreign import ForeignModel

    image = read_image(next(drive.glob("*/*_0001_sync/image_02/data/0000000003.png")))
    seen = resize_image(resize_image(image, 576, 1024), 341, 1024)
    expected = ForeignModel(str(model), torch.device("cpu")).inverse_depth(seen).clip(0)
    written = maps.read(next(file for key, file in maps.files.items() if key.endswith("0001_sync/image_02/0000000003")))
    assert written == pytest.approx(nearest(expected, (0, 0, 1, 1), 32, 96), abs=0.51 * maps.scale)


def test_a_model_with_a_size_of_its_own_sees_wide_frames_at_that(tmp_path, monkeypatch):
    """A processor that keeps the form takes the side that needs less change: of 1024x309 for 518 that is the longer."""
    folder = save_foreign("depth_anything", tmp_path / "model")
    settings = json.loads((folder / "preprocessor_config.json").read_text())
    (folder / "preprocessor_config.json").write_text(
        json.dumps(settings | {"size": {"height": 518, "width": 518}, "keep_aspect_ratio": True})
    )
    shown = []

    def inverse_depth(model, image):
        shown.append(image.shape[:2])
        return np.ones(image.shape[:2], np.float32)

    monkeypatch.setattr(ForeignModel, "inverse_depth", inverse_depth)
    teacher = open_teacher(f"hf:{folder}", torch.device("cpu"), None, known_camera=True)
    batch = random_batch((100, 331), ())  # square pixels for 0.58 and 1.92 widths and heights
    sample = Sample("wide", batch.target[0], batch.sources[0], batch.intrinsics[0])
    assert teacher.inverse_depth(sample, ()).shape == (193, 640)
    assert shown == [(518, 1717)]
