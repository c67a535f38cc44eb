"""Files of intrinsics: each form as its own program writes it, down to the spelling."""

import importlib.util
import json
import subprocess
import sys
import textwrap

import numpy as np
import pytest
from PIL import Image

from egodepth.data.calibrations.camera_json import camera_entries
from egodepth.data.calibrations.finding import file_beside
from egodepth.data.calibrations.reading import read_calibration
from egodepth.data.footage.camera import footage_camera, footage_lens
from egodepth.errors import UserError
from tests.data.trees import write_frames

OPENCV = """
    %YAML:1.0
    ---
    calibration_time: "Tue 14 Mar 2023 10:22:31 AM CET"
    nr_of_frames: 25
    image_width: 1280
    image_height: 720
    board_width: 9
    board_height: 6
    square_size: 2.5000000372529030e-02
    flags: 0
    camera_matrix: !!opencv-matrix
       rows: 3
       cols: 3
       dt: d
       data: [ 1.1587739858103148e+03, 0., 6.6964215482573990e+02, 0.,
           1.1540758446500290e+03, 3.8808005865094412e+02, 0., 0., 1. ]
    distortion_coefficients: !!opencv-matrix
       rows: 5
       cols: 1
       dt: d
       data: [ -2.5680000000000000e-01, 4.3400000000000001e-02,
           -7.0000000000000000e-04, 1.0000000000000000e-04,
           -1.1500000000000000e-01 ]
    avg_reprojection_error: 8.5000000000000000e-01
    """

ROS = """
    image_width: 1280
    image_height: 720
    camera_name: narrow_stereo/left
    camera_matrix:
      rows: 3
      cols: 3
      data: [1158.77398581, 0.0, 669.64215483, 0.0, 1154.07584465, 388.08005865, 0.0, 0.0, 1.0]
    distortion_model: plumb_bob
    distortion_coefficients:
      rows: 1
      cols: 5
      data: [-0.2568, 0.0434, -0.0007, 0.0001, -0.115]
    rectification_matrix:
      rows: 3
      cols: 3
      data: [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]
    projection_matrix:
      rows: 3
      cols: 4
      data: [1018.3, 0.0, 670.1, 0.0, 0.0, 1070.2, 388.9, 0.0, 0.0, 0.0, 1.0, 0.0]
    """

ROS_TOPIC = """
    header:
      seq: 12
      stamp:
        secs: 1620
        nsecs: 510
      frame_id: "camera"
    height: 720
    width: 1280
    distortion_model: "plumb_bob"
    D: [-0.2568, 0.0434, -0.0007, 0.0001, -0.115]
    K: [1158.77398581, 0.0, 669.64215483, 0.0, 1154.07584465, 388.08005865, 0.0, 0.0, 1.0]
    R: [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]
    P: [1018.3, 0.0, 670.1, 0.0, 0.0, 1070.2, 388.9, 0.0, 0.0, 0.0, 1.0, 0.0]
    binning_x: 0
    ---
    header:
      seq: 13
    """

KALIBR = """
    cam0:
      cam_overlaps: [1]
      camera_model: pinhole
      distortion_coeffs: [-0.2568, 0.0434, -0.0007, 0.0001]
      distortion_model: radtan
      intrinsics: [1158.77398581, 1154.07584465, 669.64215483, 388.08005865]
      resolution: [1280, 720]
      rostopic: /cam0/image_raw
    """

KALIBR_SECOND = """
    cam1:
      T_cn_cnm1:
      - [0.99, 0.0, 0.0, -0.1]
      - [0.0, 1.0, 0.0, 0.0]
      - [0.0, 0.0, 1.0, 0.0]
      - [0.0, 0.0, 0.0, 1.0]
      cam_overlaps: [0]
      camera_model: pinhole
      distortion_coeffs: [0.01, -0.02, 0.003, -0.0004]
      distortion_model: equidistant
      intrinsics: [461.6, 460.3, 363.0, 248.1]
      resolution: [752, 480]
      rostopic: /cam1/image_raw
    """

COLMAP = """
    # Camera list with one line of data per camera:
    #   CAMERA_ID, MODEL, WIDTH, HEIGHT, PARAMS[]
    # Number of cameras: 1
    1 OPENCV 1280 720 1158.77398581 1154.07584465 670.14215483 388.58005865 -0.2568 0.0434 -0.0007 0.0001
    """

