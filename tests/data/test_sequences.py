"""Folders of frames as sequences: their order, their bit depth, and what few frames are good for."""

import os

import numpy as np
import pytest
from PIL import Image

from egodepth.data.checking import check_data
from egodepth.data.footage import footage_camera
from egodepth.data.footage.dataset import Footage
from egodepth.data.footage.unpacking import unpack
from egodepth.data.images import bit_depth, disagreement_in_time, list_images, read_image
from egodepth.errors import UserError
from egodepth.inference.inputs import expand_inputs
from tests.data.trees import moving_scene, write_frames


def touch(folder, *names):
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).touch()
    return folder


def order(folder):
    return [path.name for path in list_images(folder)]


# --- order ---


def test_names_that_are_decimals_sort_by_their_value(tmp_path):
    stamps = [f"{1_700_000_000 + tenth / 10}.png" for tenth in range(25)]
    assert len({len(name) for name in stamps}) > 1 or stamps[10].endswith(".0.png")
    assert order(touch(tmp_path / "a", *stamps)) == stamps
    mixed = ["5.png", "5.05.png", "5.1001.png", "5.2.png", "5.25.png", "5.3.png", "6.png", "10.5.png"]
    assert order(touch(tmp_path / "b", *mixed)) == mixed
    named = ["frame_1.09.jpg", "frame_1.5.jpg", "frame_12.25.jpg"]
    assert order(touch(tmp_path / "c", *reversed(named))) == named


def test_other_numbers_with_dots_stay_numbers_by_themselves(tmp_path):
    names = ["v1.9.0.png", "v1.10.0.png", "cam2_1.9.png", "cam2_1.10.png"]
    assert order(touch(tmp_path / "a", *names)) == [*names[2:], *names[:2]]


def test_digits_of_other_scripts_and_superscripts_are_letters(tmp_path):
    assert order(touch(tmp_path / "a", "10²3.png", "2.png", "10.png")) == ["2.png", "10.png", "10²3.png"]


def test_what_a_shell_makes_of_a_pattern_is_in_natural_order(tmp_path):
    folder = touch(tmp_path / "num", *(f"{number}.png" for number in range(1, 13)))
    from_a_shell = sorted(str(path) for path in folder.iterdir())
    assert [each.path.stem for each in expand_inputs(from_a_shell)] == [str(number) for number in range(1, 13)]
    typed = [folder / "3.png", folder / "1.png", folder / "2.png"]
    assert [each.path.stem for each in expand_inputs(typed)] == ["3", "1", "2"]


def with_exif_time(path, second):
    exif = Image.Exif()
    exif[0x8769] = {0x9003: f"2024:05:01 10:00:{second:02d}"}
    Image.open(path).save(path, exif=exif)


def test_names_that_disagree_with_exif_times_are_a_note(tmp_path):
    folder = write_frames(tmp_path / "drive", range(6))
    for file, second in zip(list_images(folder), (3, 4, 5, 0, 1, 2), strict=True):  # a counter that began again
        with_exif_time(file, second)
    said, third = disagreement_in_time(list_images(folder)), folder / "3.png"
    assert said.startswith(f"{third}: comes after 2.png by name, but before it by the times in their EXIF data")
    assert said in check_data(folder).notes
    for second, file in enumerate(list_images(folder)):
        with_exif_time(file, second)
    assert "EXIF" not in (disagreement_in_time(list_images(folder)) or "")


def test_names_that_disagree_with_the_times_of_the_files_are_a_note(tmp_path):
    images = list_images(write_frames(tmp_path / "drive", range(12)))
    for place, file in enumerate(images):
        os.utime(file, (100 * place, 100 * place))
    assert disagreement_in_time(images) is None
    for place, file in enumerate(images):  # as copied within moments, in any order
        os.utime(file, (place % 3 / 2, place % 3 / 2))
    assert disagreement_in_time(images) is None
    for place, file in enumerate(images):
        os.utime(file, (-100 * place + 5000, -100 * place + 5000))
    assert "by the times of the files (11 such places)" in disagreement_in_time(images)


# --- bit depth ---


def write_deep(folder, bits, frames=range(6), kind=np.uint16):
    """Frames whose grey values use `bits`; the first is darker than the others."""
    folder.mkdir()
    for frame in frames:
        grey = moving_scene(frame)[..., 0].astype(np.uint32) * (1 if frame else 0.2)
        values = (grey.astype(np.uint64) << (bits - 8)).astype(kind)
        values[0, 0] = 2 ** (bits - 1 - (frame == 0))
        image = Image.fromarray(values.astype(np.int32) if kind == np.uint32 else values)
        image.save(folder / f"{frame}.{'tif' if kind == np.uint32 else 'png'}")
    return folder


@pytest.mark.parametrize(
    ("bits", "kind"), [(10, np.uint16), (12, np.uint16), (14, np.uint16), (16, np.uint16), (24, np.uint32)]
)
def test_a_sequence_of_deep_images_is_read_by_the_bits_that_it_uses(tmp_path, bits, kind):
    folder = write_deep(tmp_path / "drive", bits, kind=kind)
    images = list_images(folder)
    assert bit_depth(images) == bits
    frame = read_image(images[3], bits)
    assert np.array_equal(frame[1:, :, 0], moving_scene(3)[1:, :, 0])
    assert any(f"have {bits} bits" in note for note in check_data(folder).notes)
    assert len(unpack(folder, tmp_path / "cache", 48, 96).frames) == 6


def test_the_bit_depth_can_be_set_and_other_images_have_none(tmp_path):
    images = list_images(write_deep(tmp_path / "drive", 12))
    assert read_image(images[3], 16).max() < 16
    assert bit_depth(list_images(write_frames(tmp_path / "eight"))) is None
    first, second = (unpack(tmp_path / "drive", tmp_path / "cache", 48, 96, bits) for bits in (12, 13))
    assert first.frames[0].parent != second.frames[0].parent


def test_frames_without_contrast_are_not_called_standing(tmp_path):
    folder = tmp_path / "fog"
    folder.mkdir()
    for frame in range(8):
        Image.fromarray((118 + moving_scene(frame) // 64).astype(np.uint8)).save(folder / f"{frame}.png")
    with pytest.raises(UserError, match=r"only \d usable frames.* so little contrast") as caught:
        unpack(folder, tmp_path / "cache", 48, 96)
    assert "stands still" not in str(caught.value)


# --- few frames ---


@pytest.mark.parametrize("count", range(2, 11))
def test_few_frames_are_checked_as_they_are_trained(tmp_path, count):
    folder = write_frames(tmp_path / "drive", range(count))
    try:
        trained = len(Footage(folder, (-1, 1), 48, 96, footage_camera(folder, "fov=60"), tmp_path / "cache"))
    except UserError:
        trained = 0
    assert trained == (0 if count < 3 else 1 if count < 5 else count - 3)
    assert bool(check_data(folder).faults) == (trained == 0)


def test_a_few_frames_of_a_standing_camera_are_a_fault(tmp_path):
    folder = write_frames(tmp_path / "drive", [0, 0, 0, 1])
    assert any("stands still" in fault for fault in check_data(folder).faults)
