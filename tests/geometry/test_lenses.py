"""Lenses, against the formulas written out in float64."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from egodepth.errors import UserError
from egodepth.geometry.lenses import Lens, distort_depth, rays, shown_pixels, straight_camera, undistort

pytest.importorskip("cv2")

HEIGHT, WIDTH = 90, 160


def distorted(lens: Lens, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Column and row of the points (x, y, 1), by the formulas of OpenCV's documentation."""
    if lens.model == "fisheye":
        radius = np.hypot(x, y)
        angle = np.arctan(radius)
        bent = angle * (1 + sum(k * angle ** (2 * n) for n, k in enumerate(lens.coefficients, 1)))
        factor = np.divide(bent, radius, out=np.ones_like(bent), where=radius > 1e-12)
        return lens.fx * x * factor + lens.cx, lens.fy * y * factor + lens.cy
    k1, k2, p1, p2, k3, k4, k5, k6 = lens.coefficients
    r2 = x * x + y * y
    radial = (1 + k1 * r2 + k2 * r2**2 + k3 * r2**3) / (1 + k4 * r2 + k5 * r2**2 + k6 * r2**3)
    bent_x = x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x)
    bent_y = y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y
    return lens.fx * bent_x + lens.cx, lens.fy * bent_y + lens.cy


def number(low: float, high: float) -> st.SearchStrategy[float]:
    return st.floats(low, high, allow_nan=False)


BROWN = st.tuples(
    number(-0.15, 0.3),
    number(-0.02, 0.05),
    number(-0.005, 0.005),
    number(-0.005, 0.005),
    number(-0.01, 0.01),
    number(0, 0.05),
    number(0, 0.02),
    number(0, 0.01),
)
FISHEYE = st.tuples(number(-0.05, 0.1), number(-0.02, 0.02), number(-0.005, 0.005), number(-0.002, 0.002))


FIELDS = st.sampled_from(["cropped", "full"])


@st.composite
def lenses(draw, field=FIELDS) -> Lens:
    model = draw(st.sampled_from(["opencv", "fisheye"]))
    focal = draw(number(130, 220))
    centre = draw(number(72, 88)), draw(number(40, 50))
    coefficients = draw(BROWN if model == "opencv" else FISHEYE)
    return Lens(model, coefficients, focal, focal * draw(number(0.97, 1.03)), *centre, HEIGHT, WIDTH, draw(field))


@given(lenses(), st.lists(st.tuples(number(0, WIDTH - 1), number(0, HEIGHT - 1)), min_size=1, max_size=20))
def test_the_ray_of_a_pixel_is_bent_back_to_it_by_the_written_formulas(lens, pixels):
    pixels = np.array(pixels)
    x, y = rays(lens, pixels).T
    assert np.allclose(np.stack(distorted(lens, x, y), axis=1), pixels, atol=0.01)


def test_undistorting_reads_each_pixel_where_the_written_formulas_put_it():
    """A picture whose values are its own columns, in 16 bits: what is read says from where."""
    lens = Lens("opencv", (-0.25, 0.05, 0.001, -0.002, 0, 0, 0, 0), 120, 118, 82, 43, HEIGHT, WIDTH)
    columns = np.tile(np.arange(WIDTH, dtype=np.float32), (HEIGHT, 1))
    rows = np.tile(np.arange(HEIGHT, dtype=np.float32)[:, None], (1, WIDTH))
    (fx, _, cx), (_, fy, cy), _ = straight_camera(lens).intrinsics.tolist()
    expected = distorted(lens, (columns - cx) / fx, (rows - cy) / fy)
    inside = np.s_[3:-3, 3:-3]
    for picture, wanted in zip((columns, rows), expected, strict=True):
        assert np.abs(undistort(picture, lens) - wanted)[inside].max() < 0.05  # OpenCV counts 32nds of a pixel


@given(lenses(field=st.just("cropped")))
@settings(max_examples=25)
def test_a_cropped_picture_has_no_black_border_and_touches_the_lens_field(lens):
    white = np.full((HEIGHT, WIDTH), 255, dtype=np.uint8)
    assert undistort(white, lens).min() > 100  # at the very border half a pixel may lie outside
    (fx, _, cx), (_, fy, cy), _ = straight_camera(lens).intrinsics.tolist()
    assert math.isclose(fx / fy, lens.fx / lens.fy, rel_tol=1e-5)
    outline = np.array([(c, r) for c in range(WIDTH) for r in range(HEIGHT) if c in (0, WIDTH - 1) or r in (0, 89)])
    column, row = distorted(lens, (outline[:, 0] - cx) / fx, (outline[:, 1] - cy) / fy)
    slack = np.minimum.reduce([column, row, WIDTH - 1 - column, HEIGHT - 1 - row])
    assert slack.min() > -0.1
    assert slack.min() < 2


@given(lenses(field=st.just("full")))
@settings(max_examples=25)
def test_the_full_field_shows_every_pixel(lens):
    assert shown_pixels(lens).all()


@given(lenses(), number(-0.3, 0.3), number(-0.3, 0.3), number(2, 40))
@settings(max_examples=25)
def test_depth_of_a_plane_comes_back_to_the_pixels_that_saw_it(lens, slope_x, slope_y, distance):
    """n·(x, y, 1) depth = distance: the depth of each original pixel is known from its ray."""

    def plane(x, y):
        return distance / (1 + slope_x * x + slope_y * y)

    columns, rows = np.meshgrid(np.arange(WIDTH), np.arange(HEIGHT))
    (fx, _, cx), (_, fy, cy), _ = straight_camera(lens).intrinsics.tolist()
    seen = plane((columns - cx) / fx, (rows - cy) / fy)
    moved = distort_depth(seen, lens)
    shown = shown_pixels(lens)
    assert (np.isfinite(moved) == shown).all()
    assert shown.mean() > 0.5
    x, y = rays(lens, np.stack([columns, rows], axis=-1).reshape(-1, 2)).reshape(HEIGHT, WIDTH, 2)[shown].T
    assert np.abs(moved[shown] / plane(x, y) - 1).max() < 0.01


@given(lenses(), st.integers(0, 3))
@settings(max_examples=25)
def test_a_turned_lens_undistorts_the_turned_picture(lens, turns):
    pixels = np.array([[0.0, 0.0], [150, 20], [80, 89]])
    turned, moved = lens, pixels
    for _ in range(turns):
        moved = np.stack([moved[:, 1], turned.width - 1 - moved[:, 0]], axis=1)
        turned = turned.turned(1)
    straight = rays(lens, pixels)
    for _ in range(turns):
        straight = np.stack([straight[:, 1], -straight[:, 0]], axis=1)
    assert turned == lens.turned(turns)
    assert np.allclose(rays(turned, moved), straight, atol=2e-3)


def test_a_distortion_that_folds_the_picture_is_refused():
    lens = Lens("opencv", (-1.0, 0, 0, 0, 0, 0, 0, 0), 90, 90, 79.5, 44.5, HEIGHT, WIDTH)
    with pytest.raises(UserError, match=r"k1 -1 folds the 160x90 picture"):
        straight_camera(lens)


def test_a_fisheye_of_more_than_half_the_world_gives_a_flat_picture_of_its_middle():
    lens = Lens("fisheye", (0.0, 0, 0, 0), 45, 45, 79.5, 44.5, HEIGHT, WIDTH)  # 200 degrees across
    camera = straight_camera(lens)
    assert 90 < 2 * math.degrees(math.atan(WIDTH / 2 / camera.intrinsics[0, 0].item())) < 131
    assert undistort(np.full((HEIGHT, WIDTH), 255, np.uint8), lens).min() > 100
