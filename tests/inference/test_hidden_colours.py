"""Colours of transparent pixels, tested on upscalers without a network."""

import numpy as np
import pytest
from helpers.images import noise_image
from helpers.upscalers import Patterned
from scipy.ndimage import uniform_filter


class Blurring(Patterned):
    """Averages 3x3 pixels before they are repeated."""

    radius = 1

    def run(self, lr, tile=None, budget=None, notes=None, counter=None):
        mean = uniform_filter(lr, (3, 3, 1), mode="nearest").repeat(2, axis=0).repeat(2, axis=1)
        yield (slice(0, len(mean)), slice(0, mean.shape[1])), np.stack([mean, mean])


def cut_out(dtype=np.uint8) -> np.ndarray:
    """Returns a white disk on transparent black, 30x30, with a soft edge."""
    y, x = np.mgrid[:30, :30] - 14.5
    alpha = np.clip(255 * (11 - np.hypot(x, y)), 0, 255)
    colors = np.where(alpha > 0, 255, 0)
    image = np.stack([colors, colors, colors, alpha], axis=-1).astype(dtype)
    return image * 257 if dtype == np.uint16 else image


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("channels", [2, 4])
def test_hidden_colours_do_not_reach_visible_pixels(dtype, channels):
    """A white cut-out on white used to have a dark ring around it."""
    white = 65535 if dtype == np.uint16 else 255
    result = Blurring().upscale(cut_out(dtype)[..., -channels:]).image
    assert (result[..., :-1] == white).all()
    assert result[..., -1].min() == 0
    resized = Blurring().upscale(cut_out(dtype)[..., -channels:]).resized((45, 50)).image
    assert (resized[..., :-1] == white).all()
    assert resized[..., -1].min() == 0  # bicubic overshoots; float images were not clipped


def test_hidden_colours_are_filled_before_tiles_are_cut():
    image = np.dstack([noise_image(13, 11), noise_image(13, 11, 1)[..., 0] // 64 * 64])
    assert (image[..., 3] == 0).any()
    whole, tiled = Patterned().upscale(image), Patterned().upscale(image, tile=4)
    assert np.array_equal(whole.image, tiled.image)
    assert np.array_equal(whole.theta, tiled.theta)


@pytest.mark.parametrize("alpha", [1, 255])
def test_an_image_without_hidden_pixels_stays_as_it_is(alpha):
    image = noise_image(9, 7)
    expected = Blurring().upscale(image)
    result = Blurring().upscale(np.dstack([image, np.full((9, 7), alpha, np.uint8)]))
    assert np.array_equal(result.image[..., :3], expected.image)
    assert (result.image[..., 3] == alpha).all()
    assert np.array_equal(result.theta, expected.theta)
