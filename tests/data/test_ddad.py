"""DDAD's scene format, on tiny scenes with planted poses and points."""

import copy
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from egodepth.data.configurations import DataConfig
from egodepth.data.ddad.points import project_points, read_points
from egodepth.data.ddad.scenes import DdadFrames, pose_matrix
from egodepth.data.ddad.training import Ddad
from egodepth.data.opening import open_evaluation_frames, open_training_sets
from egodepth.errors import UserError
from egodepth.evaluation.evaluate import evaluate
from egodepth.evaluation.protocols import PROTOCOLS
from egodepth.geometry.camera_motion import camera_motion
from egodepth.geometry.cameras import Camera, pinhole
from egodepth.models.released import ReleasedModel
from tests.command_line import SMALL, TINY_MANYDEPTH, TINY_NETWORKS, evaluated, run
from tests.data.trees import moving_scene

REFERENCE = json.loads((Path(__file__).parents[1] / "reference" / "datasets.json").read_text())["ddad"]
HEIGHT, WIDTH = 30, 40
FX, FY, CX, CY = 36.0, 34.0, 19.0, 14.0

# Out of the car's axes (x forward, y left, z up) into a camera's (x right, y down, z forward).
OPTICAL = np.array([[0.0, -1, 0], [0, 0, -1], [1, 0, 0]])


def pose(x, y, z, rotation=None):
    entry = {"translation": {"x": x, "y": y, "z": z}}
    return entry | {"rotation": {"qw": 1.0} if rotation is None else rotation}


def camera_pose(x):
    """A camera 1.5 m above the ground that looks along x."""
    return pose(x, 0, 1.5, {"qw": 0.5, "qx": -0.5, "qy": 0.5, "qz": -0.5})


def wall_points(distance):
    """One point behind the middle of every third pixel of a wall, in the lidar's frame (the car's)."""
    rows, columns = np.mgrid[0:HEIGHT:3, 0:WIDTH:3]
    x = np.full(rows.size, float(distance))
    y = -(columns.ravel() + 0.5 - CX) / FX * distance
    z = 1.5 - (rows.ravel() + 0.5 - CY) / FY * distance
    return np.stack([x, y, z, np.ones(rows.size)], axis=1)


def write_scene(root, folder, split, samples=3, sensors=("LIDAR", "CAMERA_01"), step=0.5, distance=20.0):
    """A drive along x at `step` metres a sample towards a wall; the image is taken 0.1 m after the scan."""
    home = root / folder
    data, listed = [], []
    for number in range(samples):
        lidar_x, camera_x = number * step, number * step + 0.1
        cloud = f"point_cloud/LIDAR/{1000 + 100 * number}.npz"
        image = f"rgb/CAMERA_01/{1001 + 100 * number}.png"
        for file in (cloud, image):
            (home / file).parent.mkdir(parents=True, exist_ok=True)
        np.savez(home / cloud, data=wall_points(distance - lidar_x))
        Image.fromarray(moving_scene(number, HEIGHT, WIDTH)).save(home / image)
        lidar, camera = sensors
        data += [
            {
                "key": f"l{number}",
                "id": {"name": lidar, "index": "7"},
                "datum": {"point_cloud": {"filename": cloud, "pose": pose(lidar_x, 0, 0), "point_format": ["X"]}},
            },
            {
                "key": f"c{number}",
                "id": {"name": camera},
                "datum": {"image": {"filename": image, "pose": camera_pose(camera_x), "channels": 3}},
                "next_key": "",
            },
        ]
        # The second calibration of the same scene serves the last sample.
        key = "k2" if number == samples - 1 else "k1"
        listed.append({"calibration_key": key, "datum_keys": [f"l{number}", f"c{number}"], "id": {}})
    (home / "scene_0f.json").write_text(json.dumps({"name": folder, "data": data, "samples": listed}))
    for key, shift in (("k1", 0.0), ("k2", 1.0)):
        calibration = {
            "names": list(sensors),
            "intrinsics": [{"skew": 0}, {"fx": FX, "fy": FY, "cx": CX + shift, "cy": CY}],
            "extrinsics": [pose(0, 0, 0), pose(1.5, 0, 1.5)],
        }
        (home / "calibration").mkdir(exist_ok=True)
        (home / "calibration" / f"{key}.json").write_text(json.dumps(calibration))
    listing = root / "ddad.json"
    splits = json.loads(listing.read_text()) if listing.is_file() else {"metadata": {}, "scene_splits": {}}
    number = {"train": "0", "val": "1"}[split]
    splits["scene_splits"].setdefault(number, {"filenames": []})["filenames"].append(f"{folder}/scene_0f.json")
    listing.write_text(json.dumps(splits))


