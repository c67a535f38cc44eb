"""Folders of depth maps, and training sets with them: what a folder says of itself, and maps that cannot teach."""

import logging
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from egodepth.data.configurations import DataConfig, TeacherMapsConfig
from egodepth.data.cutting import Cutting
from egodepth.data.draws import Window
from egodepth.data.map_names import frame_keys, listed_maps
from egodepth.data.opening import open_training_sets
from egodepth.data.samples import NativeDataset
from egodepth.data.taught_dataset import nearest, taught_sets
from egodepth.data.teacher_maps import DESCRIPTION, open_maps
from egodepth.errors import UserError

HEIGHT, WIDTH = 6, 8
VALUES = np.linspace(1, 24, HEIGHT * WIDTH, dtype=np.float32).reshape(HEIGHT, WIDTH)
SIZE = 32, 96
ANY = TeacherMapsConfig()


def write_png(path, steps):
    Image.fromarray(np.asarray(steps).astype(np.uint16)).save(path)


# --- the folder ---


def test_a_folder_without_maps_says_what_it_holds_instead(tmp_path):
    with pytest.raises(UserError, match=r"holds no depth map\. Write npy"):
        listed_maps(tmp_path)
    (tmp_path / "a.exr").touch()
    (tmp_path / ".b.npy").touch()
    with pytest.raises(UserError, match=r"holds no depth map but 1 files \.exr, which are not read"):
        listed_maps(tmp_path)


def test_two_maps_of_one_frame_are_refused(tmp_path):
    np.save(tmp_path / "a.npy", VALUES)
    write_png(tmp_path / "a.png", VALUES)
    with pytest.raises(UserError, match=r"a\.png: belongs to the same frame as .*a\.npy"):
        listed_maps(tmp_path)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{"values": "metres"}', 'values is "metres", expected one of depth, inverse-depth'),
        ('{"units": ["scale"]}', r"units is a list of 1, expected one of"),
        ('{"scale": 0}', "scale is 0, expected a number from 1e-12"),
        ('{"scale": "1"}', 'scale is "1", expected a number'),
        ('{"licence": 3}', "licence is 3"),
        ("[]", "expected an object"),
        ("{", "is not JSON"),
    ],
)
def test_a_description_that_nobody_understands_is_refused(content, said, tmp_path):
    np.save(tmp_path / "a.npy", VALUES)
    (tmp_path / DESCRIPTION).write_text(content)
    with pytest.raises(UserError, match=said):
        open_maps(str(tmp_path), tmp_path, ANY)


def test_a_folder_says_what_it_holds_and_an_option_overrules_it(tmp_path):
    np.save(tmp_path / "a.npy", VALUES)
    plain = open_maps(str(tmp_path), tmp_path, ANY)
    assert (plain.values, plain.units, plain.scale, plain.certain) == ("depth", "scale", None, False)
    (tmp_path / DESCRIPTION).write_text(
        '{"values": "inverse-depth", "units": "metres", "scale": 0.25, "licence": "mit"}'
    )
    said = open_maps(str(tmp_path), tmp_path, ANY)
    assert (said.values, said.units, said.scale, said.licence) == ("inverse-depth", "metres", 0.25, "mit")
    other = open_maps(str(tmp_path), tmp_path, TeacherMapsConfig("depth", "scale-and-shift"))
    assert (other.values, other.units, other.certain) == ("depth", "scale-and-shift", True)


# --- the training set ---


@pytest.fixture(scope="module")
def street(drive, tmp_path_factory):
    """The simulated drive for training, both cameras."""
    return open_training_sets(drive, DataConfig(), "calibrated", (-1, 1), *SIZE, tmp_path_factory.mktemp("cache"))


def write_maps(folder, keys, values, change=lambda values: values):
    for key in keys:
        file = folder / f"{key}.npy"
        file.parent.mkdir(parents=True, exist_ok=True)
        np.save(file, change(values))


RAMP = np.repeat(np.linspace(40, 2, 64, dtype=np.float32)[:, None], 192, axis=1)
"""Depth that becomes nearer towards the bottom."""


def taught(street, folder, config=ANY):
    return taught_sets(street.training, street.validation, open_maps(str(folder), folder, config))


def test_samples_carry_their_maps_and_those_without_one_nothing_known(street, tmp_path, caplog):
    keys, _ = frame_keys(street.training, street.validation)
    write_maps(tmp_path, keys[1:], RAMP)
    with caplog.at_level(logging.WARNING, "egodepth"):
        training, validation = taught(street, tmp_path)
    assert f"has no map for 1 of {len(keys)} frames" in caplog.text
    assert keys[0] in caplog.text
    assert isinstance(training, NativeDataset)
    assert len(validation.missing) == len(validation)
    assert torch.isnan(training[0].teacher_disparity).all()
    assert training[1].teacher_disparity.shape == (1, *SIZE)
    assert training[1].target.equal(street.training[1].target)
    assert 1 / training[1].teacher_disparity[0, :, 5].numpy() == pytest.approx(RAMP[1::2, 0])


