import numpy as np
import pytest

from udl_tf.data.corners import admissible_corners


@pytest.mark.parametrize("scale", [1, 2, 3])
def test_corners_are_those_of_patches_with_enough_data(scale):
    """Against counting the pixels of each patch."""
    side, holes = 4, np.random.default_rng(1).random((8, 9)) < 0.2
    hr = np.zeros((8 * scale, 9 * scale, 2))
    hr[np.kron(holes, np.ones((scale, scale))) > 0] = np.nan
    hr[0, 0, 1] = np.nan  # in one channel
    share, size = 0.2, side * scale
    expected = [
        6 * top + left
        for top in range(5)
        for left in range(6)
        if np.isnan(hr[top * scale :, left * scale :][:size, :size]).any(axis=-1).mean() <= share
    ]
    assert 0 < len(expected) < 30
    assert admissible_corners(hr, scale, side, share).tolist() == expected


def test_an_image_without_nodata_has_no_table():
    assert admissible_corners(np.zeros((8, 8, 1)), 2, 2, 0.5) is None
