import numpy as np
import pytest

from udl_tf.errors import UserError
from udl_tf.imaging.dtypes import (
    from_gray_levels,
    gray_level,
    is_nearly_black,
    to_dtype,
    to_gray_levels,
)

VALUES = np.array([-200.5, -3.0, -0.5, 0.49, 0.5, 1.5, 2.5, 127.6, 254.5, 255.4, 300.0, 70000.0])


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [
        (np.uint8, [0, 0, 0, 0, 1, 2, 3, 128, 255, 255, 255, 255]),
        (np.uint16, [0, 0, 0, 0, 1, 2, 3, 128, 255, 255, 300, 65535]),
        (np.int8, [-128, -3, 0, 0, 1, 2, 3, 127, 127, 127, 127, 127]),
    ],
)
@pytest.mark.parametrize("source", [np.float32, np.float64])
def test_integers_are_rounded_half_up_and_saturate(dtype, expected, source):
    result = to_dtype(VALUES.astype(source), dtype)
    assert result.dtype == dtype
    assert result.tolist() == expected


def test_floats_are_only_cast():
    result = to_dtype(VALUES, "float32")
    assert result.dtype == np.float32
    assert np.array_equal(result, VALUES.astype(np.float32))


def test_integers_are_clipped_and_the_input_is_unchanged():
    values = np.array([[0, 255], [256, 70000]], np.int64)
    assert to_dtype(values, np.uint8).tolist() == [[0, 255], [255, 255]]
    copy = VALUES.copy()
    to_dtype(copy, np.uint8)
    assert np.array_equal(copy, VALUES)


def test_more_rows_than_are_converted_at_a_time():
    values = np.random.default_rng(0).uniform(-9, 270, (700, 3, 2))
    expected = np.clip(np.floor(values + 0.5), 0, 255)
    assert np.array_equal(to_dtype(values, np.uint8), expected)


@pytest.mark.parametrize("value_range", [(0.0, 255.0), (0.0, 1.0), (-2.0, 3.0)])
def test_values_and_grey_levels(value_range):
    low, high = value_range
    levels = to_gray_levels(np.array([low, (low + high) / 2, high]), value_range)
    assert np.allclose(levels, [0, 127.5, 255], atol=1e-12)
    assert np.allclose(from_gray_levels(levels, value_range), [low, (low + high) / 2, high])
    for value in (np.nextafter(low, -9), np.nextafter(high, 999), np.nan):
        with pytest.raises(UserError, match="a float image with"):
            to_gray_levels(np.array([low, value]), value_range)


def test_what_is_nearly_black():
    answers = [is_nearly_black(np.array([0, high])) for high in (0.0, 0.1, 1.0, 1.1, 255.0)]
    assert answers == [False, True, True, False, False]
    assert not is_nearly_black(np.zeros((0, 3)))


def test_gray_level():
    assert [gray_level(np.dtype(name)) for name in ("uint8", "uint16", "float32")] == [1, 257, 1]
