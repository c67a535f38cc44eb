"""Cameras that cannot be those of their frames, refused wherever the two meet."""

import json
import re

import numpy as np
import pytest
from PIL import Image

from egodepth.data.camera_checking import check_camera
from egodepth.data.checking import check_data
from egodepth.data.footage import footage_camera
from egodepth.data.kitti.raw import KittiRaw, training_lines
from egodepth.errors import UserError
from egodepth.geometry.cameras import Camera, pinhole, turned
from tests.data.test_checking import kitti  # noqa: F401 - a fixture
from tests.data.trees import CAM_TO_CAM, set_display_matrix, write_frames, write_video

HEIGHT, WIDTH = 96, 160


@pytest.fixture
def frames(tmp_path):
    return write_frames(tmp_path / "drive", range(4), size=(HEIGHT, WIDTH))


def refusal(path, intrinsics=None, **entries):
    if entries:
        (path / "camera.json").write_text(json.dumps(entries))
    with pytest.raises(UserError) as caught:
        footage_camera(path, intrinsics)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def numbers(camera):
    matrix = camera.intrinsics
    return [matrix[0, 0], matrix[1, 1], matrix[0, 2], matrix[1, 2]]


# --- the numbers ---


def test_a_principal_point_outside_the_frames_is_refused_with_what_would_be_right(frames):
    said = refusal(frames, fx=1170, fy=1170, cx=960, cy=540)
    assert said.endswith(
        "camera.json: principal point (960, 540) lies outside the 160x96 frames. Give the intrinsics of the frames' "
        "own size, or add width and height."
    )
    assert "outside the 160x96 frames" in refusal(frames, "1170,1170,960,540")


def test_a_camera_file_that_cannot_be_is_a_fault_of_the_data_and_a_missing_one_is_a_note(frames):
    assert check_data(frames).faults == ()
    (frames / "camera.json").write_text('{"fx": 1170, "fy": 1170, "cx": 960, "cy": 540}')
    assert "outside the 160x96 frames" in " ".join(check_data(frames).faults)


def test_intrinsics_in_fractions_of_the_picture_are_named_with_their_pixels(frames):
    assert "fractions of the width and the height, not pixels" in refusal(frames, "0.58,1.92,0.5,0.5")
    # 0.6 x 160 = 96 = 1.0 x 96
    assert "In pixels of the 160x96 frames: 96,96,80,48." in refusal(frames, "0.6,1.0,0.5,0.5")
    assert "fractions" in refusal(frames, fx=0.6, fy=1.0, cx=0.5, cy=0.5, width=1920, height=1080)


@pytest.mark.parametrize(
    ("intrinsics", "words"),
    [
        ("20,20,80,48", "field of view of 151.9 x"),  # 2 atan(80 / 20)
        ("1000,1000,80,48", "field of view of 9.1 x"),  # 2 atan(80 / 1000)
        ("100,110,80,48", "differ by 9%"),
        ("100,100,5,48", "at the border"),
        ("200,200,39.5,23.5", "is the middle of 80x48 frames"),
        ("100,100,47.5,79.5", "calibrated lying"),
    ],
)
def test_numbers_that_no_camera_of_these_frames_has_are_refused(frames, intrinsics, words):
    assert words in refusal(frames, intrinsics)


@pytest.mark.parametrize("intrinsics", ["100,102,80,48", "31,31,80,48", "100,100,80,20", "700,700,60,60"])
def test_cameras_that_exist_are_taken(frames, intrinsics):
    assert numbers(footage_camera(frames, intrinsics)) == [float(each) for each in intrinsics.split(",")]


def test_kittis_own_camera_is_taken():
    check_camera("P_rect_02", Camera(pinhole(721.5377, 721.5377, 609.5593, 172.854), 375, 1242), "")


# --- calibrations of another form ---


def test_a_calibration_of_another_form_is_refused_with_the_numbers_of_a_centred_cut(frames):
    said = refusal(frames, fx=3000, fy=3000, cx=2016, cy=1512, width=4032, height=3024)
    # 160 / 4032 x 3000 = 119.05; the 120 rows that 3024 become are cut to 96, 12 at either side.
    assert "4032x3024, but the frames are 160x96" in said
    assert "fx, fy, cx, cy = 119,119,79.5,47.5" in said


def test_a_lying_calibration_of_another_form_is_turned_before_a_cut_is_offered(tmp_path):
    path = set_display_matrix(write_video(tmp_path / "a.mp4", size=(HEIGHT, WIDTH)), 1)
    (tmp_path / "a.json").write_text(
        '{"fx": 1170, "fy": 1170, "cx": 959.5, "cy": 539.5, "width": 1920, "height": 1080}'
    )
    # The lying 1920x1080 is 170.7x96 beside the recorded 160x96: 96 / 1080 x 1170 = 104.
    with pytest.raises(UserError, match=r"calibrated lying at 1920x1080.*upright, 96x160.*= 104,104,47\.5,79\.5"):
        footage_camera(path)


def test_a_form_that_differs_by_rounding_alone_is_converted(frames):
    (frames / "camera.json").write_text('{"fx": 1200, "fy": 1200, "cx": 960, "cy": 576, "width": 1920, "height": 1150}')
    assert numbers(footage_camera(frames))[0] == pytest.approx(100)


