import numpy as np
import pytest
from scipy.ndimage import maximum_filter, minimum_filter

from udl_tf.inference.image_arrays import fill_plain_areas


@pytest.mark.parametrize("distance", [1, 2, 3, 8])
def test_plain_areas_are_found_wherever_they_lie(distance):
    """Rectangles of one colour at random places and of random sizes, in images of any size."""
    random, filled = np.random.default_rng(distance), 0
    for _ in range(200):
        height, width = random.integers(1, 40, 2)
        lr = random.integers(0, 2, (height, width, 3), np.uint8)
        top, left = random.integers(-10, (height, width)).clip(0)
        bottom, right = np.add((top, left), random.integers(1, 30, 2))
        lr[top:bottom, left:right] = 7
        size = (2 * distance + 1, 2 * distance + 1, 1)
        plain = (maximum_filter(lr, size) == minimum_filter(lr, size)).all(axis=-1)
        image = np.full((2 * height, 2 * width, 3), 99, np.uint8)
        expected = np.where(plain[..., None], lr, 99).repeat(2, axis=0).repeat(2, axis=1)
        fill_plain_areas(image, lr, distance)
        assert np.array_equal(image, expected)
        filled += plain.any()
    assert 20 < filled < 180
