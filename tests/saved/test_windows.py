"""Windows of exported models, on a model that repeats each pixel scale x scale times."""

import math

import numpy as np
import pytest
from helpers.images import noise_image

from udl_tf.errors import UserError
from udl_tf.saved.card import ModelCard
from udl_tf.saved.windows import WindowRunner, core_of_tile


def make_runner(**facts):
    """Returns (runner, sizes of the windows that it has computed)."""
    card = ModelCard(
        **{
            "name": "repeat",
            "format": "tflite",
            "precision": "float32",
            "scale": 2,
            "outputs": ["sr"],
            "architecture": {"name": "edsr_s", "scale": 2},
            "parameters": 0,
            "border": 8,
            "smallest": 8,
            "radius": 6,
            "margin": 6,
            "align": 1,
            "floats": 50,
            "versions": {},
            **facts,
        }
    )
    sizes = []

    def forward(lr, outputs):
        sizes.append(lr.shape[1:3])
        assert outputs == ("sr",)
        return {"sr": lr.repeat(2, axis=1).repeat(2, axis=2)}

    return WindowRunner(card, forward, ["sr"]), sizes


def assert_repeats(runner, height, width, **options):
    """The parts cover the image, and each is what the model computes there."""
    lr = noise_image(height, width).astype(np.float32)
    result = np.full((2 * height, 2 * width, 3), np.nan, np.float32)
    for (rows, columns), values in runner.run(lr, **options):
        part = result[rows, columns]
        part[:] = values[0][: part.shape[0], : part.shape[1]]
    assert np.array_equal(result, lr.repeat(2, axis=0).repeat(2, axis=1))


def test_an_image_within_the_smallest_window_is_computed_whole():
    runner, sizes = make_runner()
    assert_repeats(runner, 18, 18, budget=1)  # three margins
    assert sizes == [(18, 18)]
    assert_repeats(runner, 24, 24, budget=1)
    assert len(sizes) > 2


def test_windows_fit_into_the_budget():
    runner, sizes = make_runner()
    pixels = 60 * 60
    assert_repeats(runner, 150, 130, budget=4 * 50 * pixels)
    assert len(sizes) > 2
    assert all(height * width <= pixels for height, width in sizes)
    runner, int8_sizes = make_runner(precision="int8")
    assert_repeats(runner, 150, 130, budget=4 * 50 * pixels)
    assert len(int8_sizes) < len(sizes)  # values of one byte


def test_images_below_the_smallest_input_are_padded():
    runner, sizes = make_runner()
    assert_repeats(runner, 3, 11)
    assert sizes == [(8, 11)]


@pytest.mark.parametrize("align", [1, 4, 16])
@pytest.mark.parametrize("size", [(1, 1), (40, 41), (97, 64), (130, 35)])
def test_every_window_is_as_large_as_a_fixed_tile(align, size):
    runner, sizes = make_runner(tile=40, border=0, smallest=40, align=align)
    assert core_of_tile(40, 6, align) == 40 - 12 - (align - 1)
    assert_repeats(runner, *size)
    assert set(sizes) == {(40, 40)}


def test_a_fixed_tile_cannot_be_chosen():
    runner, _ = make_runner(tile=40, border=0, smallest=40)
    with pytest.raises(UserError, match="tile 8: this model accepts tiles of 40 pixels only"):
        list(runner.run(noise_image(9, 9).astype(np.float32), tile=8))


@pytest.mark.parametrize("align", [1, 4, 16])
@pytest.mark.parametrize("size", [(50, 50), (51, 53), (200, 9), (131, 157)])
def test_no_request_exceeds_the_limit_of_a_server(align, size):
    """Windows grow by up to align - 1 pixels, so that the last one is aligned; it was refused."""
    runner, sizes = make_runner(format="savedmodel", max_pixels=50 * 50, align=align)
    assert_repeats(runner, *size)
    assert all(height * width <= 50 * 50 for height, width in sizes)
    assert (len(sizes) == 1) == (math.prod(size) <= 50 * 50)


@pytest.mark.parametrize("align", [1, 4])
def test_a_tile_above_the_limit_of_a_request_is_one_line(align):
    """TensorFlow refused the window, in many lines."""
    largest = 50 - 12 - 2 * (align - 1)
    runner, sizes = make_runner(format="savedmodel", max_pixels=50 * 50, align=align)
    with pytest.raises(UserError, match=f"tile {largest + 1}: .* 2500 pixels.* most {largest},"):
        assert_repeats(runner, 90, 90, tile=largest + 1)
    assert sizes == []
    assert_repeats(runner, 90, 90, tile=largest)
    assert_repeats(runner, 45, 55, tile=99)  # whole
    assert_repeats(runner, 9, 200, tile=99)  # in windows of 9 x 111 pixels


def test_a_limit_that_leaves_no_core_is_an_error():
    runner, sizes = make_runner(format="savedmodel", max_pixels=13 * 13)
    assert_repeats(runner, 20, 9)  # cores of one pixel
    assert len(sizes) == 20 * 9
    runner, _ = make_runner(format="savedmodel", max_pixels=12 * 12)
    with pytest.raises(UserError, match=r"accepts 144 pixels .* with max_pixels at least 576"):
        assert_repeats(runner, 20, 9)
