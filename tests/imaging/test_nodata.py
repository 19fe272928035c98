"""Filling of pixels without data."""

import numpy as np
import pytest

from udl_tf.imaging.nodata import MIDDLE, fill_nodata, near_nodata


def test_a_hole_grows_together_from_the_mean_of_its_valid_neighbours():
    values = np.arange(25, dtype=np.float64).reshape(5, 5, 1)
    valid = np.ones((5, 5, 1), bool)
    valid[0, 0] = valid[2, 2:4] = False
    filled = fill_nodata(np.where(valid, values, np.nan), valid, 3)[..., 0]
    assert filled.dtype == np.float32
    assert filled[0, 0] == pytest.approx((1 + 5 + 6) / 3)
    # Of the eight neighbours of (2, 2), (2, 3) has no data: 6 7 8 11 16 17 18 remain.
    assert filled[2, 2] == pytest.approx(83 / 7)
    assert (filled[valid[..., 0]] == values[valid]).all()


def test_the_order_of_an_array_in_memory_does_not_matter():
    values = np.arange(100.0).reshape(10, 10, 1)
    valid = np.ones((10, 10, 1), bool)
    valid[4:6, 4:6] = False
    wanted = fill_nodata(values, valid, 8)
    found = fill_nodata(np.asfortranarray(values), np.asfortranarray(valid), 8)
    np.testing.assert_array_equal(found, wanted)
    # The five valid neighbours of the hole's first corner: 33, 34, 35, 43 and 53.
    assert found[4, 4, 0] == np.float32(198 / 5)


def test_pixels_beyond_the_distance_have_the_middle_value():
    valid = np.zeros((1, 9, 2), bool)
    valid[0, 0] = True
    filled = fill_nodata(np.full((1, 9, 2), 40.0), valid, 3)
    np.testing.assert_array_equal(filled[0, :, 1], [40.0] * 4 + [MIDDLE] * 5)


def test_without_data_all_is_the_middle_value():
    assert (fill_nodata(np.full((3, 4, 1), np.nan), np.zeros((3, 4, 1), bool), 8) == MIDDLE).all()


def test_channels_are_filled_on_their_own():
    values, valid = np.zeros((4, 4, 2)), np.ones((4, 4, 2), bool)
    values[..., 1] = 9
    valid[1, 1, 1] = False
    filled = fill_nodata(values, valid, 1)
    assert (filled[..., 0] == 0).all()
    assert (filled[..., 1] == 9).all()


def test_a_part_with_a_margin_is_filled_as_the_whole_to_the_bit():
    rng = np.random.default_rng(0)
    values = rng.normal(100, 50, (60, 50, 2))
    valid = rng.random((60, 50, 2)) < 0.05  # most pixels are more than one round away
    whole = fill_nodata(values, valid, 6)
    part = fill_nodata(values[20:52, 14:40], valid[20:52, 14:40], 6)
    np.testing.assert_array_equal(part[6:-6, 6:-6], whole[26:46, 20:34])


def test_near_nodata_counts_diagonals_and_any_channel():
    valid = np.ones((7, 7, 2), bool)
    valid[3, 3, 1] = False
    expected = np.zeros((7, 7), bool)
    expected[1:6, 1:6] = True
    np.testing.assert_array_equal(near_nodata(valid, 2), expected)
    assert near_nodata(valid, 0).sum() == 1
    assert not near_nodata(valid[:2], 2).any()