def test_maps_for_other_frames_are_refused_and_both_names_are_said(street, tmp_path):
    write_maps(tmp_path, ["elsewhere/12"], RAMP)
    with pytest.raises(UserError, match=r"a map for none of the .*_sync/image_02/0\d+\.npy.*begin with elsewhere/12"):
        taught(street, tmp_path)


@pytest.mark.parametrize("size", [(64, 192), (32, 96), (320, 960), (100, 310)])
def test_a_map_of_the_frames_shape_may_have_any_size(street, size, tmp_path):
    keys, _ = frame_keys(street.training, street.validation)
    write_maps(tmp_path, keys, nearest(RAMP, (0, 0, 1, 1), *size))
    taught(street, tmp_path)


@pytest.mark.parametrize("size", [(64, 180), (64, 64), (192, 64)])
def test_a_map_of_another_shape_is_refused(street, size, tmp_path):
    keys, _ = frame_keys(street.training, street.validation)
    write_maps(tmp_path, keys, nearest(RAMP, (0, 0, 1, 1), *size))
    with pytest.raises(UserError, match=rf"npy: is {size[1]}x{size[0]}, .* its frame is 3\.00 times"):
        taught(street, tmp_path)


def test_a_map_of_another_shape_that_was_not_looked_at_is_refused_when_it_is_read(street, tmp_path):
    keys, _ = frame_keys(street.training, street.validation)
    write_maps(tmp_path, keys, RAMP)
    write_maps(tmp_path, keys[-1:], RAMP.T)
    training, _ = taught(street, tmp_path)
    with pytest.raises(UserError, match="is 64x192"):
        training[len(keys) - 1]


@pytest.mark.parametrize(
    ("change", "config", "other"),
    [
        (np.flipud, ANY, "inverse-depth"),
        (np.reciprocal, ANY, "inverse-depth"),
        (np.positive, replace(ANY, units="scale"), None),
    ],
)
def test_maps_that_are_upside_down_or_inverse_are_refused(change, config, other, street, tmp_path):
    keys, _ = frame_keys(street.training, street.validation)
    write_maps(tmp_path, keys, RAMP, change)
    if other is None:
        taught(street, tmp_path, config)
        return
    with pytest.raises(UserError, match=rf"nearer at the top.*say --teacher-maps\.values {other};.*turn them"):
        taught(street, tmp_path, config)


def test_who_says_what_maps_hold_is_warned_of_a_near_top_and_not_refused(street, tmp_path, caplog):
    keys, _ = frame_keys(street.training, street.validation)
    write_maps(tmp_path, keys, RAMP, np.flipud)
    taught(street, tmp_path, TeacherMapsConfig(values="depth"))
    assert "nearer at the top" in caplog.text


def test_maps_whose_top_is_unknown_are_not_taken_for_upside_down(street, tmp_path):
    keys, _ = frame_keys(street.training, street.validation)
    write_maps(tmp_path, keys, np.where(np.arange(64)[:, None] < 20, 0, RAMP))
    taught(street, tmp_path)


def test_the_exact_depth_of_a_street_is_found_for_every_frame(street, drive):
    training, validation = taught_sets(street.training, street.validation, open_maps("exact", drive, ANY))
    assert training.missing == validation.missing == ()
    other, _ = taught_sets(street.training, street.validation, open_maps(str(drive), drive.parent, ANY))
    assert torch.equal(other[0].teacher_disparity, training[0].teacher_disparity)
    sky = training[0].teacher_disparity == 0
    assert 0.02 < sky.float().mean() < 0.6
    with pytest.raises(UserError, match="is no simulated street"):
        open_maps("exact", drive.parent, ANY)


def test_a_window_of_a_frame_has_that_window_of_its_map(street, drive):
    training, _ = taught_sets(street.training, street.validation, open_maps("exact", drive, ANY))
    window = Window(SIZE, (64, 192), (32, 96), 20, 60)  # twice as large, the size of the files
    read = training.read_window(3, window)
    whole = training.maps.read(training._files[3])
    assert np.array_equal(read.teacher_disparity[0].numpy(), whole[20:52, 60:156])
    assert read.target.shape == (3, 32, 96)


def test_the_loader_cuts_maps_as_frames(street, drive):
    from egodepth.data.configurations import AugmentationConfig

    training, _ = taught_sets(street.training, street.validation, open_maps("exact", drive, ANY))
    config = AugmentationConfig(max_scale=1.5, crop=SIZE, native=True)
    sample = Cutting(config, 0, SIZE).read(training, 2, 7)
    assert sample.teacher_disparity.shape[-2:] == sample.target.shape[-2:] == SIZE
