"""Folders of depth maps: what is read, by what name a map belongs to a frame, and what is refused."""

import io
import logging
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from egodepth.data.configurations import DataConfig, TeacherMapsConfig
from egodepth.data.cutting import Cutting
from egodepth.data.draws import Window
from egodepth.data.map_files import INVERSE_STEPS, UNKNOWN_STEP, inverse_png, is_whole_png, read_values
from egodepth.data.map_names import found_maps, frame_key, frame_keys, listed_maps
from egodepth.data.opening import open_training_sets
from egodepth.data.packs.reading import PackOptions, open_pack
from egodepth.data.packs.writing import pack
from egodepth.data.samples import NativeDataset
from egodepth.data.taught_dataset import nearest, taught_sets
from egodepth.data.teacher_maps import DESCRIPTION, DepthMaps, open_maps
from egodepth.errors import UserError
from tests.data.trees import write_cityscapes_pair, write_ddad, write_frames, write_snippet, write_video

HEIGHT, WIDTH = 6, 8
VALUES = np.linspace(1, 24, HEIGHT * WIDTH, dtype=np.float32).reshape(HEIGHT, WIDTH)
SIZE = 32, 96
ANY = TeacherMapsConfig()


def write_pfm(path, values, order="<"):
    header = f"Pf\n{values.shape[1]} {values.shape[0]}\n{'-' if order == '<' else ''}1.0\n".encode()
    path.write_bytes(header + values[::-1].astype(f"{order}f4").tobytes())


def write_png(path, steps):
    Image.fromarray(np.asarray(steps).astype(np.uint16)).save(path)


def maps(folder, **options):
    return DepthMaps(folder, {}, **({"values": "depth", "units": "scale"} | options))


def opened(*roots, cache, intrinsics="fov=60", views=(-1, 1), **options):
    config = DataConfig(beside=tuple(roots[1:]), **options)
    return open_training_sets(roots[0], config, intrinsics, views, *SIZE, cache)


# --- formats ---


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("a.npy", lambda path: np.save(path, VALUES)),
        ("b.npy", lambda path: np.save(path, VALUES.astype(np.float64)[None, None])),
        ("c.npy", lambda path: np.save(path, np.asfortranarray(VALUES))),
        ("d.npz", lambda path: np.savez_compressed(path, confidence=VALUES * 0, depth=VALUES)),
        ("e.npz", lambda path: np.savez(path, VALUES[..., None])),
        ("f.pfm", lambda path: write_pfm(path, VALUES)),
        ("g.PFM", lambda path: write_pfm(path, VALUES, ">")),
        ("h.png", lambda path: write_png(path, np.rint(256 * VALUES))),
    ],
)
def test_every_format_holds_the_same_map(name, write, tmp_path):
    write(tmp_path / name)
    read = maps(tmp_path).read(tmp_path / name)
    assert read.dtype == np.float32
    assert read == pytest.approx(1 / VALUES, rel=3e-3)
    assert maps(tmp_path, values="inverse-depth").read(tmp_path / name).shape == (HEIGHT, WIDTH)


@pytest.mark.parametrize("kind", [np.float16, np.uint16, np.int32])
def test_numbers_of_any_kind_are_read(kind, tmp_path):
    np.save(tmp_path / "a.npy", np.rint(VALUES).astype(kind))
    assert read_values(tmp_path / "a.npy") == pytest.approx(np.rint(VALUES))


def test_what_is_no_depth_is_unknown_and_what_is_infinitely_far_is_zero(tmp_path):
    np.save(tmp_path / "a.npy", np.array([[2.0, 0.0, -1.0], [np.nan, np.inf, 1e300]]))
    expected = np.array([[0.5, np.nan, np.nan], [np.nan, 0, 0]], np.float32)
    assert np.array_equal(maps(tmp_path).read(tmp_path / "a.npy"), expected, equal_nan=True)


@pytest.mark.parametrize(("units", "negative"), [("metres", np.nan), ("scale", np.nan), ("scale-and-shift", -1.0)])
def test_a_shift_may_move_inverse_depth_below_zero_and_nothing_else_does(units, negative, tmp_path):
    np.save(tmp_path / "a.npy", np.array([[2.0, 0.0, -1.0, np.inf]]))
    read = maps(tmp_path, values="inverse-depth", units=units).read(tmp_path / "a.npy")
    assert np.array_equal(read, np.array([[2, 0, negative, np.nan]], np.float32), equal_nan=True)


def test_every_step_of_another_programs_png_counts(tmp_path):
    write_png(tmp_path / "a.png", [[0, 7, UNKNOWN_STEP]])
    foreign = maps(tmp_path, values="inverse-depth").read(tmp_path / "a.png")
    assert foreign.tolist() == [[0, 7, UNKNOWN_STEP]]
    ours = maps(tmp_path, values="inverse-depth", scale=0.5).read(tmp_path / "a.png")
    assert np.array_equal(ours, np.array([[0, 3.5, np.nan]], np.float32), equal_nan=True)


