import json
import math

import numpy as np
import pytest
from helpers.images import noise_image

from udl_tf.errors import UserError
from udl_tf.imaging.color import rgb_to_y
from udl_tf.imaging.dtypes import to_dtype
from udl_tf.imaging.resize import imresize, mod_crop
from udl_tf.imaging.rgb_files import list_images, read_rgb
from udl_tf.metrics import ergas, psnr, psnr_y, sam, ssim, ssim_y


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
    for scale, (mean_psnr, mean_ssim) in zip((2, 3, 4), means, strict=True):
        expected = rows[f"x{scale}"]
        assert len(files) == expected["images"]
        assert mean_psnr == pytest.approx(expected["psnr_y"], abs=0.005)
        assert mean_ssim == pytest.approx(expected["ssim_y"], abs=0.0002)


def test_psnr_per_channel_of_values_worked_out_by_hand():
    hr = np.zeros((2, 2, 2))
    sr = hr + np.array([[[1, 20], [1, 20]], [[1, 20], [3, 20]]])
    # MSE (1 + 1 + 1 + 9) / 4 = 3 and 400, of ranges 10 and 2000: 100 / 3 and 4e6 / 400.
    expected = [10 * math.log10(100 / 3), 40]
    np.testing.assert_allclose(psnr(sr, hr, [10, 2000]), expected, rtol=1e-12)
    hr[1, 1, 0] = np.nan  # skipped: MSE 1
    assert psnr(sr, hr, 10)[0] == pytest.approx(20)
    hr[..., 0] = np.nan
    assert np.isnan(psnr(sr, hr)[0])
    assert psnr(hr[..., 1:], hr[..., 1:]) == [math.inf]


def test_ssim_per_channel_is_that_of_the_luma_of_one_channel():
    """Of a grey image in the range of its luma: R = G = B = v has Y = 16 + 219/255 v."""
    hr = noise_image(16, 20)[..., :1].repeat(3, axis=-1)
    sr = np.clip(hr + np.random.default_rng(0).integers(-9, 9, (16, 20, 1)), 0, 255).astype("uint8")
    values = [rgb_to_y(image)[..., None].repeat(2, -1) * [1, 100] for image in (sr, hr)]
    found = ssim(*values, data_range=[255, 25500])
    np.testing.assert_allclose(found, ssim_y(sr, hr, 0), rtol=1e-12)


def test_ssim_skips_windows_with_nodata():
    hr = noise_image(12, 30).astype(np.float32)
    sr = hr.copy()
    sr[:, 25:] += 40
    assert (ssim(sr, hr) < 1).all()
    hr[0, 20] = np.nan  # every window with the changed columns covers columns 15..25 or later ones
    hr[:, 21:] = np.nan
    np.testing.assert_allclose(ssim(sr, hr), 1.0)


def test_spectral_angle_worked_out_by_hand():
    hr = np.array([[[1.0, 0.0], [2.0, 2.0], [0.0, 0.0], [np.nan, 1.0]]])
    sr = np.array([[[1.0, 1.0], [3.0, 3.0], [5.0, 1.0], [1.0, 0.0]]])
    assert sam(sr, hr) == pytest.approx((45 + 0) / 2, abs=1e-5)  # the last two have no angle


def test_ergas_worked_out_by_hand():
    hr = np.broadcast_to([10.0, 100.0], (3, 3, 2)).copy()
    sr = hr + np.array([1.0, 20.0])
    # MSE / mean^2 is 1 / 100 and 400 / 10000.
    assert ergas(sr, hr, 4) == pytest.approx(100 / 4 * math.sqrt((0.01 + 0.04) / 2))
    hr[0, 0, 1] = np.nan
    assert ergas(sr, hr, 4) == pytest.approx(100 / 4 * math.sqrt((0.01 + 0.04) / 2))


def test_metrics_of_measurements_refuse_different_shapes():
    hr = np.zeros((16, 16, 4))
    for metric in (psnr, ssim, sam):
        with pytest.raises(UserError, match="same shape"):
            metric(hr[..., :3], hr)
    with pytest.raises(UserError, match="at least 11x11"):
        ssim(hr[:10], hr[:10])
