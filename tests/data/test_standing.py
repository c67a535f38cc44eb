"""Parts in which the camera stands still, in data of every layout; KITTI's are in `test_near_misses`."""

import numpy as np
from PIL import Image

from egodepth.data.checking import check_data
from egodepth.data.configurations import DataConfig
from egodepth.data.opening import open_training_sets
from tests.data.trees import (
    city_file,
    moving_scene,
    write_cityscapes_camera,
    write_ddad_list,
    write_ddad_scene,
    write_frames,
)

SIZE = 32, 64
MOVING = [*range(10), *[10] * 6, *range(11, 20)]
"""Where a camera looks that stands still from the 10th to the 15th of 25 frames."""


def opened(root, **config):
    return open_training_sets(root, DataConfig(**config), "calibrated", (-1, 1), *SIZE, root / "cache")


def used(sets):
    """The last numbers in the names of all samples that train or validate."""
    parts = filter(None, (sets.training, sets.validation))
    return {int(name.replace("_", " ").split()[-1]) for part in parts for name in part.sample_names()}


def test_cityscapes_sequences(tmp_path):
    for frame, place in enumerate(MOVING):
        name = f"ulm_000002_{frame:06d}"
        file = city_file(tmp_path, "leftImg8bit_sequence", "train", name, "leftImg8bit.png")
        Image.fromarray(moving_scene(place)).save(file)
    write_cityscapes_camera(tmp_path, "train", "ulm_000002_000019")
    sets = opened(tmp_path)
    # Neighbours lie two frames apart: 10 to 15 stand still, and so does the step from 13 to 15.
    assert used(sets) == {*range(2, 10), *range(16, 23)}
    assert (
        "train/ulm: 6 frames around which the camera stands still, or the scene changes, are left out" in sets.left_out
    )
    assert used(opened(tmp_path)) == used(sets), "what was found is remembered"
    (tmp_path / "splits" / "own").mkdir(parents=True)
    (tmp_path / "splits" / "own" / "train_files.txt").write_text("ulm ulm_000002_000012\n")
    assert used(opened(tmp_path)) == {12}, "a list is taken at its word"


def test_cityscapes_triplets(tmp_path):
    (tmp_path / "ulm").mkdir()
    for frame in range(1, len(MOVING) - 1):
        views = [moving_scene(MOVING[frame + source]) for source in (-1, 0, 1)]
        file = tmp_path / "ulm" / f"ulm_000002_{frame:06d}.jpg"
        Image.fromarray(np.concatenate(views, axis=1)).save(file, quality=95)
        file.with_name(f"{file.stem}_cam.txt").write_text("80,0,48,0,80,24,0,0,1")
    sets = opened(tmp_path)
    assert used(sets) == {*range(1, 10), *range(16, 24)}
    assert any(message.startswith("ulm: ") for message in sets.left_out)


def test_ddad_scenes(tmp_path):
    write_ddad_scene(tmp_path, "a", 12, stands=range(6, 10))
    write_ddad_list(tmp_path / "ddad.json", ("a",), ())
    sets = opened(tmp_path)
    assert used(sets) == {1, 2, 3, 4, 10}
    assert "a: 5 frames around which the camera stands still, or the scene changes, are left out" in sets.left_out


def test_check_of_every_file_says_what_training_leaves_out(tmp_path):
    write_ddad_scene(tmp_path, "a", 12, stands=range(6, 10))
    write_ddad_list(tmp_path / "ddad.json", ("a",), ())
    report = check_data(tmp_path, every_file=True)
    assert not report.faults
    assert set(opened(tmp_path).left_out) <= set(report.notes)
    assert any("a: 5 frames around which the camera stands still" in note for note in report.notes)


def test_check_of_a_folder_of_frames_says_where_its_camera_stands(tmp_path):
    folder = write_frames(tmp_path / "drive", MOVING)
    report = check_data(folder)
    assert f"{folder}: 5 frames in which the camera stands still are left out." in report.notes
    assert report.counts["samples of mode mono, at most"] == len(MOVING) - 5 - 2
