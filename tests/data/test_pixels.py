from types import SimpleNamespace

import numpy as np
import pytest
from helpers.images import noise_image
from helpers.measurements import field
from PIL import Image

from udl_tf.config import Config
from udl_tf.data.pixels import RGB, Pixels, lr_of, without_holes
from udl_tf.errors import UserError
from udl_tf.imaging.nodata import MIDDLE
from udl_tf.imaging.resize import imresize
from udl_tf.imaging.rgb_files import read_rgb
from udl_tf.imaging.value_range import ValueRange


def saved(path, values):
    np.save(path, values)
    return path


@pytest.mark.parametrize("dtype", ["float32", "float64", "int16", "uint16", "uint32", "uint8"])
def test_values_are_mapped_linearly_whatever_their_dtype(tmp_path, dtype):
    values = np.array([[10, 20], [110, 120]], dtype)  # the last is outside the range
    pixels = Pixels(1, ValueRange((10,), (110,)))
    found = pixels.read(saved(tmp_path / "a.npy", values))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found[..., 0], [[0, 25.5], [255, 280.5]])


def test_each_channel_has_its_range_and_nan_and_infinity_are_nodata(tmp_path):
    values = np.array([[[0.5, 500.0], [np.nan, 1000.0], [1.0, -np.inf]]])
    pixels = Pixels(2, ValueRange((0, 0), (1, 1000)))
    found = pixels.read(saved(tmp_path / "a.npy", values))
    np.testing.assert_allclose(found, [[[127.5, 127.5], [np.nan, 255], [255, np.nan]]])


def test_grey_and_rgb_files_are_read_as_they_are(tmp_path):
    image = noise_image(6, 5)
    Image.fromarray(image).save(tmp_path / "rgb.png")
    Image.fromarray(image[..., 0]).save(tmp_path / "grey.png")
    assert RGB.read(tmp_path / "rgb.png").dtype == np.uint8
    assert np.array_equal(RGB.read(tmp_path / "rgb.png"), read_rgb(tmp_path / "rgb.png"))
    assert np.array_equal(Pixels(1).read(tmp_path / "grey.png"), image[..., :1])
    with pytest.raises(UserError, match=r"rgb\.png: has 3 channels; expected 1"):
        Pixels(1).read(tmp_path / "rgb.png")


def test_other_values_than_8_bits_need_a_range(tmp_path):
    file = saved(tmp_path / "a.npy", np.zeros((4, 4), np.uint16))
    for pixels in (Pixels(1), Pixels(1, ValueRange())):  # 0..255 means 8 bits for `upscale`
        with pytest.raises(
            UserError, match=r"uint16 values; expected 8-bit .* data\.value_range is"
        ):
            pixels.read(file)


def test_integers_of_more_bits_are_images_for_models_of_images(tmp_path):
    """They were evaluated as grey levels up to 65535; `upscale` uses the range of their dtype."""
    image = noise_image(8, 9)[..., 0]
    for name, values in (("8", image), ("16", 257 * image.astype(np.uint16))):
        Image.fromarray(values).save(tmp_path / f"{name}.png")
    seen = Pixels.seen_by(SimpleNamespace(channels=1, value_range=ValueRange()))
    eight, sixteen = (seen.read(tmp_path / f"{bits}.png") for bits in (8, 16))
    assert np.array_equal(eight[..., 0], image)
    assert np.array_equal(sixteen, eight)


def test_marks_of_nodata_that_a_file_does_not_state_are_one_line(tmp_path):
    """They would make the loss infinite."""
    values = np.full((4, 4), 5, np.float32)
    values[1, 2] = np.finfo(np.float32).min
    pixels = Pixels(1, ValueRange((0,), (10,)))
    with pytest.raises(
        UserError, match=r"a\.npy: holds -3.40282e\+38; .* state it in the file as nodata"
    ):
        pixels.read(saved(tmp_path / "a.npy", values))
    values[1, 2] = -9999
    assert pixels.read(saved(tmp_path / "a.npy", values)).min() == pytest.approx(-9999 * 25.5)