NERFSTUDIO = {
    "w": 1280,
    "h": 720,
    "fl_x": 1158.77398581,
    "fl_y": 1154.07584465,
    "cx": 670.14215483,
    "cy": 388.58005865,
    "k1": -0.2568,
    "k2": 0.0434,
    "p1": -0.0007,
    "p2": 0.0001,
    "camera_model": "OPENCV",
    "frames": [{"file_path": "images/frame_00001.png", "transform_matrix": [[1, 0, 0, 0]] * 4, "colmap_im_id": 1}],
}

FIVE = (-0.2568, 0.0434, -0.0007, 0.0001, -0.115, 0, 0, 0)
FOUR = (-0.2568, 0.0434, -0.0007, 0.0001, 0, 0, 0, 0)


def written(folder, name, content):
    file = folder / name
    text = content if isinstance(content, str) else json.dumps(content)
    file.write_text(textwrap.dedent(text).lstrip("\n"), encoding="utf-8")
    return file


def numbers(found):
    return found.fx, found.fy, found.cx, found.cy


@pytest.mark.parametrize(
    ("name", "content", "coefficients"),
    [
        ("calibration.yml", OPENCV, FIVE),
        ("ost.yaml", ROS, FIVE),
        ("camera_info.yaml", ROS_TOPIC, FIVE),
        ("camchain.yaml", KALIBR, FOUR),
        ("cameras.txt", COLMAP, FOUR),
        ("transforms.json", NERFSTUDIO, FOUR),
    ],
    ids=["opencv", "ros", "ros-topic", "kalibr", "colmap", "nerfstudio"],
)
def test_every_form_gives_the_same_camera(tmp_path, name, content, coefficients):
    """COLMAP and nerfstudio count half a pixel more: their zero is the border of the first pixel."""
    found = read_calibration(written(tmp_path, name, content))
    assert numbers(found) == pytest.approx((1158.77398581, 1154.07584465, 669.64215483, 388.08005865))
    assert (found.width, found.height, found.model) == (1280, 720, "opencv")
    assert found.coefficients == pytest.approx(coefficients)


KITTI = """
    calib_time: 09-Jan-2012 13:57:47
    S_rect_02: 1.242000e+03 3.750000e+02
    P_rect_02: 721.5377 0.0 609.5593 44.85728 0.0 721.5377 172.854 0.2163791 0.0 0.0 1.0 0.002745884
    S_rect_03: 1.242000e+03 3.750000e+02
    P_rect_03: 7.1e+02 0.0 6.0e+02 -339.5242 0.0 7.1e+02 1.7e+02 2.199936 0.0 0.0 1.0 0.002729905
    """


def test_a_kitti_date_has_a_camera_for_each_number(tmp_path):
    file = written(tmp_path, "calib_cam_to_cam.txt", KITTI)
    found = read_calibration(file, "02")
    assert numbers(found) == (721.5377, 721.5377, 609.5593, 172.854)
    assert (found.width, found.height, found.is_bent) == (1242, 375, False)
    assert numbers(read_calibration(file, "03")) == (710, 710, 600, 170)
    with pytest.raises(UserError, match=r"has 2 cameras \(02, 03\)"):
        read_calibration(file)


def test_the_frames_of_a_kitti_drive_have_the_camera_of_their_date(tmp_path):
    file = written(tmp_path, "calib_cam_to_cam.txt", KITTI)
    frames = write_frames(tmp_path / "drive_0001_sync" / "image_03" / "data", range(2), (75, 248))
    assert file_beside(frames) == (file, "03")
    assert footage_camera(frames).intrinsics[0, 0] == pytest.approx(710 * 248 / 1242, rel=1e-3)
    elsewhere = write_frames(tmp_path / "drive_0001_sync" / "other" / "data", range(2), (75, 248))
    assert file_beside(elsewhere) is None
    own = written(frames, "camera.json", {"fx": 150, "fy": 150, "cx": 120, "cy": 35})
    assert file_beside(frames) == (own, None)


def test_a_file_that_opencv_itself_writes_is_read(tmp_path):
    cv2 = pytest.importorskip("cv2")
    file = tmp_path / "opencv.yml"
    storage = cv2.FileStorage(str(file), cv2.FILE_STORAGE_WRITE)
    storage.write("image_width", 640)
    storage.write("image_height", 480)
    storage.write("cameraMatrix", np.array([[500.25, 0, 320.5], [0, 501, 240], [0, 0, 1]]))
    storage.write("distCoeffs", np.array([[0.1, 1e-5, 0, -2e-7, 0, 0.01, 0.02, 0.03]]))
    storage.release()
    found = read_calibration(file)
    assert numbers(found) == (500.25, 501, 320.5, 240)
    assert found.coefficients == (0.1, 1e-5, 0, -2e-7, 0, 0.01, 0.02, 0.03)


