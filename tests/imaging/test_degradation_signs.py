import numpy as np
import pytest
from helpers.images import noise_image

from udl_tf.imaging import degradation_signs, degrade, imresize
from udl_tf.imaging.degradation_signs import SMALLEST, measure_signs


def texture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Returns a uint8 RGB image with detail in every pixel."""
    return imresize(noise_image(4 * height, 4 * width, seed), 0.25)


def signs(image: np.ndarray) -> np.ndarray:
    found = measure_signs(image)
    assert found is not None
    return found


@pytest.mark.parametrize(("top", "left"), [(0, 0), (3, 6)])
def test_blocks_of_jpeg_are_seen_at_every_phase(top, left):
    image = texture(96, 80)
    cropped = degrade.jpeg(image, 30)[top:, left:]
    # Without blocks, all phases have equal shares; the best of 8 exceeds them by a few per cent.
    assert signs(image)[0] < 0.05
    # At quality 30, nearly all coefficients of frequencies 5 to 7 are 0 in the blocks.
    assert signs(cropped)[0] > 0.4


def test_strong_compression_goes_on_growing():
    image = texture(96, 80)
    blocks, strong, *_ = np.transpose([signs(degrade.jpeg(image, q)) for q in (90, 30, 10)])
    assert strong[0] < 0.01 < strong[1] < 0.05 < strong[2]
    assert blocks[0] < 0.05
    assert strong[2] > 10 * strong[1]
    assert blocks[2] < 1.5 * blocks[1]


def test_noise_is_what_channels_do_not_have_in_common():
    sigma, random = 6.0, np.random.default_rng(0)
    grey = np.full((160, 160, 3), 128, np.float32)
    equal = grey + random.normal(0, sigma, (160, 160, 1))
    assert signs(equal)[2] == pytest.approx(np.log(0.2), abs=1e-3)
    assert signs(equal[..., :1])[2] == pytest.approx(np.log(0.2), abs=1e-6)
    # [1 -2 1] along both axes multiplies a standard deviation by 6, and the difference from the
    # mean of three channels by sqrt(2/3); E|x| is sqrt(2/pi) of it.
    expected = 6 * sigma * np.sqrt(2 / 3) * np.sqrt(2 / np.pi)
    found = np.exp(signs(grey + random.normal(0, sigma, grey.shape))[2])
    assert 0.8 * expected < found < expected  # the flattest windows have a little less


def test_blur_lowers_second_differences():
    image = texture(64, 64)
    slight, strong = (signs(degrade.blur(image, (s, s)))[3] for s in (0.6, 1.2))
    assert signs(image)[3] < slight < strong
    assert signs(np.full((32, 32, 3), 77))[3] == 0  # a plain image has no differences
    half = image.copy()
    half[:, 32:] = degrade.blur(image, (3, 3))[:, 32:]  # out of focus
    assert signs(half)[3] < slight


def test_bands_of_rows_give_the_signs_of_the_whole(monkeypatch):
    image = degrade.jpeg(texture(96, 40), 50)
    whole = signs(image)
    monkeypatch.setattr(degradation_signs, "_ROWS", 16)
    assert signs(image) == pytest.approx(whole, rel=1e-5)


def test_small_images_have_no_signs():
    image = texture(SMALLEST, 40)
    assert measure_signs(image) is not None
    assert measure_signs(image[1:]) is None