@pytest.mark.parametrize("turns", [1, 3])
def test_a_lying_calibration_is_turned_with_a_video_that_is_shown_upright(tmp_path, turns):
    path = set_display_matrix(write_video(tmp_path / "a.mp4", size=(HEIGHT, WIDTH)), turns)
    camera = {"fx": 1000, "fy": 1010, "cx": 859.5, "cy": 539.5, "width": 1600, "height": 960}
    (tmp_path / "a.json").write_text(json.dumps(camera))
    found = footage_camera(path)
    assert (found.width, found.height) == (HEIGHT, WIDTH)
    # At 160x96 the point is 86 - 0.5, 54 - 0.5 from the corner: one picture's turn takes its column to a row.
    column, row = 85.5, 53.5
    expected = [row, WIDTH - 1 - column] if turns == 1 else [HEIGHT - 1 - row, column]
    assert numbers(found) == pytest.approx([101, 100, *expected], abs=1e-3)


def test_a_turned_camera_sees_a_point_where_the_turned_picture_has_it():
    camera = Camera(pinhole(100, 110, 70, 40), 96, 160)
    picture = np.zeros((96, 160))
    picture[40 + 11, 70 + 20] = 1  # what is seen at (0.2, 0.1)
    for quarter_turns, (x, y) in enumerate([(0.2, 0.1), (0.1, -0.2), (-0.2, -0.1), (-0.1, 0.2)]):
        found = turned(camera, quarter_turns)
        [[row, column]] = np.argwhere(np.rot90(picture, quarter_turns))
        fx, fy, cx, cy = numbers(found)
        assert [column, row] == pytest.approx([fx * x + cx, fy * y + cy])


def test_a_lying_calibration_of_upright_pictures_is_turned_only_where_both_sides_are_the_same(frames):
    (frames / "camera.json").write_text(
        '{"fx": 1000, "fy": 1000, "cx": 479.5, "cy": 799.5, "width": 960, "height": 1600}'
    )
    assert numbers(footage_camera(frames)) == pytest.approx([100, 100, 79.5, 47.5])
    said = refusal(frames, fx=1000, fy=1000, cx=519.5, cy=799.5, width=960, height=1600)
    assert "100,100,79.5,43.5" in said
    assert "100,100,79.5,51.5" in said


# --- a field of view ---


def test_a_field_of_view_gives_square_pixels_and_a_centre_in_the_middle(frames):
    # 2 atan(80 / f) = 90 degrees has f = 80.
    assert numbers(footage_camera(frames, "fov=90")) == pytest.approx([80, 80, 79.5, 47.5])


@pytest.mark.parametrize("degrees", ["5", "170", "nan", "wide"])
def test_a_field_of_view_that_no_camera_has_is_refused(frames, degrees):
    assert "degrees" in refusal(frames, f"fov={degrees}").lower()


# --- KITTI ---


def test_drives_of_another_form_than_their_calibration_are_refused_by_name(kitti):  # noqa: F811
    for file in kitti.rglob("image_0*/data/*.png"):
        Image.open(file).crop((0, 0, 120, 48)).save(file)
    words = r"0000000000\.png: is 120x48, but by S_rect_02 in .*calib_cam_to_cam\.txt frames are 160x48, of another"
    assert re.search(words, " ".join(check_data(kitti).faults))
    lines = training_lines(kitti, "own", "train", (-1, 1))
    with pytest.raises(UserError, match=r"is 120x48, but by S_rect_02"):
        KittiRaw(kitti, lines, (-1, 1), 32, 64)
    assert len(KittiRaw(kitti, lines, (-1, 1), 32, 64, "fixed")) == 2


def test_drives_that_were_made_smaller_keep_their_calibration(kitti):  # noqa: F811
    lines = training_lines(kitti, "own", "train", (-1, 1))
    whole = KittiRaw(kitti, lines, (-1, 1), 24, 80)[0].intrinsics
    for file in kitti.rglob("image_0*/data/*.png"):
        Image.open(file).resize((80, 24)).save(file)
    assert check_data(kitti).faults == ()
    smaller = KittiRaw(kitti, lines, (-1, 1), 24, 80)[0].intrinsics
    assert smaller.tolist() == whole.tolist()


def test_a_calibration_that_no_camera_has_is_refused_by_name(kitti):  # noqa: F811
    (kitti / "2011_09_26/calib_cam_to_cam.txt").write_text(CAM_TO_CAM.replace("60 0 80", "60 0 800"))
    assert "P_rect_02: principal point (800, 24) lies outside the 160x48 frames" in " ".join(check_data(kitti).faults)


def test_unrectified_drives_are_refused_unless_a_list_names_them(kitti):  # noqa: F811
    drive = kitti / "2011_09_26/2011_09_26_drive_0001_sync"
    drive.rename(drive.with_name("2011_09_26_drive_0001_extract"))
    (kitti / "splits").rename(kitti / "lists")
    with pytest.raises(UserError, match=r"_extract holds unrectified frames.*Unpack the _sync archives"):
        training_lines(kitti, None, "train", (-1, 1))
    assert "unrectified" in " ".join(check_data(kitti).faults)
    file = kitti / "lists" / "own" / "train_files.txt"
    file.write_text(file.read_text().replace("_sync", "_extract"))
    lines = training_lines(kitti, str(file), "train", (-1, 1))
    assert len(KittiRaw(kitti, lines, (-1, 1), 32, 64, "fixed")) == 2
