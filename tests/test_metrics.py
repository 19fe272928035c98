import json

import numpy as np
import pytest
from helpers.images import noise_image

from udl_tf.errors import UserError
from udl_tf.imaging.color import rgb_to_y
from udl_tf.imaging.dtypes import to_dtype
from udl_tf.imaging.resize import imresize, mod_crop
from udl_tf.imaging.rgb_files import list_images, read_rgb
from udl_tf.metrics import psnr_y, ssim_y


def test_psnr_of_a_known_difference():
    hr = np.full((20, 20, 3), 100, np.uint8)
    # One grey level in R, G and B is 219/255 of luma.
    expected = 20 * np.log10(255 / (219 / 255))
    assert psnr_y(hr + 1, hr, 4) == pytest.approx(expected, abs=1e-9)
    assert psnr_y(hr, hr, 4) == float("inf")


def test_shave_removes_border_errors():
    hr = noise_image(32, 32)
    sr = hr.copy()
    sr[:4] = 255 - sr[:4]
    sr[:, -4:] = 255 - sr[:, -4:]
    assert psnr_y(sr, hr, 4) == float("inf")
    assert psnr_y(sr, hr, 3) < 40
    assert ssim_y(sr, hr, 4) == 1.0


def test_ssim_agrees_with_tensorflow_on_luma():
    import tensorflow as tf

    hr = noise_image(40, 50)
    random = np.random.default_rng(1)
    sr = np.clip(hr + random.normal(0, 12, hr.shape), 0, 255).astype(np.uint8)
    a, b = (tf.constant(rgb_to_y(x)[..., None], tf.float32) for x in (sr, hr))
    expected = float(tf.image.ssim(a, b, max_val=255.0))
    assert 0.3 < expected < 0.99
    assert ssim_y(sr, hr, 0) == pytest.approx(expected, abs=2e-5)


def test_bad_input_is_refused():
    hr = noise_image(16, 16)
    for sr, shave in ((hr.astype(np.float32), 0), (hr[:-1], 0), (hr[..., 0], 0), (hr, 8), (hr, 4)):
        with pytest.raises(ValueError, match="Received"):
            ssim_y(sr, hr, shave)


@pytest.mark.parametrize(
    ("dtype", "unit", "advice"),
    [("uint16", 257, "to_dtype(sr / 257, 'uint8')"), ("float32", 1, "to_dtype(sr, 'uint8')")],
)
def test_other_dtypes_are_refused_with_the_conversion_that_helps(dtype, unit, advice):
    """16-bit results and outputs of networks; the advice gives the number of the 8-bit image."""
    hr = noise_image(16, 16)
    sr = (np.minimum(hr, 254) + 1).astype(dtype) * np.array(unit, dtype)
    for metric in (psnr_y, ssim_y):
        with pytest.raises(UserError) as caught:
            metric(sr, hr, 0)
        assert f"by udl_tf.imaging.{advice}. Received: {dtype}" in str(caught.value)
    rounded = eval(advice, {"to_dtype": to_dtype, "sr": sr})
    assert psnr_y(rounded, hr, 0) == psnr_y(np.minimum(hr, 254) + 1, hr, 0)


def bicubic_values(file):
    """(PSNR, SSIM) of bicubic interpolation by the protocol, for scales 2, 3 and 4."""
    image = read_rgb(file)
    values = []
    for scale in (2, 3, 4):
        hr = mod_crop(image, scale)
        sr = imresize(imresize(hr, 1 / scale), scale)
        values.append((psnr_y(sr, hr, scale), ssim_y(sr, hr, scale)))
    return values


@pytest.mark.parametrize("name", ["Set5", "Set14", pytest.param("BSD100", marks=pytest.mark.slow)])
def test_bicubic_rows_of_the_protocol(shared_data, reference, name):
    rows = json.loads((reference / "bicubic.json").read_text())["measured"][name]
    files = list_images(shared_data / "benchmark" / name)
    means = np.mean([bicubic_values(file) for file in files], axis=0)
    for scale, (psnr, ssim) in zip((2, 3, 4), means, strict=True):
        expected = rows[f"x{scale}"]
        assert len(files) == expected["images"]
        assert psnr == pytest.approx(expected["psnr_y"], abs=0.005)
        assert ssim == pytest.approx(expected["ssim_y"], abs=0.0002)
