import numpy as np
import pytest

from udl_tf.imaging.samples import ALPHA, PREMULTIPLIED, to_full_range, with_alpha


@pytest.mark.parametrize("maximum", [1, 3, 15, 31, 255, 300, 1023, 4095, 65535])
def test_full_range_is_rounded_half_up(maximum):
    values = np.arange(maximum + 1).astype(np.uint16 if maximum > 255 else np.uint8)
    full = 255 if maximum <= 255 else 65535
    scaled = to_full_range(values, maximum)
    assert scaled.dtype == (np.uint8 if maximum <= 255 else np.uint16)
    assert np.array_equal(scaled, np.floor(values.astype(float) * full / maximum + 0.5))


def test_values_above_white_are_white():
    assert to_full_range(np.uint16([[1023, 1024, 65535]]), 1023).tolist() == [[65535] * 3]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_premultiplied_alpha(dtype):
    """Colour times white over alpha, at most white; a colour without alpha stays."""
    full = np.iinfo(dtype).max
    pixel = np.array([[[full // 4, full // 2, full, full // 2], [7, 8, 9, 0]]], dtype)
    found, notes = with_alpha(pixel, PREMULTIPLIED)
    expected = round(full // 4 * full / (full // 2))
    assert found.tolist() == [[[expected, full, full, full // 2], [7, 8, 9, 0]]]
    assert notes == ()


def test_the_channel_behind_the_colours():
    pixels = np.arange(16, dtype=np.uint8).reshape(2, 2, 4)
    assert with_alpha(pixels, ALPHA)[0] is pixels
    assert np.array_equal(with_alpha(pixels, 0)[0], pixels[..., :3])
    assert np.array_equal(with_alpha(pixels[..., :2], 65535)[0], pixels[..., 0])
    assert with_alpha(pixels[..., :2], 0)[1] == ("1 channel skipped: not alpha",)
