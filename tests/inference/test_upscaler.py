"""Behaviour common to all upscalers, tested on one without a network."""

import numpy as np
import pytest
from helpers.images import noise_image
from helpers.models import transparent_model
from helpers.upscalers import Patterned
from PIL import Image

from udl_tf.errors import UserError
from udl_tf.inference.upscaler import BORDER


def test_a_path_is_read(tmp_path):
    pixels = noise_image(9, 7)
    path = tmp_path / "a.png"
    Image.fromarray(pixels).save(path)
    model = transparent_model(2)
    expected = model.upscale(pixels)
    for image in (path, str(path)):
        result = model.upscale(image)
        assert np.array_equal(result.image, expected.image)
        assert np.array_equal(result.theta, expected.theta)
    with pytest.raises(UserError, match=r"gone\.png: no such file"):
        model.upscale(tmp_path / "gone.png")
    with pytest.raises(UserError, match="photo: no such file"):
        model.upscale("photo")


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_stack_gives_the_results_of_its_images(channels, dtype):
    images = [np.resize(noise_image(9, 7, seed), (9, 7, channels)) for seed in range(3)]
    images = [image.astype(dtype) * (257 if dtype == np.uint16 else 1) for image in images]
    model = Patterned()
    result = model.upscale(np.stack(images), self_ensemble=True)
    singles = [model.upscale(image, self_ensemble=True) for image in images]
    assert result.image.shape == (3, 18, 14, channels)
    assert result.image.dtype == dtype
    assert result.calibration is model.calibration
    for name in ("image", "theta", "spread", "total"):
        expected = np.stack([getattr(single, name) for single in singles])
        assert np.array_equal(getattr(result, name), expected)
    for bound, bounds in enumerate(result.interval(0.8)):
        assert np.array_equal(bounds, np.stack([single.interval(0.8)[bound] for single in singles]))
    resized = result.resized((5, 6))
    for name in ("image", "theta", "spread"):
        expected = np.stack([getattr(single.resized((5, 6)), name) for single in singles])
        assert np.array_equal(getattr(resized, name), expected)


@pytest.mark.parametrize("channels", [1, 2, 4, 5])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_a_model_of_other_channels_computes_each_as_it_is(channels, dtype):
    """No alpha, and equal channels are not grey."""
    image = np.repeat(noise_image(5, 6)[..., :1], channels, axis=-1).astype(dtype)
    image *= 257 if dtype == np.uint16 else 1
    model = Patterned(channels=channels)
    result = model.upscale(image, self_ensemble=True)
    assert result.image.shape == result.theta.shape == result.spread.shape == (10, 12, channels)
    assert result.image.dtype == dtype
    plain = model.upscale(image)
    level = 257 if dtype == np.uint16 else 1
    columns = 2 * BORDER + np.arange(12)[None, :, None]
    sr = 0.9 * image.repeat(2, 0).repeat(2, 1) / level + columns / 10
    assert np.abs(plain.image / level - sr).max() <= 0.5 + 1e-4
    assert np.allclose(plain.theta, 1 + sr / 50, rtol=1e-4)
    low, high = plain.interval(0.9)
    assert np.allclose(high - low, 2 * np.log(10) * plain.theta * level, rtol=1e-5)
    # A share of 0.9 of Laplace errors, whose theta is nearly the same everywhere.
    mean = float(plain.theta.mean())
    assert plain.half_width(0.9) == pytest.approx(np.log(10) * mean, rel=0.5)
    stack = model.upscale(np.stack([image, image]))
    assert np.array_equal(stack.image, np.stack([plain.image] * 2))


def test_a_model_of_one_channel_takes_an_image_without_a_channel_axis():
    result = Patterned(channels=1).upscale(noise_image(5, 6)[..., 0])
    assert result.image.shape == result.theta.shape == (10, 12)
    assert result.interval(0.9)[0].shape == (10, 12)


@pytest.mark.parametrize(
    ("channels", "shape", "part"),
    [
        (1, (4, 4, 3), r"shape \(4, 4, 3\): expected \(h, w\), \(h, w, 1\) or \(n, h, w, 1\)"),
        (4, (4, 4, 3), r"shape \(4, 4, 3\): expected \(h, w, 4\) or \(n, h, w, 4\), the channels"),
        (4, (4, 4), r"shape \(4, 4\): expected \(h, w, 4\)"),
        (5, (2, 4, 4, 4), r"shape \(4, 4, 4\): expected \(h, w, 5\)"),
        (4, (0, 4, 4), r"shape \(0, 4, 4\)"),
    ],
)
def test_other_channels_than_those_of_the_model_are_one_line(channels, shape, part):
    with pytest.raises(UserError, match=part):
        Patterned(channels=channels).upscale(np.zeros(shape, np.uint8))


def test_a_stack_of_one_keeps_its_axis_and_may_lack_maps():
    result = Patterned().upscale(noise_image(4, 5)[None], uncertainty=False)
    assert result.image.shape == (1, 8, 10, 3)
    assert result.theta is None
    assert result.spread is None


@pytest.mark.parametrize(
    ("image", "part"),
    [
        (np.zeros((4, 4, 5), np.uint8), r"shape \(4, 4, 5\)"),
        (np.zeros((0, 4, 3), np.uint8), r"shape \(0, 4, 3\)"),
        (np.zeros((0, 4, 4, 3), np.uint8), r"shape \(0, 4, 4, 3\)"),
        (np.zeros((2, 4, 4, 5), np.uint8), r"shape \(4, 4, 5\)"),
        (np.zeros((1, 2, 4, 4, 3), np.uint8), r"shape \(1, 2, 4, 4, 3\)"),
        (None, r"shape \(\)"),
        (np.zeros(4, np.uint8), r"shape \(4,\)"),
        (np.zeros((4, 4, 3), np.int64), "dtype int64"),
        (np.full((4, 4, 3), np.nan), "float image with NaN or infinity"),
        (np.full((4, 4, 3), np.inf), "float image with NaN or infinity"),
        (np.full((4, 4, 3), 300.0), r"values 300\.\.300: expected 0\.\.255"),
        (np.full((4, 4, 3), -1.0), "expected 0..255"),
    ],
)
def test_what_is_not_an_image_is_one_line(image, part):
    with pytest.raises(UserError, match=part) as caught:
        Patterned().upscale(image)
    assert "\n" not in str(caught.value)


