"""Colours of depth and error maps."""

import numpy as np

from egodepth.colour import NO_VALUE, colour_depth, colour_disparity, colour_error


def test_nearer_is_brighter():
    picture = colour_disparity(np.array([[0.01, 0.1, 1.0]]))
    assert picture.dtype == np.uint8
    assert picture.shape == (1, 3, 3)
    brightness = picture.astype(int).sum(axis=2)[0]
    assert brightness[0] < brightness[1] < brightness[2]
    assert (picture[0, 2] == colour_disparity(np.array([[1.0]]), 0, 1)[0, 0]).all()


def test_a_few_very_near_pixels_do_not_darken_the_rest():
    disparity = np.linspace(0.1, 1.0, 100)[None].repeat(4, axis=0)
    outlier = disparity.copy()
    outlier[0, 0] = 1000.0
    difference = colour_disparity(disparity).astype(int) - colour_disparity(outlier)
    assert np.abs(difference[1:]).max() < 16


def test_pixels_without_a_value_are_grey():
    assert tuple(colour_disparity(np.array([[np.nan, 1.0]]))[0, 0]) == NO_VALUE
    assert tuple(colour_depth(np.array([[0.0, 1.0]]))[0, 0]) == NO_VALUE
    assert tuple(colour_error(np.array([[np.nan, 1.0]]))[0, 0]) == NO_VALUE
    assert (colour_disparity(np.full((2, 2), np.nan)) == NO_VALUE).all()


def test_a_flat_map_is_painted_without_complaint():
    assert colour_disparity(np.full((3, 3), 0.5)).shape == (3, 3, 3)