COLMAP_WRITES = """
import sys, pycolmap
model = pycolmap.Reconstruction()
camera = pycolmap.Camera(model="RADIAL", width=640, height=480, params=[500, 320, 240, -0.1, 0.02], camera_id=7)
model.add_camera(camera)
model.write_text(sys.argv[1])
"""


def test_a_file_that_colmap_itself_writes_is_read(tmp_path):
    """In a process of its own: pycolmap and Pillow do not bear each other."""
    if importlib.util.find_spec("pycolmap") is None:
        pytest.skip("pycolmap is not installed")
    subprocess.run([sys.executable, "-c", COLMAP_WRITES, str(tmp_path)], check=True, capture_output=True)
    found = read_calibration(tmp_path / "cameras.txt")
    assert numbers(found) == (500, 500, 319.5, 239.5)
    assert found.coefficients[:3] == (-0.1, 0.02, 0)


def test_fisheyes_of_every_form_have_k1_to_k4(tmp_path):
    four = [0.01, -0.02, 0.003, -0.0004]
    matrix = "[461.6, 0, 363.0, 0, 460.3, 248.1, 0, 0, 1]"
    nerf = NERFSTUDIO | {"camera_model": "OPENCV_FISHEYE", "k1": 0.01, "k2": -0.02, "k3": 0.003, "k4": -0.0004}
    files = [
        written(tmp_path, "k.yaml", KALIBR_SECOND),
        written(
            tmp_path, "r.yaml", f"distortion_model: equidistant\nK: {matrix}\nD: {four}\nwidth: 752\nheight: 480\n"
        ),
        written(tmp_path, "o.yaml", f"%YAML:1.0\n---\nfisheye_model: 1\nK: {matrix}\nD: {four}\n"),
        written(tmp_path, "cameras.txt", "1 OPENCV_FISHEYE 752 480 461.6 460.3 363.5 248.6 0.01 -0.02 0.003 -0.0004"),
        written(tmp_path, "transforms.json", nerf),
        written(
            tmp_path,
            "camera.json",
            {"fx": 461.6, "fy": 460.3, "cx": 363, "cy": 248.1, "model": "fisheye"}
            | {f"k{n}": value for n, value in enumerate(four, 1)},
        ),
    ]
    for file in files:
        found = read_calibration(file)
        assert (found.model, found.coefficients) == ("fisheye", pytest.approx(four)), file


def test_one_of_several_cameras_is_named(tmp_path):
    file = written(tmp_path, "camchain.yaml", textwrap.dedent(KALIBR) + textwrap.dedent(KALIBR_SECOND))
    assert read_calibration(file, "cam1").fx == 461.6
    with pytest.raises(UserError, match=r"2 cameras \(cam0, cam1\)\. Name one: --intrinsics FILE#cam0"):
        read_calibration(file)
    with pytest.raises(UserError, match="no camera cam2"):
        read_calibration(file, "cam2")


def test_what_is_written_is_read_back(tmp_path):
    found = read_calibration(written(tmp_path, "ost.yaml", ROS))
    assert read_calibration(written(tmp_path, "camera.json", camera_entries(found))) == found


def test_a_byte_order_mark_does_no_harm(tmp_path):
    file = tmp_path / "camera.json"
    file.write_text('{"fx": 80, "fy": 80, "cx": 47, "cy": 23}', encoding="utf-8-sig")
    assert read_calibration(file).fx == 80


