"""What `check_data` says of whole and of broken trees."""

import re
import shutil

import numpy as np
import pytest
from PIL import Image

from egodepth.data.checking import check_data
from egodepth.data.probing import cameras_look_swapped, evenly
from egodepth.data.simulator.configuration import SimulatorConfig
from egodepth.data.simulator.writer import simulate
from tests.data.trees import (
    CAM_TO_CAM,
    HEIGHT,
    WIDTH,
    texture,
    write_cityscapes_disparity,
    write_cityscapes_pair,
    write_ddad,
    write_frames,
    write_pair,
    write_snippet,
    write_stereo_2015,
)


def only_fault(path, **options):
    report = check_data(path, **options)
    assert report.exit_code == 2
    assert len(report.faults) == 1, report.faults
    assert "\n" not in report.faults[0]
    return report.faults[0]


def no_fault(path, **options):
    report = check_data(path, **options)
    assert report.faults == ()
    assert report.exit_code == 0
    return report


def empty(file):
    file.write_bytes(b"")


def cut(file):
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


# --- KITTI ---


DRIVE = "2011_09_26/2011_09_26_drive_0001_sync"


@pytest.fixture
def kitti(tmp_path):
    for frame in range(5):
        left, right = (tmp_path / DRIVE / f"image_0{number}" / "data" / f"{frame:010d}.png" for number in (2, 3))
        write_pair(left, right, seed=frame)
    scans = tmp_path / DRIVE / "velodyne_points" / "data"
    scans.mkdir(parents=True)
    np.ones((3, 4), np.float32).tofile(scans / "0000000002.bin")
    (tmp_path / "2011_09_26" / "calib_cam_to_cam.txt").write_text(CAM_TO_CAM)
    (tmp_path / "2011_09_26" / "calib_velo_to_cam.txt").write_text("R: 0 -1 0 0 0 -1 1 0 0\nT: 0 0 0\n")
    (tmp_path / "splits" / "own").mkdir(parents=True)
    (tmp_path / "splits" / "own" / "train_files.txt").write_text(f"{DRIVE} 1 l\n{DRIVE} 2 r\n")
    return tmp_path


def test_a_whole_drive_has_its_samples_counted(kitti):
    report = no_fault(kitti)
    assert report.kind == "kitti-raw"
    assert report.counts["samples of mode mono"] == 6
    assert report.counts["samples of mode stereo"] == 10
    assert report.counts["samples of mode mono+stereo"] == 6
    assert report.counts["laser scans (protocols eigen, sdfa)"] == 1
    assert any("KITTI raw" in line for line in report.lines())


def swap_folders(root):
    drive = root / DRIVE
    (drive / "image_02").rename(drive / "elsewhere")
    (drive / "image_03").rename(drive / "image_02")
    (drive / "elsewhere").rename(drive / "image_03")


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (swap_folders, "left and the right camera are swapped"),
        (lambda root: (root / "2011_09_26/calib_cam_to_cam.txt").unlink(), r"calib_cam_to_cam\.txt: no such"),
        (lambda root: (root / "2011_09_26/calib_velo_to_cam.txt").unlink(), r"calib_velo_to_cam\.txt: no such"),
        (
            lambda root: (root / "2011_09_26/calib_cam_to_cam.txt").write_text(
                CAM_TO_CAM.replace("80 3 ", "80 -27 ", 1).replace(
                    "80 -27 0 60 24 0 0 0 1 0\n", "80 3 0 60 24 0 0 0 1 0\n"
                )
            ),
            "two are swapped",
        ),
        (lambda root: empty(root / DRIVE / "image_03/data/0000000001.png"), r"0000000001\.png: is empty"),
        (lambda root: cut(root / DRIVE / "image_02/data/0000000001.png"), "is damaged or cut short"),
        (lambda root: (root / DRIVE / "image_03/data/0000000004.png").unlink(), "image_02 has 5 frames, image_03 4"),
        (
            lambda root: cut(root / DRIVE / "velodyne_points/data/0000000002.bin"),
            "not a whole number of 16-byte points",
        ),
        (
            lambda root: (root / "splits/own/train_files.txt").write_text(f"{DRIVE} 1 l\n{DRIVE} 77 l\n"),
            r"train_files\.txt: 1 of its 2 frames are not in the tree \(the first: line 2",
        ),
        (lambda root: (root / "splits/own/train_files.txt").write_text("1 2 3 4\n"), r"line 1: `1 2 3 4` is not"),
    ],
)
def test_each_fault_of_a_drive_is_one_line(kitti, spoil, words):
    spoil(kitti)
    assert re.search(words, only_fault(kitti))


