"""Upscaled: one half width for a whole image."""

import numpy as np
import pytest
from helpers.models import plain_calibration

from udl_tf.errors import UserError
from udl_tf.inference.result import Upscaled


def result_of(theta, calibration=None):
    theta = np.asarray(theta, np.float32)
    return Upscaled(np.zeros(theta.shape, np.uint8), theta, None, calibration)


@pytest.mark.parametrize("shape", [(5, 7, 3), (5, 7, 1), (5, 7), (2, 5, 7, 3)])
def test_the_half_width_of_equal_pixels_is_that_of_each(shape):
    """-ln(1 - level) theta, for Laplace errors."""
    result = result_of(np.full(shape, 3.0), plain_calibration())
    for level in (0.1, 0.5, 0.9):
        assert result.half_width(level) == pytest.approx(-3 * np.log(1 - level), rel=0.01)


def test_the_half_width_of_different_pixels_covers_the_share_of_them_all():
    """Of theta 1 and 10 in equal parts: (exp(-w) + exp(-w / 10)) / 2 = 0.1 at w = 16.09."""
    theta = np.where(np.arange(40_000).reshape(200, 200, 1) % 2, 1.0, 10.0).repeat(3, axis=-1)
    assert result_of(theta, plain_calibration()).half_width(0.9) == pytest.approx(16.09, rel=0.05)


def test_without_calibration_or_for_other_levels_it_is_an_error():
    with pytest.raises(UserError, match="no calibrated theta"):
        result_of(np.ones((2, 2, 3))).half_width(0.9)
    for level in (0.0, 0.99, 90):
        with pytest.raises(UserError, match=rf"level {level}: expected 0.01..0.98"):
            result_of(np.ones((2, 2, 3)), plain_calibration()).half_width(level)
