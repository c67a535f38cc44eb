"""What footage is trained on where something is always in its pictures."""

import numpy as np
import pytest
import torch
from PIL import Image

from egodepth.data.configurations import DataConfig
from egodepth.data.opening import open_training_sets
from tests.command_line import only_line, run, train
from tests.data.test_static_regions import bonnet, scene
from tests.data.trees import write_frames

HEIGHT, WIDTH = 96, 160


def write_drive(folder, count=24):
    """Footage with a bonnet in view."""
    folder.mkdir()
    for number, frame in enumerate(scene(count)):
        frame[bonnet()] = 15
        Image.fromarray(frame).save(folder / f"{number}.png")
    return folder


def write_mask(file, used):
    Image.fromarray((255 * used).astype(np.uint8)).save(file)
    return file


def opened(path, tmp_path, size=(HEIGHT, WIDTH), mask="auto"):
    config = DataConfig(mask=str(mask))
    return open_training_sets(path, config, "100,100,80,48", (-1, 1), *size, tmp_path / "cache")


def test_a_bonnet_is_found_and_goes_with_every_sample(tmp_path):
    sets = opened(write_drive(tmp_path / "drive"), tmp_path)
    for dataset in (sets.training, sets.validation):
        mask = dataset[0].mask
        assert mask.shape == (1, HEIGHT, WIDTH)
        assert not mask[0].numpy()[bonnet()].any()
        assert mask[0, :70].all()


def test_none_takes_all_pixels_and_so_does_footage_without_fixed_parts(tmp_path):
    assert opened(write_drive(tmp_path / "drive"), tmp_path, mask="none").training[0].mask is None
    free = write_frames(tmp_path / "free", range(20), (HEIGHT, WIDTH))
    assert opened(free, tmp_path).training[0].mask is None


def test_a_picture_is_taken_in_place_of_what_is_found(tmp_path):
    used = np.ones((HEIGHT, WIDTH), bool)
    used[:, :40] = False
    file = write_mask(tmp_path / "mask.png", used)
    drive = write_drive(tmp_path / "drive")
    assert np.array_equal(opened(drive, tmp_path, mask=file).training[0].mask[0].numpy(), used)
    smaller = opened(drive, tmp_path, (32, 64), mask=file).training[0].mask[0]
    assert not smaller[:, :16].any()
    assert smaller[:, 17:].all()


def test_a_run_shows_what_it_leaves_out(tmp_path):
    drive = write_drive(tmp_path / "drive")
    options = ("--intrinsics", "100,100,80,48", "--height", 96, "--width", 160)
    assert train(drive, tmp_path / "run", *options) == 0
    picture = np.asarray(Image.open(tmp_path / "run" / "mask.png")).astype(int)
    redness = picture[..., 0] - picture[..., 1]
    assert (redness[bonnet()] > 50).all()
    assert (redness[:70] == 0).all()
    assert train(drive, tmp_path / "whole", *options, "--mask", "none") == 0
    assert not (tmp_path / "whole" / "mask.png").exists()


def missing(tmp_path):
    return tmp_path / "missing.png"


def of_another_size(tmp_path):
    return write_mask(tmp_path / "small.png", ~bonnet()[::2, ::2])


def a_photograph(tmp_path):
    Image.fromarray(scene(1)[0]).save(tmp_path / "photograph.png")
    return tmp_path / "photograph.png"


def all_black(tmp_path):
    return write_mask(tmp_path / "black.png", np.zeros((HEIGHT, WIDTH), bool))


@pytest.mark.parametrize(
    ("write", "said"),
    [
        (missing, "no such file"),
        (of_another_size, "is 80x48, but the frames are 160x96"),
        (a_photograph, "neither black nor white"),
        (all_black, "black everywhere"),
    ],
)
def test_a_wrong_picture_is_refused_in_one_line(tmp_path, capsys, write, said):
    drive, file = write_drive(tmp_path / "drive", 6), write(tmp_path)
    assert train(drive, tmp_path / "run", "--intrinsics", "100,100,80,48", "--mask", file) == 2
    line = only_line(capsys.readouterr().err)
    assert f"--mask {file}" in line
    assert said in line


def test_a_picture_is_refused_for_data_that_are_no_footage(drive, tmp_path, capsys):
    assert train(drive, tmp_path / "run", "--mask", write_mask(tmp_path / "mask.png", ~bonnet())) == 2
    assert "is for footage" in only_line(capsys.readouterr().err)


def test_a_pack_keeps_the_mask(tmp_path):
    drive, out = write_drive(tmp_path / "drive"), tmp_path / "pack"
    options = ("--height", 96, "--width", 160, "--intrinsics", "100,100,80,48")
    assert run("data", "pack", "monodepth2", drive, "--out", out, *options) == 0
    packed = open_training_sets(out, DataConfig(), "calibrated", (-1, 1), HEIGHT, WIDTH, tmp_path / "cache")
    original = opened(drive, tmp_path)
    assert torch.equal(packed.training[3].mask, original.training[3].mask)
    assert torch.equal(packed.training[3].sources, original.training[3].sources)


def test_a_pack_with_a_learnt_camera_serves_the_same_alone(tmp_path, capsys):
    drive, out = write_frames(tmp_path / "drive", range(14)), tmp_path / "pack"
    options = ("--height", 64, "--width", 96)
    assert run("data", "pack", "monodepth2", drive, "--out", out, *options, "--intrinsics", "learned") == 0
    capsys.readouterr()
    assert train(out, tmp_path / "each", *options, "--intrinsics", "learned-each") == 2
    assert "was packed with intrinsics learned" in only_line(capsys.readouterr().err)
    assert train(out, tmp_path / "run", *options) == 0