@pytest.fixture
def tree(tmp_path):
    write_scene(tmp_path, "000000", "train")
    write_scene(tmp_path, "000150", "val")
    return tmp_path


# --- projection ---


@pytest.mark.parametrize("drawing", ["published", "clean"])
def test_points_are_drawn_where_the_reference_has_them(drawing):
    lidar, image = (pose_matrix(REFERENCE[f"{sensor}_pose"]) for sensor in ("lidar", "camera"))
    assert image[:3, :3] == pytest.approx(np.array(REFERENCE["camera_rotation"]))
    camera = REFERENCE["camera"]
    matrix = np.array([[camera["fx"], 0, camera["cx"]], [0, camera["fy"], camera["cy"]], [0, 0, 1]])
    points = np.array(REFERENCE["points"], dtype=np.float64)
    depth = project_points(points, np.linalg.inv(image) @ lidar, matrix, camera["height"], camera["width"], drawing)
    found = {f"{row},{column}": depth[row, column] for row, column in np.argwhere(depth)}
    assert found == pytest.approx(REFERENCE[drawing], rel=1e-5)


def test_a_pose_may_lack_fields_of_value_zero():
    assert pose_matrix({"rotation": {"qw": 2.0}, "translation": {"y": 3}}) == pytest.approx(
        np.array([[1, 0, 0, 0], [0, 1, 0, 3], [0, 0, 1, 0], [0, 0, 0, 1]])
    )
    assert (pose_matrix({}) == np.eye(4)).all()
    turned = pose_matrix({"rotation": {"qw": 0.0, "qz": 1.0}})
    assert turned[:3, :3] == pytest.approx(np.diag([-1.0, -1, 1]))


def test_intrinsics_scale_to_the_training_size_as_the_reference_says():
    values, wanted = REFERENCE["camera"], REFERENCE["intrinsics_640x384"]
    camera = Camera(pinhole(*(values[key] for key in ("fx", "fy", "cx", "cy"))), values["height"], values["width"])
    plain = camera.resize(384, 640, half_pixel=False).intrinsics
    assert [plain[0, 0], plain[1, 1], plain[0, 2], plain[1, 2]] == pytest.approx(
        [wanted[key] for key in ("fx", "fy", "cx", "cy")], abs=1e-3
    )
    ours = Camera.from_normalised(camera.normalised(), 384, 640).intrinsics
    assert [ours[0, 2], ours[1, 2]] == pytest.approx([wanted["half_pixel_cx"], wanted["half_pixel_cy"]], abs=1e-3)


# --- point clouds ---


POINTS = np.array([[1.5, -2, 3, 9], [4, 5, -6.25, 8]])


def write_ply(path, form):
    header = f"ply\nformat {form} 1.0\ncomment made here\nelement vertex 2\n"
    header += "property float x\nproperty double y\nproperty float z\nproperty uchar intensity\n"
    header += "element face 0\nproperty list uchar int vertex_index\nend_header\n"
    if form == "ascii":
        body = "\n".join(" ".join(f"{value:g}" for value in row) for row in POINTS).encode()
    else:
        order = "<" if "little" in form else ">"
        fields = [("x", f"{order}f4"), ("y", f"{order}f8"), ("z", f"{order}f4"), ("i", "u1")]
        body = np.array([tuple(row) for row in POINTS], dtype=fields).tobytes()
    path.write_bytes(header.encode() + body)


def write_points(path, form):
    if form == "structured":
        fields = [(name, "f4") for name in ("INTENSITY", "X", "Y", "Z")]
        np.savez(path, data=np.array([(row[3], *row[:3]) for row in POINTS], dtype=fields))
    elif form == "float32":
        np.savez_compressed(path, data=np.hstack([POINTS, POINTS]).astype(np.float32))
    elif form == "float64":
        np.savez(path, data=POINTS)
    else:
        write_ply(path, form)


@pytest.mark.parametrize(
    "form", ["float64", "float32", "structured", "ascii", "binary_little_endian", "binary_big_endian"]
)
def test_a_point_cloud_of_any_form_gives_the_same_points(tmp_path, form):
    file = tmp_path / ("cloud.npz" if form in ("float64", "float32", "structured") else "cloud.ply")
    write_points(file, form)
    assert read_points(file) == pytest.approx(POINTS[:, :3])


def cut(file):
    file.write_bytes(file.read_bytes()[:-20])


def empty(file):
    file.write_bytes(b"")


def other_array(file):
    np.savez(file, points=POINTS)


def not_finite(file):
    np.savez(file, data=POINTS * np.nan)


def two_columns(file):
    np.savez(file, data=POINTS[:, :2])


def pickled(file):
    np.savez(file, data=np.array([{"x": 1}], dtype=object))


