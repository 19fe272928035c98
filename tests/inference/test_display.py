import base64
import io
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from helpers.models import plain_calibration
from helpers.upscalers import Repeating
from PIL import Image

from udl_tf.imaging.theta_map import colorize
from udl_tf.imaging.value_range import ValueRange
from udl_tf.inference.result import Upscaled

RANDOM = np.random.default_rng(0)


def images_in(html: str) -> list[np.ndarray]:
    """Returns the images in the HTML, the scale bar last."""
    found = re.findall(r"data:image/webp;base64,([^\"]+)", html)
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(text)))) for text in found]


def noise(*shape, dtype=np.uint8):
    return RANDOM.integers(0, 256, shape).astype(dtype)


def test_image_and_theta_stand_side_by_side_with_a_scale_in_words():
    theta = np.full((40, 60, 3), 4.0, np.float32)
    theta[:, :30] = 1.0
    result = Upscaled(noise(40, 60, 3), theta, calibration=plain_calibration())
    html = result._repr_html_()
    image, map_, bar = images_in(html)
    assert image.shape == map_.shape == (40, 60, 3)
    assert bar.shape == (10, 256, 3)
    # The brightest colour is theta = 20, as the legend says. WebP changes colours slightly.
    assert np.abs(map_[20, 50] - colorize(np.full((1, 1), 4.0), 20)[0, 0].astype(int)).max() < 8
    assert np.abs(map_[20, 10] - colorize(np.full((1, 1), 1.0), 20)[0, 0].astype(int)).max() < 8
    assert "60 × 40 pixels, uint8" in html
    assert "<span>10</span><span>20 or more</span>" in html
    found = re.search(r"2.5 grey levels on average; nine of ten pixels are within ±([\d.]+)", html)
    # Laplace errors of scale 1 and 4 in equal parts: 0.1 = (exp(-x) + exp(-x/4)) / 2 at x = 6.47.
    assert float(found[1]) == pytest.approx(6.47, rel=0.04)


def test_without_theta_only_the_image_is_shown():
    (image,) = images_in(Upscaled(noise(8, 9, 3))._repr_html_())
    assert image.shape == (8, 9, 3)


def test_theta_that_is_not_calibrated_has_no_intervals():
    html = Upscaled(noise(8, 9), np.ones((8, 9), np.float32))._repr_html_()
    assert "not calibrated" in html
    assert "nine of ten" not in html


@pytest.mark.parametrize(
    ("image", "value_range"),
    [
        (np.full((8, 9), 200 * 257, np.uint16), (0, 255)),
        (np.full((8, 9, 1), 200, np.uint8), (0, 255)),
        (np.full((8, 9, 3), 200, np.float32), (0, 255)),
        (np.full((8, 9, 3), 200 / 255, np.float32), (0, 1)),
        (np.full((8, 9, 4), 200, np.uint8), (0, 255)),
        (np.full((8, 9, 2), 200, np.uint8), (0, 255)),
    ],
)
def test_an_image_of_every_type_is_shown_in_8_bits(image, value_range):
    (shown,) = images_in(Upscaled(image, value_range=value_range)._repr_html_())
    assert shown.shape[:2] == (8, 9)
    assert np.abs(shown - 200.0).max() <= 2  # WebP is lossy


def test_a_stack_shares_one_scale():
    theta = np.stack([np.full((8, 8, 3), value, np.float32) for value in (1, 2, 8, 4, 4)])
    found = images_in(Upscaled(noise(5, 8, 8, 3), theta)._repr_html_())
    assert len(found) == 2 * 4 + 1  # four images, their maps, the scale bar
    levels = [int(found[index].mean()) for index in (1, 3, 5)]
    assert levels == sorted(set(levels))


def test_large_images_are_small_and_no_text_needs_a_light_background():
    image = noise(900, 1200, 3)
    html = Upscaled(image, image.astype(np.float32))._repr_html_()
    assert len(html) < 200_000
    assert max(found.shape[1] for found in images_in(html)) == 320
    assert "color:" not in html
    assert "<script" not in html
    parser = HTMLParser()
    parser.feed(html)
    parser.close()
    assert html.count("<div") == html.count("</div>")


def test_a_resized_result_stays_in_its_value_range():
    image = np.zeros((6, 6), np.float32)
    image[:, 3:] = 65535.0
    resized = Upscaled(image, value_range=(0, 65535)).resized((5, 5))
    assert (resized.image.min(), resized.image.max()) == (0, 65535)


@pytest.mark.parametrize(
    ("channels", "shown"), [(1, [0, 0, 0]), (2, [0, 0, 0]), (4, [0, 1, 2]), (6, [0, 1, 2])]
)
def test_of_many_channels_three_are_shown(channels, shown):
    levels = np.arange(40, 40 + 30 * channels, 30)
    image = np.broadcast_to(levels.astype(np.uint8), (8, 9, channels))
    html = Upscaled(image, np.ones((8, 9, channels), np.float32))._repr_html_()
    assert np.abs(images_in(html)[0][..., :3].astype(int) - levels[shown]).max() < 4  # WebP


@pytest.mark.parametrize("dtype", [np.float32, np.uint16])
@pytest.mark.parametrize("channels", [1, 4])
def test_nodata_and_any_channels_of_measurements_are_shown(dtype, channels):
    """Casting NaN to 8 bits would warn, which is an error in tests."""
    model = Repeating(2)
    model.channels, model.value_range = channels, ValueRange.of([0, 4000])
    values = np.random.default_rng(0).integers(1, 4000, (9, 8, channels)).astype(dtype)
    values[2, 3] = 0
    html = model.upscale(values, nodata=0)._repr_html_()
    assert "nan" not in html.partition("not calibrated")[0].rpartition(">")[2]
    assert f"16 × 18 pixels, {np.dtype(dtype)}" in html
    values[..., -1] = 0  # not alpha, which would hide the others
    without = model.upscale(values, uncertainty=False, valid=np.ones((9, 8), bool))
    assert images_in(without._repr_html_())[0].shape[2] == 3
