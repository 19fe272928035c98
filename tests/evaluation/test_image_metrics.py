import numpy as np
import pytest
from helpers.images import noise_image
from helpers.measurements import field

from udl_tf.data.pixels import RGB, Pixels
from udl_tf.evaluation.image_metrics import image_metrics, mean_metrics, metric_text
from udl_tf.imaging.value_range import ValueRange
from udl_tf.metrics import ergas, psnr_y, sam, ssim_y


def test_8_bit_rgb_has_the_metrics_of_the_protocol():
    hr = noise_image(20, 22)
    sr = np.minimum(hr, 254) + 1
    assert image_metrics(sr, hr, 2, RGB) == {
        "psnr_y": psnr_y(sr, hr, 2), "ssim_y": ssim_y(sr, hr, 2)}  # fmt: skip


def test_measurements_are_compared_in_the_unit_of_their_files():
    """An error of 1/255 of the range is 20 log10 255 dB in any unit; angles need the true zero."""
    pixels = Pixels(2, ValueRange((100, 1000), (200, 3000)))
    hr = (200 * field(20, 22, 2)).astype(np.float32)
    hr[:2] = -1e6  # inside the border that is removed
    found = image_metrics(hr + 1, hr, 2, pixels)
    assert found["psnr"] == pytest.approx(20 * np.log10(255), abs=1e-3)
    assert found["psnr_channels"] == pytest.approx([20 * np.log10(255)] * 2, abs=1e-3)
    assert found["ssim"] == pytest.approx(np.mean(found["ssim_channels"]))
    inside = hr[2:-2, 2:-2].astype(float)
    files, results = (x * [100 / 255, 2000 / 255] + [100, 1000] for x in (inside, inside + 1))
    assert found["sam"] == pytest.approx(sam(results, files), rel=1e-6)
    assert found["ergas"] == pytest.approx(ergas(results, files, 2), rel=1e-5)


def test_nodata_and_channels_without_data_are_skipped():
    hr = (255 * field(20, 22, 2)).astype(np.float32)
    sr = hr + np.float32([1, 2])
    hr[..., 1] = np.nan
    sr[5, 5], hr[5, 5] = 1000, np.nan
    found = image_metrics(sr, hr, 2, Pixels(2, ValueRange()))
    assert found["psnr"] == pytest.approx(20 * np.log10(255), abs=1e-3)
    assert np.isnan(found["psnr_channels"][1])
    assert np.isnan(found["sam"])
    other = {"psnr": 30.0, "ssim": 1.0, "psnr_channels": [28.0, 32.0], "ssim_channels": [1.0, 1.0]}
    means = mean_metrics([other | {"sam": 4.0, "ergas": 1.0}, found])
    assert means["sam"] == 4.0
    assert means["psnr_channels"] == pytest.approx([(28 + found["psnr"]) / 2, 32])


def test_metrics_in_words():
    assert metric_text("psnr_y", 31.25) == "PSNR-Y 31.250 dB"
    assert metric_text("ssim", 0.98765) == "SSIM 0.9877"