def test_tile_and_memory_reach_the_runner_and_are_checked():
    model, image = Patterned(), noise_image(6, 6)
    model.upscale(image, tile=4, memory_gb=0.5)
    model.upscale(image)
    assert model.efforts == [(4, 0.5e9), (None, None)]
    for memory in (0, -1, np.inf):
        with pytest.raises(UserError, match="expected a positive number"):
            model.upscale(image, memory_gb=memory)
    for tile in (0, 2.5):
        with pytest.raises(UserError, match=rf"tile {tile}: expected a whole number"):
            model.upscale(image, tile=tile)


@pytest.mark.parametrize("excess", [0, 5])
@pytest.mark.parametrize(
    ("options", "reports"),
    [
        ({}, 1),
        ({"tile": 8}, 4 * 3),
        ({"self_ensemble": True}, 8),
        ({"self_ensemble": True, "tile": 8}, 8 * 4 * 3),
        ({"uncertainty": False}, 1),
    ],
)
def test_progress_is_absolute_and_ends_at_its_total(options, reports, excess):
    calls = []

    def progress(done, total, label=""):
        calls.append((done, total))

    Patterned(excess).upscale(noise_image(13, 8), progress=progress, **options)
    done, totals = zip(*calls, strict=True)
    assert len(calls) == reports
    assert list(done) == sorted(set(done))  # each report is larger than the one before
    assert done[0] > 0
    assert set(totals) == {done[-1]}
    stack = noise_image(13, 8)[None].repeat(3, axis=0)
    calls.clear()
    Patterned(excess).upscale(stack, progress=progress, **options)
    done, totals = zip(*calls, strict=True)
    assert len(calls) == 3 * reports
    assert list(done) == sorted(set(done))
    assert set(totals) == {done[-1]} == {3}


def test_parts_may_exceed_the_image():
    image = noise_image(13, 8)
    expected = Patterned().upscale(image)
    for tile in (None, 8):
        result = Patterned(excess=5).upscale(image, tile=tile)
        assert np.array_equal(result.image, expected.image)
        assert np.array_equal(result.theta, expected.theta)


def test_a_result_is_shown_in_one_line():
    model, image = Patterned(), noise_image(4, 5)
    assert "\n" not in repr(model)
    text = repr(model.upscale(image, self_ensemble=True))
    assert text.startswith("Upscaled(image 8x10x3 uint8, mean theta ")
    assert "grey levels (calibrated), mean spread " in text
    assert "\n" not in text
    assert repr(model.upscale(image, uncertainty=False)) == "Upscaled(image 8x10x3 uint8)"
    model.calibration = None
    assert "(not calibrated)" in repr(model.upscale(image[None]))


class Broken(Patterned):
    """An upscaler whose maps contain one bad value."""

    def __init__(self, bad: float, map_index: int):
        super().__init__()
        self.bad, self.map_index = bad, map_index

    def run(self, lr, tile=None, budget=None, notes=None, counter=None):
        for part, values in super().run(lr, tile, budget, notes):
            values[self.map_index, 20, 20, 1] = self.bad  # not in the mirrored border
            yield part, values


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(("map_index", "name"), [(0, "sr"), (1, "theta")])
def test_a_result_that_is_not_finite_is_one_line(bad, map_index, name):
    """NaN became black."""
    model, message = Broken(bad, map_index), rf"computed NaN or infinite values \({name}\)"
    for upscale in (model.upscale, model.predict):
        with pytest.raises(UserError, match=message) as error:
            upscale(noise_image(20, 20))
        assert "\n" not in str(error.value)


class Tinted(Patterned):
    """Its channels differ, as those of trained networks do."""

    def run(self, lr, tile=None, budget=None, notes=None, counter=None):
        for part, values in super().run(lr, tile, budget, notes):
            tint = np.array([[0, 9, -12], [0, 0.5, 0.25]], np.float32)
            yield part, values + tint[:, None, None]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("self_ensemble", [False, True])
def test_equal_channels_stay_equal(dtype, self_ensemble):
    """A grey image stored as RGB used to be tinted; it is computed as the grey image."""
    gray = noise_image(9, 7)[..., 0].astype(dtype) * (257 if dtype == np.uint16 else 1)
    model = Tinted()
    expected = model.upscale(gray, self_ensemble=self_ensemble)
    result = model.upscale(np.dstack([gray] * 3), self_ensemble=self_ensemble)
    for name in ("image", "theta", "spread", "total"):
        values = getattr(expected, name)
        found = getattr(result, name)
        assert (found is None) == (values is None)
        assert values is None or np.array_equal(found, np.dstack([values] * 3))
    with_alpha = np.dstack([gray] * 4)
    assert np.ptp(model.upscale(with_alpha).image[..., :3].astype(float), axis=-1).max() == 0


def test_one_coloured_pixel_makes_an_image_coloured():
    image = np.dstack([noise_image(9, 7)[..., 0]] * 3)
    image[8, 6, 2] ^= 1
    assert np.ptp(Tinted().upscale(image).image.astype(int), axis=-1).min() > 0