def test_one_camera_alone_is_a_note(kitti):
    shutil.rmtree(kitti / DRIVE / "image_03")
    (kitti / "splits" / "own" / "train_files.txt").write_text(f"{DRIVE} 1 l\n")
    report = no_fault(kitti)
    assert "samples of mode stereo" not in report.counts
    assert any("no stereo" in note for note in report.notes)


def test_a_simulated_drive_has_no_fault_until_its_cameras_are_swapped(tmp_path):
    simulate(tmp_path / "drive", SimulatorConfig(frames=12, height=64, width=192))
    report = no_fault(tmp_path / "drive")
    assert report.kind == "simulated"
    for camera in list((tmp_path / "drive").rglob("image_02/data")):
        other = camera.parents[1] / "image_03" / "data"
        camera.rename(camera.with_name("kept"))
        other.rename(camera)
        camera.with_name("kept").rename(other)
    assert "swapped" in only_fault(tmp_path / "drive")


def test_pictures_that_show_nothing_distinct_are_not_called_swapped(tmp_path):
    for name in ("left.png", "right.png"):
        Image.new("RGB", (WIDTH, HEIGHT), (90, 90, 90)).save(tmp_path / name)
    assert not cameras_look_swapped([(tmp_path / "left.png", tmp_path / "right.png")] * 3)


def test_stereo_2015_is_checked_with_its_maps(tmp_path):
    write_stereo_2015(tmp_path)
    assert no_fault(tmp_path).counts["images (protocols kitti-2015, kitti-2015-full)"] == 2
    file = tmp_path / "training" / "disp_occ_0" / "000001_10.png"
    Image.fromarray(np.full((HEIGHT, WIDTH), 6, np.uint8)).save(file)
    assert "expected a 16-bit grey PNG" in only_fault(tmp_path)


# --- Cityscapes ---


NAME = "ulm_000002_000019"


@pytest.fixture
def cityscapes(tmp_path):
    for split, name in (("train", NAME), ("train", "ulm_000003_000019"), ("test", "bonn_000000_000019")):
        write_cityscapes_pair(tmp_path, split, name, seed=len(name))
    write_cityscapes_disparity(tmp_path, "test", "bonn_000000_000019")
    return tmp_path


def write_snippets(root, missing=()):
    write_snippet(root, "train", "ulm_000002")
    write_snippet(root, "train", "ulm_000003", missing)


def test_a_whole_cityscapes_tree_has_its_samples_counted(cityscapes):
    assert no_fault(cityscapes).counts == {
        "samples of mode stereo to train": 2,
        "test frames with disparity (protocol cityscapes)": 1,
    }
    write_snippets(cityscapes)
    report = no_fault(cityscapes)
    assert report.counts["samples of mode mono to train"] == 2 * 26
    assert report.counts["samples of mode mono+stereo to train"] == 2


def swap_cityscapes(root):
    for left in list((root / "leftImg8bit").rglob("*.png")):
        right = root / "rightImg8bit" / left.relative_to(root / "leftImg8bit")
        right = right.with_name(left.name.replace("leftImg8bit", "rightImg8bit"))
        content = left.read_bytes()
        left.write_bytes(right.read_bytes())
        right.write_bytes(content)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda root: (root / "camera/train/ulm" / f"{NAME}_camera.json").unlink(), "no camera file of ulm_000002"),
        (lambda root: cut(root / "camera/train/ulm" / f"{NAME}_camera.json"), "expected intrinsic fx"),
        (
            lambda root: (root / "rightImg8bit/train/ulm" / f"{NAME}_rightImg8bit.png").unlink(),
            f"1 of 2 train frames are in only one of .*{NAME}",
        ),
        (lambda root: cut(root / "leftImg8bit/train/ulm" / f"{NAME}_leftImg8bit.png"), "is damaged or cut short"),
        (lambda root: write_snippets(root, missing={29, 0}), "1 of 2 snippets are incomplete .*28 of 30"),
        (
            lambda root: shutil.copy(
                root / "disparity/test/bonn/bonn_000000_000019_disparity.png",
                root / "disparity/test/bonn/bonn_000000_000049_disparity.png",
            ),
            r"1 maps have no left image \(the first: bonn_000000_000049\)",
        ),
        (
            lambda root: Image.fromarray(np.full((HEIGHT, WIDTH), 7, np.uint8)).save(
                root / "disparity/test/bonn/bonn_000000_000019_disparity.png"
            ),
            "expected a 16-bit grey PNG",
        ),
    ],
)
def test_each_fault_of_cityscapes_is_one_line(cityscapes, spoil, words):
    spoil(cityscapes)
    assert re.search(words, only_fault(cityscapes))


