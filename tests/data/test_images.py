import numpy as np
import pytest
from PIL import Image

from egodepth.data.frame_store import FrameStore
from egodepth.data.images import (
    image_size,
    list_images,
    read_depth_png,
    read_image,
    read_resized_image,
    resize_image,
)
from egodepth.errors import UserError


def picture(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_an_rgb_png_is_read_as_it_was_written(tmp_path):
    pixels = picture(20, 30)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    assert np.array_equal(read_image(tmp_path / "a.png"), pixels)


def test_a_photo_is_turned_upright_by_its_orientation_mark(tmp_path):
    pixels = picture(20, 30)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=exif)
    assert np.array_equal(read_image(tmp_path / "a.png"), np.rot90(pixels, -1))
    assert image_size(tmp_path / "a.png") == (30, 20)


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "1", "CMYK", "LA"])
def test_other_colour_modes_become_rgb(tmp_path, mode):
    Image.fromarray(picture(8, 9)).convert(mode).save(tmp_path / "a.tif")
    image = read_image(tmp_path / "a.tif")
    assert image.shape == (8, 9, 3)
    assert image.dtype == np.uint8


def test_a_16_bit_grey_picture_keeps_its_upper_bits(tmp_path):
    Image.fromarray(np.array([[0, 256, 65535]], dtype=np.uint16)).save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png")[0, :, 0].tolist() == [0, 1, 255]


def truncated_jpeg(path):
    Image.fromarray(picture(64, 64)).save(path)
    path.write_bytes(path.read_bytes()[:1500])


def truncated_png(path):
    Image.fromarray(picture(64, 64)).save(path)
    path.write_bytes(path.read_bytes()[:2000])


@pytest.mark.parametrize(
    ("name", "spoil", "word"),
    [
        ("a.jpg", truncated_jpeg, "cut short"),
        ("a.png", truncated_png, "cut short"),
        ("a.png", lambda path: path.write_bytes(b""), "empty"),
        ("a.png", lambda path: path.write_text("not an image"), "not an image"),
        ("a.png", lambda path: path.mkdir(), "folder"),
        ("a.png", lambda path: None, "no such file"),
        ("a.tif", lambda path: Image.fromarray(np.zeros((4, 4), np.float32)).save(path), "floating-point"),
    ],
)
def test_a_file_that_is_no_whole_image_is_reported_by_name_in_one_line(tmp_path, name, spoil, word):
    spoil(tmp_path / name)
    with pytest.raises(UserError, match=word) as caught:
        read_image(tmp_path / name)
    assert str(tmp_path / name) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_image_of_absurd_size_is_refused_before_it_is_decoded(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    Image.fromarray(picture(20, 20)).save(tmp_path / "a.png")
    with pytest.raises(UserError, match="million pixels"):
        read_image(tmp_path / "a.png")


@pytest.mark.filterwarnings("error")
def test_an_image_of_8000_by_6000_is_read_and_shrunk(tmp_path):
    Image.new("RGB", (8000, 6000), (10, 200, 30)).save(tmp_path / "a.jpg", quality=50)
    small = read_resized_image(tmp_path / "a.jpg", 96, 320)
    assert small.shape == (96, 320, 3)
    assert np.abs(small.astype(int) - [10, 200, 30]).max() < 4


def test_an_image_of_7_by_5_is_enlarged(tmp_path):
    Image.fromarray(picture(5, 7)).save(tmp_path / "a.png")
    assert read_resized_image(tmp_path / "a.png", 96, 320).shape == (96, 320, 3)


def test_reading_at_a_size_equals_reading_and_then_resizing(tmp_path):
    Image.fromarray(picture(75, 133)).save(tmp_path / "a.jpg")
    expected = resize_image(read_image(tmp_path / "a.jpg"), 32, 64)
    assert np.array_equal(read_resized_image(tmp_path / "a.jpg", 32, 64), expected)


def test_a_depth_map_is_read_in_metres(tmp_path):
    Image.fromarray(np.array([[0, 256, 20480]], dtype=np.uint16)).save(tmp_path / "a.png")
    depth = read_depth_png(tmp_path / "a.png")
    assert depth.dtype == np.float32
    assert depth.tolist() == [[0, 1, 80]]


def test_a_depth_map_of_8_bits_is_refused(tmp_path):
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / "a.png")
    with pytest.raises(UserError, match="16-bit"):
        read_depth_png(tmp_path / "a.png")


def test_images_are_listed_in_natural_order_without_hidden_and_foreign_files(tmp_path):
    for name in ("10.png", "9.PNG", "a2.jpg", "a10.jpg", ".1.png", "notes.txt"):
        (tmp_path / name).touch()
    assert [path.name for path in list_images(tmp_path)] == ["9.PNG", "10.png", "a2.jpg", "a10.jpg"]


@pytest.mark.parametrize("folder", ["missing", "."])
def test_a_missing_or_empty_folder_is_refused(tmp_path, folder):
    with pytest.raises(UserError, match=r"no such folder|holds no image"):
        list_images(tmp_path / folder)


@pytest.mark.parametrize("cache_bytes", [0, 10**6])
def test_a_frame_store_gives_the_same_frame_again(tmp_path, cache_bytes):
    Image.fromarray(picture(20, 30)).save(tmp_path / "a.png")
    store = FrameStore([tmp_path / "a.png"], 16, 24, cache_bytes)
    first = store[0].clone()
    assert first.shape == (3, 16, 24)
    assert first.equal(store[0])


def test_a_cached_frame_is_not_read_twice(tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(picture(20, 30)).save(path)
    store = FrameStore([path], 16, 24, 10**6)
    first = store[0].clone()
    path.unlink()
    assert first.equal(store[0])
