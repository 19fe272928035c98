import tracemalloc

import numpy as np
import pytest
from helpers.images import noise_image

from udl_tf.imaging import resize
from udl_tf.imaging.dtypes import to_dtype
from udl_tf.imaging.resize import cubic, imresize, mod_crop, resize_weights
from udl_tf.imaging.rgb_files import list_images, read_rgb


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_every_pixel_equals_the_lr_files_of_matlab(shared_data, scale):
    files = list_images(shared_data / f"benchmark/Set5_LR_bicubic/X{scale}")
    assert len(files) == 5
    for file in files:
        hr = read_rgb(shared_data / "benchmark/Set5" / file.name)
        assert np.array_equal(imresize(mod_crop(hr, scale), 1 / scale), read_rgb(file))


def test_cubic_is_keys_kernel():
    # Keys 1981 with a = -0.5: 1 at 0, 0 at the other integers, 9/16 at 0.5, -1/16 at 1.5.
    assert cubic(np.array([0, 0.5, 1, 1.5, 2, 3])).tolist() == [1, 0.5625, 0, -0.0625, 0, 0]


@pytest.mark.parametrize("scale", [0.25, 0.4, 1.0, 1.7, 3.0])
def test_weights_sum_to_one_and_reproduce_lines(scale):
    length = 40
    out = round(length * scale)
    indices, weights = resize_weights(length, out, scale)
    assert np.allclose(weights.sum(axis=1), 1)
    positions = (np.arange(out) + 0.5) / scale - 0.5
    inside = slice(out // 4, -(out // 4))  # away from the mirrored borders
    assert np.allclose((weights * indices).sum(axis=1)[inside], positions[inside], atol=0.01)


def test_dtype_size_and_rounding():
    image = noise_image(17, 23)
    assert imresize(image, 0.5).shape == (9, 12, 3)  # ceil, as in MATLAB
    assert imresize(image, size=(20, 10)).shape == (20, 10, 3)
    assert imresize(image[..., 0], 2).shape == (34, 46)
    assert imresize(image.astype(np.uint16) * 257, 2).dtype == np.uint16
    assert imresize(image.astype(np.float32), 2).dtype == np.float32
    checker = np.array([[0, 255], [255, 0]], np.uint8)
    # 127.5 rounds half away from zero to 128 in the first pass; then 128 stays.
    assert imresize(checker, size=(1, 1)).item() == 128


def test_strips_of_rows_do_not_change_the_result():
    """A float image of one column against the weights applied at once."""
    values = np.random.default_rng(0).uniform(0, 255, (500, 1))
    for length in (90, 700):
        indices, weights = resize_weights(500, length, length / 500)
        result = imresize(values, size=(length, 1))
        assert np.allclose(result[:, 0], (weights * values[indices, 0]).sum(axis=1), atol=1e-10)


def resized_at_once(image, size):
    """Both axes one after the other over the whole image, in the documented order."""
    scales = size[0] / image.shape[0], size[1] / image.shape[1]
    for axis in (0, 1) if scales[0] <= scales[1] else (1, 0):
        rows = np.moveaxis(image, axis, 0)
        indices, weights = resize_weights(len(rows), size[axis], scales[axis])
        values = 0.0
        for tap in np.flatnonzero(np.any(weights, axis=0)):
            values = values + weights[:, tap, None, None] * rows[indices[:, tap]]
        image = np.moveaxis(to_dtype(values, image.dtype), 0, axis)
    return image


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("size", [(150, 201), (150, 33), (40, 201), (13, 9), (200, 70)])
def test_bands_equal_the_whole_to_the_bit(size, dtype, monkeypatch):
    monkeypatch.setattr(resize, "_VALUES", 500)  # several blocks per band too
    unit = 1.01 if dtype == np.float32 else 257.0 if dtype == np.uint16 else 1.0
    image = (noise_image(100, 71) * unit).astype(dtype)
    assert np.array_equal(imresize(image, size=size), resized_at_once(image, size))


@pytest.mark.parametrize(("before", "after"), [(200, 1000), (2000, 300)])
def test_working_memory_is_bounded(before, after):
    """Besides the result, a band of 64 rows and a few arrays of 2**17 float64 values."""
    image = np.zeros((before, 1000, 3), np.float32)
    tracemalloc.start()
    result = imresize(image, size=(after, 1200))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    band = 64 * max(1, before / after) * 1200 * 3 * 4
    assert peak < result.nbytes + 3 * band + 6 * 8 * 2**17


def test_flat_stays_flat_and_identity_is_identity():
    flat = np.full((9, 11, 3), 77, np.uint8)
    for scale in (0.3, 0.5, 2, 2.7):
        assert np.all(imresize(flat, scale) == 77)
    image = noise_image(9, 11)
    assert np.array_equal(imresize(image, 1.0), image)


def test_bad_arguments():
    image = noise_image(8, 8)
    for arguments in ({}, {"scale": 2, "size": (3, 3)}, {"scale": 0}, {"size": (0, 4)}):
        with pytest.raises(ValueError, match="Received"):
            imresize(image, **arguments)
