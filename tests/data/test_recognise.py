import pytest

from egodepth.data.recognise import recognise
from egodepth.errors import UserError


def make(root, *files):
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_bytes(b"x")


DRIVE = "2011_09_26/2011_09_26_drive_0001_sync/image_02/data/0000000000.png"


@pytest.mark.parametrize(
    ("files", "kind"),
    [
        ([DRIVE], "kitti-raw"),
        ([DRIVE, "simulation.json"], "simulated"),
        (["training/image_2/000000_10.png", "training/disp_occ_0/000000_10.png"], "kitti-2015"),
        (["image_2/000000.jpg", "disp_occ_0/000000.png"], "kitti-2015"),
        (["1.jpg", "2.jpg", "camera.json"], "frames"),
    ],
)
def test_a_folder_is_recognised_by_its_layout(tmp_path, files, kind):
    make(tmp_path, *files)
    assert recognise(tmp_path) == kind


def test_a_video_is_recognised_by_its_name(tmp_path):
    make(tmp_path, "drive.MP4")
    assert recognise(tmp_path / "drive.MP4") == "video"


@pytest.mark.parametrize(
    ("files", "path", "words"),
    [
        ([], "missing", "no such file or folder"),
        ([], ".", "empty folder. Expected a simulated drive, KITTI raw"),
        (["notes.txt"], ".", "unknown layout. Expected .*KITTI raw .*, a video file, or a folder of videos"),
        (["notes.txt"], "notes.txt", "is no video that can be read"),
        (["a.png"], "a.png", "is a single image"),
        (["inner/a.png"], ".", "holds no frames itself, but .*inner does"),
        ([DRIVE], "2011_09_26", "is one date of KITTI raw; give the folder above"),
        ([DRIVE], "2011_09_26/2011_09_26_drive_0001_sync", "is one drive of KITTI raw"),
    ],
)
def test_a_path_that_is_no_data_set_is_refused_with_what_was_looked_for(tmp_path, files, path, words):
    make(tmp_path, *files)
    with pytest.raises(UserError, match=words):
        recognise(tmp_path / path)
