"""Cityscapes in its archives' layout and as triplets, on trees of small images with planted disparities."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from egodepth.data.cityscapes.layout import CROPS, CityscapesCamera, CityscapesTree, FrameName
from egodepth.data.cityscapes.sequences import Cityscapes, CityscapesFrames, possible_modes
from egodepth.data.cityscapes.triplets import CityscapesTriplets, triplet_names
from egodepth.data.configurations import DataConfig, EvaluationDataConfig
from egodepth.data.opening import open_evaluation_frames, open_training_sets
from egodepth.errors import UserError
from egodepth.evaluation.evaluate import evaluate
from egodepth.evaluation.protocols import PROTOCOLS
from egodepth.geometry.cameras import Camera
from tests.data.trees import write_triplet

REFERENCE = json.loads((Path(__file__).parents[1] / "reference" / "datasets.json").read_text())["cityscapes"]
HEIGHT, WIDTH = 32, 64


def write_picture(path, seed=0, size=(HEIGHT, WIDTH)):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return pixels


def write_camera(root, split, name, folder="camera", calibration="cal_a", **extra):
    values = REFERENCE[calibration]
    path = root / folder / split / name.split("_")[0] / f"{name}_camera.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    intrinsic = {key: values[key] for key in ("fx", "fy", "u0", "v0")}
    content = {"intrinsic": intrinsic, "extrinsic": {"baseline": values["baseline"], "x": 1, "z": 1.22}, **extra}
    path.write_text(json.dumps(content))
    return path


def write_image(root, kind, split, name, seed=0):
    suffix = "rightImg8bit" if kind.startswith("right") else "leftImg8bit"
    return write_picture(root / kind / split / name.split("_")[0] / f"{name}_{suffix}.png", seed)


def write_disparity(root, split, name, steps):
    path = root / "disparity" / split / name.split("_")[0] / f"{name}_disparity.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(steps.astype(np.uint16)).save(path)
    return path


def write_test_frame(root, name="bonn_000000_000019", split="test", steps=None):
    image = write_image(root, "leftImg8bit", split, name, seed=19)
    steps = np.full((HEIGHT, WIDTH), 5000) if steps is None else steps
    write_disparity(root, split, name, steps)
    write_camera(root, split, name, unknown={"a": 1})
    return image


@pytest.fixture
def snippet(tmp_path):
    """Five frames of a snippet, the third one labelled and with a right partner."""
    for frame in (17, 18, 19, 20, 21):
        write_image(tmp_path, "leftImg8bit_sequence", "train", f"ulm_000002_{frame:06d}", seed=frame)
    write_image(tmp_path, "leftImg8bit", "train", "ulm_000002_000019", seed=19)
    write_image(tmp_path, "rightImg8bit", "train", "ulm_000002_000019", seed=119)
    write_camera(tmp_path, "train", "ulm_000002_000019")
    return tmp_path


def seeded(seed, size=(HEIGHT, WIDTH)):
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)


# --- calibration, depth and crops ---


@pytest.mark.parametrize("calibration", ["cal_a", "cal_b"])
def test_a_camera_file_gives_intrinsics_and_baseline(tmp_path, calibration):
    camera = CityscapesCamera.read(write_camera(tmp_path, "test", "bonn_000000_000019", calibration=calibration))
    product = REFERENCE["focal_times_baseline"][calibration]
    assert camera.fx * camera.baseline_m == pytest.approx(product, rel=1e-6)


def test_stored_values_become_the_reference_depths(tmp_path):
    camera = CityscapesCamera.read(write_camera(tmp_path, "test", "bonn_000000_000019"))
    values = np.array([[int(value) for value in REFERENCE["depth_of_value"]]])
    assert camera.depth(values)[0] == pytest.approx(list(REFERENCE["depth_of_value"].values()), rel=1e-5)


def plain(camera, height, width):
    """As papers print intrinsics: scaled without the half pixel."""
    matrix = camera.resize(height, width, half_pixel=False).intrinsics
    return {"fx": matrix[0, 0], "fy": matrix[1, 1], "cx": matrix[0, 2], "cy": matrix[1, 2]}


def test_crops_give_the_reference_intrinsics(tmp_path):
    file = CityscapesCamera.read(write_camera(tmp_path, "test", "bonn_000000_000019"))
    upper = CROPS["manydepth"].camera(file.camera(1024, 2048))
    assert (upper.height, upper.width) == (768, 2048)
    assert plain(upper, 192, 512) == pytest.approx(REFERENCE["upper_three_quarters_512x192"], rel=1e-5)
    assert plain(upper, 1, 1) == pytest.approx(REFERENCE["upper_three_quarters_normalised"], rel=1e-5)
    sdfa = CROPS["sdfa"].camera(file.camera(1024, 2048))
    assert (sdfa.height, sdfa.width) == (640, 1984)
    wanted = dict(REFERENCE["sdfa_1280x384"])
    product = wanted.pop("focal_times_baseline")
    found = plain(sdfa, 384, 1280)
    assert found == pytest.approx(wanted, rel=1e-5)
    assert found["fx"].item() * file.baseline_m == pytest.approx(product, rel=1e-5)
    monodepth = CROPS["monodepth"].camera(file.camera(1024, 2048))
    assert (monodepth.height, monodepth.width) == (819, 2048)


# --- training ---


def test_a_video_sample_holds_the_frames_two_before_and_two_after(snippet):
    dataset = Cityscapes(snippet, (-1, 1), HEIGHT * 3 // 4, WIDTH)
    sample = dataset[0]
    assert len(dataset) == 1
    for view, frame in zip((sample.target, *sample.sources), (19, 17, 21), strict=True):
        assert np.array_equal(view.permute(1, 2, 0).numpy(), seeded(frame)[: HEIGHT * 3 // 4])
    assert sample.name == "train/ulm_000002_000019"
    assert sample.baseline_m == pytest.approx(0.209313)
    assert dataset.left_out == [f"{snippet}: 4 frames lack some of the views -1, 1 (the first: ulm_000002_000017)"]


def test_intrinsics_follow_the_crop(snippet):
    sample = Cityscapes(snippet, ("stereo",), 30, 50, crop="sdfa")[0]
    rows, columns = CROPS["sdfa"].pixels(HEIGHT, WIDTH)
    assert (rows.start, rows.stop, columns.start, columns.stop) == (2, 22, 2, 64)
    pixels = Camera.from_normalised(sample.intrinsics, 20, 62).intrinsics
    values = REFERENCE["cal_a"]
    expected = [[values["fx"], 0, values["u0"] - 2], [0, values["fy"], values["v0"] - 2], [0, 0, 1]]
    assert torch.allclose(pixels, torch.tensor(expected), rtol=1e-5)


def test_a_stereo_sample_pairs_left_with_right(snippet):
    sample = Cityscapes(snippet, ("stereo",), HEIGHT * 3 // 4, WIDTH)[0]
    assert np.array_equal(sample.sources[0].permute(1, 2, 0).numpy(), seeded(119)[: HEIGHT * 3 // 4])
    assert sample.stereo_offset == -1
    assert not sample.centred


def test_the_published_baseline_is_a_rounding(snippet):
    sample = Cityscapes(snippet, (-1, 1, "stereo"), 24, 64, published=True)[0]
    assert sample.baseline_m / 0.54 == pytest.approx(0.4074, abs=1e-4)
    assert sample.centred


def test_the_test_images_and_the_black_pair_train_nothing(snippet):
    for split, name in (("test", "bonn_000000_000019"), ("train_extra", "troisdorf_000000_000073")):
        for kind in ("leftImg8bit", "rightImg8bit"):
            write_image(snippet, kind, split, name)
        write_camera(snippet, split, name)
    assert len(Cityscapes(snippet, ("stereo",), 24, 64)) == 1
    write_image(snippet, "leftImg8bit", "train_extra", "augsburg_000000_000000")
    write_image(snippet, "rightImg8bit", "train_extra", "augsburg_000000_000000")
    write_camera(snippet, "train_extra", "augsburg_000000_000000", folder="camera_trainextra/camera")
    assert len(Cityscapes(snippet, ("stereo",), 24, 64)) == 2


def test_a_frame_without_a_camera_file_takes_the_nearest_of_its_recording(tmp_path):
    write_camera(tmp_path, "train", "bochum_000000_000100")
    write_camera(tmp_path, "train", "bochum_000000_000200", calibration="cal_b")
    write_camera(tmp_path, "train", "bochum_000001_000150", calibration="cal_a")
    tree = CityscapesTree(tmp_path)
    near, far = (tree.camera("train", FrameName("bochum", 0, frame)) for frame in (149, 170))
    assert (near.baseline_m, far.baseline_m) == (0.209313, 0.222126)
    with pytest.raises(UserError, match=r"no camera file of bochum_000002.*camera_trainvaltest\.zip"):
        tree.camera("train", FrameName("bochum", 2, 100))


def test_a_tree_says_which_modes_it_has_files_for(snippet):
    tree = CityscapesTree(snippet)
    assert possible_modes(tree, "train") == {"mono": 1, "stereo": 1, "mono+stereo": 1}
    for file in (snippet / "rightImg8bit").rglob("*.png"):
        file.unlink()
    with pytest.raises(UserError, match=r"views stereo\. These files allow --mode mono \(1 samples\)"):
        Cityscapes(snippet, ("stereo",), 24, 64)


def test_single_frames_alone_are_refused_with_the_archives_that_lack(tmp_path):
    write_image(tmp_path, "leftImg8bit", "train", "ulm_000002_000019")
    write_camera(tmp_path, "train", "ulm_000002_000019")
    with pytest.raises(UserError, match=r"rightImg8bit_.*stereo, or leftImg8bit_sequence_trainvaltest\.zip for mono"):
        Cityscapes(tmp_path, (-1, 1), 24, 64)


def test_opening_reads_lists_of_either_form(snippet):
    folder = snippet / "splits" / "own"
    folder.mkdir(parents=True)
    (folder / "train_files.txt").write_text("leftImg8bit/train/ulm/ulm_000002_000019_leftImg8bit.png\n")
    (folder / "val_files.txt").write_text("ulm ulm_000002_000019\n")
    sets = open_training_sets(snippet, DataConfig(), "calibrated", (-1, 1), 24, 64, snippet / "cache")
    assert len(sets.training) == len(sets.validation) == 1
    (folder / "train_files.txt").write_text("ulm ulm_000002_000099\n")
    with pytest.raises(UserError, match="no left image ulm_000002_000099"):
        open_training_sets(snippet, DataConfig(), "calibrated", (-1, 1), 24, 64, snippet / "cache")


# --- evaluation ---


def planted(height=HEIGHT, width=WIDTH):
    """A street that comes nearer from row to row, as stored disparities, and its depth by the definition."""
    steps = 1600 + 40 * np.repeat(np.arange(height)[:, None], width, axis=1)
    steps[0, :4] = [0, 1, 257, 5000]
    values = REFERENCE["cal_a"]
    depth = 2262.52 * values["baseline"] / np.maximum((steps - 1) / 256, 1e-9)
    depth[steps < 2] = 0
    return steps, depth


def test_an_evaluation_frame_has_the_planted_depth_and_the_frame_two_before(tmp_path):
    steps, depth = planted()
    image = write_test_frame(tmp_path, steps=steps)
    before = write_image(tmp_path, "leftImg8bit_sequence", "test", "bonn_000000_000017", seed=17)
    (tmp_path / "test_files.txt").write_text("bonn bonn_000000_000019\n")
    (frame,) = open_evaluation_frames(tmp_path, "cityscapes", time_offsets=(-1, 1))
    assert np.array_equal(frame.image, image)
    assert np.array_equal(frame.neighbours[-1], before)
    assert frame.depth == pytest.approx(depth, rel=1e-6)
    assert frame.camera.intrinsics[0, 0] == pytest.approx(2262.52)
    assert not CityscapesFrames(tmp_path)[0].neighbours


def test_a_predictor_that_knows_the_street_is_perfect_by_the_protocol(tmp_path):
    steps, depth = planted()
    write_test_frame(tmp_path, steps=steps)
    seen = []

    def predict(image):
        seen.append(image.shape)
        return 3 / depth[: image.shape[0]].clip(1e-3)

    frames = open_evaluation_frames(tmp_path, "cityscapes")
    result = evaluate(predict, frames, PROTOCOLS["cityscapes"], metric_scale=False, progress=False)
    assert seen == [(HEIGHT * 3 // 4, WIDTH, 3)]
    assert result.metrics["abs_rel"] == pytest.approx(0, abs=1e-5)
    assert result.scale_ratio == pytest.approx(3, rel=1e-5)


def test_the_order_of_a_test_list_is_kept(tmp_path):
    names = [f"bonn_000000_{frame:06d}" for frame in (19, 49, 79)]
    for name in names:
        write_test_frame(tmp_path, name)
    listed = [names[2], names[0]]
    (tmp_path / "test_files.txt").write_text("".join(f"bonn {name}\n" for name in listed))
    assert [frame.name for frame in CityscapesFrames(tmp_path)] == [f"test/{name}" for name in listed]
    (tmp_path / "test_files.txt").unlink()
    assert len(CityscapesFrames(tmp_path)) == 3


def test_the_labelled_val_frames_can_be_asked_for(tmp_path):
    write_test_frame(tmp_path)
    write_test_frame(tmp_path, "lindau_000000_000019", split="val")
    frames = open_evaluation_frames(tmp_path, "cityscapes", EvaluationDataConfig(split="val"))
    assert [frame.name for frame in frames] == ["val/lindau_000000_000019"]


def test_disparities_of_eight_bits_are_refused(tmp_path):
    write_test_frame(tmp_path, steps=np.full((HEIGHT, WIDTH), 77))
    with pytest.raises(UserError, match=r"_disparity\.png: no value above 77.*converted to 8 bits"):
        CityscapesFrames(tmp_path)[0]
    file = next(tmp_path.rglob("*_disparity.png"))
    Image.fromarray(np.full((HEIGHT, WIDTH), 77, np.uint8)).save(file)
    with pytest.raises(UserError, match="expected a 16-bit grey PNG"):
        CityscapesFrames(tmp_path)[0]


@pytest.mark.parametrize(
    ("removed", "words"),
    [
        ("leftImg8bit", "has no left image bonn_000000_000019"),
        ("camera", r"no camera file of bonn_000000\. Unpack camera_trainvaltest"),
        ("disparity", r"no disparity maps\. Unpack disparity_trainvaltest"),
    ],
)
def test_a_missing_archive_is_named(tmp_path, removed, words):
    write_test_frame(tmp_path)
    (tmp_path / removed).rename(tmp_path / "elsewhere")
    (tmp_path / "leftImg8bit").mkdir(exist_ok=True)
    with pytest.raises(UserError, match=words):
        open_evaluation_frames(tmp_path, "cityscapes")


# --- triplets ---


def test_a_triplet_is_cut_into_before_target_and_after(tmp_path):
    name = write_triplet(tmp_path)
    sample = CityscapesTriplets(tmp_path, [name], (1, -1), 12, 32)[0]
    assert [view.float().mean().item() for view in (sample.target, *sample.sources)] == pytest.approx(
        [120, 200, 40], abs=3
    )
    assert np.isnan(sample.baseline_m)


def test_triplets_of_the_published_size_have_the_reference_camera(tmp_path):
    name = write_triplet(tmp_path, third=(384, 1024), camera=REFERENCE["triplet_camera"])
    intrinsics = CityscapesTriplets(tmp_path, [name], (-1, 1), 192, 512)[0].intrinsics
    pixels = Camera.from_normalised(intrinsics, 384, 1024).intrinsics
    assert torch.allclose(
        pixels, torch.tensor([[1131.26, 0, 548.49], [0, 1132.650895, 256.5685], [0, 0, 1]]), rtol=1e-5
    )
    wanted = REFERENCE["upper_three_quarters_normalised"]
    assert intrinsics[0, 0].item() == pytest.approx(wanted["fx"], rel=1e-5)
    assert intrinsics[1, 1].item() == pytest.approx(wanted["fy"], rel=1e-5)


def test_triplets_of_another_size_are_normalised_by_that_size(tmp_path):
    name = write_triplet(tmp_path, third=(48, 128))
    intrinsics = CityscapesTriplets(tmp_path, [name], (-1, 1), 24, 64)[0].intrinsics
    assert intrinsics[0, 0].item() == pytest.approx(1.104746, rel=1e-5)
    assert intrinsics[1, 1].item() == pytest.approx(2.949612, rel=1e-5)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"third": (12, 32), "camera": "1,2,3"}, r"_cam\.txt: expected nine numbers"),
        ({"third": (12, 32), "camera": REFERENCE["triplet_camera"]}, "do not belong to a view of 32x12"),
    ],
)
def test_a_broken_triplet_is_named(tmp_path, changes, words):
    name = write_triplet(tmp_path, **changes)
    with pytest.raises(UserError, match=words):
        CityscapesTriplets(tmp_path, [name], (-1, 1), 12, 32)[0]


def test_triplets_refuse_stereo_and_widths_that_are_no_three_images(tmp_path):
    name = write_triplet(tmp_path)
    with pytest.raises(UserError, match="hold the views -1 and 1, not stereo"):
        CityscapesTriplets(tmp_path, [name], ("stereo",), 12, 32)
    write_picture(tmp_path / "ulm" / f"{name}.jpg", size=(12, 97))
    with pytest.raises(UserError, match="97 pixels wide"):
        CityscapesTriplets(tmp_path, [name], (-1, 1), 12, 32)[0]


def test_triplets_train_and_validate_by_their_lists_or_by_city(tmp_path):
    names = [write_triplet(tmp_path, f"ulm_000002_{frame:06d}") for frame in range(2, 22)]
    assert triplet_names(tmp_path, None, "train") == names[:18]
    assert triplet_names(tmp_path, None, "val") == names[18:]
    (tmp_path / "train.txt").write_text("ulm ulm_000002_000004\n")
    (tmp_path / "val.txt").write_text("ulm ulm_000002_000005\n")
    sets = open_training_sets(tmp_path, DataConfig(), "calibrated", (-1, 1), 12, 32, tmp_path / "cache")
    assert sets.training[0].name == "ulm_000002_000004"
    assert sets.validation[0].name == "ulm_000002_000005"
