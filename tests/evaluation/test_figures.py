import numpy as np
from helpers.images import noise_image
from PIL import Image

from udl_tf.evaluation.figures import _busiest_box, comparison_figure
from udl_tf.imaging.theta_map import colorize


def test_colorize_is_dark_at_zero_and_bright_at_the_top():
    values = np.linspace(0, 4, 5)[None]
    colors = colorize(values, top=4.0)
    assert colors.shape == (1, 5, 3)
    assert colors.dtype == np.uint8
    brightness = colors.sum(axis=-1)[0].tolist()
    assert brightness == sorted(brightness)
    assert brightness[0] < 10
    assert brightness[-1] > 600
    assert np.array_equal(colorize(np.stack([values] * 3, axis=-1), top=4.0), colors)
    assert np.array_equal(colorize(8 * values, top=4.0)[0, 1:], colorize(8 * values, 1.0)[0, 1:])


def test_the_figure_shows_the_crop_with_most_detail(tmp_path):
    image = np.full((80, 120, 3), 90, np.uint8)
    image[40:60, 80:100] = noise_image(20, 20)
    top, left, side = _busiest_box(image)
    assert side == 20
    assert abs(top - 40) <= side // 2
    assert abs(left - 80) <= side // 2
    error = np.abs(image.astype(float) - 90)
    for theta in (error + 1, None):
        path = tmp_path / "figure.png"
        comparison_figure(path, "title", {"bicubic": image, "SR": image}, error, theta, "SR")
        with Image.open(path) as figure:
            assert figure.width > 800
            assert len(figure.convert("RGB").getcolors(maxcolors=10**7)) > 200
