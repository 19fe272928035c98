"""TIFF files of floats, read and written."""

import numpy as np
import pytest
import tifffile
from helpers.images import noise_image

from udl_tf.errors import UserError
from udl_tf.imaging import ImageFile, read_image, tiff_writing, write_image

RGB = noise_image(12, 9)


def of_channels(channels):
    return RGB if channels == 3 else RGB[..., 0]


@pytest.mark.parametrize(("limit", "is_big"), [(10**6, False), (12 * 9 * 4 - 1, True)])
def test_large_maps_are_bigtiff(tmp_path, monkeypatch, limit, is_big):
    monkeypatch.setattr(tiff_writing, "CLASSIC_TIFF", limit)
    values = of_channels(1).astype(np.float32)
    tiff_writing.write_float_tiff(tmp_path / "a.tiff", values, "theta")
    with tifffile.TiffFile(tmp_path / "a.tiff") as tiff:
        assert tiff.is_bigtiff == is_big
        np.testing.assert_array_equal(tiff.asarray(), values)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("channels", [1, 3])
def test_floats_are_grey_levels_of_a_range(tmp_path, dtype, channels):
    values = of_channels(channels).astype(dtype)
    path = tmp_path / "a.tif"
    options = {"photometric": "rgb" if channels == 3 else "minisblack"}
    tifffile.imwrite(path, values, **options)
    image = read_image(path)
    assert image.pixels.dtype == np.float32
    assert np.array_equal(image.pixels, values)
    assert image.notes == ()
    tifffile.imwrite(path, values / 255, **options)
    (note,) = read_image(path).notes
    assert "nearly black" in note
    image = read_image(path, value_range=(0, 1))
    assert image.notes == ()
    assert image.value_range == (0, 1)
    assert np.abs(image.pixels - values).max() < (0.1 if dtype == "float16" else 1e-4)


@pytest.mark.parametrize(
    ("value", "part"),
    [
        (np.nan, "NaN or infinity"),
        (np.inf, "NaN or infinity"),
        (-np.inf, "NaN or infinity"),
        (256, r"values 0\.\.256: expected 0\.\.255; clip it, or give the values of black and"),
    ],
)
def test_floats_that_are_no_image_are_refused(tmp_path, value, part):
    values = np.zeros((4, 4), np.float32)
    values[1, 2] = value
    tifffile.imwrite(tmp_path / "a.tif", values)
    with pytest.raises(UserError, match=f"a.tif: .*{part}"):
        read_image(tmp_path / "a.tif")


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("value_range", [(0, 255), (0, 1), (-1, 1)])
def test_floats_are_written_in_the_unit_of_their_file(tmp_path, channels, value_range):
    levels = of_channels(channels).astype(np.float32)
    image = ImageFile(levels, value_range=value_range)
    assert write_image(tmp_path / "a.tif", image) == ()
    low, high = value_range
    expected = low + levels * (high - low) / 255
    assert np.abs(tifffile.imread(tmp_path / "a.tif") - expected).max() < 1e-4
    notes = write_image(tmp_path / "a.png", image)
    assert notes == (".png stores no floats: rounded to 16 bits per channel",)
    assert np.array_equal(read_image(tmp_path / "a.png").pixels, levels * 257)
    notes = write_image(tmp_path / "a.bmp", image)
    assert notes == (".bmp stores no floats: rounded to 8 bits per channel",)
    assert np.array_equal(read_image(tmp_path / "a.bmp").pixels, levels)
