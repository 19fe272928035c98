import numpy as np
import pytest
import zarr

from udl_tf.scenes.samples import Samples
from udl_tf.scenes.zarr_levels import average, create_array, level_factors, smaller

COUNTS = Samples(np.dtype(np.uint16))


def levels(tmp_path, array, factors, samples):
    group = zarr.create_group(tmp_path / "a.zarr")
    large = create_array(group, "0", array.shape, samples, chunks=(2, 2))
    large[:] = array
    small = create_array(group, "1", smaller(array.shape, factors), samples, chunks=(1, 1))
    average([large, small], [factors], samples)
    return small


def test_factors_are_the_ratios_of_sizes():
    assert level_factors([(3, 2, 9, 8), (3, 2, 5, 4), (1, 2, 2, 1)]) == [(1, 1, 2, 2), (3, 1, 2, 4)]


@pytest.mark.parametrize(
    ("nodata", "expected"),
    # Mean of 1 2 4 5, of 3 6, of 7 0 and of 9; without the 0, 7.
    [(None, [[3, 5], [4, 9]]), (0, [[3, 5], [7, 9]])],
)
def test_levels_are_rounded_means_of_the_data_in_blocks(tmp_path, nodata, expected):
    array = np.array([[1, 2, 3], [4, 5, 6], [7, 0, 9]], np.uint16)
    small = levels(tmp_path, array, (2, 2), Samples(COUNTS.dtype, nodata))
    np.testing.assert_array_equal(small[:], expected)


def test_blocks_without_data_are_not_stored(tmp_path):
    array = np.full((4, 4), np.nan, np.float32)
    array[0, 0], array[0, 1] = 1, 2
    small = levels(tmp_path, array, (2, 2), Samples(array.dtype))
    np.testing.assert_array_equal(small[:], [[1.5, np.nan], [np.nan, np.nan]])
    assert small.nchunks_initialized == 1
