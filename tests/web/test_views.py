"""Views of results: sizes, positions, what is greyed out."""

import numpy as np
import pytest
from helpers.images import noise_image
from helpers.web import FACTOR, calibration

from udl_tf.imaging.resize import imresize
from udl_tf.imaging.theta_map import colorize
from udl_tf.inference.result import Upscaled
from udl_tf.web import views
from udl_tf.web.views import (
    View,
    blend,
    compare,
    gray_out,
    interval_width,
    reduced,
    shares_wider,
    shown_rgb,
)


def result_of(image: np.ndarray, channels: int = 3) -> Upscaled:
    """A result whose theta is 1, 2, 3, ... from left to right."""
    height, width = image.shape[:2]
    theta = np.tile(np.arange(1, width + 1, dtype=np.float32)[:, None], (height, 1, channels))
    return Upscaled(image, theta, calibration=calibration())


def test_the_width_of_intervals_is_in_grey_levels_of_the_widest_channel():
    for image in (noise_image(5, 7), noise_image(5, 7).astype(np.uint16) * 257):
        result = result_of(image)
        result.theta[..., 0] *= 3
        width = interval_width(result)
        assert width.shape == (5, 7)
        assert np.allclose(width, 3 * 2 * FACTOR * np.arange(1, 8), rtol=1e-4)


def test_a_grey_image_with_alpha_has_intervals():
    result = Upscaled(
        noise_image(4, 6)[..., :2], np.ones((4, 6, 1), np.float32), None, calibration()
    )
    assert np.allclose(interval_width(result), 2 * FACTOR)


def test_shares_of_wider_intervals():
    """Of the widths 0.5, 1, 1.5 and 300: all are wider than 0, two than 1, one than 2 to 255."""
    shares = shares_wider(np.array([[0.5, 1.0], [1.5, 300.0]], np.float32))
    assert shares[:4].tolist() == [1.0, 0.5, 0.25, 0.25]
    assert shares[255] == 0.25


def test_pixels_of_wide_intervals_are_greyed_out():
    image = np.full((1, 3, 3), (200, 0, 0), np.uint8)
    view = View(image, image, None, np.array([[4.0, 5.0, 6.0]], np.float32))
    gray = gray_out(view, 5)
    assert gray[0, :2].tolist() == [[200, 0, 0]] * 2
    # 0.8 * 128 + 0.2 * luma, which is 16 + 65.481 * 200 / 255 = 67.36
    assert gray[0, 2].tolist() == [116, 116, 116]
    assert (gray_out(view, 3) == 116).all()


def test_the_map_is_laid_over_the_result():
    image = noise_image(4, 5)
    view = View(image, image, np.linspace(0, 10, 20, dtype=np.float32).reshape(4, 5), None)
    assert (blend(view, 0.0) == image).all()
    assert (blend(view, 1.0) == colorize(view.theta)).all()
    half = blend(view, 0.5).astype(float)
    assert np.abs(half - (image / 2 + colorize(view.theta) / 2)).max() <= 0.5


def test_a_large_result_is_reduced_and_positions_are_those_of_the_result(monkeypatch):
    monkeypatch.setattr(views, "MOST_SHOWN", 6 * 4)
    lr = noise_image(4, 6)
    comparison = compare(lr, result_of(lr.repeat(4, 0).repeat(4, 1)))
    view = comparison.whole()
    assert view.after.shape == view.before.shape == (4, 6, 3)
    assert (view.after == lr).all()  # the mean of equal pixels
    assert np.allclose(view.theta[0], [2.5, 6.5, 10.5, 14.5, 18.5, 22.5])  # of 1..4, 5..8, ...
    assert np.allclose(view.width[0], 2 * FACTOR * view.theta[0])
    assert view.step == 4
    assert view.pixel_at(0, 0) == (2, 2)
    assert view.pixel_at(5, 3) == (22, 14)


def test_a_detail_is_at_full_size_and_inside_the_result(monkeypatch):
    monkeypatch.setattr(views, "_DETAIL", (4, 6))
    lr = noise_image(10, 10)
    comparison = compare(lr, result_of(lr.repeat(2, 0).repeat(2, 1)))
    for (x, y), (left, top) in {(0, 0): (0, 0), (19, 19): (14, 16), (10, 9): (7, 7)}.items():
        view = comparison.detail(x, y)
        assert (view.left, view.top, view.step) == (left, top, 1)
        part = np.s_[top : top + 4, left : left + 6]
        assert (view.after == comparison.upscaled.image[part]).all()
        assert (view.before == imresize(lr, 2)[part]).all()
        assert (view.width == comparison.width[part]).all()
        assert view.pixel_at(2, 1) == (left + 2, top + 1)


def test_a_comparison_is_the_same_when_mapped_from_files(tmp_path):
    lr = noise_image(3, 4)
    comparison = compare(lr, result_of(lr.repeat(2, 0).repeat(2, 1)))
    stored = comparison.stored(tmp_path)
    assert isinstance(stored.upscaled.theta, np.memmap)
    for name in ("before", "after", "theta", "width"):
        assert (getattr(stored.whole(), name) == getattr(comparison.whole(), name)).all()
    pixel = stored.around(7, 5)
    assert pixel.image.tolist() == [[comparison.upscaled.image[5, 7].tolist()]]
    assert stored.around(0, 0, 2).image.shape == (3, 3, 3)


@pytest.mark.parametrize(
    ("pixels", "shown"),
    [
        (np.full((1, 1), 9, np.uint8), 9),
        (np.full((1, 1, 1), 9, np.uint8), 9),
        (np.full((1, 1, 3), 9 * 257, np.uint16), 9),
        (np.full((1, 1), 9.4, np.float32), 9),
        (np.array([[[0, 0]]], np.uint8), 255),  # transparent, on white
        (np.array([[[0, 0, 0, 65535]]], np.uint16), 0),
    ],
)
def test_images_of_all_kinds_are_shown_as_rgb(pixels, shown):
    assert shown_rgb(pixels).tolist() == [[[shown] * 3]]


def test_small_images_are_not_reduced():
    image = noise_image(2, 3)
    assert reduced(image) is image
