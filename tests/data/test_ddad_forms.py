"""Data in DDAD's format under other names: lists, splits, cameras, images; and TRI's own test scenes, as they are."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from egodepth.data.checking import check_data
from egodepth.data.configurations import DataConfig, EvaluationDataConfig
from egodepth.data.ddad.points import read_points
from egodepth.data.ddad.scenes import DdadFrames, DdadScene, lidar_depth
from egodepth.data.ddad.training import Ddad
from egodepth.data.images import read_image
from egodepth.data.opening import open_evaluation_frames, open_training_sets
from egodepth.data.recognise import recognise
from egodepth.errors import UserError
from tests.command_line import SMALL, TINY_NETWORKS, evaluated, only_line, run
from tests.data.trees import write_ddad, write_ddad_list, write_ddad_scene

TRI_LIST = "scene_dataset_v1.0.json"


def training(root, split=None):
    return open_training_sets(root, DataConfig(split=split), "calibrated", (-1, 1), 16, 64, root / "cache")


def evaluation(root, split=None):
    return open_evaluation_frames(root, "ddad", EvaluationDataConfig(split=split))


# --- lists -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [TRI_LIST, "ddad_tiny.json", "mine.json"])
def test_a_list_of_any_name_is_read(tmp_path, name):
    write_ddad(tmp_path, ("scene_01", "scene_02"), ("scene_01",), listing=name)
    (tmp_path / "agents_v1.json").write_text('{"agents_splits": {}}')
    assert recognise(tmp_path) == "ddad"
    sets = training(tmp_path)
    assert (len(sets.training), len(sets.validation)) == (2, 1)
    assert len(evaluation(tmp_path)) == 3
    report = check_data(tmp_path)
    assert report.faults == ()
    assert report.counts["samples of mode mono"] == 2
    assert "1 scenes are in train and in val" in report.notes[0]


def test_a_list_of_another_name_is_trained_and_evaluated(tmp_path):
    write_ddad(tmp_path / "data", ("scene_01", "scene_02"), ("scene_01", "scene_02"), listing=TRI_LIST)
    assert run("train", "monodepth2", tmp_path / "data", "--out", tmp_path / "run", *SMALL, *TINY_NETWORKS) == 0
    figures = evaluated(tmp_path / "run", tmp_path / "data", "ddad", tmp_path / "figures.json")
    assert figures["images"] == 6


@pytest.mark.parametrize("folder", ["ddad_train_val", "DDAD_tiny"])
def test_the_folder_that_an_archive_unpacks_is_found_from_above(tmp_path, folder):
    write_ddad(tmp_path / folder, listing="ddad_tiny.json")
    assert recognise(tmp_path) == "ddad"
    assert len(evaluation(tmp_path)) == 6


def test_of_several_lists_one_must_be_named(tmp_path):
    write_ddad(tmp_path, ("a", "b"), ("c",))
    write_ddad_list(tmp_path / "small.json", ("a",), ("b", "c"))
    for opened in (training, evaluation):
        with pytest.raises(UserError, match=r"has several lists of scenes, ddad\.json, small\.json\. .*--data\.split"):
            opened(tmp_path)
        with pytest.raises(UserError, match=r"--data\.split other\.json: no such list.*only ddad\.json, small\.json"):
            opened(tmp_path, "other.json")
    assert [len(training(tmp_path, name).training) for name in ("ddad.json", str(tmp_path / "small.json"))] == [2, 1]
    assert [len(evaluation(tmp_path, name)) for name in ("ddad.json", "small.json", "ddad.json:train")] == [3, 6, 6]
    report = check_data(tmp_path)
    assert report.faults == ()
    assert report.notes == ("2 lists of scenes (ddad.json, small.json): choose one with --data.split ddad.json",)
    assert report.counts["samples of mode mono of small.json"] == 1


def test_a_split_without_scenes_is_told_with_those_there_are(tmp_path):
    write_ddad(tmp_path, ("a",), ())
    assert training(tmp_path).validation is None
    assert len(evaluation(tmp_path, "train")) == 3
    with pytest.raises(UserError, match=r"ddad\.json: lists no val scenes, only train scenes\."):
        evaluation(tmp_path)
    with pytest.raises(UserError, match=r"--data\.split train: the list's own splits train and validate"):
        training(tmp_path, "train")


def test_a_list_cut_short_is_known_by_its_name(tmp_path):
    write_ddad(tmp_path, listing=TRI_LIST)
    (tmp_path / TRI_LIST).write_text('{"metadata": {')
    (only,) = check_data(tmp_path).faults
    assert f"{TRI_LIST}: is damaged or cut short" in only


def test_scenes_of_two_samples_train_nothing_and_are_counted_so(tmp_path):
    write_ddad(tmp_path, frames=2)
    assert "samples of mode mono" not in check_data(tmp_path).counts


@pytest.mark.parametrize("inside", ["scene_01", TRI_LIST])
def test_a_scene_or_a_list_alone_is_told_with_the_folder_to_give(tmp_path, capsys, inside):
    write_ddad(tmp_path, ("scene_01",), (), listing=TRI_LIST)
    assert run("data", "check", tmp_path / inside) == 2
    line = only_line(capsys.readouterr().err)
    assert str(tmp_path) + ("." if inside == "scene_01" else f", and --data.split {TRI_LIST}") in line


# --- sensors and images ----------------------------------------------------------------------------------------------


def test_sensors_of_other_names_are_found_by_what_they_are(tmp_path):
    write_ddad(tmp_path, camera="FRONT_WIDE", lidar="TOP_LIDAR")
    file = tmp_path / "000000" / "calibration" / "k.json"
    entries = json.loads(file.read_text())
    assert check_data(tmp_path).faults == ()
    assert training(tmp_path).training[0].name == "000000 11"
    assert (evaluation(tmp_path)[0].depth > 0).sum() == 2

    # Beside a camera that looks to the left, the one ahead is taken.
    entries["names"].insert(0, "A_LEFT")
    entries["intrinsics"].insert(0, entries["intrinsics"][1])
    entries["extrinsics"].insert(0, {"rotation": {"qw": 0.7071, "qx": -0.7071}})
    file.write_text(json.dumps(entries))
    scene = tmp_path / "000000" / "scene_0.json"
    text = json.loads(scene.read_text())
    for number, sample in enumerate(text["samples"]):
        left = json.loads(json.dumps(text["data"][2 * number + 1]))
        text["data"].append(left | {"key": f"a{number}", "id": {"name": "A_LEFT"}})
        sample["datum_keys"].insert(0, f"a{number}")
    scene.write_text(json.dumps(text))
    assert DdadScene(scene).front(0) == "front_wide"


@pytest.mark.parametrize("suffix", [".jpg", ".jpeg", ".webp"])
def test_images_may_have_been_converted(tmp_path, suffix):
    write_ddad(tmp_path)
    for file in list(tmp_path.rglob("*.png")):
        Image.open(file).save(file.with_suffix(suffix))
        file.unlink()
    assert check_data(tmp_path).faults == ()


def test_images_made_smaller_keep_their_camera(tmp_path):
    write_ddad_scene(tmp_path, "a")
    write_ddad_list(tmp_path / "ddad.json", ("a",), ())
    scene = tmp_path / "a" / "scene_0.json"
    entries = json.loads(scene.read_text())
    image = Image.open(tmp_path / "a" / "rgb/CAMERA_01/10.png")
    for record in (entry["datum"].get("image") for entry in entries["data"]):
        if record:
            record.update(width=image.width, height=image.height)
    scene.write_text(json.dumps(entries))
    whole = Ddad(tmp_path, (-1, 1), 16, 64, camera="CAMERA_01")[0].intrinsics
    native = DdadFrames(tmp_path, "train")[0]
    for file in (tmp_path / "a").rglob("*.png"):
        Image.open(file).resize((image.width // 2, image.height // 2)).save(file)
    assert np.allclose(Ddad(tmp_path, (-1, 1), 16, 64)[0].intrinsics, whole)
    small = DdadFrames(tmp_path, "train")[0]
    assert small.camera.intrinsics[0, 0] == native.camera.intrinsics[0, 0] / 2
    assert small.camera.intrinsics[0, 2] == (native.camera.intrinsics[0, 2] + 0.5) / 2 - 0.5
    assert np.abs(np.argwhere(small.depth) - np.argwhere(native.depth) / 2).max() <= 1


@pytest.mark.parametrize("term", ["skew", "k1", "fov"])
def test_a_camera_that_is_no_pinhole_is_refused(tmp_path, term):
    write_ddad(tmp_path, ("a",), ())
    file = tmp_path / "a" / "calibration" / "k.json"
    file.write_text(file.read_text().replace('"cx"', f'"{term}": 0.1, "cx"'))
    (only,) = check_data(tmp_path).faults
    assert f"k.json: CAMERA_01 has {term} other than 0" in only


# --- TRI's own test scenes -------------------------------------------------------------------------------------------

CAMERAS = {
    "scene_01": ("camera_01", "camera_05", "camera_06"),
    "scene_02": tuple(f"camera_0{number}" for number in (1, 5, 6, 7, 8, 9)),
}


@pytest.fixture
def tri():
    root = Path(__file__).parents[2].parent / "shared" / "data" / "dgp" / "test_scene"
    if not root.is_dir():
        pytest.skip("TRI's test scenes are not beside the repository")
    return root


@pytest.mark.realdata
def test_real_scenes_are_known_and_counted(tri):
    report = check_data(tri, every_file=True)
    assert report.faults == ()
    assert report.counts == {"samples of mode mono": 2, "val frames (protocols ddad, ddad-sc, ddad-80)": 6}
    sets = training(tri)
    assert [sample.name for sample in Ddad(tri, (-1, 1), 16, 64)] == [
        "scene_01 15569195939415230",
        "scene_02 15616458250936520",
    ]
    # The first car stands, as its poses say too; the second rolls by 1.3 m a second, which is one sample.
    assert Ddad(tri, (-1, 1), 16, 64).moved_m(0) == pytest.approx((0, 0), abs=0.01)
    assert [sample.name for sample in sets.training] == ["scene_02 15616458250936520"]
    assert any("scene_01: 1 frames around which the camera stands still" in message for message in sets.left_out)
    assert sets.training.moved_m(0) == pytest.approx((1.27, 1.27), abs=0.02)


def rotated(rotation, vectors):
    """Vectors (N, 3) turned by a quaternion: v + 2 q x (q x v + w v)."""
    w, *imaginary = (rotation[key] for key in ("qw", "qx", "qy", "qz"))
    axis = np.broadcast_to(np.array(imaginary), vectors.shape)
    return vectors + 2 * np.cross(axis, np.cross(axis, vectors) + w * vectors)


def projected(points, lidar, camera, intrinsics):
    """Pixels and depths of points in front of a camera, from the entries of the JSON alone, by OpenCV."""
    place = [np.array([pose["translation"][axis] for axis in "xyz"]) for pose in (lidar, camera)]
    world = rotated(lidar["rotation"], points) + place[0]
    backwards = {key: value if key == "qw" else -value for key, value in camera["rotation"].items()}
    seen = rotated(backwards, world - place[1])
    seen = seen[seen[:, 2] > 0]
    matrix = np.array([[intrinsics["fx"], 0, intrinsics["cx"]], [0, intrinsics["fy"], intrinsics["cy"]], [0, 0, 1.0]])
    pixels, _ = cv2.projectPoints(seen, np.zeros(3), np.zeros(3), matrix, None)
    return pixels[:, 0], seen[:, 2]


@pytest.mark.realdata
@pytest.mark.parametrize(("folder", "camera"), [(key, name) for key, names in CAMERAS.items() for name in names])
def test_real_points_fall_where_an_independent_projection_has_them(tri, folder, camera):
    (file,) = (tri / folder).glob("scene_*.json")
    scene, entries = DdadScene(file), json.loads(file.read_text())
    assert (len(scene), sorted(scene.sensors(0))) == (3, [*CAMERAS[folder], "lidar"])
    data = {entry["key"]: entry for entry in entries["data"]}
    (calibration,) = (json.loads(each.read_text()) for each in (tri / folder / "calibration").glob("*.json"))
    native = calibration["intrinsics"][calibration["names"].index(camera.upper())]
    for number, sample in enumerate(entries["samples"]):
        found = scene.intrinsics(number, camera)
        assert found[[0, 1, 0, 1], [0, 1, 2, 2]].tolist() == pytest.approx(
            [native[key] for key in ("fx", "fy", "cx", "cy")], rel=1e-6
        )
        records = {data[key]["id"]["name"].lower(): data[key]["datum"] for key in sample["datum_keys"]}
        cloud, image = records["lidar"]["point_cloud"], records[camera]["image"]
        assert read_image(tri / folder / image["filename"]).shape == (1216, 1936, 3)
        points = read_points(tri / folder / cloud["filename"])
        pixels, depth = projected(points, cloud["pose"], image["pose"], native)

        drawn = lidar_depth(scene, number, camera, 1216, 1936, "clean")
        inside = (pixels >= 0).all(axis=1) & (pixels < (1936, 1216)).all(axis=1)
        assert 4000 < inside.sum() < 13000
        nearest = np.full((1216, 1936), np.inf)
        columns, rows = pixels[inside].astype(int).T
        np.minimum.at(nearest, (rows, columns), depth[inside])
        expected = np.where(np.isfinite(nearest), nearest, 0)
        # float32 intrinsics move a few points over the border between two pixels.
        assert np.isclose(drawn, expected, rtol=1e-4).mean() > 1 - 1e-5
        seen = drawn[drawn > 0]
        assert 1 < seen.min() < 12
        assert 50 < seen.max() < 260
        assert (drawn[:300] > 0).sum() < 0.02 * seen.size
