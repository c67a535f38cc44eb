import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from egodepth.data.kitti.depth import (
    KittiRawFrames,
    KittiStereo2015Frames,
    disparity_to_depth,
    velodyne_depth,
)
from egodepth.data.kitti.poses import read_poses
from egodepth.data.kitti.raw import KittiRaw, evaluation_lines, fixed_intrinsics, read_calibration, training_lines
from egodepth.data.samples import NoUsableFrames, PosedSequence
from egodepth.data.splits import SplitLine, read_split, validates
from egodepth.errors import UserError
from egodepth.geometry.cameras import Camera

REFERENCE = json.loads((Path(__file__).parents[1] / "reference" / "kitti_depth.json").read_text())
DRIVE = "2011_09_26/2011_09_26_drive_0001_sync"
HEIGHT, WIDTH = 30, 100
CAM_TO_CAM = f"""calib_time: 09-Jan-2012 13:57:47
R_rect_00: 1 0 0 0 1 0 0 0 1
S_rect_02: {WIDTH} {HEIGHT}
P_rect_02: 60 0 48 3 0 60 14 0 0 0 1 0
P_rect_03: 60 0 48 -27 0 60 14 0 0 0 1 0
"""
VELO_TO_CAM = "calib_time: 15-Mar-2012 11:37:16\nR: 0 -1 0 0 0 -1 1 0 0\nT: 0 0 -0.5\n"


def write_image(path, seed, height=HEIGHT, width=WIDTH):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


def write_drive(root, drive=DRIVE, frames=range(6), cameras=(2, 3), suffix="png"):
    for camera in cameras:
        for frame in frames:
            write_image(root / drive / f"image_0{camera}" / "data" / f"{frame:010d}.{suffix}", 100 * camera + frame)
    date = (root / drive).parent
    (date / "calib_cam_to_cam.txt").write_text(CAM_TO_CAM)
    (date / "calib_velo_to_cam.txt").write_text(VELO_TO_CAM)


def write_split(root, name, **files):
    folder = root / "splits" / name
    folder.mkdir(parents=True, exist_ok=True)
    for stem, lines in files.items():
        (folder / f"{stem}_files.txt").write_text("".join(f"{line}\n" for line in lines))


@pytest.fixture
def tree(tmp_path):
    write_drive(tmp_path)
    return tmp_path


def line(frame, side="l", drive=DRIVE):
    return SplitLine(drive, frame, side)


# --- samples ---


def test_a_sample_holds_the_target_and_its_sources_in_the_order_asked_for(tree):
    sample = KittiRaw(tree, [line(2)], (1, "stereo", -1), HEIGHT, WIDTH)[0]
    wanted = [("image_02", 2), ("image_02", 3), ("image_03", 2), ("image_02", 1)]
    for view, (camera, frame) in zip((sample.target, *sample.sources), wanted, strict=True):
        file = tree / DRIVE / camera / "data" / f"{frame:010d}.png"
        assert np.array_equal(view.permute(1, 2, 0).numpy(), np.asarray(Image.open(file)))


def test_calibrated_intrinsics_and_baseline_come_from_the_files_of_the_date(tree):
    sample = KittiRaw(tree, [line(2, "r")], (-1, "stereo"), 60, 200)[0]
    assert sample.baseline_m == pytest.approx(0.5)
    assert sample.stereo_offset == 1
    assert not sample.centred
    pixels = Camera.from_normalised(sample.intrinsics, HEIGHT, WIDTH).intrinsics
    assert torch.allclose(pixels, torch.tensor([[60.0, 0, 48], [0, 60, 14], [0, 0, 1]]), atol=1e-4)


@pytest.mark.parametrize("case", REFERENCE["fixed_intrinsics"]["pixels_by_height_and_width"])
def test_fixed_intrinsics_have_the_published_values_in_pixels(case):
    height, width = case["height"], case["width"]
    pixels = Camera.from_normalised(fixed_intrinsics(height, width), height, width).intrinsics
    expected = torch.tensor([[case["fx"], 0, case["cx"]], [0, case["fy"], case["cy"]], [0, 0, 1]])
    assert torch.allclose(pixels, expected, rtol=1e-6, atol=1e-4)