@given(
    arrays.arrays(np.float32, (3, 5), elements=st.floats(0, 50, width=32) | st.just(np.nan)),
    st.floats(0.01, 100),
)
def test_a_written_map_comes_back_to_half_a_step_and_counts_what_was_clipped(tmp_path_factory, values, nearest_value):
    scale = nearest_value / INVERSE_STEPS
    content, clipped = inverse_png(values, scale)
    file = tmp_path_factory.getbasetemp() / "map.png"
    file.write_bytes(content)
    assert is_whole_png(file)
    read = maps(file.parent, values="inverse-depth", scale=scale).read(file)
    assert np.array_equal(np.isnan(read), np.isnan(values))
    known = np.isfinite(values)
    assert read[known] == pytest.approx(np.minimum(values[known], nearest_value), abs=0.51 * scale, rel=1e-5)
    assert clipped == (values[known] / scale > INVERSE_STEPS + 0.5).sum()


def test_a_png_that_was_cut_short_is_not_whole(tmp_path):
    content, _ = inverse_png(VALUES, 0.001)
    for length in (0, 5, len(content) // 2, len(content) - 1):
        (tmp_path / "a.png").write_bytes(content[:length])
        assert not is_whole_png(tmp_path / "a.png")
    assert not is_whole_png(tmp_path / "b.png")


# --- files that are no maps ---


class Trap:
    """What a pickle can do when it is opened."""

    def __init__(self, file):
        self.file = file

    def __reduce__(self):
        return Path.touch, (self.file,)


def content_of(write):
    buffer = io.BytesIO()
    write(buffer)
    return buffer.getvalue()


def npz_of(name, content, method=zipfile.ZIP_DEFLATED):
    def write(buffer):
        with zipfile.ZipFile(buffer, "w", method) as archive:
            archive.writestr(name, content)

    return content_of(write)


NPY = content_of(lambda buffer: np.save(buffer, VALUES))
NPZ = content_of(lambda buffer: np.savez_compressed(buffer, depth=np.random.default_rng(0).random((50, 50))))
PNG8 = content_of(lambda buffer: Image.fromarray(np.zeros((4, 4), np.uint8)).save(buffer, "png"))
RGB = content_of(lambda buffer: Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(buffer, "png"))


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.npy", b"", "is no depth map"),
        ("a.npy", NPY[:-3], "is no depth map"),
        ("a.npy", NPY[:20], "is no depth map"),
        ("a.npy", b"no array at all", "is no depth map"),
        ("a.npy", NPZ, "holds no array of numbers"),
        ("a.npy", content_of(lambda buffer: np.save(buffer, np.array(["far"]))), "holds no array of numbers"),
        ("a.npy", content_of(lambda buffer: np.save(buffer, VALUES + 1j)), "holds no array of numbers"),
        ("a.npy", content_of(lambda buffer: np.save(buffer, VALUES[0])), r"found an array \(8,\)"),
        ("a.npy", content_of(lambda buffer: np.save(buffer, VALUES.reshape(2, 3, 8))), r"found an array \(2, 3, 8\)"),
        ("a.npy", content_of(lambda buffer: np.save(buffer, VALUES[:0])), "found an array"),
        ("a.npy", NPY.replace(b"(6, 8)", b"(6,8e)"), "is no depth map"),
        ("a.npz", NPZ[:-10], "is no depth map"),
        ("a.npz", NPZ[:2000] + bytes(100) + NPZ[2100:], "is no depth map"),
        ("a.npz", NPY, "is no depth map"),
        ("a.npz", npz_of("readme.txt", b"none"), "holds no array"),
        ("a.npz", npz_of("depth.npy", bytes(900_000_001)), "claims 112500000 values"),
        ("a.pfm", b"Pf\n4 4\n-1\n" + bytes(60), "is no depth map"),
        ("a.pfm", b"Pf\n99999 99999\n-1\n", "claims 9999800001 values"),
        ("a.pfm", b"PF\n1 1\n-1\n" + bytes(12), "three channels"),
        ("a.pfm", b"P6\n1 1\n255\n000", "no PFM header"),
        ("a.png", PNG8, "expected a 16-bit grey PNG"),
        ("a.png", RGB, "expected a 16-bit grey PNG"),
        ("a.png", b"", "is empty"),
        ("a.png", content_of(lambda buffer: buffer.write(inverse_png(VALUES, 0.1)[0][:60])), "a.png: "),
    ],
)
def test_what_holds_no_map_is_refused_by_its_name(name, content, said, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=said) as refused:
        maps(tmp_path).read(tmp_path / name)
    assert str(refused.value).startswith(str(tmp_path / name))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("save", [np.save, np.savez])
def test_a_pickle_is_never_opened(save, tmp_path):
    file = tmp_path / ("a.npy" if save is np.save else "a.npz")
    save(file, np.array([Trap(tmp_path / "ran")], object))
    with pytest.raises(UserError, match="is no depth map"):
        maps(tmp_path).read(file)
    assert not (tmp_path / "ran").exists()


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
        ('{"values": "metres"}', 'values is "metres"; expected one of depth, inverse-depth'),
        ('{"units": ["scale"]}', r'units is \["scale"\]'),
        ('{"scale": 0}', "scale is 0; expected a positive number"),
        ('{"scale": "1"}', "expected a positive number"),
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


# --- names ---


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
        np.save(tmp_path / place, VALUES)
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
    write_cityscapes_pair(cities, "train", "ulm_000002_000019")
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
