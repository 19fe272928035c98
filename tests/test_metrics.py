import json

import numpy as np
import pytest
from helpers.images import noise_image

from udl_tf.data.sources import folder_dataset
from udl_tf.data.store import read_pair
from udl_tf.imaging.resize import imresize
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

    from udl_tf.imaging.color import rgb_to_y

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


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("name", ["Set5", "Set14", "BSD100"])
def test_bicubic_row_of_the_protocol(shared_data, reference, name, scale):
    expected = json.loads((reference / "bicubic.json").read_text())["measured"][name][f"x{scale}"]
    sources = folder_dataset(shared_data / "benchmark" / name, scale).sources
    assert len(sources) == expected["images"]
    values = []
    for picture in sources:
        lr, hr = read_pair(picture, scale)
        up = imresize(lr, scale)
        values.append((psnr_y(up, hr, scale), ssim_y(up, hr, scale)))
    psnr, ssim = np.mean(values, axis=0)
    assert psnr == pytest.approx(expected["psnr_y"], abs=0.005)
    assert ssim == pytest.approx(expected["ssim_y"], abs=0.0002)