def test_fixed_intrinsics_need_no_calibration_file(tree):
    (tree / "2011_09_26" / "calib_cam_to_cam.txt").unlink()
    sample = KittiRaw(tree, [line(2)], ("stereo",), 64, 96, intrinsics="fixed")[0]
    assert sample.centred
    assert sample.baseline_m == 0.54
    with pytest.raises(UserError, match=r"calib_cam_to_cam\.txt: no such calibration"):
        KittiRaw(tree, [line(2)], ("stereo",), 64, 96)


def test_jpeg_and_png_may_stand_side_by_side(tree):
    write_drive(tree, drive="2011_09_26/2011_09_26_drive_0002_sync", suffix="jpg")
    lines = [line(1), line(1, drive="2011_09_26/2011_09_26_drive_0002_sync")]
    assert len(KittiRaw(tree, lines, (-1, 1), 32, 64)) == 2


def test_the_ends_of_a_drive_are_left_out_by_name(tree):
    dataset = KittiRaw(tree, [line(frame) for frame in range(6)], (-1, 1), 32, 64)
    assert len(dataset) == 4
    assert dataset.left_out == [f"{DRIVE} 0 l: has no frame -1 l", f"{DRIVE} 5 l: has no frame 6 l"]


def test_a_missing_frame_of_the_other_camera_leaves_the_line_out(tree):
    (tree / DRIVE / "image_03" / "data" / "0000000002.png").unlink()
    dataset = KittiRaw(tree, [line(1), line(2)], ("stereo",), 32, 64)
    assert len(dataset) == 1
    assert dataset.left_out == [f"{DRIVE} 2 l: has no frame 2 r"]


def test_a_set_without_any_complete_sample_is_refused(tree):
    with pytest.raises(UserError, match="has no frame -1 l"):
        KittiRaw(tree, [line(0)], (-1, 1), 32, 64)


def test_a_drive_of_one_camera_is_refused_for_stereo_by_name(tree):
    drive = "2011_09_26/2011_09_26_drive_0095_sync"
    write_drive(tree, drive=drive, cameras=(2,))
    with pytest.raises(UserError, match=r"drive_0095_sync has no image_03.*--mode mono"):
        KittiRaw(tree, [line(2, drive=drive)], (-1, 1, "stereo"), 32, 64)
    assert len(KittiRaw(tree, [line(2, drive=drive)], (-1, 1), 32, 64)) == 1


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (f"{DRIVE} 99 l", "there is no 0000000099"),
        ("2011_09_26/2011_09_26_drive_0777_sync 1 l", "there is no drive"),
        ("2011_09_26/2011_09_26_drive_0003_sync 1 r", "the drive has no image_03"),
    ],
)
def test_a_split_line_that_names_a_missing_frame_is_refused_with_its_number(tree, text, words):
    write_drive(tree, drive="2011_09_26/2011_09_26_drive_0003_sync", cameras=(2,))
    write_split(tree, "own", train=[f"{DRIVE} 1 l", text])
    with pytest.raises(UserError, match=words) as caught:
        KittiRaw(tree, training_lines(tree, "own", "train", (-1, 1)), (-1, 1), 32, 64)
    assert "train_files.txt, line 2" in str(caught.value)
    assert text in str(caught.value)


def test_a_truncated_jpeg_is_reported_when_its_sample_is_read(tree):
    path = tree / DRIVE / "image_02" / "data" / "0000000003.png"
    path.write_bytes(path.read_bytes()[:200])
    dataset = KittiRaw(tree, [line(2)], (-1, 1), 32, 64)
    with pytest.raises(UserError, match=r"0000000003\.png"):
        dataset[0]


# --- splits ---


def test_a_split_is_found_by_name_by_folder_and_by_file(tree):
    write_split(tree, "own", train=[f"{DRIVE} 0000000001 l"], val=[f"{DRIVE} 2 r"])
    folder = tree / "splits" / "own"
    for split in ("own", str(folder), str(folder / "train_files.txt"), None):
        assert [str(entry) for entry in training_lines(tree, split, "train", (-1, 1))] == [f"{DRIVE} 1 l"]
    assert [str(entry) for entry in training_lines(tree, "own", "val", (-1, 1))] == [f"{DRIVE} 2 r"]


def test_stereo_training_prefers_the_stereo_list(tree):
    write_split(tree, "own", train=[f"{DRIVE} 1 l"], train_stereo=[f"{DRIVE} 2 l"], val=[f"{DRIVE} 3 l"])
    assert training_lines(tree, "own", "train", (-1, 1, "stereo"))[0].frame == 2
    assert training_lines(tree, "own", "train", (-1, 1))[0].frame == 1
    assert training_lines(tree, "own", "val", ("stereo",))[0].frame == 3


