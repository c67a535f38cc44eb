"""PNG: what is written is what other readers see, and damage is found."""

import io

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from egodepth.png import check_png, encode_png

SIDES = st.integers(1, 40)
GREY = st.tuples(SIDES, SIDES)
PICTURES = st.one_of(
    arrays(np.uint8, GREY), arrays(np.uint16, GREY), arrays(np.uint8, st.tuples(SIDES, SIDES, st.just(3)))
)


@given(PICTURES)
def test_other_readers_see_what_was_written(pixels):
    content = encode_png(pixels)
    check_png(content)
    image = Image.open(io.BytesIO(content))
    assert image.size == pixels.shape[1::-1]
    assert np.array_equal(np.asarray(image), pixels)
    seen = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    assert np.array_equal(seen[..., ::-1] if pixels.ndim == 3 else seen, pixels)


def test_parts_of_larger_pictures_are_written_as_they_look():
    pixels = np.arange(60 * 80 * 3, dtype=np.uint32).astype(np.uint8).reshape(60, 80, 3)
    for part in (pixels[::2, ::3], pixels[:, ::-1], pixels[..., ::-1]):
        assert np.array_equal(np.asarray(Image.open(io.BytesIO(encode_png(part)))), part)


def test_smooth_depth_takes_no_more_room_than_pillow_would_take():
    rows, columns = np.mgrid[:375, :1242]
    steps = (256 * (5 + 0.01 * columns + 3 * np.sin(rows / 40))).astype(np.uint16)
    buffer = io.BytesIO()
    Image.fromarray(steps).save(buffer, format="PNG", compress_level=2)
    assert len(encode_png(steps)) < 1.1 * len(buffer.getvalue())


@pytest.mark.parametrize("place", [20, 45, 70, -20, -6])
def test_a_flipped_bit_is_found(place):
    content = bytearray(encode_png(np.random.default_rng(0).integers(0, 65536, (20, 30), dtype=np.uint16)))
    content[place] ^= 1
    with pytest.raises(ValueError, match="checksum"):
        check_png(bytes(content))


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((4, 4), np.float32),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((4, 4, 3), np.uint16),
        np.zeros(4, np.uint8),
    ],
)
def test_what_is_no_picture_is_refused(pixels):
    with pytest.raises(ValueError, match="expected"):
        encode_png(pixels)
