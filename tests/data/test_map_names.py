"""By what names frames and their depth maps find each other."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from egodepth.data.configurations import DataConfig
from egodepth.data.map_names import found_maps, frame_key, frame_keys, listed_maps
from egodepth.data.opening import open_training_sets
from egodepth.data.packs.reading import PackOptions, open_pack
from egodepth.data.packs.writing import pack
from egodepth.errors import UserError
from tests.data.trees import write_cityscapes_camera, write_ddad, write_frames, write_snippet, write_video

SIZE = 32, 96


def opened(*roots, cache, intrinsics="fov=60", views=(-1, 1), **options):
    config = DataConfig(beside=tuple(roots[1:]), **options)
    return open_training_sets(roots[0], config, intrinsics, views, *SIZE, cache)


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("2011_09_26/2011_09_26_drive_0005_sync 12 l", "2011_09_26/2011_09_26_drive_0005_sync/image_02/0000000012"),
        ("2011_09_26/2011_09_26_drive_0005_sync 0 r", "2011_09_26/2011_09_26_drive_0005_sync/image_03/0000000000"),
        ("train/aachen_000000_000019", "train/aachen/aachen_000000_000019"),
        ("ulm_000002_000025", "ulm/ulm_000002_000025"),
        ("000150 15616458296936490", "000150/15616458296936490"),
        ("drive.mp4/000012", "drive.mp4/000012"),
        ("drive.mp4 000012", "drive.mp4/000012"),  # of a pack that was made before
        ("my walk/IMG 12", "my walk/IMG 12"),
    ],
)
def test_a_sample_has_the_place_of_its_frame_as_key(name, key):
    assert frame_key(name) == key


def test_a_map_may_lie_as_the_frames_of_its_data_set_do(tmp_path):
    for place in (
        "2011_09_26/x_sync/image_02/data/0000000012.npy",
        "2011_09_26/y_sync/proj_depth/groundtruth/image_03/0000000012.npy",
        "leftImg8bit/train/aachen/aachen_000000_000019_leftImg8bit.npy",
        "000150/rgb/CAMERA_01/1561.5.npy",
    ):
        (tmp_path / place).parent.mkdir(parents=True)
        np.save(tmp_path / place, np.ones((6, 8)))
    assert set(listed_maps(tmp_path)) == {
        "2011_09_26/x_sync/image_02/0000000012",
        "2011_09_26/y_sync/image_03/0000000012",
        "train/aachen/aachen_000000_000019",
        "000150/1561.5",
    }


def test_leading_folders_may_be_left_out_as_long_as_all_frames_can_be_told_apart():
    file = Path("map.npy")
    keys = [["a/c/1", "a/c/2"], ["a/d/3"]]
    assert found_maps(keys, {"a/c/1": file}) == [[file, None], [None]]
    assert found_maps(keys, {"c/1": file}) == [[file, None], [None]]
    assert found_maps(keys, {"2": file, "3": file}) == [[None, file], [file]]
    assert found_maps([["a/c/1", "a/d/1"]], {"1": file}) == [[None, None]]
    assert found_maps([["a/c/1", "a/d/1"]], {"c/1": file}) == [[file, None]]
    assert found_maps([["1", "a/2"]], {"2": file}) == [[None, None]]


def test_the_pictures_of_a_folder_keep_their_names(tmp_path):
    folder = write_frames(tmp_path / "holiday")
    for file in list(folder.iterdir()):
        file.rename(folder / f"IMG {100 + int(file.stem)}.png")
    sets = opened(folder, cache=tmp_path / "cache")
    [keys] = frame_keys(sets.training)
    assert keys[:2] == ["holiday/IMG 101", "holiday/IMG 102"]
    assert [sets.training[place].name for place in range(2)] == keys[:2]


def test_frames_of_several_videos_are_told_apart_by_the_video(tmp_path):
    one = write_video(tmp_path / "one.mp4", range(20))
    two = write_video(tmp_path / "two.mp4", range(50, 70))
    sets = opened(one, two, cache=tmp_path / "cache")
    training, validation = frame_keys(sets.training, sets.validation)
    assert len(set(training + validation)) == len(sets.training) + len(sets.validation) == 36
    assert {key.split("/")[0] for key in training} == {"one.mp4", "two.mp4"}


def test_videos_of_one_name_are_told_apart_by_their_folders(tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
    write_video(tmp_path / "a" / "front.mp4", range(20))
    shutil.copy(tmp_path / "a" / "front.mp4", tmp_path / "b" / "front.mp4")
    sets = opened(tmp_path / "a" / "front.mp4", tmp_path / "b" / "front.mp4", cache=tmp_path / "cache")
    training, _ = frame_keys(sets.training, sets.validation)
    assert len(set(training)) == len(training)
    assert training[0] == "a/front.mp4/000001"


def test_frames_of_two_data_sets_of_one_name_are_refused(drive, tmp_path):
    shutil.copytree(drive, tmp_path / "again")
    sets = opened(drive, tmp_path / "again", cache=tmp_path / "cache", intrinsics="calibrated")
    with pytest.raises(UserError, match=r"/image_0\d/0\d+: is the name of frames in two of the data sets"):
        frame_keys(sets.training, sets.validation)


def test_cityscapes_and_ddad_have_names_of_their_files(tmp_path):
    cities, scenes = tmp_path / "cities", tmp_path / "ddad"
    write_cityscapes_camera(cities, "train", "ulm_000002_000019")
    write_snippet(cities, "train", "ulm_000002")
    found = frame_keys(opened(cities, cache=tmp_path / "cache", intrinsics="calibrated").training)[0]
    assert "train/ulm/ulm_000002_000019" in found
    write_ddad(scenes)
    sets = opened(scenes, cache=tmp_path / "cache", intrinsics="calibrated")
    [keys] = frame_keys(sets.training)
    assert keys[0] == frame_key(sets.training[0].name) == "000000/11"


@pytest.mark.parametrize("kind", ["footage", "street"])
def test_a_pack_and_its_original_go_with_the_same_maps(kind, drive, tmp_path):
    source = write_frames(tmp_path / "walk", range(20)) if kind == "footage" else drive
    camera = "fov=60" if kind == "footage" else "calibrated"
    sets = opened(source, cache=tmp_path / "cache", intrinsics=camera)
    options = PackOptions((-1, 1), *SIZE, camera)
    pack(tmp_path / "pack", [source], sets.training, sets.validation, options, sets.left_out)
    packed = open_pack(tmp_path / "pack", options)
    assert frame_keys(packed.training, packed.validation) == frame_keys(sets.training, sets.validation)