@pytest.mark.parametrize("spoil", [cut, empty, other_array, not_finite, two_columns, pickled])
def test_a_point_cloud_that_cannot_be_used_is_named(tmp_path, spoil):
    file = tmp_path / "cloud.npz"
    np.savez(file, data=POINTS)
    spoil(file)
    with pytest.raises(UserError, match=r"cloud\.npz: .*Unpack the scene again"):
        read_points(file)


def test_a_ply_that_ends_early_is_named(tmp_path):
    for form in ("ascii", "binary_little_endian"):
        write_ply(tmp_path / "cloud.ply", form)
        file = tmp_path / "cloud.ply"
        file.write_bytes(file.read_bytes()[:-18])
        with pytest.raises(UserError, match=r"cloud\.ply"):
            read_points(file)


# --- training ---


def test_samples_have_their_neighbours_within_a_scene(tree):
    write_scene(tree, "000001", "train", samples=4, sensors=("lidar", "camera_01"))
    dataset = Ddad(tree, (-1, 1), HEIGHT, WIDTH)
    assert len(dataset) == 1 + 2
    assert len(Ddad(tree, (), HEIGHT, WIDTH)) == 3 + 4
    for view, number in zip((dataset[2].target, *dataset[2].sources), (2, 1, 3), strict=True):
        assert np.array_equal(view.permute(1, 2, 0).numpy(), moving_scene(number, HEIGHT, WIDTH))
    assert dataset.left_out == [f"{tree}: 4 samples at the ends of 2 scenes are left out"]


def test_intrinsics_are_those_of_the_samples_own_calibration(tree):
    dataset = Ddad(tree, (-1,), 15, 80)
    for index, cx in ((0, CX), (1, CX + 1)):
        pixels = Camera.from_normalised(dataset[index].intrinsics, HEIGHT, WIDTH).intrinsics
        assert torch.allclose(pixels, torch.tensor([[FX, 0, cx], [0, FY, CY], [0, 0, 1]]), atol=1e-4)


def test_poses_say_how_far_the_camera_moved(tree):
    assert Ddad(tree, (-1, 1), 15, 20).moved_m(0) == pytest.approx((0.5, 0.5))


def test_stereo_is_refused(tree):
    with pytest.raises(UserError, match=r"no rectified pairs.*--mode mono"):
        open_training_sets(tree, DataConfig(), "calibrated", (-1, 1, "stereo"), 15, 20, tree / "cache")


def test_opening_trains_on_train_and_validates_on_val(tree):
    sets = open_training_sets(tree, DataConfig(), "calibrated", (-1, 1), 15, 20, tree / "cache")
    assert sets.training[0].name == "000000 1101"
    assert sets.validation[0].name == "000150 1101"


# --- metres from poses ---


def config_of(run_folder):
    return json.loads((run_folder / "model" / "config.json").read_text())


def way_by_depth(released, sample):
    """How far the points of the target, as far away as the model says, went where the sources show them."""
    target, *sources = (view[None].float() / 255 for view in (sample.target, *sample.sources))
    intrinsics = Camera.from_normalised(sample.intrinsics, *target.shape[-2:]).intrinsics[None]
    depth = released.predictor().with_scale(1.0).predict_depth(target)
    for source in sources:
        yield float(camera_motion(target, source, depth, intrinsics)[0, :3, 3].norm())


def way_by_pose_network(released, sample):
    network = released.pose_network()
    before, target, after = (view[None].float() / 255 for view in (sample.sources[0], sample.target, sample.sources[1]))
    with torch.no_grad():
        for pair in ((before, target), (target, after)):
            yield float(network(*pair)[1][0, 0].norm())


@pytest.mark.parametrize("recipe", ["monodepth2", "manydepth"])
def test_a_model_from_video_gets_its_metres_from_the_poses(tmp_path, capsys, recipe):
    for folder, split in (("000000", "train"), ("000001", "train"), ("000150", "val")):
        write_scene(tmp_path / "ddad", folder, split, samples=5)
    options = TINY_NETWORKS if recipe == "monodepth2" else ["--width", 64, *TINY_MANYDEPTH]
    out, width = tmp_path / "run", 96 if recipe == "monodepth2" else 64
    assert run("train", recipe, tmp_path / "ddad", "--out", out, *SMALL, *options) == 0
    config = config_of(out)
    assert (config["depth"], config["metres_from"]) == ("metres", "poses")

    # The car drives half a metre from sample to sample.
    training = Ddad(tmp_path / "ddad", (-1, 1), 64, width)
    way = way_by_depth if recipe == "monodepth2" else way_by_pose_network
    found = [each for index in range(len(training)) for each in way(ReleasedModel.open(out), training[index])]
    assert config["metres_per_unit"] == pytest.approx(np.median(0.5 / np.array(found)), rel=1e-3)

    capsys.readouterr()
    figures = evaluated(out, tmp_path / "ddad", "ddad-80", tmp_path / "figures.json", "--scaling", "none")
    assert figures["metres_from"] == "poses"
    assert figures["scaling"] == "none"
    assert "in metres, by the poses" in capsys.readouterr().out


