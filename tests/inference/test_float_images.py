"""Images of floats and their value range, tested on an upscaler without a network."""

import numpy as np
import pytest
import tifffile
from helpers.images import noise_image
from helpers.upscalers import Patterned

from udl_tf.errors import UserError


@pytest.mark.parametrize("value_range", [(0, 1), (-1, 1), (100, 300), (0, 65535)])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_a_value_range_is_the_unit_of_result_and_maps(value_range, dtype, channels):
    """Compared with the same image in grey levels, whose unit is 255 / (white - black)."""
    if value_range[1] > 60000 and dtype == np.float16:
        return  # infinity
    low, high = value_range
    levels = np.dstack([noise_image(6, 5), noise_image(6, 5, 1)])[..., :channels].astype(dtype)
    image = (low + levels.astype(np.float64) * (high - low) / 255).clip(low, high).astype(dtype)
    model, options = Patterned(), {"self_ensemble": True}
    expected = model.upscale(levels.astype(np.float32), value_range=(0, 255), **options)
    result = model.upscale(image, value_range=value_range, **options)
    assert result.image.dtype == dtype
    precision = max(np.finfo(dtype).resolution * max(abs(low), high), 1e-6 * (high - low)) * 4
    unit = (high - low) / 255
    assert np.abs(result.image - (low + expected.image * unit)).max() <= precision
    for name in ("theta", "spread", "total"):
        found, wanted = getattr(result, name), getattr(expected, name) * unit
        assert np.abs(found - wanted).max() <= precision
    width = np.subtract(*result.interval(0.8)[::-1])
    assert np.allclose(width, unit * np.subtract(*expected.interval(0.8)[::-1]), atol=precision)


def test_a_stack_has_a_value_range_too():
    stack = np.stack([noise_image(6, 5), noise_image(6, 5, 1)]) / 255
    result = Patterned().upscale(stack, value_range=(0, 1))
    for image, one in zip(result.image, stack, strict=True):
        assert np.array_equal(image, Patterned().upscale(one, value_range=(0, 1)).image)


def test_floats_of_at_most_one_are_warned_of():
    image = noise_image(6, 5) / 255.0
    with pytest.warns(UserWarning, match=r"nearly black: pass value_range=\(0, 1\)") as caught:
        Patterned().upscale(image)
    assert caught[0].filename == __file__
    # Warnings are errors in these tests: none for what is said to be dark, black, or brighter.
    Patterned().upscale(image, value_range=(0, 255))
    Patterned().upscale(0 * image)
    Patterned().upscale(2 * image)


@pytest.mark.parametrize("value_range", [(1, 0), (0, 0), (0, np.inf), (np.nan, 1)])
def test_what_is_no_range_is_one_line(value_range):
    with pytest.raises(
        UserError, match="expected two finite numbers, the smaller one first"
    ) as caught:
        Patterned().upscale(np.zeros((4, 4)), value_range=value_range)
    assert caught.value.argument == "value_range"


def test_integers_have_no_other_range():
    with pytest.raises(UserError, match="a value range for uint16: expected floats"):
        Patterned().upscale(np.zeros((4, 4), np.uint16), value_range=(0, 4095))


def test_a_float_file_has_the_unit_of_its_range(tmp_path):
    values = noise_image(6, 5).astype(np.float32) / 255
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="rgb")
    expected = Patterned().upscale(values, value_range=(0, 1))
    result = Patterned().upscale(tmp_path / "a.tif", value_range=(0, 1))
    assert np.array_equal(result.image, expected.image)
    assert np.array_equal(result.theta, expected.theta)
    with pytest.warns(UserWarning, match="nearly black"):
        Patterned().upscale(tmp_path / "a.tif")
