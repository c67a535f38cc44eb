"""KITTI trees that are off by one thing are named as such, with what to do."""

import shutil

import pytest

from egodepth.data.checking import check_data
from egodepth.data.configurations import DataConfig
from egodepth.data.kitti.raw import KittiRaw, training_lines
from egodepth.data.opening import open_training_sets
from egodepth.data.recognise import recognise
from egodepth.errors import UserError
from tests.data.trees import CAM_TO_CAM, HEIGHT, WIDTH, write_frames

DATE = "2011_09_26"
DRIVE = f"{DATE}_drive_0001_sync"


def calibration(folder):
    """As KITTI's archive of a date: the files' names end as those of Cityscapes' triplets do."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("calib_cam_to_cam.txt", "calib_velo_to_cam.txt", "calib_imu_to_velo.txt"):
        (folder / name).write_text(CAM_TO_CAM)


def drive(folder):
    write_frames(folder / "image_02" / "data", range(4), (HEIGHT, WIDTH))


def calibration_alone(root):
    calibration(root / DATE)


def no_sync(root):
    calibration(root / DATE)
    drive(root / DATE / f"{DATE}_drive_0001")


def each_archive_in_its_folder(root):
    calibration(root / f"{DATE}_calib" / DATE)
    drive(root / DRIVE / DATE / DRIVE)


def date_without_zeros(root):
    calibration(root / "2024_5_1")
    drive(root / "2024_5_1" / "2024_5_1_drive_1_sync")


def date_with_hyphens(root):
    calibration(root / "2024-05-01")
    drive(root / "2024-05-01" / "2024-05-01_drive_0001_sync")


def date_missing(root):
    drive(root / DRIVE)


def drive_missing(root):
    calibration(root / DATE)
    write_frames(root / DATE / "image_02" / "data", range(4))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (calibration_alone, f"the calibration of {DATE} without drives: unpack the _sync archives"),
        (no_sync, f"{DATE}_drive_0001, which is not named as a rectified drive: rename it to {DRIVE}"),
        (each_archive_in_its_folder, rf"move what is in {DATE}_calib/{DATE} to {DATE} beside {DATE}_calib"),
        (date_without_zeros, "rename it to 2024_05_01, and 2024_5_1_drive_1_sync in it to 2024_05_01_drive_0001_sync"),
        (date_with_hyphens, "rename it to 2024_05_01, and .* in it to 2024_05_01_drive_0001_sync"),
        (date_missing, f"is one date of KITTI raw|itself: move it into a folder of its date, as {DATE}/{DRIVE}"),
        (drive_missing, f"{DATE}/image_02 without the folder of its drive"),
    ],
)
def test_a_near_miss_is_named_with_what_to_do(tmp_path, make, words):
    make(tmp_path)
    with pytest.raises(UserError, match=words) as refused:
        recognise(tmp_path)
    assert "\n" not in str(refused.value)


def test_doing_what_the_message_says_leads_to_a_tree_that_is_read(tmp_path):
    date_without_zeros(tmp_path)
    (tmp_path / "2024_5_1").rename(tmp_path / "2024_05_01")
    (tmp_path / "2024_05_01" / "2024_5_1_drive_1_sync").rename(tmp_path / "2024_05_01" / "2024_05_01_drive_0001_sync")
    assert recognise(tmp_path) == "kitti-raw"


def test_a_misnamed_drive_beside_good_ones_is_said_by_check_and_by_training(tmp_path):
    calibration(tmp_path / DATE)
    drive(tmp_path / DATE / DRIVE)
    drive(tmp_path / DATE / f"{DATE}_drive_0002")
    assert any("_drive_0002, which is not named" in note for note in check_data(tmp_path).notes)
    sets = open_training_sets(tmp_path, DataConfig(), "calibrated", (-1,), 32, 64, tmp_path / "cache")
    assert "_drive_0002, which is not named" in sets.left_out[0]


# --- one camera ---


@pytest.fixture
def one_camera(tmp_path):
    drive(tmp_path / DATE / DRIVE)
    lines = CAM_TO_CAM.splitlines(keepends=True)
    (tmp_path / DATE / "calib_cam_to_cam.txt").write_text("".join(lines[:3]))
    assert "P_rect_03" not in "".join(lines[:3])
    return tmp_path


def test_one_camera_needs_no_line_of_a_second(one_camera):
    assert check_data(one_camera).faults == ()
    samples = KittiRaw(one_camera, training_lines(one_camera, None, "train", (-1,)), (-1,), 32, 64)
    assert samples[0].baseline_m != samples[0].baseline_m  # not a number: no distance is known


def test_a_second_camera_needs_its_line(one_camera):
    shutil.copytree(one_camera / DATE / DRIVE / "image_02", one_camera / DATE / DRIVE / "image_03")
    assert "has no P_rect_03, but there are frames of image_03" in " ".join(check_data(one_camera).faults)
    lines = training_lines(one_camera, None, "train", ("stereo",))
    with pytest.raises(UserError, match="has no P_rect_03"):
        KittiRaw(one_camera, lines, ("stereo",), 32, 64)


def test_a_pair_in_one_place_does_not_train(one_camera):
    shutil.copytree(one_camera / DATE / DRIVE / "image_02", one_camera / DATE / DRIVE / "image_03")
    file = one_camera / DATE / "calib_cam_to_cam.txt"
    left = file.read_text().splitlines()[2]
    file.write_text(f"{file.read_text()}{left.replace('P_rect_02', 'P_rect_03')}\n")
    lines = training_lines(one_camera, None, "train", ("stereo",))
    with pytest.raises(UserError, match="are equal, so the pair has no baseline"):
        KittiRaw(one_camera, lines, ("stereo",), 32, 64)


# --- text as Windows writes it ---


def test_a_byte_order_mark_is_no_part_of_a_split_or_a_calibration(one_camera):
    listed = one_camera / "list.txt"
    listed.write_bytes(f"{DATE}/{DRIVE} 1 l\r\n{DATE}/{DRIVE} 2 l\r\n".encode("utf-8-sig"))
    file = one_camera / DATE / "calib_cam_to_cam.txt"
    file.write_bytes(file.read_text().encode("utf-8-sig"))
    lines = training_lines(one_camera, str(listed), "train", (-1,))
    assert [line.frame for line in lines] == [1, 2]
    assert len(KittiRaw(one_camera, lines, (-1,), 32, 64)) == 2


def test_digits_that_are_no_decimals_are_no_frame_numbers(one_camera):
    data = one_camera / DATE / DRIVE / "image_02" / "data"
    shutil.copy(min(data.iterdir()), data / "10²3.png")
    listed = one_camera / "list.txt"
    listed.write_text(f"{DATE}/{DRIVE} 1² l\n", encoding="utf-8")
    assert check_data(one_camera).counts["frames"] == 4
    with pytest.raises(UserError, match=r"line 1: .* is not `<folder> <frame> <l or r>`"):
        training_lines(one_camera, str(listed), "train", (-1,))


# --- standing parts ---


def test_parts_in_which_the_camera_stands_are_left_out_of_drives_that_nobody_listed(tmp_path):
    calibration(tmp_path / DATE)
    data = tmp_path / DATE / DRIVE / "image_02" / "data"
    # Ten frames in motion, then the same picture six times, then motion again.
    write_frames(data, [*range(10), *[10] * 6, *range(11, 21)], (HEIGHT, WIDTH))
    sets = open_training_sets(tmp_path, DataConfig(), "calibrated", (-1, 1), 32, 64, tmp_path / "cache")
    used = {int(sets.training[place].name.split()[1]) for place in range(len(sets.training))}
    assert used.isdisjoint(range(10, 16))
    assert used >= {*range(1, 10), *range(16, 20)}
    assert any("6 frames around which the camera stands still" in message for message in sets.left_out)
    resumed = open_training_sets(tmp_path, DataConfig(), "calibrated", (-1, 1), 32, 64, tmp_path / "cache")
    assert list(resumed.training.sample_names()) == list(sets.training.sample_names())


def test_a_list_is_taken_at_its_word(tmp_path):
    calibration(tmp_path / DATE)
    write_frames(tmp_path / DATE / DRIVE / "image_02" / "data", [0] * 8, (HEIGHT, WIDTH))
    listed = tmp_path / "list.txt"
    listed.write_text(f"{DATE}/{DRIVE} 3 l\n")
    config = DataConfig(split=str(listed))
    sets = open_training_sets(tmp_path, config, "calibrated", (-1, 1), 32, 64, tmp_path / "cache")
    assert len(sets.training) == 1