WRONG = [
    ("camera.json", "{", "expected an object"),
    ("camera.json", "[1, 2]", "expected an object"),
    ("camera.json", {"fx": 1, "fy": 1, "cx": 1, "cy": 1, "model": "omni"}, "model 'omni' is not known"),
    ("camera.json", {"fx": 1, "fy": 1, "cx": 1, "cy": 1, "field": "all"}, "field 'all' is not known"),
    ("camera.json", {"fx": 1, "fy": 1, "cx": 1, "cy": 1, "k7": 1}, "k7 is no coefficient"),
    ("camera.json", {"fx": 1, "fy": 1, "cx": 1, "cy": 1, "p1": 0.1, "model": "fisheye"}, "p1 is no coefficient"),
    ("camera.json", {"fx": 1, "fy": 1, "cx": 1, "cy": 1, "k1": "much"}, "cannot be understood"),
    ("a.yaml", "a: [1, 2", "is not YAML in line 1"),
    ("a.yaml", "- 1\n- 2\n", "no YAML mapping"),
    ("a.yaml", "a: 1\n", "holds no camera matrix"),
    ("a.yaml", "a: !!python/object/apply:os.system ['touch x']\n", "is not YAML"),
    ("a.yaml", "camera_matrix: !!opencv-matrix [1, 2]\n", "without rows, cols and data"),
    ("a.yaml", "K: [1, 0.5, 1, 0, 1, 1, 0, 0, 1]\n", "is not fx 0 cx"),
    ("a.yaml", "K: [1, 0, 1, 0, 1, 1, 0, 0, 1]\nD: [0, 0, 0, 0, 0, 0, 0, 0, 1]\n", "9 distortion coefficients"),
    (
        "a.yaml",
        "K: [1, 0, 1, 0, 1, 1, 0, 0, 1]\ndistortion_model: thin_prism\nD: [1]\n",
        "distortion model 'thin_prism'",
    ),
    ("a.yaml", "cam0:\n  camera_model: omni\n", "camera model 'omni'"),
    ("a.yaml", "cam0:\n  camera_model: pinhole\n", "has no resolution"),
    ("cameras.txt", "1 PINHOLE 640 480 500 500 320", "PINHOLE has 4 parameters, found 3"),
    ("cameras.txt", "1 FOV 640 480 500 500 320 240 1", "camera model FOV"),
    ("cameras.txt", "1 PINHOLE", "line 1: expected CAMERA_ID"),
    ("cameras.txt", "# nothing\n", "has 0 cameras"),
    ("transforms.json", {"frames": []}, "has no w and h"),
    ("transforms.json", NERFSTUDIO | {"k4": 0.1}, "k4 of a model that is not OpenCV's"),
    ("transforms.json", NERFSTUDIO | {"frames": [{"fl_x": 1.0}, {"fl_x": 2.0}]}, "differs from frame to frame"),
]


@pytest.mark.parametrize(("name", "content", "words"), WRONG)
def test_a_file_that_cannot_be_used_is_one_line_that_names_it(tmp_path, name, content, words):
    with pytest.raises(UserError) as caught:
        read_calibration(written(tmp_path, name, content))
    said = str(caught.value)
    assert said.startswith(str(tmp_path / name))
    assert words in said
    assert "\n" not in said


def test_bytes_that_are_no_text_are_refused(tmp_path):
    (tmp_path / "a.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="is not text"):
        read_calibration(tmp_path / "a.yaml")


# --- with footage ---


@pytest.fixture
def frames(tmp_path):
    folder = tmp_path / "drive"
    folder.mkdir()
    for number in range(3):
        Image.new("RGB", (320, 180), (number, 0, 0)).save(folder / f"{number}.png")
    return folder


def test_a_file_is_named_in_place_of_numbers_or_found_by_its_usual_name(frames, tmp_path):
    pytest.importorskip("cv2")
    file = written(tmp_path, "elsewhere.yaml", ROS)
    named = footage_lens(frames, str(file))
    assert named.fx == pytest.approx(1158.774 / 4, abs=1e-3)
    written(frames, "ost.yaml", ROS)
    assert footage_lens(frames) == named
    written(frames, "cameras.txt", COLMAP)
    with pytest.raises(UserError, match=r"holds cameras\.txt and ost\.yaml, and one camera is needed"):
        footage_camera(frames)
    written(frames, "camera.json", {"fx": 290, "fy": 290, "cx": 159.5, "cy": 89.5})
    assert footage_lens(frames) is None
    assert footage_camera(frames).intrinsics[0, 0] == 290


def test_a_file_that_is_not_there_is_named(frames):
    with pytest.raises(UserError, match=r"--intrinsics missing\.yaml: no such file"):
        footage_camera(frames, "missing.yaml")


def test_a_camera_of_the_chain_is_chosen_with_its_name(frames, tmp_path):
    pytest.importorskip("cv2")
    file = written(tmp_path, "camchain.yaml", textwrap.dedent(KALIBR) + textwrap.dedent(KALIBR_SECOND))
    assert footage_lens(frames, f"{file}#cam0").fx == pytest.approx(1158.774 / 4, abs=1e-3)