def test_an_unknown_split_is_refused_with_those_that_exist(tree):
    write_split(tree, "own", train=[f"{DRIVE} 1 l"])
    with pytest.raises(UserError, match="found: own"):
        training_lines(tree, "eigen_zhou", "train", (-1, 1))


def test_several_splits_without_a_choice_are_refused(tree):
    write_split(tree, "a", train=[f"{DRIVE} 1 l"])
    write_split(tree, "b", train=[f"{DRIVE} 1 l"])
    with pytest.raises(UserError, match="a, b"):
        training_lines(tree, None, "train", (-1, 1))


def test_without_a_split_every_drive_is_used_and_each_frame_once(tree):
    parts = {stage: set(map(str, training_lines(tree, None, stage, (-1, 1)))) for stage in ("train", "val")}
    assert len(parts["train"]) == 10
    assert parts["val"] == {f"{DRIVE} 5 l", f"{DRIVE} 5 r"}


def test_the_last_ten_of_each_hundred_frames_validate():
    held_out = [position for position in range(250) if validates(position, 250)]
    assert held_out == [*range(90, 100), *range(190, 200)]
    assert [position for position in range(30) if validates(position, 30)] == [27, 28, 29]


@pytest.mark.parametrize("text", ["drive 1", "drive one l", "drive 1 x", "drive 1 l extra", "drive -1 l"])
def test_a_line_of_another_form_is_refused_with_its_number(tmp_path, text):
    (tmp_path / "list.txt").write_text(f"drive 1 l\n\n{text}\n")
    with pytest.raises(UserError, match=r"list\.txt, line 3"):
        read_split(tmp_path / "list.txt")


def test_an_empty_split_file_is_refused(tmp_path):
    (tmp_path / "list.txt").write_text("\n")
    with pytest.raises(UserError, match="is empty"):
        read_split(tmp_path / "list.txt")


@pytest.mark.parametrize("folder", ["missing", "."])
def test_a_missing_or_empty_root_is_refused(tmp_path, folder):
    with pytest.raises(UserError, match=r"no such folder|found no frames"):
        training_lines(tmp_path / folder, None, "train", (-1, 1))


def test_a_calibration_file_without_numbers_is_refused(tmp_path):
    (tmp_path / "calib.txt").write_text("calib_time: today\n")
    with pytest.raises(UserError, match="holds no calibration"):
        read_calibration(tmp_path / "calib.txt")


# --- depth ---


@pytest.mark.parametrize("depth_from", ["velodyne_x", "camera_z"])
def test_the_velodyne_rasteriser_gives_the_published_pixels(depth_from):
    case = REFERENCE["velodyne_rasteriser"]
    depth = velodyne_depth(
        np.array(case["points"], dtype=np.float32),
        np.array(case["projection"], dtype=float),
        np.eye(3),
        np.array(case["velodyne_to_camera"]),
        case["height"],
        case["width"],
        depth_from,
    )
    found = [[row, column, pytest.approx(float(depth[row, column]))] for row, column in np.argwhere(depth)]
    assert found == case[depth_from]


@pytest.mark.parametrize("width", REFERENCE["stereo_2015_depth"]["depth_m_by_width"])
def test_disparity_becomes_depth_by_the_focal_length_of_the_width(tmp_path, width):
    case = REFERENCE["stereo_2015_depth"]
    write_stereo_2015(tmp_path, "000000_10", int(width), [0, *case["values_16_bit"]])
    frames = KittiStereo2015Frames(tmp_path, baseline_m=case["baseline_m"])
    assert frames[0].depth[0, :4] == pytest.approx([0, *case["depth_m_by_width"][width]], rel=1e-6)


def write_stereo_2015(root, stem, width, values, suffix="png"):
    write_image(root / "training" / "image_2" / f"{stem}.{suffix}", 0, height=2, width=width)
    disparity = np.zeros((2, width), dtype=np.uint16)
    disparity[0, : len(values)] = values
    (root / "training" / "disp_occ_0").mkdir(parents=True, exist_ok=True)
    Image.fromarray(disparity).save(root / "training" / "disp_occ_0" / f"{stem}.png")