def test_a_car_that_stands_leaves_the_model_up_to_scale(tmp_path):
    write_scene(tmp_path / "ddad", "000000", "train", samples=5, step=0.0)
    assert run("train", "monodepth2", tmp_path / "ddad", "--out", tmp_path / "run", *SMALL, *TINY_NETWORKS) == 0
    config = config_of(tmp_path / "run")
    assert (config["depth"], config["metres_per_unit"], config["metres_from"]) == ("up to scale", None, None)


def test_of_joined_data_the_first_gives_the_metres(drive, tmp_path):
    write_scene(tmp_path / "ddad", "000000", "train", samples=5)
    origins = []
    for number, (data, also) in enumerate([(tmp_path / "ddad", drive), (drive, tmp_path / "ddad")]):
        out = tmp_path / str(number)
        assert run("train", "monodepth2", data, "--also", also, "--out", out, *SMALL, *TINY_NETWORKS) == 0
        origins.append(config_of(out)["metres_from"])
    assert origins == ["poses", None]


# --- evaluation ---


def test_depth_is_the_walls_distance_at_the_time_of_the_image(tree):
    frames = open_evaluation_frames(tree, "ddad", time_offsets=(-1, 1))
    assert len(frames) == 3
    for number, frame in enumerate(frames):
        depth = frame.depth[frame.depth > 0]
        assert depth == pytest.approx(20 - (0.5 * number + 0.1), rel=1e-6)
        assert depth.size > 90
    assert sorted(frames[0].neighbours) == [1]
    assert np.array_equal(frames[1].neighbours[-1], frames[0].image)
    assert frames[2].camera.intrinsics[0, 2] == CX + 1


def test_a_predictor_that_knows_the_wall_is_perfect_by_every_protocol(tree):
    frames = open_evaluation_frames(tree, "ddad")

    def predict(image):
        return np.full((6, 8), 0.1, np.float32)

    for name in ("ddad", "ddad-sc", "ddad-80"):
        result = evaluate(predict, frames, PROTOCOLS[name], metric_scale=False, progress=False)
        assert result.metrics["abs_rel"] == pytest.approx(0, abs=1e-5)
        assert result.scale_ratio == pytest.approx(19.4 / 10, rel=1e-5)


def test_the_folder_above_is_accepted(tmp_path):
    (tmp_path / "ddad_train_val").mkdir()
    write_scene(tmp_path / "ddad_train_val", "000150", "val")
    assert len(open_evaluation_frames(tmp_path, "ddad")) == 3


# --- what can be wrong ---


def edit(file, change):
    entries = json.loads(file.read_text())
    change(entries)
    file.write_text(json.dumps(entries))


def drop_lidar(scene):
    scene["samples"][1]["datum_keys"] = ["c1"]


def drop_data(scene):
    del scene["data"]


def drop_pose(scene):
    del scene["data"][1]["datum"]["image"]["pose"]


def drop_datum(scene):
    scene["data"] = copy.deepcopy(scene["data"][:-1])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (drop_lidar, r"sample 1 has no LIDAR, only camera_01"),
        (drop_data, r"has no 'data'"),
        (drop_pose, r"CAMERA_01 of sample 0: no 'pose'"),
        (drop_datum, r"has no 'c2'"),
    ],
)
def test_a_scene_that_lacks_something_is_named(tree, change, words):
    edit(tree / "000150" / "scene_0f.json", change)
    with pytest.raises(UserError, match=rf"scene_0f\.json: {words}"):
        DdadFrames(tree)


@pytest.mark.parametrize(
    ("file", "words"),
    [
        ("000150/scene_0f.json", r"no such scene; 1 of 1 val scenes are missing"),
        ("000150/calibration/k1.json", r"k1\.json: no such file"),
        ("000150/rgb/CAMERA_01/1101.png", r"1101\.png: no such file\. The scene is unpacked in part"),
        ("000150/point_cloud/LIDAR/1200.npz", r"1200\.npz: no such file"),
        ("ddad.json", "has no ddad.json"),
    ],
)
def test_a_missing_file_is_named(tree, file, words):
    (tree / file).unlink()
    with pytest.raises(UserError, match=words):
        list(DdadFrames(tree))


def test_a_scene_cut_short_is_named(tree):
    file = tree / "000150" / "scene_0f.json"
    file.write_text(file.read_text()[:200])
    with pytest.raises(UserError, match=r"scene_0f\.json: is damaged or cut short"):
        DdadFrames(tree)