def test_several_planes_are_refused(tmp_path):
    file = saved(tmp_path / "a.npy", np.zeros((2, 4, 4, 1), np.uint8))
    with pytest.raises(UserError, match=r"a\.npy"):
        Pixels(1).read(file)


def test_quantiles_are_those_of_all_values_with_data(tmp_path):
    """1000 and 1001 values 0..999 and 1000..2000: 0.1 % and 99.9 % of 2001 are 2 and 1998."""
    first = np.arange(1000.0).reshape(20, 50)
    second = np.append(np.arange(1000.0, 2001), [np.nan] * 19).reshape(20, 51)
    files = [saved(tmp_path / "a.npy", first), saved(tmp_path / "b.npy", second)]
    found = Pixels(1, ValueRange()).quantiles(files)
    assert (found.low, found.high) == ((2.0,), (1998.0,))
    flat = saved(tmp_path / "c.npy", np.full((4, 4), 7.0))
    with pytest.raises(UserError, match="channel 1 of the training images has no range of values"):
        Pixels(1, ValueRange()).quantiles([flat])
    empty = saved(tmp_path / "d.npy", np.full((4, 4), np.nan))
    with pytest.raises(UserError, match="channel 1 of the training images has no data"):
        Pixels(1, ValueRange()).quantiles([empty])
    stack = saved(tmp_path / "e.npy", np.stack([first, first + 1000])[..., None])
    found = Pixels(1, ValueRange()).quantiles([stack])  # 2000 values, 0..1999
    assert (found.low, found.high) == (pytest.approx((1.999,)), pytest.approx((1997.001,)))


def test_a_folder_that_is_no_scene_is_one_line(tmp_path):
    (tmp_path / "a.zarr").mkdir()
    for read in (Pixels(1).read, Pixels(1).shape):
        with pytest.raises(UserError, match=r"a\.zarr: not a scene of a known kind"):
            read(tmp_path / "a.zarr")


@pytest.mark.parametrize(
    ("value_range", "message"),
    [
        ([[0, 1], [0, 1]], "has 2 pairs, and model.channels is 4"),
        ([1, 0], "expected two finite numbers, the smaller one first"),
    ],
)
def test_value_ranges_that_do_not_fit_are_one_line(value_range, message):
    content = {"model": {"channels": 4}, "data": {"value_range": value_range}}
    with pytest.raises(UserError, match=message):
        Pixels.of(Config.model_validate(content))


def test_lr_of_an_image_without_nodata_is_imresize_without_rounding():
    hr = (255 * field(12, 16, 2)).astype(np.float32)
    assert np.array_equal(lr_of(hr, 2), imresize(hr, 0.5))


def test_lr_pixels_whose_part_holds_nodata_are_nodata_and_filled_from_their_surroundings():
    hr = np.full((24, 24, 1), 40, np.float32)
    hr[:, 12:] = 80
    hr[5, 4] = np.nan
    lr = lr_of(hr, 2)
    assert np.argwhere(np.isnan(lr)).tolist() == [[2, 2, 0]]
    lr = without_holes(lr)
    np.testing.assert_allclose(lr[2, 2], 40, rtol=1e-6)  # the mean of its neighbours
    np.testing.assert_allclose(lr[:, 9:], 80, rtol=1e-6)
    hr[:] = np.nan
    assert (without_holes(lr_of(hr, 2)) == MIDDLE).all()


def test_holes_of_lr_files_are_filled():
    image = np.full((5, 5, 1), 30, np.float32)
    image[2, 2] = np.nan
    assert (without_holes(image) == 30).all()


def test_images_to_look_at():
    image = np.broadcast_to(np.arange(5.0, dtype="f4") * 70, (1, 2, 5)).copy()
    image[0, 1, 2] = np.nan
    five = Pixels(5, ValueRange())
    assert five.as_rgb(image, (3, 2, 5)).tolist() == [[[140, 70, 255], [0, 70, 255]]]
    assert Pixels(1).as_rgb(image[..., 1:2]).tolist() == [[[70] * 3] * 2]
    assert Pixels(2).as_rgb(image[..., 1:3])[0, 0].tolist() == [70] * 3
    rgb = noise_image(4, 4)
    assert RGB.as_rgb(rgb) is rgb