@pytest.mark.parametrize(("stem", "suffix"), [("000003", "jpg"), ("000003_10", "png")])
def test_kitti_2015_is_read_from_its_root_or_its_training_folder(tmp_path, stem, suffix):
    write_stereo_2015(tmp_path, stem, 1242, [256], suffix)
    for root in (tmp_path, tmp_path / "training"):
        (frame,) = KittiStereo2015Frames(root)
        assert frame.image.shape == (2, 1242, 3)


def test_an_image_of_unknown_width_needs_its_calibration_file(tmp_path):
    write_stereo_2015(tmp_path, "000000_10", 640, [256])
    with pytest.raises(UserError, match="640 pixels wide"):
        KittiStereo2015Frames(tmp_path)
    calibration = tmp_path / "training" / "calib_cam_to_cam" / "000000.txt"
    calibration.parent.mkdir()
    calibration.write_text("P_rect_02: 100 0 0 0 0 100 0 0 0 0 1 0\n")
    assert KittiStereo2015Frames(tmp_path, baseline_m=0.5)[0].depth[0, 0] == 50


def test_a_disparity_map_without_image_is_refused_by_name(tmp_path):
    write_stereo_2015(tmp_path, "000000_10", 1242, [256])
    (tmp_path / "training" / "image_2" / "000000_10.png").unlink()
    with pytest.raises(UserError, match=r"000000_10\.png: has no image"):
        KittiStereo2015Frames(tmp_path)


def test_unknown_disparity_is_unknown_depth():
    assert disparity_to_depth(np.array([[0.0, 2.0]], np.float32), 100.0, 0.5).tolist() == [[0, 25]]


def test_raw_frames_carry_velodyne_depth_of_their_own_camera(tree):
    scan = tree / DRIVE / "velodyne_points" / "data" / "0000000002.bin"
    scan.parent.mkdir(parents=True)
    np.array([[10.5, 0, 0, 0.3]], dtype=np.float32).tofile(scan)
    for ground_truth, depth in (("velodyne", 10.5), ("velodyne_z", 10.0)):
        (frame,) = KittiRawFrames(tree, [line(2)], ground_truth)
        # u = 48 + 3 / 10 and v = 14, both one less by the files' counting from one
        assert frame.depth[13, 47] == pytest.approx(depth)
        assert np.count_nonzero(frame.depth) == 1
        assert not frame.neighbours
    (right,) = KittiRawFrames(tree, [line(2, "r")], time_offsets=(-1, 1))
    assert right.depth[13, 44] == pytest.approx(10.5)
    assert right.neighbours[-1].shape == right.image.shape


def test_raw_frames_read_improved_ground_truth(tree):
    file = tree / DRIVE / "proj_depth" / "groundtruth" / "image_02" / "0000000002.png"
    file.parent.mkdir(parents=True)
    Image.fromarray(np.full((HEIGHT, WIDTH), 512, np.uint16)).save(file)
    (frame,) = KittiRawFrames(tree, [line(2)], "improved")
    assert (frame.depth == 2).all()
    with pytest.raises(UserError, match="has no ground truth"):
        KittiRawFrames(tree, [line(3)], "improved")


def test_a_damaged_scan_is_reported_by_name(tree):
    scan = tree / DRIVE / "velodyne_points" / "data" / "0000000002.bin"
    scan.parent.mkdir(parents=True)
    scan.write_bytes(b"123")
    with pytest.raises(UserError, match=r"0000000002\.bin: 3 bytes"):
        KittiRawFrames(tree, [line(2)])[0]


# --- odometry ---


def test_poses_are_read_as_matrices(tmp_path):
    (tmp_path / "00.txt").write_text("1 0 0 5 0 1 0 6 0 0 1 7\n" * 2)
    poses = read_poses(tmp_path / "00.txt")
    assert poses.shape == (2, 4, 4)
    assert poses[1, :, 3].tolist() == [5, 6, 7, 1]


@pytest.mark.parametrize("text", ["", "1 2 3\n", "1 0 0 5 0 1 0 6 0 0 1 seven\n"])
def test_a_pose_file_of_another_form_is_refused(tmp_path, text):
    (tmp_path / "00.txt").write_text(text)
    with pytest.raises(UserError, match=r"00\.txt"):
        read_poses(tmp_path / "00.txt")


