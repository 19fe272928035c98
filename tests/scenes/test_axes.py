import numpy as np
import pytest

from udl_tf.scenes import Window
from udl_tf.scenes.axes import Axes

ARRAY = np.arange(2 * 3 * 4 * 5 * 6).reshape(2, 3, 4, 5, 6)


@pytest.mark.parametrize("names", ["TCZYX", "CTZYX", "YXTZC", "XYZCT", "STZYX"])
def test_windows_are_found_in_any_order_of_axes(names):
    """Against NumPy's own transposition to (planes, y, x, channels)."""
    axes = Axes(tuple(names), ARRAY.shape)
    order = [name for name in names if name in "TZ"] + ["Y", "X", "C" if "C" in names else "S"]
    pixels = ARRAY.transpose([names.index(name) for name in order])
    planes = pixels.reshape(-1, *pixels.shape[2:])
    assert (axes.planes, axes.height, axes.width, axes.channels) == planes.shape
    for plane in range(axes.planes):
        part = ARRAY[axes.index(Window(plane, 1, 0, 2, 2))]
        np.testing.assert_array_equal(axes.to_pixels(part), planes[plane, 1:3, 0:2])
        np.testing.assert_array_equal(axes.from_pixels(axes.to_pixels(part)), part)


def test_channels_and_samples_of_a_colour_are_channels_together():
    axes = Axes(("C", "S", "Y", "X"), (2, 3, 4, 5))
    array = np.arange(120).reshape(axes.sizes)
    pixels = axes.to_pixels(array[axes.index(Window(0, 0, 0, 4, 5))])
    np.testing.assert_array_equal(pixels, array.reshape(6, 4, 5).transpose(1, 2, 0))
    assert axes.result(2, 12).sizes == (4, 3, 8, 10)
    assert axes.result(2, 1).sizes == (1, 1, 8, 10)


def test_an_array_without_a_channel_axis_holds_one_channel():
    with pytest.raises(ValueError, match=r"\('Y', 'X'\) cannot hold 2 channels"):
        Axes(("Y", "X"), (4, 5)).result(2, 2)
