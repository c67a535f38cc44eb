"""Files of depth maps: what is read, what is written, and what is refused by its name."""

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from egodepth.data.map_files import INVERSE_STEPS, UNKNOWN_STEP, inverse_png, is_whole_png, read_values
from egodepth.data.teacher_maps import DepthMaps
from egodepth.errors import UserError

HEIGHT, WIDTH = 6, 8
VALUES = np.linspace(1, 24, HEIGHT * WIDTH, dtype=np.float32).reshape(HEIGHT, WIDTH)


def write_pfm(path, values, order="<"):
    header = f"Pf\n{values.shape[1]} {values.shape[0]}\n{'-' if order == '<' else ''}1.0\n".encode()
    path.write_bytes(header + values[::-1].astype(f"{order}f4").tobytes())


def write_png(path, steps):
    Image.fromarray(np.asarray(steps).astype(np.uint16)).save(path)


def maps(folder, **options):
    return DepthMaps(folder, {}, **({"values": "depth", "units": "scale"} | options))


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
        ("a.npy", NPZ, "the magic string is not correct"),
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
        ("a.npz", npz_of("depth.npy", bytes(900_000_001)), "claims 900000001 bytes"),
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