def test_swapped_cameras_of_cityscapes_are_found_in_each_split(cityscapes):
    swap_cityscapes(cityscapes)
    report = check_data(cityscapes)
    assert [fault.split(": the left")[0].rsplit(", ", 1)[1] for fault in report.faults] == ["train", "test"]


def test_one_part_of_cityscapes_is_told_from_the_whole(cityscapes):
    fault = only_fault(cityscapes / "leftImg8bit")
    assert f"is one part of Cityscapes; give the folder above, {cityscapes}" in fault


def test_triplets_are_checked_with_their_cameras_and_lists(tmp_path):
    (tmp_path / "ulm").mkdir()
    for frame in (2, 3):
        stem = f"ulm_000002_{frame:06d}"
        Image.new("RGB", (96, 12)).save(tmp_path / "ulm" / f"{stem}.jpg")
        (tmp_path / "ulm" / f"{stem}_cam.txt").write_text("35,0,16,0,35,8,0,0,1")
    assert no_fault(tmp_path).counts == {"samples of mode mono": 2}
    (tmp_path / "train.txt").write_text("ulm ulm_000002_000002\nulm ulm_000009_000002\n")
    assert "1 of its 2 triplets are not in the tree (the first: ulm_000009_000002)" in only_fault(tmp_path)
    (tmp_path / "train.txt").unlink()
    (tmp_path / "ulm" / "ulm_000002_000003_cam.txt").unlink()
    assert "ulm_000002_000003_cam.txt: no such file" in only_fault(tmp_path)


# --- DDAD ---


@pytest.fixture
def ddad(tmp_path):
    write_ddad(tmp_path)
    return tmp_path


def test_a_whole_ddad_tree_has_its_samples_counted(ddad):
    assert no_fault(ddad).counts == {
        "samples of mode mono": 1,
        "val frames (protocols ddad, ddad-sc, ddad-80)": 6,
    }


def look_away(root):
    file = root / "000150" / "calibration" / "k.json"
    file.write_text(file.read_text().replace('"cx": 112', '"cx": 9000'))


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda root: (root / "000151/scene_0.json").unlink(), "no such scene; 1 of 2 val scenes are missing"),
        (lambda root: (root / "000151/rgb/CAMERA_01/11.png").unlink(), "unpacked in part"),
        (lambda root: (root / "000151/calibration/k.json").unlink(), r"k\.json: no such file"),
        (lambda root: cut(root / "000150/scene_0.json"), "is damaged or cut short"),
        (lambda root: cut(root / "000150/point_cloud/LIDAR/1.npz"), "cannot be read as a point cloud"),
        (lambda root: cut(root / "000000/rgb/CAMERA_01/11.png"), "is damaged or cut short"),
        (look_away, r"no laser point of its sample falls inside it.*\(2 more like this\.\)"),
    ],
)
def test_each_fault_of_ddad_is_one_line(ddad, spoil, words):
    spoil(ddad)
    assert re.search(words, only_fault(ddad))


# --- footage and the rest ---


def test_a_folder_of_frames_is_counted_and_its_camera_missed(tmp_path):
    write_frames(tmp_path, range(5))
    report = no_fault(tmp_path)
    assert report.counts == {"frames": 5, "samples of mode mono, at most": 3}
    assert any("camera is not known" in note for note in report.notes)
    Image.fromarray(texture(9, 24)).save(tmp_path / "9.jpg")
    assert any(re.search(r"9\.jpg: is \d+x24 where most frames are", note) for note in no_fault(tmp_path).notes)


def test_too_few_frames_are_a_fault(tmp_path):
    Image.fromarray(texture(0)).save(tmp_path / "0.jpg")
    assert "1 usable frames, training needs at least 3" in only_fault(tmp_path)


@pytest.mark.parametrize("name", ["", "nowhere", "video.mp4"])
def test_what_is_no_data_is_a_fault_and_no_exception(tmp_path, name):
    (tmp_path / "video.mp4").write_bytes(b"not a video")
    (tmp_path / "inner").mkdir()
    assert only_fault(tmp_path / "inner" if not name else tmp_path / name)


def test_one_file_in_many_is_found_when_every_file_is_read(tmp_path):
    write_frames(tmp_path, range(150), (16, 32))
    cut(tmp_path / "2.png")
    assert check_data(tmp_path).exit_code == 0
    assert "2.png" in only_fault(tmp_path, every_file=True)


def test_items_are_taken_evenly_with_the_first_and_the_last():
    assert evenly(list(range(9)), 3) == [0, 4, 8]
    assert evenly([1, 2], 3) == [1, 2]
