import numpy as np
import pytest

from udl_tf.errors import UserError
from udl_tf.imaging.transparency import compose, fill_hidden, is_opaque, parse_color

WHITE = (255, 255, 255)


@pytest.mark.parametrize(
    ("text", "color"), [("white", WHITE), ("Navy", (0, 0, 128)), ("#ff8000", (255, 128, 0))]
)
def test_colours(text, color):
    assert parse_color(text) == color


@pytest.mark.parametrize("text", ["", "blanc", "#ff", "#ff800080", "255"])
def test_unknown_colours_are_one_line(text):
    with pytest.raises(UserError, match=r"expected the name of a colour, such as white, or #rrgg"):
        parse_color(text)


@pytest.mark.parametrize(("dtype", "unit"), [(np.uint8, 1), (np.uint16, 257)])
def test_composition_is_the_mean_weighted_by_alpha(dtype, unit):
    """Of 100 at alpha 0, 51, 255 on white: 255, 100/5 + 255*4/5 = 224, 100."""
    alpha = np.array([0, 51, 255])
    pixels = np.stack([np.full(3, 100)] * 3 + [alpha], axis=-1)[None].astype(dtype) * unit
    assert compose(pixels, WHITE).tolist() == [[[v * unit] * 3 for v in (255, 224, 100)]]
    gray = compose(pixels[..., 2:], WHITE)
    assert gray.tolist() == [[255 * unit, 224 * unit, 100 * unit]]
    colored = compose(pixels[..., 2:], (255, 0, 0))
    assert colored[0, 0].tolist() == [255 * unit, 0, 0]
    assert gray.dtype == colored.dtype == dtype
    assert is_opaque(pixels[:, 2:])
    assert not is_opaque(pixels)


def test_hidden_pixels_get_the_nearest_visible_colour():
    colors = np.array([[[1], [2], [3], [4], [5], [6]]], np.uint8)
    alpha = np.array([[0, 0, 9, 0, 0, 255]])
    assert fill_hidden(colors, alpha)[0, :, 0].tolist() == [3, 3, 3, 3, 6, 6]
    assert colors[0, :, 0].tolist() == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("alpha", [0, 1, 255])
def test_an_image_without_hidden_or_visible_pixels_is_not_copied(alpha):
    colors = np.zeros((3, 4, 3), np.uint8)
    assert fill_hidden(colors, np.full((3, 4), alpha, np.uint8)) is colors
