"""Bicubic resizing by whole numbers."""

import numpy as np
import pytest

from udl_tf.imaging.bicubic import RADIUS, enlarge, shrink
from udl_tf.imaging.resize import imresize


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("size", [(1, 2), (7, 10)])
def test_it_equals_imresize(scale, size):
    lr = np.random.default_rng(0).normal(100, 60, (*size, 2)).astype(np.float32)
    hr = np.random.default_rng(1).normal(100, 60, (scale * size[0], scale * size[1], 2))
    hr = hr.astype(np.float32)
    np.testing.assert_allclose(enlarge(lr, scale), imresize(lr, scale), atol=1e-4)
    np.testing.assert_allclose(shrink(hr, scale), imresize(hr, 1 / scale), atol=1e-4)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_parts_with_a_margin_equal_the_whole_to_the_bit(scale):
    lr = np.random.default_rng(0).normal(100, 60, (23, 31, 1)).astype(np.float32)
    hr = np.random.default_rng(1).normal(100, 60, (23 * scale, 31 * scale, 1)).astype(np.float32)
    large, small, first = enlarge(lr, scale), shrink(hr, scale), 5 - RADIUS
    part = enlarge(lr[first:20, first:], scale)[RADIUS * scale : -RADIUS * scale, RADIUS * scale :]
    np.testing.assert_array_equal(part, large[5 * scale : (20 - RADIUS) * scale, 5 * scale :])
    part = shrink(hr[first * scale : 20 * scale, first * scale :], scale)
    np.testing.assert_array_equal(part[RADIUS:-RADIUS, RADIUS:], small[5 : 20 - RADIUS, 5:])