def test_an_odometry_sequence_has_a_pose_for_each_image():
    images = [Path("0.png"), Path("1.png"), Path("2.png")]
    assert len(PosedSequence("09", images, np.zeros((3, 4, 4)))) == 3
    with pytest.raises(UserError, match="Sequence 09: 3 images, but 2 poses"):
        PosedSequence("09", images, np.zeros((2, 4, 4)))


# --- the sample of KITTI beside the repository ---


@pytest.fixture
def real():
    root = Path(__file__).parents[2].parent / "shared" / "data"
    if not root.is_dir():
        pytest.skip("the KITTI sample is not beside the repository")
    return root


@pytest.mark.realdata
@pytest.mark.parametrize(
    ("source_ids", "train", "val"), [((-1, 1), 892, 60), ((-1, 1, "stereo"), 646, 40), (("stereo",), 646, 40)]
)
def test_the_real_split_is_read_whole(real, source_ids, train, val):
    for stage, count in (("train", train), ("val", val)):
        lines = training_lines(real / "kitti", "mini", stage, source_ids)
        dataset = KittiRaw(real / "kitti", lines, source_ids, 96, 320)
        assert len(dataset) == count
        assert dataset.left_out == []
    sample = dataset[0]
    assert sample.sources.shape == (len(source_ids), 3, 96, 320)
    assert sample.baseline_m == pytest.approx(0.5327, abs=1e-4)


@pytest.mark.realdata
def test_the_real_monocular_drive_is_refused_for_stereo(real):
    lines = training_lines(real / "kitti", "mini", "train", (-1, 1))
    with pytest.raises(UserError, match=r"drive_0095_sync has no image_03"):
        KittiRaw(real / "kitti", lines, ("stereo",), 96, 320)


@pytest.mark.realdata
def test_real_scans_fall_on_the_lower_part_of_the_picture(real):
    frames = KittiRawFrames(real / "kitti", evaluation_lines(real / "kitti", "mini", "raw"))
    assert len(frames) == 3
    frame = frames[0]
    assert frame.depth.shape == frame.image.shape[:2] == (375, 1242)
    valid = frame.depth > 0
    assert 0.03 < valid.mean() < 0.06
    assert valid[:100].mean() < 0.01
    assert 4 < np.median(frame.depth[valid]) < 30
    assert frame.depth.max() < 130


@pytest.mark.realdata
def test_real_improved_ground_truth_is_denser_than_one_scan(real):
    frames = KittiRawFrames(real / "kitti", evaluation_lines(real / "kitti", "mini", "improved"), "improved")
    assert len(frames) == 12
    assert 0.1 < (frames[0].depth > 0).mean() < 0.4


@pytest.mark.realdata
def test_the_real_stereo_2015_frames_are_read(real):
    frames = KittiStereo2015Frames(real / "kitti_2015")
    assert len(frames) == 41
    depth = frames[0].depth
    assert depth.shape == frames[0].image.shape[:2]
    assert 3 < np.median(depth[depth > 0]) < 40


# --- left targets ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("listed", [False, True], ids=["all drives", "a split with both sides"])
@pytest.mark.parametrize("stage", ["train", "val"])
def test_left_targets_are_the_left_half_of_all_targets(drive, tmp_path, stage, listed):
    split = str(drive_split(drive, tmp_path)) if listed else None
    both = training_lines(drive, split, stage, ("stereo",))
    left = training_lines(drive, split, stage, ("stereo",), "left")
    assert {line.side for line in both} == {"l", "r"}
    assert left == [line for line in both if line.side == "l"]
    dataset = KittiRaw(drive, left, ("stereo",), 32, 96)
    assert {dataset[index].stereo_offset for index in range(len(dataset))} == {-1.0}


def test_a_list_of_right_images_alone_has_no_left_targets(drive, tmp_path):
    file = tmp_path / "right.txt"
    file.write_text("".join(f"{line}\n" for line in training_lines(drive, None, "train", ()) if line.side == "r"))
    with pytest.raises(NoUsableFrames, match=r"right\.txt: names no left image.*--data\.sides both"):
        training_lines(drive, str(file), "train", ("stereo",), "left")


def drive_split(root: Path, folder: Path) -> Path:
    """A split of a tree of drives in its two lists, both sides in each."""
    for stage in ("train", "val"):
        lines = training_lines(root, None, stage, ())
        (folder / f"{stage}_files.txt").write_text("".join(f"{line}\n" for line in lines))
    return folder
